// SPDX-License-Identifier: BSD-3-Clause
// The end of a process whose memory is taken away: a back end that shares the guest's can punch
// holes into it, and where no page is free to fill one, an access is SIGBUS.
#pragma once

#include "vmm/memory.hh"

#include <span>

namespace strait::vmm {

// From now on a SIGBUS has the process say in one line on stderr what was lost, put the terminal
// back (stdio.hh), and end with exit_status::failed. `ram` is the guest's, one guest's at a time.
void explain_losses(std::span<const memory::region> ram, bool huge_pages) noexcept;

// What is said of the guest's memory, a sentence's end: KVM does not tell its loss by a signal.
[[nodiscard]] const char* loss_of_guest_memory() noexcept;

} // namespace strait::vmm
