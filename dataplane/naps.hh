// SPDX-License-Identifier: BSD-3-Clause
// When a worker may sleep although somebody cannot wake it: for so short a time that a device's
// ring holds what comes meanwhile, by a timer. Not every host's timers are in time: a virtual
// machine's can be milliseconds late. One that was late is not trusted for a second, the next for
// two, and so on up to an hour; half as long each time ten thousand in a row were in time.
#pragma once

#include <algorithm>
#include <cstdint>

namespace strait::dataplane {

// Times are in TSC cycles. Used by one thread.
class naps {
public:
    static constexpr std::uint64_t microseconds = 25;

    // A timer is late that ends a nap more than `tolerance` cycles after its time.
    naps(std::uint64_t tsc_hz, std::uint64_t tolerance) noexcept
        : tsc_hz_{tsc_hz}, tolerance_{tolerance}
    {}

    [[nodiscard]] bool may(std::uint64_t now) const noexcept { return now >= distrusted_until_; }
    [[nodiscard]] std::uint64_t length() const noexcept
    {
        return tsc_hz_ / 1'000'000 * microseconds;
    }

    // It was to be awake at `until` and is `now`; `by_timer`: nobody else woke it. False: late.
    bool woke(std::uint64_t until, std::uint64_t now, bool by_timer) noexcept
    {
        if (now <= until + tolerance_) {
            in_time_ += by_timer ? 1 : 0;
            if (in_time_ == in_time_for_trust) {
                in_time_ = 0;
                distrust_ = std::max(distrust_ / 2, std::uint64_t{1});
            }
            return true;
        }
        constexpr std::uint64_t hour = 3600;
        in_time_ = 0;
        distrusted_until_ = now + distrust_ * tsc_hz_;
        distrust_ = std::min(2 * distrust_, hour);
        return false;
    }

private:
    static constexpr std::uint64_t in_time_for_trust = 10'000;

    std::uint64_t tsc_hz_;
    std::uint64_t tolerance_;
    std::uint64_t distrusted_until_{0};
    std::uint64_t distrust_{1}; // seconds
    std::uint64_t in_time_{0};  // in a row
};

} // namespace strait::dataplane
