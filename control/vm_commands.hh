// SPDX-License-Identifier: BSD-3-Clause
// The commands of straitctl: those that the daemon's service has, and those that straitctl does
// itself: about virtual machines (vm.hh), and doctor.
#pragma once

#include "control/cli.hh"

namespace strait::control {

[[nodiscard]] const cli::program& straitctl_program();
[[nodiscard]] bool is_vm_command(const method& m);

} // namespace strait::control
