// SPDX-License-Identifier: BSD-3-Clause
// Methods about tracked connections.
#pragma once

#include "control/method_table.hh"

namespace strait::control {

[[nodiscard]] std::vector<method> connection_methods();

} // namespace strait::control
