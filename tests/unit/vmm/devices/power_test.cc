// SPDX-License-Identifier: BSD-3-Clause
// Switching off, the power button, and the reset by the keyboard controller.
#include "vmm/devices/power.hh"

#include "vmm/platform.hh"

#include <gtest/gtest.h>

#include <array>

namespace strait::vmm {
namespace {

class power_test : public testing::Test {
protected:
    power_test()
    {
        ports.add(platform::power, platform::power_ports, p);
        ports.add(platform::keyboard_command, 1, k);
    }
    std::uint8_t in(std::uint16_t port)
    {
        std::byte b{};
        EXPECT_TRUE(ports.read(port, {&b, 1}));
        return std::to_integer<std::uint8_t>(b);
    }
    void out(std::uint16_t port, unsigned value)
    {
        const auto b = static_cast<std::byte>(value);
        EXPECT_TRUE(ports.write(port, {&b, 1}));
    }

    event interrupt{event::make().value()};
    int off{0};
    int reset{0};
    power p{interrupt, [this] { ++off; }};
    keyboard_controller k{[this] { ++reset; }};
    bus ports;
};

TEST_F(power_test, goes_off_when_acpi_says_so)
{
    for (unsigned value = 0; value < 256; ++value) {
        off = 0;
        out(platform::sleep_control, value);
        EXPECT_EQ(off, (value & 0x3c) == 0x34 ? 1 : 0) << value;
        out(platform::sleep_status, value);
        out(platform::event_register, value);
        out(platform::power + 3, value);
        EXPECT_EQ(off, (value & 0x3c) == 0x34 ? 1 : 0) << value;
    }
    EXPECT_EQ(in(platform::sleep_control), 0);
    EXPECT_EQ(in(platform::sleep_status), 0);
    off = 0;
    const std::array<std::byte, 4> all{std::byte{0x34}, std::byte{0}, std::byte{0}, std::byte{0}};
    EXPECT_TRUE(ports.write(platform::power, all));
    EXPECT_EQ(off, 1) << "as part of more";
}

TEST_F(power_test, the_button_is_told_of_once)
{
    EXPECT_EQ(in(platform::event_register), 0);
    p.press_button();
    p.press_button();
    EXPECT_TRUE(interrupt.take());
    EXPECT_EQ(in(platform::event_register), platform::power_button);
    EXPECT_EQ(in(platform::event_register), 0);
    EXPECT_FALSE(interrupt.take());
    p.press_button();
    EXPECT_TRUE(interrupt.take());
    std::array<std::byte, 4> all{};
    EXPECT_TRUE(ports.read(platform::power, all));
    EXPECT_EQ(all,
              (std::array<std::byte, 4>{std::byte{0}, std::byte{0}, std::byte{1}, std::byte{0}}));
    EXPECT_EQ(off, 0);
}

// As before its driver is there, when the interrupt is masked and lost.
TEST_F(power_test, the_button_is_told_of_again_until_the_guest_has_looked)
{
    p.remind();
    EXPECT_FALSE(interrupt.take()) << "nobody pressed it";
    p.press_button();
    EXPECT_FALSE(p.is_seen());
    EXPECT_TRUE(interrupt.take());
    for (int i = 0; i < 3; ++i) {
        p.remind();
        EXPECT_TRUE(interrupt.take());
    }
    EXPECT_EQ(in(platform::event_register), platform::power_button);
    EXPECT_TRUE(p.is_seen());
    p.remind();
    EXPECT_FALSE(interrupt.take());
}

TEST_F(power_test, the_keyboard_controller_resets)
{
    EXPECT_EQ(in(platform::keyboard_command), 0) << "ready for a command, and no key";
    for (unsigned value = 0; value < 256; ++value) {
        out(platform::keyboard_command, value);
        EXPECT_EQ(reset, value >= platform::keyboard_reset ? 1 : 0);
    }
}

} // namespace
} // namespace strait::vmm
