// SPDX-License-Identifier: BSD-3-Clause
// Methods about captures and mirrors.
#pragma once

#include "control/method_table.hh"

namespace strait::control {

[[nodiscard]] std::vector<method> capture_methods();
[[nodiscard]] std::vector<method> mirror_methods();

} // namespace strait::control
