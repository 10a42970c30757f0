// SPDX-License-Identifier: BSD-3-Clause
// Time in TSC cycles.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>
#include <utility>

#include <x86intrin.h>

namespace strait::bench {

// The time and the TSC at the same moment: of several readings the one that took least.
inline std::pair<std::chrono::nanoseconds, std::uint64_t> moment() noexcept
{
    std::pair<std::chrono::nanoseconds, std::uint64_t> best;
    std::uint64_t least = ~0ULL;
    for (int i = 0; i < 16; ++i) {
        const std::uint64_t before = __rdtsc();
        const auto time = std::chrono::steady_clock::now().time_since_epoch();
        const std::uint64_t took = __rdtsc() - before;
        if (took < least) {
            least = took;
            best = {time, before + took / 2};
        }
    }
    return best;
}

// TSC cycles a second, measured once.
inline double tsc_hz() noexcept
{
    static const double rate = [] {
        const auto [start, first] = moment();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        const auto [end, last] = moment();
        return static_cast<double>(last - first) /
               std::chrono::duration<double>(end - start).count();
    }();
    return rate;
}

inline std::uint64_t cycles_of(double seconds) noexcept
{
    return static_cast<std::uint64_t>(seconds * tsc_hz());
}

inline double seconds_of(std::uint64_t cycles) noexcept
{
    return static_cast<double>(cycles) / tsc_hz();
}

} // namespace strait::bench
