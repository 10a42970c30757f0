// SPDX-License-Identifier: BSD-3-Clause
// Methods and parameters of spanning tree.
#pragma once

#include "control/method_table.hh"

#include <vector>

namespace strait::control {

[[nodiscard]] std::vector<parameter> bridge_tree_settings();
[[nodiscard]] std::vector<parameter> port_tree_settings();
[[nodiscard]] std::vector<method> tree_methods();

} // namespace strait::control
