// SPDX-License-Identifier: BSD-3-Clause
// The part of straitd's table of methods that is about rule sets.
#pragma once

#include "control/method_table.hh"

namespace strait::control {

[[nodiscard]] std::vector<method> acl_methods();

} // namespace strait::control
