// SPDX-License-Identifier: BSD-3-Clause
// How a port is shaped, as an operator says it: a rate for all, and classes within it. What comes
// of that is shaper.hh's business.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace strait::dataplane {

inline constexpr std::size_t shaper_classes = 8;

struct shaper_class {
    std::uint32_t rate_kbps{0};  // that it has for itself; 0: it lives on what others leave
    std::uint32_t ceil_kbps{0};  // that it may have at most; 0: the port's rate
    std::uint32_t burst_kbit{0}; // of either; 0: what is usual for each
    std::uint8_t priority{0};    // 0 to 7: those with the lowest go first
    // What may wait: packets (one of several buffers counts as as many), bytes, and milliseconds.
    std::uint32_t limit{1000};
    std::uint32_t limit_bytes{2U << 20};
    std::uint32_t max_wait_ms{100};

    bool operator==(const shaper_class&) const = default;
};

struct shaping {
    std::uint32_t kbps{0};       // of the port; 0: no packet waits
    std::uint32_t burst_kbit{0}; // 0: what is usual
    // Class 0 takes what is for none that there is, and is always there.
    std::array<std::optional<shaper_class>, shaper_classes> classes{{shaper_class{}}};

    bool operator==(const shaping&) const = default;
};

// What is given, or two milliseconds' worth, and room for two frames of the usual size.
[[nodiscard]] constexpr std::uint32_t usual_or(std::uint32_t given_kbit,
                                               std::uint32_t kbps) noexcept
{
    constexpr std::uint32_t two_frames_kbit = 25;
    return given_kbit != 0 ? given_kbit : std::max(kbps / 500, two_frames_kbit);
}
[[nodiscard]] constexpr std::uint32_t burst_kbit_of(const shaping& s) noexcept
{
    return usual_or(s.burst_kbit, s.kbps);
}
[[nodiscard]] constexpr std::uint32_t ceil_kbps_of(const shaper_class& c, const shaping& s) noexcept
{
    return c.ceil_kbps != 0 ? c.ceil_kbps : s.kbps;
}
// Without a ceil of its own, a class has the port's burst.
[[nodiscard]] constexpr std::uint32_t ceil_burst_kbit_of(const shaper_class& c,
                                                         const shaping& s) noexcept
{
    return c.burst_kbit == 0 && c.ceil_kbps == 0 ? burst_kbit_of(s)
                                                 : usual_or(c.burst_kbit, ceil_kbps_of(c, s));
}

} // namespace strait::dataplane
