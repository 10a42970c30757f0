// SPDX-License-Identifier: BSD-3-Clause
// A 16550, polled.

#include "tests/vmm/guest/console.hh"

#include "tests/vmm/guest/cpu.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <array>
#include <cstddef>

namespace strait::guest {

namespace {

constexpr std::uint16_t port = vmm::platform::serial;
constexpr std::uint16_t divisor_low = port;
constexpr std::uint16_t interrupt_enable = port + 1;
constexpr std::uint16_t fifo_control = port + 2;
constexpr std::uint16_t line_control = port + 3;
constexpr std::uint16_t modem_control = port + 4;
constexpr std::uint16_t line_status = port + 5;
constexpr std::uint8_t holding_empty = 0x20;
constexpr std::size_t fifo = 16;

void write_number(std::uint64_t value, unsigned base, unsigned least) noexcept
{
    std::array<char, 20> text;
    std::size_t at = text.size();
    do {
        text[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0 || text.size() - at < least);
    write(std::string_view{&text[at], text.size() - at});
}

} // namespace

void start_console() noexcept
{
    out<std::uint8_t>(line_control, 0x80); // the divisor's turn
    out<std::uint8_t>(divisor_low, 1);
    out<std::uint8_t>(divisor_low + 1, 0);
    out<std::uint8_t>(line_control, 0x03); // 8 bits
    out<std::uint8_t>(interrupt_enable, 0);
    out<std::uint8_t>(fifo_control, 0x07); // on, both empty
    out<std::uint8_t>(modem_control, 0x03);
}

void write(std::string_view text) noexcept
{
    while (!text.empty()) {
        // A port that never gets ready is no reason to stay.
        for (int i = 0; i < 1000 && (in<std::uint8_t>(line_status) & holding_empty) == 0; ++i) {}
        const std::size_t now = std::min(text.size(), fifo);
        for (const char c : std::string_view{text.data(), now}) {
            out(port, static_cast<std::uint8_t>(c));
        }
        text.remove_prefix(now);
    }
}

void write(std::uint64_t number) noexcept
{
    write_number(number, 10, 1);
}

void write(hex number) noexcept
{
    write("0x");
    write_number(number.value, 16, 1);
}

void write(digits number) noexcept
{
    write_number(number.value, 16, number.count);
}

void panic(std::string_view why, std::string_view what) noexcept
{
    print("panic=", why, what);
    reset();
}

} // namespace strait::guest
