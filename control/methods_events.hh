// SPDX-License-Identifier: BSD-3-Clause
// The method about what has happened. For methods.cc alone.
#pragma once

#include "control/method_table.hh"

#include <vector>

namespace strait::control {

[[nodiscard]] std::vector<method> event_methods();

} // namespace strait::control
