// SPDX-License-Identifier: BSD-3-Clause
// Loading a guest's files, and the processor's tables that its kernel is entered with.
#include "vmm/boot/loader.hh"

#include "vmm/boot/bzimage.hh"
#include "vmm/boot/elf.hh"
#include "vmm/boot/image.hh"
#include "vmm/boot/layout.hh"
#include "vmm/boot/parameters.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace strait::vmm::boot {

namespace {

using ports::result;

result<kernel> load_kernel(const image& file, const memory& ram)
{
    if (is_elf(file)) {
        return load_elf(file, ram);
    }
    if (is_bzimage(file)) {
        return load_bzimage(file, ram);
    }
    return file.error("it is no kernel: neither a bzImage nor an ELF64 image");
}

// As high as it can lie: kernels move, and grow from where they are.
result<initrd> load_initrd(const image_files& files, const kernel& k, const memory& ram)
{
    if (!files.initrd) {
        return initrd{};
    }
    const auto file = image::make(*files.initrd, files.initrd_name);
    if (file.has_error()) {
        return file.error();
    }
    const std::uint64_t bytes = file->size();
    if (bytes == 0) {
        return file->error("it is empty");
    }
    const std::uint64_t needed = round_up(k.end, page_size) + bytes; // a file's are below 2^63
    if (needed > k.initrd_end && k.initrd_end < hole_begin) {
        return file->error("beside the kernel it does not fit below " + hexadecimal(k.initrd_end) +
                           ", where this kernel must have it");
    }
    if (needed > low_memory_end(ram)) {
        return file->does_not_fit(mebibytes(bytes) + " beside the kernel do", needed);
    }
    const std::uint64_t end = std::min(k.initrd_end, low_memory_end(ram));
    const initrd disk{round_down(end - bytes, page_size), bytes};
    if (const auto done = file->load(0, bytes, ram, disk.address); done.has_error()) {
        return done.error();
    }
    return disk;
}

void put_page_tables(const memory& ram)
{
    constexpr std::uint64_t present_writable = 3;
    constexpr std::uint64_t large = 1 << 7; // 2 MiB pages
    constexpr std::uint64_t page = std::uint64_t{1} << 21;
    constexpr std::size_t directories = 4; // of 1 GiB
    constexpr std::uint64_t pointers = layout::page_tables + page_size;
    using table = std::array<std::uint64_t, page_size / sizeof(std::uint64_t)>;
    std::array<table, 2 + directories> tables{};
    tables[0][0] = pointers | present_writable;
    for (std::size_t d = 0; d < directories; ++d) {
        tables[1].at(d) = (pointers + (1 + d) * page_size) | present_writable;
        table& directory = tables.at(2 + d);
        for (std::size_t i = 0; i < directory.size(); ++i) {
            directory.at(i) = (d * directory.size() + i) * page | large | present_writable;
        }
    }
    put<table>(ram, layout::page_tables, tables);
}

// Base 0, limit 4 GiB, accessed already: nothing writes them (Intel SDM volume 3, 3.4.5).
void put_descriptors(const memory& ram, entry::mode how)
{
    constexpr std::uint64_t code_32 = 0x00cf'9b00'0000'ffff;
    constexpr std::uint64_t code_64 = 0x00af'9b00'0000'ffff;
    constexpr std::uint64_t data = 0x00cf'9300'0000'ffff;
    const std::array<std::uint64_t, 4> table = {
        0, 0, how == entry::mode::long_mode ? code_64 : code_32, data};
    put<std::uint64_t>(ram, layout::descriptors, table);
}

} // namespace

result<entry> load(const image_files& files, const memory& ram)
{
    const auto file = image::make(files.kernel, files.kernel_name);
    if (file.has_error()) {
        return file.error();
    }
    const auto k = load_kernel(*file, ram);
    if (k.has_error()) {
        return k.error();
    }
    const std::uint64_t longest = std::min(k->command_line, layout::command_line_bytes - 1);
    if (files.command_line.size() > longest) {
        return file->error("the command line has " + std::to_string(files.command_line.size()) +
                           " bytes, and this kernel takes " + std::to_string(longest) + " at most");
    }
    const auto disk = load_initrd(files, *k, ram);
    if (disk.has_error()) {
        return disk.error();
    }

    put<char>(ram, layout::command_line,
              {files.command_line.c_str(), files.command_line.size() + 1});
    put_descriptors(ram, k->how);
    entry begin{.how = k->how,
                .instruction = k->instruction,
                .argument = layout::parameters,
                .page_tables = 0,
                .descriptors = layout::descriptors};
    if (k->how == entry::mode::protected_mode) {
        put_pvh_parameters(ram, *disk);
        return begin;
    }
    put_linux_parameters(ram, k->header, *disk);
    put_page_tables(ram);
    begin.page_tables = layout::page_tables;
    return begin;
}

} // namespace strait::vmm::boot
