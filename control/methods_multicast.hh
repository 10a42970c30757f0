// SPDX-License-Identifier: BSD-3-Clause
// The methods and parameters of IGMP and MLD snooping.
#pragma once

#include "control/method_table.hh"

namespace strait::control {

// What `bridge add` and `bridge set`, and `port add` and `port set`, take beside the rest.
[[nodiscard]] std::vector<parameter> bridge_multicast_settings();
[[nodiscard]] std::vector<parameter> port_multicast_settings();
[[nodiscard]] std::vector<method> multicast_methods();

} // namespace strait::control
