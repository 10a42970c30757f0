// SPDX-License-Identifier: BSD-3-Clause
// straitctl's side of a capture: it opens what is written to, with the rights of who runs it, and
// passes on what the daemon sends until it is interrupted.
#pragma once

#include "control/client.hh"
#include "control/method_table.hh"

#include <boost/json/object.hpp>

namespace strait::control {

[[nodiscard]] bool is_capture(const method& m);

// Throws call_error. False: it ended otherwise than it should have, which was said.
bool capture(const service_address& daemon, const method& m, const boost::json::object& parameters);

} // namespace strait::control
