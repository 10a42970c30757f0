// SPDX-License-Identifier: BSD-3-Clause
// The PCI functions of bus 0, by configuration mechanism 1.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace strait::guest::pci {

struct function {
    std::uint8_t device;
    std::uint8_t number;
};

// Configuration space, by 1, 2 or 4 bytes, aligned.
template <typename T>
[[nodiscard]] T read(function f, std::uint8_t offset) noexcept;
template <typename T>
void write(function f, std::uint8_t offset, T value) noexcept;

// Header fields.
inline constexpr std::uint8_t vendor = 0;
inline constexpr std::uint8_t device = 2;
inline constexpr std::uint8_t command = 4;
inline constexpr std::uint8_t status = 6;
inline constexpr std::uint8_t revision = 8; // and the class above it
inline constexpr std::uint8_t header_type = 0xe;
inline constexpr std::uint8_t first_bar = 0x10;
inline constexpr std::uint8_t capabilities = 0x34;

inline constexpr std::uint16_t memory_enable = 2;
inline constexpr std::uint16_t bus_master = 4;

inline constexpr std::uint8_t msix_capability = 0x11;
inline constexpr std::uint8_t vendor_capability = 9;

[[nodiscard]] std::span<const function> find() noexcept;

struct bar {
    std::uint64_t address; // 0 without a size
    std::uint64_t size;    // 0: none, or the upper half of the one before
    bool memory;
    bool wide;
};
// Sizes them, gives those that have none an address, and has the function decode them.
[[nodiscard]] std::array<bar, 6> bars(function f) noexcept;

// The next capability after `last`, or the first after 0; 0: no more.
[[nodiscard]] std::uint8_t next_capability(function f, std::uint8_t last) noexcept;

// Lines "pci=", "bar=", "capability=".
void print_all() noexcept;

} // namespace strait::guest::pci
