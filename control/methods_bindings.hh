// SPDX-License-Identifier: BSD-3-Clause
// The part of straitd's table of methods that is about bindings, and what is done by them.
#pragma once

#include "control/method_table.hh"

namespace strait::control {

// Of bridge.add and bridge.set, and of port.add and port.set.
[[nodiscard]] std::vector<parameter> bridge_guard_settings();
[[nodiscard]] std::vector<parameter> port_guard_settings();
[[nodiscard]] std::vector<method> binding_methods();

} // namespace strait::control
