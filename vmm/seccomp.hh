// SPDX-License-Identifier: BSD-3-Clause
// The system calls that each kind of thread may make; any other ends the process. A thread's filter
// holds for the threads that it starts, too: the main thread's allows what all of them need.
#pragma once

#include "ports/error.hh"

#include <cstdint>

namespace strait::vmm {

enum class thread_kind : std::uint8_t {
    main,   // control, console, and starting a guest anew
    device, // one device's queue or back end
    vcpu    // KVM_RUN, and what a guest's access to registers leads to
};

// For the calling thread, from now on. `bounded_log`: it may cut off stderr. Fails where the kernel
// has no seccomp filters.
[[nodiscard]] ports::result<void> confine(thread_kind kind, bool bounded_log);

} // namespace strait::vmm
