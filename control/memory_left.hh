// SPDX-License-Identifier: BSD-3-Clause
// How much memory the machine, or the control group that this process is in, can still give. Who
// asks for memory on a client's behalf asks here first: the kernel does not refuse it, it kills.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace strait::control {

struct memory_left {
    std::uint64_t bytes{0};
    std::uint64_t of{0}; // what there is in all

    // Less than is to be left for what is not asked for here.
    [[nodiscard]] bool is_low() const noexcept;
};

// The smaller of the two, from the files under `root`/proc and `root`/sys/fs/cgroup (version 2).
// Nothing: nobody says.
[[nodiscard]] std::optional<memory_left> look_at_memory(const std::string& root = {});

} // namespace strait::control
