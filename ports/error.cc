// SPDX-License-Identifier: BSD-3-Clause
// What an error becomes where none was expected.
#include "ports/error.hh"

#include <boost/throw_exception.hpp>

#include <stdexcept>

namespace strait::ports {

void throw_exception_from_error(const error& e, const boost::source_location& where)
{
    boost::throw_exception(std::runtime_error{e.message}, where);
}

} // namespace strait::ports
