// SPDX-License-Identifier: BSD-3-Clause
// Loading a bzImage by the 64-bit boot protocol.
#include "vmm/boot/bzimage.hh"

#include "vmm/boot/layout.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace strait::vmm::boot {

namespace {

using ports::result;

constexpr std::uint64_t header_offset = offsetof(boot_params, hdr); // in the file too
constexpr std::uint64_t flag_offset = 0x1fe;
constexpr std::uint64_t magic_offset = 0x202;
constexpr std::uint64_t sector = 512;
constexpr std::uint64_t paragraph = 16;
constexpr std::uint64_t entry_offset = 0x200; // of the 64-bit entry, in what is loaded

// The header as far as this kernel has one: the jump over it says where it ends.
result<setup_header> read_header(const image& file)
{
    auto read = file.read<setup_header>(header_offset);
    if (read.has_error()) {
        return read;
    }
    setup_header header = *read;
    const std::size_t end = magic_offset - header_offset + (header.jump >> 8U);
    const std::size_t bytes = std::min(end, sizeof header);
    std::memset(reinterpret_cast<std::byte*>(&header) + bytes, 0, sizeof header - bytes);
    return header;
}

// Where it is loaded so that it need not move itself; a relocatable one may lie higher.
result<std::uint64_t> choose_address(const image& file, const setup_header& h)
{
    const std::uint64_t preferred = h.pref_address;
    if (h.relocatable_kernel == 0) {
        if (preferred < platform::high_memory) {
            return file.error("it runs at " + hexadecimal(preferred) +
                              " only, and nothing can be loaded below 1 MiB");
        }
        return preferred;
    }
    if (!std::has_single_bit(std::uint32_t{h.kernel_alignment})) {
        return file.error("its header is malformed: the alignment " +
                          hexadecimal(h.kernel_alignment) + " is no power of two");
    }
    return round_up(std::max(preferred, platform::high_memory), h.kernel_alignment);
}

} // namespace

bool is_bzimage(const image& file)
{
    const auto flag = file.read<std::uint16_t>(flag_offset);
    const auto magic = file.read<std::uint32_t>(magic_offset);
    return flag.has_value() && *flag == setup_flag && magic.has_value() && *magic == setup_magic;
}

result<kernel> load_bzimage(const image& file, const memory& ram)
{
    const auto read = read_header(file);
    if (read.has_error()) {
        return read.error();
    }
    const setup_header& h = *read;
    if (h.version < setup_version || (h.xloadflags & XLF_KERNEL_64) == 0 ||
        (h.loadflags & LOADED_HIGH) == 0) {
        return file.error("it has no 64-bit entry: a bzImage of Linux 3.8 or later for x86-64 is "
                          "needed");
    }

    const std::uint64_t setup_sectors = h.setup_sects != 0 ? h.setup_sects : 4;
    const std::uint64_t offset = (1 + setup_sectors) * sector;
    const std::uint64_t bytes = h.syssize * paragraph;
    if (bytes <= entry_offset) {
        return file.error("its header is malformed: " + std::to_string(bytes) +
                          " bytes of code do not reach to the 64-bit entry");
    }
    if (!file.has(offset, bytes)) {
        return file.error("it is truncated: by its header it has " +
                          std::to_string(offset + bytes) + " bytes, but it has " +
                          std::to_string(file.size()));
    }

    const auto address = choose_address(file, h);
    if (address.has_error()) {
        return address.error();
    }
    const std::uint64_t end = sum(*address, std::max<std::uint64_t>(bytes, h.init_size));
    if (end > low_memory_end(ram)) {
        return file.does_not_fit("it does", end);
    }
    if (const auto done = file.load(offset, bytes, ram, *address); done.has_error()) {
        return done.error();
    }

    kernel loaded;
    loaded.instruction = *address + entry_offset;
    loaded.end = end;
    // The limit is one of 32-bit kernels: with the flag it no longer holds.
    loaded.initrd_end = (h.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G) != 0
                            ? hole_begin
                            : std::uint64_t{h.initrd_addr_max} + 1;
    loaded.command_line = h.cmdline_size;
    loaded.header = h;
    return loaded;
}

} // namespace strait::vmm::boot
