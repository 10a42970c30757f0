// SPDX-License-Identifier: BSD-3-Clause
// The part of straitd's table of methods that is about rates which packets wait for.
#pragma once

#include "control/method_table.hh"

namespace strait::control {

// Of port.add and port.set.
[[nodiscard]] std::vector<parameter> shape_settings();
[[nodiscard]] std::vector<method> shaper_methods();

} // namespace strait::control
