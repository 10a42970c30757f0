// SPDX-License-Identifier: BSD-3-Clause
// `straitctl events --follow`.
#pragma once

#include "control/client.hh"
#include "control/method_table.hh"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <functional>
#include <string>

namespace strait::control {

[[nodiscard]] bool follows_events(const method& m, const boost::json::object& parameters);

// Shows what there is, and then whatever comes, until `show` returns false. Throws call_error.
void follow_events(client& connection, boost::json::object parameters,
                   const std::function<bool(const boost::json::value&)>& show);

// For programs: a line for each event, and one before them with how many were missed, if any were.
[[nodiscard]] std::string event_lines(const boost::json::value& result);

} // namespace strait::control
