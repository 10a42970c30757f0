// SPDX-License-Identifier: BSD-3-Clause
// One file with all that a report of a fault needs: what the daemon answers to every question that
// can be asked of it, what doctor finds, its log, and the host's facts. No secret is looked for,
// and what is known to hold some (environments, other programs' command lines) is not taken.
#pragma once

#include "control/method_table.hh"

#include <boost/json/object.hpp>

#include <string>
#include <string_view>

namespace strait::control {

// The method `support`, which straitctl does itself; it does not need the daemon.
[[nodiscard]] bool is_support(const method& m);
[[nodiscard]] method support_method();
// Throws call_error, with no file left. The result: file, bytes, entries, missing.
[[nodiscard]] boost::json::object make_support_file(const std::string& run_dir,
                                                    const boost::json::object& parameters);
[[nodiscard]] std::string support_text(const boost::json::object& made);

// Of the command line of a kernel or a program: the values of words that may be secrets as "***".
[[nodiscard]] std::string without_secrets(std::string_view line);

} // namespace strait::control
