// SPDX-License-Identifier: BSD-3-Clause
// Methods about flows, groups and meters.
#pragma once

#include "control/method_table.hh"

#include <cstdint>

namespace strait::control {

// Flows that `flow list` answers with unless it is asked for fewer.
inline constexpr std::int64_t usual_flow_limit = 65'536;

[[nodiscard]] std::vector<method> flow_methods();
[[nodiscard]] std::vector<method> group_methods();
[[nodiscard]] std::vector<method> meter_methods();

} // namespace strait::control
