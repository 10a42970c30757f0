// SPDX-License-Identifier: BSD-3-Clause
// The part of straitd's table of methods that is about tunnels and the switch's own addresses.
#pragma once

#include "control/method_table.hh"

namespace strait::control {

// Of port.add: what tunnel ports are made with.
[[nodiscard]] std::vector<parameter> tunnel_parameters();
[[nodiscard]] std::vector<method> endpoint_methods();

} // namespace strait::control
