// SPDX-License-Identifier: BSD-3-Clause
// What the VMM hands to its guest: PVH's start info or Linux's boot_params, and the ACPI tables.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace strait::guest {

struct memory_range {
    std::uint64_t start;
    std::uint64_t length;
    std::uint32_t type; // 1: RAM
};

struct boot_info {
    bool by_pvh;
    std::string_view command_line;
    std::span<const memory_range> memory;
    std::uint64_t initrd;
    std::uint64_t initrd_length;
    std::uint64_t rsdp;
};

// Read once, and a copy: what it was read from may be written over afterwards.
[[nodiscard]] const boot_info& read_boot_info() noexcept;

// The end of the RAM that begins at 1 MiB.
[[nodiscard]] std::uint64_t low_memory_end() noexcept;

struct acpi_info {
    std::string_view fault; // none: all signatures, lengths and checksums are right
    std::array<std::array<char, 4>, 16> tables; // that the XSDT names, and the DSDT
    std::size_t table_count;
    std::array<std::uint8_t, 256> apic_ids; // of CPUs that are enabled
    std::size_t cpu_count;
};
[[nodiscard]] const acpi_info& read_acpi() noexcept;

} // namespace strait::guest
