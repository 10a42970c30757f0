// SPDX-License-Identifier: BSD-3-Clause
// What the guest says: on the serial port, waiting for it, mostly as lines "key=value".
#pragma once

#include <cstdint>
#include <string_view>

namespace strait::guest {

struct hex {
    std::uint64_t value;
};

// Exactly so many digits, without 0x.
struct digits {
    std::uint64_t value;
    unsigned count;
};

// Sets the port up, also one whose registers hold anything.
void start_console() noexcept;

void write(std::string_view text) noexcept;
void write(std::uint64_t number) noexcept;
void write(hex number) noexcept;
void write(digits number) noexcept;

template <typename... T>
void print(const T&... parts) noexcept
{
    (write(parts), ...);
    write("\n");
}

// A line "panic=…", then a reset.
[[noreturn]] void panic(std::string_view why, std::string_view what = {}) noexcept;

} // namespace strait::guest
