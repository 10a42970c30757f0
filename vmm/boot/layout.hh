// SPDX-License-Identifier: BSD-3-Clause
// What the guest is told of its memory, and where the loader puts its own structures: all in
// conventional memory, which kernels and RAM disks keep out of.
//
//   address      bytes     what
//   0x0'0000     0x1000    left zero: a PC's vectors and BIOS data
//   0x0'1000     0x20      the GDT
//   0x0'2000     0x1000    struct boot_params; or PVH's start info, module list and memory map
//   0x0'3000     0x6000    page tables: a PML4, a page directory pointer table, 4 page directories
//   0x1'0000     0x1'0000  the command line and its zero
//   0x2'0000     0x7'fc00  free, to platform::conventional_end
#pragma once

#include "vmm/memory.hh"

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace strait::vmm::boot {

namespace layout {
inline constexpr std::uint64_t descriptors = 0x1000;
inline constexpr std::uint64_t parameters = 0x2000;
inline constexpr std::uint64_t modules = parameters + 0x100;    // PVH only
inline constexpr std::uint64_t memory_map = parameters + 0x200; // PVH only
inline constexpr std::uint64_t page_tables = 0x3000;
inline constexpr std::uint64_t command_line = 0x1'0000;
inline constexpr std::uint64_t command_line_bytes = 0x1'0000;
} // namespace layout

inline constexpr std::uint64_t page_size = 4096;

// Sums of what files say: one that would overflow is larger than all memory.
[[nodiscard]] constexpr std::uint64_t sum(std::uint64_t a, std::uint64_t b) noexcept
{
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    return a > most - b ? most : a + b;
}
// `unit` is a power of two.
[[nodiscard]] constexpr std::uint64_t round_down(std::uint64_t n, std::uint64_t unit) noexcept
{
    return n & ~(unit - 1);
}
[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) noexcept
{
    return round_down(sum(n, unit - 1), unit);
}

// Writes one of the structures above. There is RAM for them, as there was for a kernel beyond.
template <typename T>
void put(const memory& ram, std::uint64_t address, std::span<const T> values) noexcept
{
    (void)ram.write(address, std::as_bytes(values));
}

// The end of the RAM that begins at 0. Everything is loaded below it.
[[nodiscard]] std::uint64_t low_memory_end(const memory& ram) noexcept;

struct memory_range {
    // As a BIOS's E820 call has them (ACPI 6.3, 15.1); PVH's are the same.
    enum class kind : std::uint32_t { ram = 1, reserved = 2 };
    std::uint64_t begin;
    std::uint64_t bytes;
    kind type;
};
// Ascending, none empty, at most 4.
[[nodiscard]] std::vector<memory_range> memory_map(const memory& ram);

} // namespace strait::vmm::boot
