// SPDX-License-Identifier: BSD-3-Clause
// Formats: Xen's docs/misc/pvh.markdown, Linux's Documentation/arch/x86/boot.rst, ACPI 6.3 (5.2).

#include "tests/vmm/guest/boot.hh"

#include "tests/vmm/guest/console.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <cstring>

namespace strait::guest {

namespace {

extern "C" {
extern std::uint32_t boot_by_pvh;
extern std::uint64_t boot_argument;
}

constinit boot_info info{};
constinit std::array<char, 4096> command_line{};
constinit std::array<memory_range, 64> memory{};
constinit acpi_info acpi{};

// Structures are read by offset: none is aligned for sure.
template <typename T>
T at(std::uint64_t address) noexcept
{
    T value;
    std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof(value));
    return value;
}

void copy_command_line(std::uint64_t from) noexcept
{
    std::size_t length = 0;
    while (from != 0 && length < command_line.size()) {
        const char c = at<char>(from + length);
        if (c == '\0') {
            break;
        }
        command_line[length++] = c;
    }
    info.command_line = {command_line.data(), length};
}

void copy_memory_map(std::uint64_t from, std::size_t count, std::size_t entry) noexcept
{
    count = std::min(count, memory.size());
    for (std::size_t i = 0; i < count; ++i, from += entry) {
        memory[i] = {at<std::uint64_t>(from), at<std::uint64_t>(from + 8),
                     at<std::uint32_t>(from + 16)};
    }
    info.memory = {memory.data(), count};
}

void read_start_info(std::uint64_t from) noexcept
{
    if (at<std::uint32_t>(from) != 0x336ec578) {
        panic("start info has no magic number");
    }
    if (at<std::uint32_t>(from + 12) != 0) {
        const auto modules = at<std::uint64_t>(from + 16);
        info.initrd = at<std::uint64_t>(modules);
        info.initrd_length = at<std::uint64_t>(modules + 8);
    }
    copy_command_line(at<std::uint64_t>(from + 24));
    info.rsdp = at<std::uint64_t>(from + 32);
    if (at<std::uint32_t>(from + 4) >= 1) {
        copy_memory_map(at<std::uint64_t>(from + 40), at<std::uint32_t>(from + 48), 24);
    }
}

void read_boot_params(std::uint64_t from) noexcept
{
    if (at<std::uint32_t>(from + 0x202) != 0x53726448) {
        panic("boot_params have no magic number");
    }
    info.initrd = at<std::uint32_t>(from + 0x218);
    info.initrd_length = at<std::uint32_t>(from + 0x21c);
    copy_command_line(at<std::uint32_t>(from + 0x228));
    info.rsdp = at<std::uint64_t>(from + 0x70);
    copy_memory_map(from + 0x2d0, at<std::uint8_t>(from + 0x1e8), 20);
}

bool adds_up(std::uint64_t from, std::size_t length) noexcept
{
    std::uint8_t sum = 0;
    for (std::size_t i = 0; i < length; ++i) {
        sum = static_cast<std::uint8_t>(sum + at<std::uint8_t>(from + i));
    }
    return sum == 0;
}

bool is_called(std::uint64_t table, std::string_view name) noexcept
{
    return std::memcmp(reinterpret_cast<const void*>(table), name.data(), name.size()) == 0;
}

void read_cpus(std::uint64_t table, std::uint32_t length) noexcept
{
    for (std::uint64_t entry = table + 44; entry + 2 <= table + length;) {
        const auto type = at<std::uint8_t>(entry);
        const auto size = at<std::uint8_t>(entry + 1);
        if (size < 2) {
            acpi.fault = "APIC: an entry without length";
            return;
        }
        const bool enabled = type == 0 && (at<std::uint32_t>(entry + 4) & 1) != 0;
        if (enabled && acpi.cpu_count < acpi.apic_ids.size()) {
            acpi.apic_ids[acpi.cpu_count++] = at<std::uint8_t>(entry + 3);
        }
        entry += size;
    }
}

void read_table(std::uint64_t table) noexcept
{
    const auto length = at<std::uint32_t>(table + 4);
    if (length < 36 || !adds_up(table, length)) {
        acpi.fault = "a table's length or checksum";
    }
    if (acpi.table_count < acpi.tables.size()) {
        acpi.tables[acpi.table_count++] = at<std::array<char, 4>>(table);
    }
    if (is_called(table, "APIC")) {
        read_cpus(table, length);
    } else if (is_called(table, "FACP")) {
        const auto wide = length >= 148 ? at<std::uint64_t>(table + 140) : 0;
        const std::uint64_t dsdt = wide != 0 ? wide : at<std::uint32_t>(table + 40);
        if (dsdt == 0 || !is_called(dsdt, "DSDT")) {
            acpi.fault = "FACP: no DSDT";
        } else {
            read_table(dsdt);
        }
    }
}

} // namespace

const boot_info& read_boot_info() noexcept
{
    if (info.command_line.data() == nullptr) {
        info.by_pvh = boot_by_pvh != 0;
        (info.by_pvh ? read_start_info : read_boot_params)(boot_argument);
    }
    return info;
}

std::uint64_t low_memory_end() noexcept
{
    for (const memory_range& r : info.memory) {
        if (r.type == 1 && r.start <= vmm::platform::high_memory &&
            r.start + r.length > vmm::platform::high_memory) {
            return r.start + r.length;
        }
    }
    panic("no RAM at 1 MiB");
}

const acpi_info& read_acpi() noexcept
{
    acpi = {};
    const std::uint64_t rsdp = info.rsdp;
    if (rsdp == 0 || !is_called(rsdp, "RSD PTR ") || !adds_up(rsdp, 20) ||
        !adds_up(rsdp, std::min(at<std::uint32_t>(rsdp + 20), 4096U))) {
        acpi.fault = "RSDP";
        return acpi;
    }
    // The XSDT; on older machines its predecessor, whose addresses are half as wide.
    const bool wide = at<std::uint8_t>(rsdp + 15) >= 2 && at<std::uint64_t>(rsdp + 24) != 0;
    const std::uint64_t root = wide ? at<std::uint64_t>(rsdp + 24) : at<std::uint32_t>(rsdp + 16);
    const auto length = at<std::uint32_t>(root + 4);
    if (!is_called(root, wide ? "XSDT" : "RSDT") || !adds_up(root, length)) {
        acpi.fault = "XSDT";
        return acpi;
    }
    for (std::uint64_t entry = root + 36; entry < root + length; entry += wide ? 8 : 4) {
        read_table(wide ? at<std::uint64_t>(entry) : at<std::uint32_t>(entry));
    }
    if (acpi.cpu_count == 0 && acpi.fault.empty()) {
        acpi.fault = "no CPU";
    }
    return acpi;
}

} // namespace strait::guest
