// SPDX-License-Identifier: BSD-3-Clause
// The methods of straitd's control service.
#pragma once

#include "control/method_table.hh"

#include <cstdint>

namespace strait::control {

[[nodiscard]] const method_table& methods();

} // namespace strait::control
