// SPDX-License-Identifier: BSD-3-Clause
// Methods about the configuration as a whole. For methods.cc alone.
#pragma once

#include "control/method_table.hh"

#include <vector>

namespace strait::control {

[[nodiscard]] std::vector<method> config_methods();

} // namespace strait::control
