// SPDX-License-Identifier: BSD-3-Clause
// The life of a virtual machine as its operator sees it: start, console, signals, reboots, the end.
#pragma once

#include "vmm/config.hh"
#include "vmm/exit_status.hh"
#include "vmm/machine.hh"

namespace strait::vmm {

// Returns an exit_status, or 128 and a signal's number, when the guest has ended. `begun` is when
// the process did.
[[nodiscard]] int run(const config& c, boot_times::clock::time_point begun);

} // namespace strait::vmm
