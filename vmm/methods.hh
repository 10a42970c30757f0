// SPDX-License-Identifier: BSD-3-Clause
// The methods of strait-vmm's control socket.
#pragma once

#include "control/method_table.hh"

namespace strait::vmm {

[[nodiscard]] const control::method_table& methods();

} // namespace strait::vmm
