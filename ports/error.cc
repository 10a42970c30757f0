// SPDX-License-Identifier: BSD-3-Clause
// The words for an error number, and what an error becomes where none was expected.
#include "ports/error.hh"

#include <boost/throw_exception.hpp>

#include <stdexcept>
#include <system_error>

namespace strait::ports {

std::string describe(int code)
{
    return std::generic_category().message(code);
}

void throw_exception_from_error(const error& e, const boost::source_location& where)
{
    boost::throw_exception(std::runtime_error{e.message}, where);
}

} // namespace strait::ports
