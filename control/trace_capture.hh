// SPDX-License-Identifier: BSD-3-Clause
// `straitctl trace` of a file of packets: each is one call.
#pragma once

#include "control/client.hh"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <functional>

namespace strait::control {

// Whether the packet among a trace's parameters is a file, or is said to be one.
[[nodiscard]] bool traces_capture(const boost::json::object& parameters);

// Traces its packets, or the one whose number is among the parameters, and shows each result until
// `show` returns false, which this returns then. Throws call_error.
bool trace_capture(client& connection, const boost::json::object& parameters,
                   const std::function<bool(const boost::json::value&)>& show);

} // namespace strait::control
