// SPDX-License-Identifier: BSD-3-Clause
// The loader of strait-vmm on files that nobody vouches for. An input is
//   which memory (8 bits), the initial RAM disk's pages (8 bits; 0: none), the command line's
//   length (16 bits), zeros after the kernel's bytes in units of 64 KiB (8 bits), the kernel
// Memories are made once, between pages that cannot be touched. What is accepted must begin in the
// RAM, beyond 1 MiB, and find in place the command line, the RAM disk, apart from the kernel, and a
// memory map of just the RAM that there is.
#include "dataplane/file_descriptor.hh"
#include "tests/fuzz/check.hh"
#include "tests/fuzz/guarded_memory.hh"
#include "vmm/boot/loader.hh"
#include "vmm/memory.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <asm/bootparam.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

using namespace strait;
using namespace strait::vmm;
using fuzz::check;
using fuzz::make_guarded;

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t mebibyte = 1 << 20;

struct machine {
    std::array<memory*, 4> memories{&make_guarded(32 * mebibyte), &make_guarded(8 * mebibyte),
                                    &make_guarded(mebibyte), &make_guarded(3073 * mebibyte)};
    dataplane::file_descriptor kernel{::memfd_create("kernel", MFD_CLOEXEC)};
    dataplane::file_descriptor initrd{::memfd_create("initrd", MFD_CLOEXEC)};
};

template <typename T>
T read(const memory& ram, std::uint64_t address)
{
    T value;
    check(ram.read(address, std::as_writable_bytes(std::span{&value, 1})));
    return value;
}

// Exactly these bytes, sparse beyond them.
void fill(int file, std::span<const std::uint8_t> bytes, std::uint64_t size)
{
    check(::ftruncate(file, 0) == 0);
    check(::pwrite(file, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    check(::ftruncate(file, static_cast<off_t>(size)) == 0);
}

struct start {
    std::uint64_t command_line{0};
    std::uint64_t initrd{0};
    std::uint64_t initrd_bytes{0};
    std::uint64_t ram_bytes{0}; // that the map has from 1 MiB on
};

void add_ram(const memory& ram, std::uint64_t begin, std::uint64_t bytes, std::uint32_t type,
             start& s)
{
    if (type == 1) {
        check(bytes != 0 && ram.contains(begin, bytes));
        s.ram_bytes += begin >= platform::high_memory ? bytes : 0;
    }
}

start read_linux(const memory& ram, std::uint64_t address)
{
    const auto p = read<boot_params>(ram, address);
    start s{p.hdr.cmd_line_ptr, p.hdr.ramdisk_image, p.hdr.ramdisk_size, 0};
    check(p.acpi_rsdp_addr == platform::acpi_tables && p.e820_entries <= 4);
    for (unsigned i = 0; i < p.e820_entries; ++i) {
        const boot_e820_entry e = p.e820_table[i];
        add_ram(ram, e.addr, e.size, e.type, s);
    }
    return s;
}

start read_pvh(const memory& ram, std::uint64_t address)
{
    start s;
    s.command_line = read<std::uint64_t>(ram, address + 24);
    if (read<std::uint32_t>(ram, address + 12) != 0) {
        const auto list = read<std::uint64_t>(ram, address + 16);
        s.initrd = read<std::uint64_t>(ram, list);
        s.initrd_bytes = read<std::uint64_t>(ram, list + 8);
    }
    const auto map = read<std::uint64_t>(ram, address + 40);
    const auto entries = read<std::uint32_t>(ram, address + 48);
    check(entries <= 4);
    for (std::uint64_t i = 0; i < entries; ++i) {
        add_ram(ram, read<std::uint64_t>(ram, map + i * 24),
                read<std::uint64_t>(ram, map + i * 24 + 8),
                read<std::uint32_t>(ram, map + i * 24 + 16), s);
    }
    return s;
}

template <typename T>
T read_file(int file, std::uint64_t offset)
{
    T value{};
    check(::pread(file, &value, sizeof value, static_cast<off_t>(offset)) == sizeof value);
    return value;
}

// Nothing of the kernel lies in conventional memory or under the RAM disk.
void check_apart(int kernel, const boot::entry& e, const start& s)
{
    const auto keep_out = [&s](std::uint64_t begin, std::uint64_t bytes) {
        check(begin >= platform::high_memory);
        check(s.initrd_bytes == 0 || begin + bytes <= s.initrd ||
              s.initrd + s.initrd_bytes <= begin);
    };
    if (std::memcmp(read_file<std::array<char, SELFMAG>>(kernel, 0).data(), ELFMAG, SELFMAG) != 0) {
        const auto h = read_file<setup_header>(kernel, offsetof(boot_params, hdr));
        keep_out(e.instruction - 0x200,
                 std::max<std::uint64_t>(h.init_size, std::uint64_t{h.syssize} * 16));
        return;
    }
    const auto h = read_file<Elf64_Ehdr>(kernel, 0);
    for (unsigned i = 0; i < h.e_phnum; ++i) {
        const auto p = read_file<Elf64_Phdr>(kernel, h.e_phoff + i * sizeof(Elf64_Phdr));
        if (p.p_type == PT_LOAD && p.p_memsz != 0) {
            keep_out(p.p_paddr, p.p_memsz);
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static machine& m = *new machine;
    constexpr std::size_t fixed = 5;
    constexpr std::uint64_t unit = 64 * 1024;
    if (size < fixed) {
        return 0;
    }
    const memory& ram = *m.memories.at(data[0] % m.memories.size());
    const std::uint64_t initrd_bytes = data[1] == 0 ? 0 : data[1] * page - data[1];
    std::uint16_t length = 0;
    std::memcpy(&length, data + 2, sizeof length);
    const std::string command_line(length, 'x');
    fill(m.kernel.get(), {data + fixed, size - fixed}, size - fixed + data[4] * unit);

    // Nothing of what was loaded before: pages that nobody touched are zero.
    check(::fallocate(ram.file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                      static_cast<off_t>(ram.bytes())) == 0);
    boot::image_files files{.kernel = m.kernel.get(), .kernel_name = "k", .initrd_name = "i"};
    files.command_line = command_line;
    if (initrd_bytes != 0) {
        constexpr std::array<std::uint8_t, 8> mark{1, 2, 3, 4, 5, 6, 7, 8};
        fill(m.initrd.get(), mark, initrd_bytes);
        check(::pwrite(m.initrd.get(), mark.data(), mark.size(),
                       static_cast<off_t>(initrd_bytes - mark.size())) == mark.size());
        files.initrd = m.initrd.get();
    }

    const auto loaded = boot::load(files, ram);
    check(ram.bytes() <= hole_begin ||
          ::lseek(ram.file(), static_cast<off_t>(hole_begin), SEEK_DATA) == -1);
    if (loaded.has_error()) {
        const std::string& why = loaded.error().message;
        check(why.starts_with("k: ") || why.starts_with("i: "));
        return 0;
    }
    check(loaded->instruction >= platform::high_memory && ram.contains(loaded->instruction, 1));
    check(loaded->instruction < hole_begin);
    const bool pvh = loaded->how == boot::entry::mode::protected_mode;
    const start s = pvh ? read_pvh(ram, loaded->argument) : read_linux(ram, loaded->argument);
    std::string found(length + std::size_t{1}, '?');
    check(ram.read(s.command_line, std::as_writable_bytes(std::span{found})));
    check(found == command_line + '\0');
    check(s.initrd_bytes == initrd_bytes);
    if (initrd_bytes != 0) {
        constexpr std::uint64_t mark = 0x0807'0605'0403'0201;
        check(s.initrd % page == 0 && s.initrd >= platform::high_memory);
        check(read<std::uint64_t>(ram, s.initrd) == mark);
        check(read<std::uint64_t>(ram, s.initrd + initrd_bytes - sizeof mark) == mark);
    }
    check_apart(m.kernel.get(), *loaded, s);
    check(s.ram_bytes == ram.bytes() - platform::high_memory);
    check(read<std::uint64_t>(ram, loaded->descriptors) == 0);
    if (!pvh) {
        check(read<std::uint64_t>(ram, loaded->page_tables) != 0);
    }
    // The caller's, and a PC's.
    for (const std::uint64_t kept : {std::uint64_t{0}, platform::acpi_tables}) {
        check(read<std::uint64_t>(ram, kept) == 0);
    }
    return 0;
}
