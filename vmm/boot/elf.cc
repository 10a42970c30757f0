// SPDX-License-Identifier: BSD-3-Clause
// Loading an ELF image, each segment at its physical address.
#include "vmm/boot/elf.hh"

#include "vmm/boot/layout.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include <elf.h>

namespace strait::vmm::boot {

namespace {

using ports::result;

constexpr std::size_t max_segments = 64;
constexpr std::uint64_t max_note_bytes = 1 << 16; // of one segment

result<std::vector<Elf64_Phdr>> read_segments(const image& file, const Elf64_Ehdr& header)
{
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
        header.e_phnum > max_segments) {
        return file.error("its header is malformed: 1 to " + std::to_string(max_segments) +
                          " program headers of " + std::to_string(sizeof(Elf64_Phdr)) +
                          " bytes are expected, not " + std::to_string(header.e_phnum) + " of " +
                          std::to_string(header.e_phentsize));
    }
    std::vector<Elf64_Phdr> segments(header.e_phnum);
    if (const auto done = file.read(header.e_phoff, std::as_writable_bytes(std::span{segments}));
        done.has_error()) {
        return done.error();
    }
    return segments;
}

// Those to load, ascending.
result<std::vector<Elf64_Phdr>> check_loads(const image& file, std::vector<Elf64_Phdr> segments,
                                            const memory& ram)
{
    std::erase_if(segments,
                  [](const Elf64_Phdr& s) { return s.p_type != PT_LOAD || s.p_memsz == 0; });
    if (segments.empty()) {
        return file.error("it has no segment to load");
    }
    std::ranges::sort(segments, {}, &Elf64_Phdr::p_paddr);
    std::uint64_t end = 0;
    for (const Elf64_Phdr& s : segments) {
        if (s.p_paddr < platform::high_memory) {
            return file.error("a segment lies below 1 MiB, where nothing can be loaded");
        }
        if (s.p_paddr < end) {
            return file.error("its segments overlap"); // so copying them is bounded by the RAM
        }
        if (s.p_filesz > s.p_memsz || !file.has(s.p_offset, s.p_filesz)) {
            return file.error("it is truncated or malformed: a segment reaches beyond its end");
        }
        end = sum(s.p_paddr, s.p_memsz);
    }
    if (end > low_memory_end(ram)) {
        return file.does_not_fit("it does", end);
    }
    return segments;
}

// PVH's entry in one segment of notes, if it is there.
result<std::optional<std::uint64_t>> find_entry(const image& file, std::span<const std::byte> notes)
{
    constexpr std::uint32_t type = 18; // XEN_ELFNOTE_PHYS32_ENTRY
    constexpr std::array<char, 4> owner = {'X', 'e', 'n', '\0'};
    constexpr std::uint64_t unit = 4; // of lengths, with what fills them up
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        std::memcpy(&note, notes.data(), sizeof note);
        notes = notes.subspan(sizeof note);
        const std::uint64_t name = round_up(note.n_namesz, unit);
        if (name + note.n_descsz > notes.size()) {
            return file.error("its notes are malformed: one reaches beyond their end");
        }
        const auto descriptor = notes.subspan(name, note.n_descsz);
        if (note.n_type == type && note.n_namesz == owner.size() &&
            std::memcmp(notes.data(), owner.data(), owner.size()) == 0) {
            std::uint64_t entry = 0;
            if (descriptor.size() != sizeof(std::uint32_t) && descriptor.size() != sizeof entry) {
                return file.error("its note of a PVH entry is malformed: it has " +
                                  std::to_string(descriptor.size()) + " bytes, not 4 or 8");
            }
            std::memcpy(&entry, descriptor.data(), descriptor.size());
            return std::optional{entry};
        }
        // The last one may lack what fills it up.
        notes = notes.subspan(
            std::min<std::uint64_t>(name + round_up(note.n_descsz, unit), notes.size()));
    }
    return std::optional<std::uint64_t>{};
}

result<std::optional<std::uint64_t>> find_pvh_entry(const image& file,
                                                    std::span<const Elf64_Phdr> segments)
{
    std::vector<std::byte> notes;
    for (const Elf64_Phdr& s : segments) {
        if (s.p_type != PT_NOTE) {
            continue;
        }
        if (s.p_filesz > max_note_bytes) {
            return file.error("its notes have " + std::to_string(s.p_filesz) + " bytes; at most " +
                              std::to_string(max_note_bytes) + " can be looked through");
        }
        notes.resize(s.p_filesz);
        if (const auto done = file.read(s.p_offset, notes); done.has_error()) {
            return done.error();
        }
        auto entry = find_entry(file, notes);
        if (entry.has_error() || entry->has_value()) {
            return entry;
        }
    }
    return std::optional<std::uint64_t>{};
}

// What a bzImage would say of itself.
setup_header make_header()
{
    setup_header h{};
    h.boot_flag = setup_flag;
    h.header = setup_magic;
    h.version = setup_version;
    h.loadflags = LOADED_HIGH;
    return h;
}

} // namespace

bool is_elf(const image& file)
{
    const auto magic = file.read<std::array<char, SELFMAG>>(0);
    return magic.has_value() && std::memcmp(magic->data(), ELFMAG, SELFMAG) == 0;
}

result<kernel> load_elf(const image& file, const memory& ram)
{
    const auto header = file.read<Elf64_Ehdr>(0);
    if (header.has_error()) {
        return header.error();
    }
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
        header->e_machine != EM_X86_64 || header->e_type != ET_EXEC) {
        return file.error("it is an ELF file, but no executable for x86-64 (64 bits)");
    }
    const auto segments = read_segments(file, *header);
    if (segments.has_error()) {
        return segments.error();
    }
    const auto loads = check_loads(file, *segments, ram);
    if (loads.has_error()) {
        return loads.error();
    }
    const auto pvh = find_pvh_entry(file, *segments);
    if (pvh.has_error()) {
        return pvh.error();
    }

    kernel loaded;
    loaded.how = pvh->has_value() ? entry::mode::protected_mode : entry::mode::long_mode;
    loaded.instruction = pvh->value_or(header->e_entry);
    loaded.end = loads->back().p_paddr + loads->back().p_memsz;
    loaded.initrd_end = hole_begin;
    loaded.command_line = 2047; // what Linux keeps of one
    loaded.header = make_header();
    if (std::ranges::none_of(*loads, [&](const Elf64_Phdr& s) {
            return loaded.instruction - s.p_paddr < s.p_memsz; // below it wraps
        })) {
        return file.error("its entry lies in none of its segments");
    }
    for (const Elf64_Phdr& s : *loads) {
        if (s.p_filesz == 0) {
            continue;
        }
        if (const auto done = file.load(s.p_offset, s.p_filesz, ram, s.p_paddr); done.has_error()) {
            return done.error();
        }
    }
    return loaded;
}

} // namespace strait::vmm::boot
