// SPDX-License-Identifier: BSD-3-Clause
// How many frames may go out now, at a rate. What could not be sent for long is not made up for,
// but counted, by whose fault it was.
#pragma once

#include "bench/generator/clock.hh"

#include <algorithm>
#include <cstdint>

namespace strait::bench {

class pacer {
public:
    // `per_second` 0: no limit. `burst`: frames that may go out at once.
    pacer(double per_second, unsigned burst) noexcept
        : per_cycle_(per_second / tsc_hz()), burst_(burst)
    {}

    unsigned allowance(std::uint64_t now) noexcept
    {
        if (per_cycle_ == 0) {
            return burst_;
        }
        due_ += static_cast<double>(now - last_) * per_cycle_;
        last_ = now;
        if (due_ > most_due) {
            (blocked_ ? not_taken_ : late_) += due_ - most_due;
            due_ = most_due;
        }
        return std::min(static_cast<unsigned>(due_), burst_);
    }

    // After an attempt to send so many of those allowed.
    void sent(unsigned allowed, unsigned frames) noexcept
    {
        blocked_ = frames < allowed;
        due_ -= per_cycle_ == 0 ? 0.0 : frames;
    }

    void restart(std::uint64_t now) noexcept
    {
        last_ = now;
        due_ = 0;
        blocked_ = false;
    }

    // Frames due and never sent: because the switch had no room for them, and because
    // this process came too late.
    [[nodiscard]] double not_taken() const noexcept { return not_taken_; }
    [[nodiscard]] double late() const noexcept { return late_; }

private:
    static constexpr double most_due = 256;

    double per_cycle_;
    unsigned burst_;
    double due_ = 0;
    std::uint64_t last_ = 0;
    bool blocked_ = false;
    double not_taken_ = 0;
    double late_ = 0;
};

} // namespace strait::bench
