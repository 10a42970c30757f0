// SPDX-License-Identifier: BSD-3-Clause
// The methods that tell which workers serve which queues, and change it.
#pragma once

#include "control/method_table.hh"

namespace strait::control {

[[nodiscard]] std::vector<method> queue_methods();

} // namespace strait::control
