// SPDX-License-Identifier: BSD-3-Clause
// The commands of straitctl: those that the daemon's service has, and those about virtual machines,
// which straitctl does itself (vm.hh).
#pragma once

#include "control/cli.hh"

namespace strait::control {

[[nodiscard]] const cli::program& straitctl_program();
[[nodiscard]] bool is_vm_command(const method& m);

} // namespace strait::control
