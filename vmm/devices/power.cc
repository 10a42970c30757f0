// SPDX-License-Identifier: BSD-3-Clause
// Switching off and resetting.
#include "vmm/devices/power.hh"

#include "vmm/platform.hh"

#include <algorithm>

namespace strait::vmm {

namespace {

constexpr std::uint8_t sleep_type = 7U << 2;

} // namespace

void power::press_button() noexcept
{
    events_.fetch_or(platform::power_button, std::memory_order_release);
    interrupt_.signal();
}

void power::remind() const noexcept
{
    if (!is_seen()) {
        interrupt_.signal();
    }
}

void power::read(std::uint64_t offset, std::span<std::byte> to) noexcept
{
    for (std::byte& b : to) {
        // The sleep registers read as zero: there is no sleep to wake from.
        b = platform::power + offset++ == platform::event_register
                ? std::byte{events_.exchange(0, std::memory_order_acquire)}
                : std::byte{0};
    }
}

void power::write(std::uint64_t offset, std::span<const std::byte> from) noexcept
{
    constexpr std::uint8_t off = platform::sleep_enable | platform::sleep_type_off << 2;
    for (const std::byte b : from) {
        const auto value = std::to_integer<std::uint8_t>(b);
        if (platform::power + offset++ == platform::sleep_control &&
            (value & (platform::sleep_enable | sleep_type)) == off) {
            off_();
        }
    }
}

void keyboard_controller::read(std::uint64_t /*offset*/, std::span<std::byte> to) noexcept
{
    std::ranges::fill(to, std::byte{0});
}

void keyboard_controller::write(std::uint64_t /*offset*/, std::span<const std::byte> from) noexcept
{
    if (from.front() == std::byte{platform::keyboard_reset}) {
        reset_();
    }
}

} // namespace strait::vmm
