// SPDX-License-Identifier: BSD-3-Clause
// A limit on a rate that workers share: each packet takes credit, which comes back as time passes.
// What is done with a packet that there is no credit for is its users' business (flow/meter.hh,
// policer.hh).
#pragma once

#include "dataplane/types.hh"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace strait::dataplane {

// Credit is time: what all workers together have spent is told by one number, the moment up to
// which it would have come back. No lock, and no division after it was made. A worker takes a grain
// of credit at a time, and spends it alone; so within any time there pass no more than the rate's
// share of it, the burst, and a grain for each worker: an eighth of the burst in all. What does not
// pass has taken nothing.
class token_bucket {
public:
    // Units may be bytes or packets; both rate and burst are at least 1. It is full at first. `now`
    // is the TSC.
    token_bucket(std::uint64_t units_a_second, std::uint64_t burst, std::uint64_t tsc_hz,
                 std::size_t workers, std::uint64_t now)
        : unit_cost_{std::max<std::uint64_t>(
              1, scaled(std::uint64_t{1} << fraction_bits, tsc_hz, units_a_second))},
          burst_{std::clamp<std::uint64_t>(scaled(burst, tsc_hz, units_a_second), 1,
                                           tsc_hz * longest_burst)},
          grain_{std::min(burst_ / (8 * workers), largest_grain)},
          spent_until_{now - burst_},
          credits_(workers)
    {}

    // A worker, of a packet of so many units, at most 131,072. One that has more than the burst
    // takes a full bucket, and those behind it wait for the rest to come back.
    [[nodiscard]] bool take(worker_index worker, std::uint64_t units, std::uint64_t now) noexcept
    {
        std::uint64_t& mine = credits_[to_index(worker)].cycles;
        const std::uint64_t cost = units * unit_cost_;
        if (mine < cost) [[unlikely]] {
            mine += claim(whole_cycles(cost - mine), now) << fraction_bits;
            if (mine < cost) {
                return false;
            }
        }
        mine -= cost;
        return true;
    }
    // Whether it would pass, but for credit that workers hold; any thread.
    [[nodiscard]] bool has(std::uint64_t units, std::uint64_t now) const noexcept
    {
        const std::uint64_t need = whole_cycles(units * unit_cost_);
        return available(spent_until_.load(std::memory_order_relaxed), now) >=
               static_cast<std::int64_t>(std::min(need, burst_));
    }

private:
    static constexpr unsigned fraction_bits = 20;                          // of a cycle
    static constexpr std::uint64_t longest_burst = 1'000'000;              // seconds
    static constexpr std::uint64_t largest_grain = std::uint64_t{1} << 40; // cycles, that fit

    [[nodiscard]] static std::uint64_t scaled(std::uint64_t units, std::uint64_t hz,
                                              std::uint64_t rate) noexcept
    {
        __extension__ using product = unsigned __int128;
        const product cycles = product{units} * hz / rate;
        constexpr std::uint64_t most = ~std::uint64_t{0} >> 1;
        return cycles > most ? most : static_cast<std::uint64_t>(cycles);
    }
    [[nodiscard]] static std::uint64_t whole_cycles(std::uint64_t cost) noexcept
    {
        return (cost + (std::uint64_t{1} << fraction_bits) - 1) >> fraction_bits;
    }
    // Less than nothing: more was spent than there was, or another CPU's TSC is ahead.
    [[nodiscard]] std::int64_t available(std::uint64_t spent, std::uint64_t now) const noexcept
    {
        return std::min(static_cast<std::int64_t>(now - spent), static_cast<std::int64_t>(burst_));
    }
    // 0: there is not enough.
    [[nodiscard]] std::uint64_t claim(std::uint64_t need, std::uint64_t now) noexcept
    {
        std::uint64_t spent = spent_until_.load(std::memory_order_relaxed);
        for (;;) {
            const std::int64_t left = available(spent, now);
            if (left < static_cast<std::int64_t>(std::min(need, burst_))) {
                return 0;
            }
            const std::uint64_t taken =
                std::max(need, std::min(static_cast<std::uint64_t>(left), grain_));
            const std::uint64_t after = now - static_cast<std::uint64_t>(left) + taken;
            if (spent_until_.compare_exchange_weak(spent, after, std::memory_order_relaxed)) {
                return taken;
            }
        }
    }

    // A worker's own: cycles with their fraction.
    struct alignas(64) credit {
        std::uint64_t cycles{0};
    };

    std::uint64_t unit_cost_; // cycles with their fraction
    std::uint64_t burst_;     // cycles
    std::uint64_t grain_;
    alignas(64) std::atomic<std::uint64_t> spent_until_; // TSC
    std::vector<credit> credits_;
};

} // namespace strait::dataplane
