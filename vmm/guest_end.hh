// SPDX-License-Identifier: BSD-3-Clause
// How a guest's run came to an end.
#pragma once

#include <cstdint>
#include <string>

namespace strait::vmm {

struct guest_end {
    enum class kind : std::uint8_t {
        power_off, // the guest switched itself off
        reset,     // it wants to begin anew
        stopped,   // its operator ended it
        failed     // KVM could not go on
    };
    kind how{kind::stopped};
    std::string detail{}; // a sentence's end: "by a triple fault"
};

} // namespace strait::vmm
