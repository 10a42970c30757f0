// SPDX-License-Identifier: BSD-3-Clause
// Errors of ports.
#include "ports/port.hh"

#include <boost/throw_exception.hpp>

#include <stdexcept>

namespace boost::system {

void throw_exception_from_error(const strait::ports::error& e, const boost::source_location& where)
{
    boost::throw_exception(std::runtime_error{e.message}, where);
}

} // namespace boost::system
