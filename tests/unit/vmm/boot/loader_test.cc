// SPDX-License-Identifier: BSD-3-Clause
// Kernels, RAM disks and command lines put into a guest's memory: where each lies and what the
// guest is told of it, to the byte; and every way in which a file can be wrong. The images are made
// here; Debian's own are loaded where there are any.
#include "vmm/boot/loader.hh"

#include "dataplane/file_descriptor.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <asm/bootparam.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::vmm::boot {
namespace {

using dataplane::file_descriptor;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;
constexpr std::uint64_t gib = 1024 * mib;

using bytes = std::vector<std::byte>;

// Not insert(): GCC 12 takes its copying for an overflow.
void append(bytes& to, std::span<const std::byte> from)
{
    const std::size_t at = to.size();
    to.resize(at + from.size());
    std::ranges::copy(from, to.begin() + static_cast<std::ptrdiff_t>(at));
}
template <typename T>
void append_value(bytes& to, const T& value)
{
    append(to, std::as_bytes(std::span{&value, 1}));
}

// So that a byte tells its place.
bytes pattern(std::size_t size, unsigned seed)
{
    bytes made(size);
    for (std::size_t i = 0; i < size; ++i) {
        made[i] = static_cast<std::byte>((i * 7 + i / 251 + seed) % 255 + 1);
    }
    return made;
}

file_descriptor make_file(std::span<const std::byte> content, std::uint64_t size = 0)
{
    file_descriptor file{::memfd_create("image", MFD_CLOEXEC)};
    EXPECT_EQ(::write(file.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
    if (size != 0) {
        EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size)), 0);
    }
    return file;
}

memory make_memory(std::uint64_t size)
{
    return memory::make({.bytes = size}).value();
}

bytes read(const memory& ram, std::uint64_t address, std::size_t size)
{
    bytes found(size);
    EXPECT_TRUE(ram.read(address, found));
    return found;
}

template <typename T>
T read(const memory& ram, std::uint64_t address)
{
    T value{};
    EXPECT_TRUE(ram.read(address, std::as_writable_bytes(std::span{&value, 1})));
    return value;
}

std::string read_text(const memory& ram, std::uint64_t address)
{
    std::string text;
    for (;;) {
        const char c = read<char>(ram, address + text.size());
        if (c == '\0') {
            return text;
        }
        text += c;
    }
}

struct range {
    std::uint64_t begin;
    std::uint64_t bytes;
    std::uint32_t type;
    friend bool operator==(const range&, const range&) = default;
};
const range conventional = {0, 0x9'fc00, 1};
const range firmware = {0xe'0000, 0x2'0000, 2};

// A kernel as Linux's build makes them, small.
struct bzimage {
    setup_header header{};
    bytes code = pattern(96 * kib, 1);

    bzimage()
    {
        header.setup_sects = 3;
        header.syssize = static_cast<std::uint32_t>(code.size() / 16);
        header.boot_flag = 0xaa55;
        header.jump = 0x6aeb; // to 0x26c, where this header ends
        header.header = 0x5372'6448;
        header.version = 0x20f;
        header.loadflags = LOADED_HIGH;
        header.setup_data = 0xdead'0000; // the loader's to say
        header.initrd_addr_max = 0x7fff'ffff;
        header.kernel_alignment = 2 * mib;
        header.relocatable_kernel = 1;
        header.xloadflags = XLF_KERNEL_64;
        header.cmdline_size = 2047;
        header.pref_address = 16 * mib;
        header.init_size = 4 * mib;
    }
    [[nodiscard]] bytes made() const
    {
        bytes image = pattern((1U + (header.setup_sects == 0 ? 4U : header.setup_sects)) * 512, 9);
        std::memcpy(image.data() + 0x1f1, &header, sizeof header);
        append(image, code);
        return image;
    }
};

bytes note(const char* owner, std::uint32_t type, std::span<const std::byte> descriptor)
{
    bytes made;
    const std::size_t owner_size = std::strlen(owner) + 1;
    append_value(made, Elf64_Nhdr{static_cast<Elf64_Word>(owner_size),
                                  static_cast<Elf64_Word>(descriptor.size()), type});
    append(made, std::as_bytes(std::span{owner, owner_size}));
    made.resize((made.size() + 3) / 4 * 4);
    append(made, descriptor);
    made.resize((made.size() + 3) / 4 * 4);
    return made;
}
template <typename T>
bytes entry_note(T address)
{
    return note("Xen", 18, std::as_bytes(std::span{&address, 1}));
}

// Two segments, the second with 64 KiB that the file lacks, and notes if there are any.
struct elf {
    Elf64_Ehdr header{};
    std::vector<Elf64_Phdr> segments;
    bytes code = pattern(8 * kib, 3);
    bytes notes;

    explicit elf(bytes with_notes = {}) : notes{std::move(with_notes)}
    {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_type = ET_EXEC;
        header.e_machine = EM_X86_64;
        header.e_entry = 2 * mib + 0x40;
        header.e_phoff = sizeof header;
        header.e_phentsize = sizeof(Elf64_Phdr);
        segments.push_back(load(0x1000, 2 * mib, 4 * kib, 4 * kib));
        segments.push_back(load(0x2000, 4 * mib, 4 * kib, 68 * kib));
        if (!notes.empty()) {
            Elf64_Phdr n{};
            n.p_type = PT_NOTE;
            n.p_offset = 0x3000;
            n.p_filesz = notes.size();
            segments.push_back(n);
        }
        header.e_phnum = static_cast<Elf64_Half>(segments.size());
    }
    static Elf64_Phdr load(std::uint64_t offset, std::uint64_t address, std::uint64_t in_file,
                           std::uint64_t in_memory)
    {
        Elf64_Phdr s{};
        s.p_type = PT_LOAD;
        s.p_offset = offset;
        s.p_vaddr = 0xffff'ffff'8000'0000 + address;
        s.p_paddr = address;
        s.p_filesz = in_file;
        s.p_memsz = in_memory;
        return s;
    }
    [[nodiscard]] bytes made() const
    {
        bytes image;
        append_value(image, header);
        for (const Elf64_Phdr& s : segments) {
            append_value(image, s);
        }
        image.resize(0x1000);
        append(image, code);
        append(image, notes);
        return image;
    }
};

struct guest {
    memory ram;
    entry begin{};
};

ports::result<entry> try_load(const bytes& kernel, const memory& ram, std::string command_line = {},
                              const bytes* initrd = nullptr)
{
    const file_descriptor kernel_file = make_file(kernel);
    file_descriptor initrd_file;
    image_files files{
        .kernel = kernel_file.get(), .kernel_name = "vmlinuz", .initrd_name = "initrd.img"};
    files.command_line = std::move(command_line);
    if (initrd != nullptr) {
        initrd_file = make_file(*initrd);
        files.initrd = initrd_file.get();
    }
    return load(files, ram);
}

guest load_into(std::uint64_t memory_size, const bytes& kernel, std::string command_line = {},
                const bytes* initrd = nullptr)
{
    guest g{make_memory(memory_size)};
    g.begin = try_load(kernel, g.ram, std::move(command_line), initrd).value();
    return g;
}

std::string refusal(const bytes& kernel, std::uint64_t memory_size = 64 * mib,
                    std::string command_line = {}, const bytes* initrd = nullptr)
{
    const auto loaded = try_load(kernel, make_memory(memory_size), std::move(command_line), initrd);
    return loaded ? "accepted" : loaded.error().message;
}

std::vector<range> e820(const guest& g)
{
    std::vector<range> map(read<std::uint8_t>(g.ram, g.begin.argument + 0x1e8));
    for (std::size_t i = 0; i < map.size(); ++i) {
        const std::uint64_t at = g.begin.argument + 0x2d0 + i * 20;
        map[i] = {read<std::uint64_t>(g.ram, at), read<std::uint64_t>(g.ram, at + 8),
                  read<std::uint32_t>(g.ram, at + 16)};
    }
    return map;
}

std::vector<range> pvh_map(const guest& g)
{
    std::vector<range> map(read<std::uint32_t>(g.ram, g.begin.argument + 48));
    const auto list = read<std::uint64_t>(g.ram, g.begin.argument + 40);
    for (std::size_t i = 0; i < map.size(); ++i) {
        map[i] = {read<std::uint64_t>(g.ram, list + i * 24),
                  read<std::uint64_t>(g.ram, list + i * 24 + 8),
                  read<std::uint32_t>(g.ram, list + i * 24 + 16)};
    }
    return map;
}

TEST(bzimage_test, is_loaded_where_it_prefers)
{
    const bzimage kernel;
    const guest g = load_into(64 * mib, kernel.made(), "console=ttyS0 quiet");
    EXPECT_EQ(g.begin.how, entry::mode::long_mode);
    EXPECT_EQ(g.begin.instruction, 16 * mib + 0x200);
    EXPECT_EQ(read(g.ram, 16 * mib, kernel.code.size()), kernel.code);
    EXPECT_THAT(read(g.ram, 16 * mib + kernel.code.size(), 4096), Each(std::byte{0}));
    EXPECT_THAT(read(g.ram, 0, 0x1000), Each(std::byte{0}));
    EXPECT_THAT(read(g.ram, platform::acpi_tables, 0x2'0000), Each(std::byte{0}));
}

TEST(bzimage_test, finds_its_parameters)
{
    const bzimage kernel;
    const bytes disk = pattern(5000, 5);
    const guest g = load_into(64 * mib, kernel.made(), "console=ttyS0 quiet", &disk);
    const std::uint64_t p = g.begin.argument;

    // The header as in the file, but for what a boot loader writes.
    setup_header expected = kernel.header;
    expected.type_of_loader = 0xff;
    expected.setup_data = 0;
    expected.cmd_line_ptr = read<std::uint32_t>(g.ram, p + 0x228);
    expected.ramdisk_image = 64 * mib - 8 * kib;
    expected.ramdisk_size = 5000;
    bytes header;
    append_value(header, expected);
    EXPECT_EQ(read(g.ram, p + 0x1f1, sizeof expected), header);

    EXPECT_EQ(read_text(g.ram, expected.cmd_line_ptr), "console=ttyS0 quiet");
    EXPECT_EQ(read(g.ram, 64 * mib - 8 * kib, disk.size()), disk);
    EXPECT_EQ(read<std::uint64_t>(g.ram, p + 0x70), platform::acpi_tables);
    EXPECT_EQ(read<std::uint8_t>(g.ram, p + 0x210), 0xff);
    EXPECT_EQ(read<std::uint8_t>(g.ram, p + 0x1ef), 0) << "the sentinel of a careless loader";
    EXPECT_EQ(e820(g), (std::vector<range>{conventional, firmware, {mib, 63 * mib, 1}}));
    // Nothing else is said of the machine.
    EXPECT_THAT(read(g.ram, p, 0x70), Each(std::byte{0}));
    EXPECT_THAT(read(g.ram, p + 0x78, 0x1e8 - 0x78), Each(std::byte{0}));
    EXPECT_THAT(read(g.ram, p + 0x270, 0x2d0 - 0x270), Each(std::byte{0}));
    EXPECT_THAT(read(g.ram, p + 0x2d0 + 60, 0x1000 - 0x2d0 - 60), Each(std::byte{0}));
}

TEST(bzimage_test, has_no_initial_ram_disk_unless_given_one)
{
    const guest g = load_into(64 * mib, bzimage{}.made());
    EXPECT_EQ(read<std::uint32_t>(g.ram, g.begin.argument + 0x218), 0U);
    EXPECT_EQ(read<std::uint32_t>(g.ram, g.begin.argument + 0x21c), 0U);
    EXPECT_EQ(read_text(g.ram, read<std::uint32_t>(g.ram, g.begin.argument + 0x228)), "");
}

TEST(bzimage_test, takes_of_the_header_what_the_kernel_has)
{
    bzimage kernel;
    kernel.header.jump = 0x62eb; // to 0x264: init_size is the last
    kernel.header.handover_offset = 0x1234'5678;
    kernel.header.kernel_info_offset = 0x1234'5678;
    const guest g = load_into(64 * mib, kernel.made());
    EXPECT_EQ(read<std::uint32_t>(g.ram, g.begin.argument + 0x260), 4 * mib);
    EXPECT_EQ(read<std::uint64_t>(g.ram, g.begin.argument + 0x264), 0U);
}

TEST(bzimage_test, is_told_of_memory_above_4_gib)
{
    const guest g = load_into(5 * gib, bzimage{}.made());
    EXPECT_EQ(e820(g),
              (std::vector<range>{
                  conventional, firmware, {mib, 3 * gib - mib, 1}, {4 * gib, 2 * gib, 1}}));
}

TEST(bzimage_test, of_any_number_of_setup_sectors)
{
    for (const std::uint8_t sectors : std::array<std::uint8_t, 3>{0, 1, 255}) {
        bzimage kernel;
        kernel.header.setup_sects = sectors;
        const guest g = load_into(64 * mib, kernel.made());
        EXPECT_EQ(read(g.ram, 16 * mib, kernel.code.size()), kernel.code) << int{sectors};
    }
}

TEST(bzimage_test, may_be_followed_by_a_signature)
{
    bzimage kernel;
    kernel.header.syssize -= 64;
    const guest g = load_into(64 * mib, kernel.made());
    EXPECT_THAT(read(g.ram, 16 * mib + kernel.code.size() - 1024, 1024), Each(std::byte{0}));
}

TEST(bzimage_test, relocatable_is_aligned_above_1_mib)
{
    bzimage kernel;
    kernel.header.pref_address = 0;
    EXPECT_EQ(load_into(64 * mib, kernel.made()).begin.instruction, 2 * mib + 0x200);
    kernel.header.pref_address = 6 * mib + 1;
    EXPECT_EQ(load_into(64 * mib, kernel.made()).begin.instruction, 8 * mib + 0x200);
    kernel.header.kernel_alignment = 1;
    kernel.header.pref_address = mib;
    EXPECT_EQ(load_into(64 * mib, kernel.made()).begin.instruction, mib + 0x200);
}

TEST(bzimage_test, not_relocatable_lies_where_it_runs)
{
    bzimage kernel;
    kernel.header.relocatable_kernel = 0;
    kernel.header.kernel_alignment = 0;
    kernel.header.pref_address = mib;
    EXPECT_EQ(load_into(64 * mib, kernel.made()).begin.instruction, mib + 0x200);
}

TEST(bzimage_test, fits_to_the_byte)
{
    bzimage kernel;
    kernel.header.init_size = 48 * mib;
    EXPECT_TRUE(try_load(kernel.made(), make_memory(64 * mib)));
    kernel.header.init_size += 1;
    EXPECT_EQ(refusal(kernel.made()),
              "vmlinuz: it does not fit into the guest's memory: give --memory 65M or more");
}

TEST(bzimage_test, says_where_a_ram_disk_may_lie)
{
    bzimage kernel;
    const bytes disk = pattern(4096, 5);
    const auto placed = [&](std::uint64_t memory_size) {
        const guest g = load_into(memory_size, kernel.made(), {}, &disk);
        const auto address = read<std::uint32_t>(g.ram, g.begin.argument + 0x218);
        EXPECT_EQ(read(g.ram, address, disk.size()), disk);
        return address;
    };
    EXPECT_EQ(placed(5 * gib), 0x8000'0000 - 4096);
    kernel.header.initrd_addr_max = 0x37ff'fffe; // its last page is not all below
    EXPECT_EQ(placed(5 * gib), 0x37ff'e000U);
    EXPECT_EQ(placed(64 * mib), 64 * mib - 4096);
    kernel.header.initrd_addr_max = 0xffff'ffff;
    EXPECT_EQ(placed(5 * gib), 3 * gib - 4096);
    kernel.header.initrd_addr_max = 0x37ff'fffe;
    kernel.header.xloadflags |= XLF_CAN_BE_LOADED_ABOVE_4G;
    EXPECT_EQ(placed(5 * gib), 3 * gib - 4096);
    EXPECT_EQ(placed(64 * mib), 64 * mib - 4096);
}

TEST(ram_disk_test, fits_beside_the_kernel_to_the_page)
{
    bzimage kernel;
    kernel.header.init_size = 4 * mib - 1;
    bytes disk = pattern(44 * mib, 5);
    const guest g = load_into(64 * mib, kernel.made(), {}, &disk);
    EXPECT_EQ(read<std::uint32_t>(g.ram, g.begin.argument + 0x218), 20 * mib);
    disk.push_back(std::byte{1});
    EXPECT_EQ(refusal(kernel.made(), 64 * mib, {}, &disk),
              "initrd.img: 45 MiB beside the kernel do not fit into the guest's memory: give "
              "--memory 65M or more");
}

TEST(ram_disk_test, keeps_out_of_code_that_the_header_does_not_count)
{
    bzimage kernel;
    kernel.header.init_size = 0;
    kernel.code = pattern(3 * mib, 1);
    kernel.header.syssize = static_cast<std::uint32_t>(kernel.code.size() / 16);
    const bytes disk = pattern(2 * mib, 5);
    EXPECT_THAT(refusal(kernel.made(), 20 * mib, {}, &disk), HasSubstr("give --memory 21M"));
}

TEST(ram_disk_test, is_refused)
{
    bzimage kernel;
    const bytes empty;
    EXPECT_EQ(refusal(kernel.made(), 64 * mib, {}, &empty), "initrd.img: it is empty");

    const bytes disk = pattern(4096, 5);
    for (const std::uint32_t last : {0U, 4095U, static_cast<std::uint32_t>(20 * mib) + 4094U}) {
        kernel.header.initrd_addr_max = last;
        EXPECT_THAT(refusal(kernel.made(), 64 * mib, {}, &disk),
                    AllOf(StartsWith("initrd.img: "), HasSubstr("where this kernel must have it")))
            << last;
    }

    // Below a limit amid a page, beside a kernel that ends amid one.
    kernel.header.init_size = 4 * mib - 96;
    EXPECT_THAT(refusal(kernel.made(), 64 * mib, {}, &disk), HasSubstr("must have it"));

    // Whatever a file's size: these are never allocated.
    const file_descriptor kernel_file = make_file(bzimage{}.made());
    const memory ram = make_memory(64 * mib);
    for (const std::uint64_t size : {3 * gib, 0x7fff'ffff'ffff'f000U}) {
        const file_descriptor disk_file = make_file({}, size);
        const auto loaded = load({.kernel = kernel_file.get(),
                                  .kernel_name = "vmlinuz",
                                  .initrd = disk_file.get(),
                                  .initrd_name = "initrd.img"},
                                 ram);
        ASSERT_TRUE(loaded.has_error());
        EXPECT_THAT(loaded.error().message, StartsWith("initrd.img: "));
    }
}

TEST(command_line_test, is_as_long_as_the_kernel_takes)
{
    bzimage kernel;
    const guest g = load_into(64 * mib, kernel.made(), std::string(2047, 'x'));
    EXPECT_EQ(read_text(g.ram, read<std::uint32_t>(g.ram, g.begin.argument + 0x228)),
              std::string(2047, 'x'));
    EXPECT_EQ(refusal(kernel.made(), 64 * mib, std::string(2048, 'x')),
              "vmlinuz: the command line has 2048 bytes, and this kernel takes 2047 at most");
    EXPECT_THAT(refusal(elf{}.made(), 64 * mib, std::string(2048, 'x')), HasSubstr("2047 at most"));

    // And as there is room.
    kernel.header.cmdline_size = 0xffff'ffff;
    EXPECT_TRUE(try_load(kernel.made(), make_memory(64 * mib), std::string(65535, 'x')));
    EXPECT_THAT(refusal(kernel.made(), 64 * mib, std::string(65536, 'x')),
                HasSubstr("65535 at most"));
}

TEST(long_mode_test, maps_4_gib_one_to_one)
{
    const guest g = load_into(64 * mib, bzimage{}.made());
    const auto entry_of = [&g](std::uint64_t table, std::uint64_t index) {
        return read<std::uint64_t>(g.ram, (table & ~std::uint64_t{0xfff}) + index * 8);
    };
    for (std::uint64_t a = 0; a < 4 * gib; a += 2 * mib) {
        const std::uint64_t pointers = entry_of(g.begin.page_tables, a >> 39U);
        const std::uint64_t directory = entry_of(pointers, (a >> 30U) & 511U);
        const std::uint64_t page = entry_of(directory, (a >> 21U) & 511U);
        ASSERT_EQ(pointers & 0xfffU, 3U);
        ASSERT_EQ(directory & 0xfffU, 3U);
        ASSERT_EQ(page, a | 0x83U);
    }
    EXPECT_EQ(entry_of(g.begin.page_tables, 1), 0U);
    EXPECT_EQ(entry_of(entry_of(g.begin.page_tables, 0), 4), 0U);
}

TEST(long_mode_test, has_flat_64_bit_segments)
{
    const guest g = load_into(64 * mib, bzimage{}.made());
    EXPECT_EQ(read<std::uint64_t>(g.ram, g.begin.descriptors), 0U);
    EXPECT_EQ(read<std::uint64_t>(g.ram, g.begin.descriptors + 0x10), 0x00af'9b00'0000'ffffU);
    EXPECT_EQ(read<std::uint64_t>(g.ram, g.begin.descriptors + 0x18), 0x00cf'9300'0000'ffffU);
}

TEST(protected_mode_test, has_flat_32_bit_segments)
{
    const guest g = load_into(64 * mib, elf{entry_note(std::uint32_t{2 * mib})}.made());
    EXPECT_EQ(read<std::uint64_t>(g.ram, g.begin.descriptors), 0U);
    EXPECT_EQ(read<std::uint64_t>(g.ram, g.begin.descriptors + 0x10), 0x00cf'9b00'0000'ffffU);
    EXPECT_EQ(read<std::uint64_t>(g.ram, g.begin.descriptors + 0x18), 0x00cf'9300'0000'ffffU);
    EXPECT_EQ(g.begin.page_tables, 0U);
}

TEST(elf_test, without_a_note_begins_in_long_mode)
{
    const elf kernel;
    const bytes disk = pattern(5000, 5);
    const guest g = load_into(64 * mib, kernel.made(), "panic=1", &disk);
    EXPECT_EQ(g.begin.how, entry::mode::long_mode);
    EXPECT_EQ(g.begin.instruction, 2 * mib + 0x40);
    const std::span code{kernel.code};
    EXPECT_THAT(read(g.ram, 2 * mib, 4 * kib), testing::ElementsAreArray(code.first(4 * kib)));
    EXPECT_THAT(read(g.ram, 4 * mib, 4 * kib), testing::ElementsAreArray(code.subspan(4 * kib)));
    EXPECT_THAT(read(g.ram, 4 * mib + 4 * kib, 64 * kib), Each(std::byte{0}));

    const std::uint64_t p = g.begin.argument;
    EXPECT_EQ(read<std::uint16_t>(g.ram, p + 0x1fe), 0xaa55);
    EXPECT_EQ(read<std::uint32_t>(g.ram, p + 0x202), 0x5372'6448U);
    EXPECT_GE(read<std::uint16_t>(g.ram, p + 0x206), 0x20c);
    EXPECT_EQ(read<std::uint8_t>(g.ram, p + 0x210), 0xff);
    EXPECT_EQ(read<std::uint32_t>(g.ram, p + 0x218), 64 * mib - 8 * kib);
    EXPECT_EQ(read<std::uint32_t>(g.ram, p + 0x21c), 5000U);
    EXPECT_EQ(read_text(g.ram, read<std::uint32_t>(g.ram, p + 0x228)), "panic=1");
    EXPECT_EQ(read<std::uint64_t>(g.ram, p + 0x70), platform::acpi_tables);
    EXPECT_EQ(e820(g), (std::vector<range>{conventional, firmware, {mib, 63 * mib, 1}}));
}

TEST(elf_test, with_a_note_begins_by_pvh)
{
    const elf kernel{entry_note(std::uint32_t{2 * mib + 0x123})};
    const bytes disk = pattern(5000, 5);
    const guest g = load_into(5 * gib, kernel.made(), "panic=1", &disk);
    EXPECT_EQ(g.begin.how, entry::mode::protected_mode);
    EXPECT_EQ(g.begin.instruction, 2 * mib + 0x123);
    EXPECT_EQ(read(g.ram, 2 * mib, 4 * kib),
              bytes(kernel.code.begin(), kernel.code.begin() + 4096));

    const std::uint64_t p = g.begin.argument;
    EXPECT_EQ(read<std::uint32_t>(g.ram, p), 0x336e'c578U);
    EXPECT_EQ(read<std::uint32_t>(g.ram, p + 4), 1U) << "version";
    EXPECT_EQ(read<std::uint32_t>(g.ram, p + 8), 0U) << "flags";
    EXPECT_EQ(read<std::uint32_t>(g.ram, p + 12), 1U) << "modules";
    const auto modules = read<std::uint64_t>(g.ram, p + 16);
    EXPECT_EQ(read_text(g.ram, read<std::uint64_t>(g.ram, p + 24)), "panic=1");
    EXPECT_EQ(read<std::uint64_t>(g.ram, p + 32), platform::acpi_tables);
    EXPECT_EQ(read<std::uint32_t>(g.ram, p + 52), 0U) << "reserved";

    const auto address = read<std::uint64_t>(g.ram, modules);
    EXPECT_EQ(address, 3 * gib - 8 * kib);
    EXPECT_EQ(read<std::uint64_t>(g.ram, modules + 8), 5000U);
    EXPECT_EQ(read<std::uint64_t>(g.ram, modules + 16), 0U);
    EXPECT_EQ(read<std::uint64_t>(g.ram, modules + 24), 0U);
    EXPECT_EQ(read(g.ram, address, disk.size()), disk);
    EXPECT_EQ(pvh_map(g),
              (std::vector<range>{
                  conventional, firmware, {mib, 3 * gib - mib, 1}, {4 * gib, 2 * gib, 1}}));
}

TEST(elf_test, by_pvh_without_a_ram_disk)
{
    const guest g = load_into(64 * mib, elf{entry_note(std::uint32_t{2 * mib})}.made());
    EXPECT_EQ(read<std::uint32_t>(g.ram, g.begin.argument + 12), 0U);
    EXPECT_EQ(read<std::uint64_t>(g.ram, g.begin.argument + 16), 0U);
    EXPECT_EQ(pvh_map(g), (std::vector<range>{conventional, firmware, {mib, 63 * mib, 1}}));
}

TEST(elf_test, finds_the_note_among_others)
{
    const auto joined = [](std::initializer_list<bytes> notes) {
        bytes all;
        for (const bytes& n : notes) {
            append(all, n);
        }
        return all;
    };
    const bytes name = pattern(6, 1); // neither name nor descriptor ends at a multiple of 4
    const bytes wanted = entry_note(std::uint64_t{4 * mib});
    bytes longer; // an owner that begins as the right one
    append_value(longer, Elf64_Nhdr{8, 4, 18});
    append_value(longer, std::array{'X', 'e', 'n', '\0', 't', 'o', 'o', '\0'});
    append_value(longer, std::uint32_t{2 * mib});
    const bytes many =
        joined({note("Linux", 18, name), note("GNU", 18, name), longer, note("Xen", 6, name),
                wanted, entry_note(std::uint32_t{2 * mib}), note("GNU", 3, name)});
    EXPECT_EQ(load_into(64 * mib, elf{many}.made()).begin.instruction, 4 * mib);

    // In a second segment of notes.
    elf two{joined({note("GNU", 3, name), wanted})};
    Elf64_Phdr second = two.segments.back();
    two.segments.back().p_filesz -= wanted.size();
    second.p_offset += second.p_filesz - wanted.size();
    second.p_filesz = wanted.size();
    two.segments.push_back(second);
    two.header.e_phnum = 4;
    EXPECT_EQ(load_into(64 * mib, two.made()).begin.instruction, 4 * mib);

    // The last one not filled up; bytes after it that can be none.
    bytes odd = note("Xen", 6, name);
    odd.resize(odd.size() - 2);
    EXPECT_EQ(load_into(64 * mib, elf{odd}.made()).begin.how, entry::mode::long_mode);
    odd = joined({note("Xen", 6, name), pattern(11, 1)});
    EXPECT_EQ(load_into(64 * mib, elf{odd}.made()).begin.how, entry::mode::long_mode);
}

TEST(elf_test, fits_to_the_byte)
{
    elf kernel;
    kernel.segments[1].p_memsz = 60 * mib;
    EXPECT_TRUE(try_load(kernel.made(), make_memory(64 * mib)));
    kernel.segments[1].p_memsz += 1;
    EXPECT_EQ(refusal(kernel.made()),
              "vmlinuz: it does not fit into the guest's memory: give --memory 65M or more");
    kernel.segments[1].p_paddr = 5 * gib;
    EXPECT_EQ(refusal(kernel.made(), 6 * gib),
              "vmlinuz: it does not fit into the guest's memory: it would reach beyond 3 GiB, "
              "where nothing can be loaded");
}

TEST(elf_test, segments_in_any_order_and_side_by_side)
{
    elf kernel;
    kernel.segments[1].p_paddr = 2 * mib - 68 * kib;
    const guest g = load_into(64 * mib, kernel.made());
    EXPECT_EQ(read(g.ram, 2 * mib, 4 * kib),
              bytes(kernel.code.begin(), kernel.code.begin() + 4096));
    EXPECT_EQ(read(g.ram, 2 * mib - 68 * kib, 4 * kib),
              bytes(kernel.code.begin() + 4096, kernel.code.end()));
}

TEST(loader_test, knows_no_other_files)
{
    const std::string none = "vmlinuz: it is no kernel: neither a bzImage nor an ELF64 image";
    EXPECT_EQ(refusal({}), none);
    EXPECT_EQ(refusal(bytes{std::byte{0x7f}, std::byte{'E'}, std::byte{'L'}}), none);
    EXPECT_EQ(refusal(pattern(64 * kib, 1)), none);
    bzimage kernel;
    kernel.header.boot_flag = 0;
    EXPECT_EQ(refusal(kernel.made()), none);
    kernel = {};
    kernel.header.header = 0;
    EXPECT_EQ(refusal(kernel.made()), none);
}

TEST(loader_test, reads_regular_files_only)
{
    const memory ram = make_memory(64 * mib);
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const file_descriptor from{ends[0]};
    const file_descriptor to{ends[1]};
    EXPECT_EQ(load({.kernel = from.get(), .kernel_name = "pipe"}, ram).error().message,
              "pipe: it is no regular file");
    EXPECT_EQ(load({.kernel = -1, .kernel_name = "none"}, ram).error().message,
              "none: Bad file descriptor");
    const file_descriptor kernel = make_file(bzimage{}.made());
    EXPECT_EQ(load({.kernel = kernel.get(),
                    .kernel_name = "vmlinuz",
                    .initrd = from.get(),
                    .initrd_name = "pipe"},
                   ram)
                  .error()
                  .message,
              "pipe: it is no regular file");
}

TEST(loader_test, says_what_a_file_that_cannot_be_read_is)
{
    const bytes image = bzimage{}.made();
    const file_descriptor written = make_file(image);
    const std::string path = "/proc/self/fd/" + std::to_string(written.get());
    const file_descriptor write_only{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    ASSERT_TRUE(write_only);
    const file_descriptor kernel = make_file(image);
    EXPECT_EQ(load({.kernel = kernel.get(),
                    .kernel_name = "vmlinuz",
                    .initrd = write_only.get(),
                    .initrd_name = "initrd.img"},
                   make_memory(64 * mib))
                  .error()
                  .message,
              "initrd.img: Bad file descriptor");
}

// A file, made wrong in one place.
struct breach {
    const char* name;
    const char* message; // part of it
    std::function<bytes()> image;
};
void PrintTo(const breach& b, std::ostream* out)
{
    *out << b.name;
}

class breach_test : public testing::TestWithParam<breach> {};

TEST_P(breach_test, is_refused)
{
    EXPECT_THAT(refusal(GetParam().image()),
                AllOf(StartsWith("vmlinuz: "), HasSubstr(GetParam().message)));
}

breach bzimage_with(const char* name, const char* message, void (*change)(setup_header&))
{
    return {name, message, [change] {
                bzimage kernel;
                change(kernel.header);
                return kernel.made();
            }};
}
breach elf_with(const char* name, const char* message, void (*change)(elf&))
{
    return {name, message, [change] {
                elf kernel;
                change(kernel);
                return kernel.made();
            }};
}
breach notes_with(const char* name, const char* message, bytes (*make)())
{
    return {name, message, [make] { return elf{make()}.made(); }};
}

constexpr std::uint64_t all_ones = ~std::uint64_t{0};

INSTANTIATE_TEST_SUITE_P(
    bzimage, breach_test,
    testing::Values(
        bzimage_with("old_version", "no 64-bit entry", [](auto& h) { h.version = 0x20b; }),
        bzimage_with("no_64_bit_entry", "no 64-bit entry", [](auto& h) { h.xloadflags = 0x7e; }),
        bzimage_with("zimage", "no 64-bit entry", [](auto& h) { h.loadflags = 0; }),
        bzimage_with("no_code", "0 bytes of code do not reach", [](auto& h) { h.syssize = 0; }),
        bzimage_with("code_to_its_entry", "512 bytes of code do not reach",
                     [](auto& h) { h.syssize = 0x20; }),
        bzimage_with("code_beyond_the_file",
                     "truncated: by its header it has 100368 bytes, but it has 100352",
                     [](auto& h) { h.syssize += 1; }),
        bzimage_with("endless_code", "truncated", [](auto& h) { h.syssize = 0xffff'ffff; }),
        bzimage_with("no_alignment", "alignment 0x0", [](auto& h) { h.kernel_alignment = 0; }),
        bzimage_with("odd_alignment", "alignment 0x300000",
                     [](auto& h) { h.kernel_alignment = 3 * mib; }),
        bzimage_with("large_alignment", "give --memory 2052M",
                     [](auto& h) { h.kernel_alignment = 0x8000'0000; }),
        bzimage_with("fixed_below_1_mib", "at 0xff000 only",
                     [](auto& h) {
                         h.relocatable_kernel = 0;
                         h.pref_address = 0xff000;
                     }),
        bzimage_with("fixed_at_the_end", "beyond 3 GiB",
                     [](auto& h) {
                         h.relocatable_kernel = 0;
                         h.pref_address = all_ones;
                     }),
        bzimage_with("preferred_at_the_end", "beyond 3 GiB",
                     [](auto& h) { h.pref_address = all_ones - 2 * mib; }),
        bzimage_with("preferred_in_the_hole", "beyond 3 GiB",
                     [](auto& h) { h.pref_address = 0xfee0'0000; }),
        bzimage_with("too_large_in_memory", "give --memory 65M",
                     [](auto& h) { h.init_size = 49 * mib; }),
        bzimage_with("larger_than_all_memory", "beyond 3 GiB",
                     [](auto& h) { h.init_size = 0xffff'ffff; }),
        breach{"cut_in_the_header", "truncated: bytes 497 and following are missing",
               [] {
                   bytes image = bzimage{}.made();
                   image.resize(0x210);
                   return image;
               }}),
    [](const auto& i) { return i.param.name; });

INSTANTIATE_TEST_SUITE_P(
    elf, breach_test,
    testing::Values(
        elf_with("class_32", "no executable for x86-64",
                 [](auto& e) { e.header.e_ident[EI_CLASS] = ELFCLASS32; }),
        elf_with("big_endian", "no executable for x86-64",
                 [](auto& e) { e.header.e_ident[EI_DATA] = ELFDATA2MSB; }),
        elf_with("other_machine", "no executable for x86-64",
                 [](auto& e) { e.header.e_machine = EM_AARCH64; }),
        elf_with("object", "no executable for x86-64", [](auto& e) { e.header.e_type = ET_REL; }),
        elf_with("odd_program_headers", "not 2 of 64", [](auto& e) { e.header.e_phentsize = 64; }),
        elf_with("no_program_headers", "not 0 of 56", [](auto& e) { e.header.e_phnum = 0; }),
        elf_with("many_program_headers", "not 65 of 56", [](auto& e) { e.header.e_phnum = 65; }),
        elf_with("program_headers_beyond_the_file", "truncated",
                 [](auto& e) { e.header.e_phoff = 0x3000 - 56; }),
        elf_with("program_headers_at_the_end", "truncated",
                 [](auto& e) { e.header.e_phoff = all_ones - 8; }),
        elf_with("nothing_to_load", "no segment to load",
                 [](auto& e) {
                     e.segments[0].p_memsz = 0;
                     e.segments[1].p_type = PT_DYNAMIC;
                 }),
        elf_with("below_1_mib", "below 1 MiB", [](auto& e) { e.segments[1].p_paddr = mib - 4096; }),
        elf_with("over_the_page_tables", "below 1 MiB",
                 [](auto& e) { e.segments[1].p_paddr = 0x3000; }),
        elf_with("overlap", "overlap",
                 [](auto& e) { e.segments[1].p_paddr = 2 * mib - 68 * kib + 1; }),
        elf_with("same_place", "overlap", [](auto& e) { e.segments[1].p_paddr = 2 * mib; }),
        elf_with("endless_before_another", "overlap",
                 [](auto& e) { e.segments[0].p_memsz = all_ones; }),
        elf_with("more_in_the_file_than_in_memory", "reaches beyond its end",
                 [](auto& e) { e.segments[0].p_memsz = 4095; }),
        elf_with("segment_beyond_the_file", "reaches beyond its end",
                 [](auto& e) { e.segments[1].p_offset = 0x2001; }),
        elf_with("segment_at_the_end", "reaches beyond its end",
                 [](auto& e) { e.segments[1].p_offset = all_ones - 0xfff; }),
        elf_with("beyond_the_memory", "give --memory 65M",
                 [](auto& e) { e.segments[1].p_paddr = 64 * mib - 4 * kib; }),
        elf_with("endless", "beyond 3 GiB", [](auto& e) { e.segments[1].p_memsz = all_ones; }),
        elf_with("at_the_end", "beyond 3 GiB",
                 [](auto& e) { e.segments[1].p_paddr = all_ones - 0xfff; }),
        elf_with("entry_nowhere", "entry lies in none", [](auto& e) { e.header.e_entry = 0; }),
        elf_with("entry_before_a_segment", "entry lies in none",
                 [](auto& e) { e.header.e_entry = 2 * mib - 1; }),
        elf_with("entry_after_a_segment", "entry lies in none",
                 [](auto& e) { e.header.e_entry = 4 * mib + 68 * kib; }),
        elf_with("virtual_entry", "entry lies in none",
                 [](auto& e) { e.header.e_entry = e.segments[0].p_vaddr; }),
        breach{"cut_in_the_header", "truncated: bytes 0 and following are missing",
               [] {
                   bytes image = elf{}.made();
                   image.resize(sizeof(Elf64_Ehdr) - 1);
                   return image;
               }}),
    [](const auto& i) { return i.param.name; });

INSTANTIATE_TEST_SUITE_P(
    notes, breach_test,
    testing::Values(notes_with("entry_nowhere", "entry lies in none",
                               [] { return entry_note(std::uint32_t{0x1000}); }),
                    notes_with("entry_beyond_32_bits", "entry lies in none",
                               [] { return entry_note(std::uint64_t{0x1'0020'0000}); }),
                    notes_with("short_entry", "it has 2 bytes, not 4 or 8",
                               [] { return entry_note(std::uint16_t{0}); }),
                    notes_with("no_entry", "it has 0 bytes, not 4 or 8",
                               [] { return note("Xen", 18, {}); }),
                    notes_with("long_entry", "it has 12 bytes, not 4 or 8",
                               [] { return note("Xen", 18, pattern(12, 1)); }),
                    notes_with("long_name", "one reaches beyond their end",
                               [] {
                                   bytes n;
                                   append_value(n, Elf64_Nhdr{0xffff'ffff, 0, 18});
                                   return n;
                               }),
                    notes_with("long_descriptor", "one reaches beyond their end",
                               [] {
                                   bytes n = entry_note(std::uint32_t{2 * mib});
                                   n[4] = std::byte{5};
                                   return n;
                               }),
                    notes_with("both_long", "one reaches beyond their end",
                               [] {
                                   bytes n;
                                   append_value(n, Elf64_Nhdr{0xffff'fffc, 0xffff'ffff, 18});
                                   return n;
                               }),
                    notes_with("too_many", "notes have 65540 bytes", [] { return bytes(65540); }),
                    breach{"beyond_the_file", "truncated",
                           [] {
                               elf kernel{entry_note(std::uint32_t{2 * mib})};
                               kernel.segments.back().p_filesz += 1;
                               return kernel.made();
                           }}),
    [](const auto& i) { return i.param.name; });

// Debian's kernel, where scripts/demo or the system tests have fetched it.
std::filesystem::path find_kernel(std::string_view folder, std::string_view begin)
{
    namespace fs = std::filesystem;
    const char* const home = std::getenv("HOME"); // NOLINT(concurrency-mt-unsafe)
    std::error_code ignored;
    for (const auto& kernel : fs::directory_iterator{
             fs::path{home == nullptr ? "/" : home} / ".cache/strait", ignored}) {
        if (!kernel.path().filename().string().starts_with("kernel-")) {
            continue;
        }
        for (const auto& file : fs::directory_iterator{kernel.path() / folder, ignored}) {
            if (file.path().filename().string().starts_with(begin)) {
                return file.path();
            }
        }
    }
    return {};
}

guest load_debian(const std::filesystem::path& path)
{
    const file_descriptor kernel{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    const bytes disk = pattern(mib, 5);
    const file_descriptor initrd = make_file(disk);
    guest g{make_memory(256 * mib)};
    g.begin = load({.kernel = kernel.get(),
                    .kernel_name = path,
                    .initrd = initrd.get(),
                    .initrd_name = "initrd.img",
                    .command_line = "console=ttyS0"},
                   g.ram)
                  .value();
    EXPECT_EQ(read(g.ram, 255 * mib, disk.size()), disk);
    return g;
}

TEST(debian_test, vmlinuz)
{
    const auto path = find_kernel("boot", "vmlinuz-");
    if (path.empty()) {
        GTEST_SKIP() << "no Debian kernel in ~/.cache/strait";
    }
    const guest g = load_debian(path);
    EXPECT_EQ(g.begin.how, entry::mode::long_mode);
    EXPECT_EQ(g.begin.instruction, 16 * mib + 0x200);
    EXPECT_EQ(read<std::uint16_t>(g.ram, g.begin.instruction), 0xfafc) << "cld, cli";
}

TEST(debian_test, vmlinux)
{
    const auto path = find_kernel("", "vmlinux");
    if (path.empty()) {
        GTEST_SKIP() << "no Debian kernel in ~/.cache/strait";
    }
    const guest g = load_debian(path);
    EXPECT_EQ(g.begin.how, entry::mode::protected_mode);
    EXPECT_EQ(read<std::uint8_t>(g.ram, g.begin.instruction), 0xfc) << "cld";
}

} // namespace
} // namespace strait::vmm::boot
