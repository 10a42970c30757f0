// SPDX-License-Identifier: BSD-3-Clause
// How what can fail outside the data path says so.
#pragma once

#include <boost/system/result.hpp>

#include <string>

namespace strait::ports {

// An error for people: one sentence that says what was wrong, where, and what would be right.
struct error {
    std::string message;
};
template <typename T>
using result = boost::system::result<T, error>;

// What an error number of the system's means, as a sentence's end. Any thread.
[[nodiscard]] std::string describe(int code);

// What result<T>::value() throws on an error; found by its argument.
[[noreturn]] void throw_exception_from_error(const error& e, const boost::source_location& where);

} // namespace strait::ports
