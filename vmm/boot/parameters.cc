// SPDX-License-Identifier: BSD-3-Clause
// Writing struct boot_params, and PVH's start info.
#include "vmm/boot/parameters.hh"

#include "vmm/boot/layout.hh"
#include "vmm/platform.hh"

#include <cstddef>
#include <span>
#include <vector>

namespace strait::vmm::boot {

namespace {

// Linux installs no header that has these three.
struct start_info {
    std::uint32_t magic{0x336e'c578};
    std::uint32_t version{1};
    std::uint32_t flags{0};
    std::uint32_t modules{0};
    std::uint64_t module_list{0};
    std::uint64_t command_line{0};
    std::uint64_t rsdp{0};
    std::uint64_t memory_map{0};
    std::uint32_t memory_map_entries{0};
    std::uint32_t reserved{0};
};
static_assert(sizeof(start_info) == 56);

struct module_entry {
    std::uint64_t address{0};
    std::uint64_t bytes{0};
    std::uint64_t command_line{0};
    std::uint64_t reserved{0};
};

struct memory_map_entry {
    std::uint64_t address{0};
    std::uint64_t bytes{0};
    std::uint32_t type{0};
    std::uint32_t reserved{0};
};

} // namespace

void put_linux_parameters(const memory& ram, const setup_header& header, const initrd& disk)
{
    constexpr std::uint8_t unregistered = 0xff; // a boot loader without a number
    boot_params p{};
    p.hdr = header;
    p.hdr.type_of_loader = unregistered;
    p.hdr.cmd_line_ptr = layout::command_line;
    p.hdr.setup_data = 0;
    // Both end below 4 GiB.
    p.hdr.ramdisk_image = static_cast<std::uint32_t>(disk.address);
    p.hdr.ramdisk_size = static_cast<std::uint32_t>(disk.bytes);
    p.acpi_rsdp_addr = platform::acpi_tables;
    for (const memory_range& r : memory_map(ram)) {
        p.e820_table[p.e820_entries++] = {r.begin, r.bytes, static_cast<std::uint32_t>(r.type)};
    }
    put<boot_params>(ram, layout::parameters, {&p, 1});
}

void put_pvh_parameters(const memory& ram, const initrd& disk)
{
    std::vector<memory_map_entry> map;
    for (const memory_range& r : memory_map(ram)) {
        map.push_back({r.begin, r.bytes, static_cast<std::uint32_t>(r.type), 0});
    }
    start_info info;
    info.command_line = layout::command_line;
    info.rsdp = platform::acpi_tables;
    info.memory_map = layout::memory_map;
    info.memory_map_entries = static_cast<std::uint32_t>(map.size());
    if (disk.bytes != 0) {
        info.modules = 1;
        info.module_list = layout::modules;
        const module_entry entry{disk.address, disk.bytes, 0, 0};
        put<module_entry>(ram, layout::modules, {&entry, 1});
    }
    put<start_info>(ram, layout::parameters, {&info, 1});
    put<memory_map_entry>(ram, layout::memory_map, map);
}

} // namespace strait::vmm::boot
