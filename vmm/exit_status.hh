// SPDX-License-Identifier: BSD-3-Clause
// What a process that ran a guest ends with.
#pragma once

namespace strait::vmm {

enum class exit_status : int {
    powered_off = 0, // by itself, or because it was asked to
    refused = 1,     // it never ran: stderr says why
    reset = 2,       // it was not to begin anew (--no-reboot)
    failed = 3,      // KVM could not go on with it: stderr says why
    killed = 4       // it was ended from outside and had not switched itself off
};

} // namespace strait::vmm
