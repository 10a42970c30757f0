// SPDX-License-Identifier: BSD-3-Clause
// When to look into a ring again. A guest whose ring is looked at all the time loses its ring's
// cache lines and gets slower, and bursts stay short; looking late costs latency. So a ring is left
// alone for as long as a good burst takes to gather, but only where its packets came so fast lately
// that they take a good part of the worker's time, and that the wait is some microseconds. Below
// that the ring is looked at in every iteration.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace strait::ports {

class gatherer {
public:
    static constexpr std::uint64_t target = 48;      // packets worth waiting for
    static constexpr std::uint64_t worthwhile = 32;  // fewer are not
    static constexpr std::uint64_t longest = 90'000; // TSC cycles, 20 to 45 microseconds
    // A ring whose packets come at more than so many times what one costs takes little of the
    // worker's time: an eighth at most.
    static constexpr std::uint64_t leisurely = 8;

    [[nodiscard]] bool due(std::uint64_t now) const noexcept
    {
        return static_cast<std::int64_t>(now - next_look_) >= 0;
    }

    // `count` packets, at least one, were taken at `now`; one costs the worker `packet_cost`.
    void took(std::uint64_t now, std::size_t count, std::uint64_t packet_cost) noexcept
    {
        // The pace is that of a good many packets: of a few it would be a matter of luck.
        seen_ += count;
        const std::uint64_t passed = now - since_;
        if (seen_ >= many || passed >= 2 * longest) {
            cycles_per_packet_ = passed / seen_;
            since_ = now;
            seen_ = 0;
        }
        next_look_ = now;
        if (cycles_per_packet_ * worthwhile <= longest &&
            cycles_per_packet_ <= packet_cost * leisurely) {
            next_look_ += std::min(cycles_per_packet_ * target, longest);
        }
    }

private:
    static constexpr std::uint64_t many = 64;

    std::uint64_t next_look_{0};
    std::uint64_t since_{0};
    std::uint64_t seen_{0}; // packets
    std::uint64_t cycles_per_packet_{longest};
};

} // namespace strait::ports
