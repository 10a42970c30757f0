// SPDX-License-Identifier: BSD-3-Clause
// When to leave packets in a ring for a moment so that more gather. A guest whose ring is polled
// eagerly loses its ring's cache lines and gets slower; waiting for a full burst costs latency. So
// it waits only where the rate at which packets came lately would fill a burst within the budget:
// at a tenth of the load there is no wait at all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace strait::vhost {

class gatherer {
public:
    static constexpr std::size_t target = 48; // packets worth waiting for
    // TSC cycles: both the longest wait and the reach of the prediction, about a microsecond.
    static constexpr std::uint64_t budget = 3000;

    // Fewer than `target` packets are there at `now`, at least `seen` of them: whether to leave
    // them.
    [[nodiscard]] bool wait(std::uint64_t now, std::size_t seen) noexcept
    {
        if ((target - seen) * cycles_per_packet_ > budget) {
            return false;
        }
        if (since_ == 0) {
            since_ = now;
        }
        return now - since_ < budget;
    }

    // `count` packets were taken at `now`.
    void took(std::uint64_t now, std::size_t count) noexcept
    {
        since_ = 0;
        const std::uint64_t gap = std::min(now - last_take_, std::uint64_t{1} << 20) / count;
        last_take_ = now;
        cycles_per_packet_ = (cycles_per_packet_ * 3 + gap) / 4;
    }

private:
    std::uint64_t since_{0};
    std::uint64_t last_take_{0};
    std::uint64_t cycles_per_packet_{budget};
};

} // namespace strait::vhost
