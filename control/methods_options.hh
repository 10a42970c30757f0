// SPDX-License-Identifier: BSD-3-Clause
// Methods about options of Geneve.
#pragma once

#include "control/method_table.hh"

#include <vector>

namespace strait::control {

[[nodiscard]] std::vector<method> option_methods();

} // namespace strait::control
