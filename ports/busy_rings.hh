// SPDX-License-Identifier: BSD-3-Clause
// How many of a guest's rings its packets come by, lately. Drivers enable a ring for each CPU, and
// use those whose CPUs send.
#pragma once

#include "ports/shares.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace strait::ports {

// Used by one thread.
class busy_rings {
public:
    static constexpr std::uint32_t window = 1024; // packets that `lately` is
    static constexpr std::uint32_t even = 4; // of an even share of them, a busy ring has this part

    // From 1 to max_shares.
    [[nodiscard]] std::uint8_t count() const noexcept { return count_; }

    // `packets` came by the ring in this place, below max_shares; one of `rings`, at least 1.
    void took(std::size_t place, std::size_t packets, std::size_t rings) noexcept
    {
        const auto more = static_cast<std::uint32_t>(packets);
        packets_[place] += more;
        seen_ += more;
        if (seen_ < window) {
            return;
        }
        const auto enough = static_cast<std::uint32_t>(seen_ / (even * rings));
        count_ = static_cast<std::uint8_t>(
            std::ranges::count_if(packets_, [&](std::uint32_t n) { return n > enough; }));
        packets_ = {};
        seen_ = 0;
    }

private:
    std::array<std::uint32_t, max_shares> packets_{};
    std::uint32_t seen_{0};
    std::uint8_t count_{1};
};

} // namespace strait::ports
