// SPDX-License-Identifier: BSD-3-Clause
// When to look into a ring again. A guest whose ring is looked at all the time loses its ring's
// cache lines and gets slower, and bursts stay short; looking late costs latency. So a ring is left
// alone for as long as a good burst takes to gather, but only where packets came so fast lately
// that this is a few microseconds: below that rate it is looked at in every iteration.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace strait::ports {

class gatherer {
public:
    static constexpr std::uint64_t target = 48;      // packets worth waiting for
    static constexpr std::uint64_t worthwhile = 32;  // fewer are not
    static constexpr std::uint64_t longest = 60'000; // TSC cycles, 15 to 30 microseconds

    [[nodiscard]] bool due(std::uint64_t now) const noexcept
    {
        return static_cast<std::int64_t>(now - next_look_) >= 0;
    }

    // `count` packets, at least one, were taken at `now`.
    void took(std::uint64_t now, std::size_t count) noexcept
    {
        constexpr std::uint64_t long_gap = std::uint64_t{1} << 20;
        const std::uint64_t gap = std::min(now - last_take_, long_gap) / count;
        last_take_ = now;
        cycles_per_packet_ = (cycles_per_packet_ * 3 + gap) / 4;
        next_look_ = now;
        if (cycles_per_packet_ * worthwhile <= longest) {
            next_look_ += std::min(cycles_per_packet_ * target, longest);
        }
    }

private:
    std::uint64_t next_look_{0};
    std::uint64_t last_take_{0};
    std::uint64_t cycles_per_packet_{longest};
};

} // namespace strait::ports
