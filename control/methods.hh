// SPDX-License-Identifier: BSD-3-Clause
// The methods of straitd's control service.
#pragma once

#include "control/method_table.hh"

#include <cstdint>

namespace strait::control {

[[nodiscard]] const method_table& methods();

// Flows that `flow list` answers with unless it is asked for fewer.
inline constexpr std::int64_t usual_flow_limit = 65'536;

} // namespace strait::control
