// SPDX-License-Identifier: BSD-3-Clause
// Making the ACPI tables, field by field as ACPI 6.3 lays them out (5.2).
#include "vmm/boot/acpi.hh"

#include "vmm/platform.hh"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

namespace strait::vmm::boot {

namespace {

#include "dsdt.hex" // dsdt_aml_code[]: dsdt.asl, compiled

// What makes the sum of all bytes zero, put where there is zero.
std::byte checksum(std::span<const std::byte> bytes)
{
    unsigned total = 0;
    for (const std::byte b : bytes) {
        total += std::to_integer<unsigned>(b);
    }
    return std::byte(0U - total);
}

// Not insert(): GCC 12 takes its copying for an overflow.
void append(std::vector<std::byte>& to, std::span<const std::byte> from)
{
    const std::size_t at = to.size();
    to.resize(at + from.size());
    std::ranges::copy(from, to.begin() + static_cast<std::ptrdiff_t>(at));
}

class fields {
public:
    fields& u8(std::uint8_t n) { return number(n); }
    fields& u16(std::uint16_t n) { return number(n); }
    fields& u32(std::uint32_t n) { return number(n); }
    fields& u64(std::uint64_t n) { return number(n); }
    fields& zeros(std::size_t count)
    {
        bytes_.resize(bytes_.size() + count);
        return *this;
    }
    fields& text(std::string_view s)
    {
        append(bytes_, std::as_bytes(std::span{s}));
        return *this;
    }
    // A register of one byte, as a generic address (5.2.3.2).
    fields& io_register(std::uint16_t port)
    {
        constexpr std::uint8_t system_io = 1;
        constexpr std::uint8_t byte_access = 1;
        return u8(system_io).u8(8).u8(0).u8(byte_access).u64(port);
    }

    std::vector<std::byte>& bytes() { return bytes_; }

private:
    template <typename T>
    fields& number(T n)
    {
        append(bytes_, std::as_bytes(std::span{&n, 1})); // little-endian, as this machine
        return *this;
    }
    std::vector<std::byte> bytes_;
};

constexpr std::string_view oem = "STRAIT";
constexpr std::size_t length_offset = 4;
constexpr std::size_t checksum_offset = 9;

// A table to its header's end.
fields begin(std::string_view signature, std::uint8_t revision)
{
    fields f;
    f.text(signature).u32(0).u8(revision).u8(0); // length, checksum: finish()
    f.text(oem).text("STRAITVM").u32(1).text("STRT").u32(1);
    return f;
}

std::vector<std::byte> finish(fields table)
{
    std::vector<std::byte>& bytes = table.bytes();
    fields length;
    length.u32(static_cast<std::uint32_t>(bytes.size()));
    std::ranges::copy(length.bytes(), bytes.begin() + length_offset);
    bytes[checksum_offset] = checksum(bytes);
    return std::move(bytes);
}

// Hardware-reduced: the registers of fixed power management are all zero.
std::vector<std::byte> make_fadt(std::uint64_t dsdt)
{
    // IA-PC boot architecture (5.2.9.3). Bits that are 0: no 8042; MSI is supported.
    constexpr std::uint16_t no_vga = 1U << 2U;
    constexpr std::uint16_t no_cmos_clock = 1U << 5U;
    // Fixed features (table 5-35); of buttons, that they are no fixed ones.
    constexpr std::uint32_t wbinvd = 1U << 0U;
    constexpr std::uint32_t c1_state = 1U << 2U;
    constexpr std::uint32_t power_button_device = 1U << 4U;
    constexpr std::uint32_t sleep_button_device = 1U << 5U;
    constexpr std::uint32_t reset_register = 1U << 10U;
    constexpr std::uint32_t hardware_reduced = 1U << 20U;

    fields f = begin("FACP", 6);
    f.u32(0).u32(0); // FACS: none; DSDT: by its 64-bit address
    f.zeros(65);     // from the power management profile to the century
    f.u16(no_vga | no_cmos_clock).u8(0);
    f.u32(wbinvd | c1_state | power_button_device | sleep_button_device | reset_register |
          hardware_reduced);
    f.io_register(platform::keyboard_command).u8(platform::keyboard_reset);
    f.u16(0).u8(3); // ARM's boot flags; minor version
    f.u64(0).u64(dsdt);
    f.zeros(96); // 8 registers
    f.io_register(platform::sleep_control).io_register(platform::sleep_status);
    f.text(oem).zeros(2); // the hypervisor
    return finish(std::move(f));
}

std::vector<std::byte> make_madt(unsigned cpus)
{
    constexpr std::uint8_t local_apic = 0; // types of entries (table 5-45)
    constexpr std::uint8_t io_apic = 1;
    constexpr std::uint32_t enabled = 1;
    fields f = begin("APIC", 5);
    f.u32(platform::local_apic).u32(0); // flags: no PIC
    for (unsigned i = 0; i < cpus; ++i) {
        const auto id = static_cast<std::uint8_t>(i);
        f.u8(local_apic).u8(8).u8(id).u8(id).u32(enabled);
    }
    f.u8(io_apic).u8(12).u8(0).u8(0).u32(platform::io_apic).u32(0);
    return finish(std::move(f));
}

std::vector<std::byte> make_rsdp(std::uint64_t xsdt)
{
    constexpr std::size_t first_version = 20; // bytes that the first checksum is of
    fields f;
    f.text("RSD PTR ").u8(0).text(oem).u8(2).u32(0).u32(36).u64(xsdt).u8(0).zeros(3);
    std::vector<std::byte>& bytes = f.bytes();
    bytes[8] = checksum(std::span{bytes}.first(first_version));
    bytes[32] = checksum(bytes);
    return std::move(bytes);
}

} // namespace

std::vector<std::byte> acpi_tables(unsigned cpus)
{
    constexpr std::size_t alignment = 16;
    std::vector<std::byte> all(make_rsdp(0).size());
    const auto add = [&all](std::span<const std::byte> table) {
        all.resize((all.size() + alignment - 1) / alignment * alignment);
        const std::uint64_t address = platform::acpi_tables + all.size();
        append(all, table);
        return address;
    };
    const std::uint64_t dsdt = add(std::as_bytes(std::span{dsdt_aml_code}));
    const std::uint64_t fadt = add(make_fadt(dsdt));
    const std::uint64_t madt = add(make_madt(cpus));
    fields xsdt = begin("XSDT", 1);
    xsdt.u64(fadt).u64(madt);
    const std::uint64_t root = add(finish(std::move(xsdt)));
    std::ranges::copy(make_rsdp(root), all.begin());
    return all;
}

} // namespace strait::vmm::boot
