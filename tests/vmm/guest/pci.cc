// SPDX-License-Identifier: BSD-3-Clause
// One address register for all: nothing here is done by two CPUs at a time.

#include "tests/vmm/guest/pci.hh"

#include "tests/vmm/guest/console.hh"
#include "tests/vmm/guest/cpu.hh"
#include "vmm/platform.hh"

#include <bit>

namespace strait::guest::pci {

namespace {

namespace platform = vmm::platform;

std::array<function, 64> functions;
// For what nobody has placed: above whatever a VMM or firmware is likely to have placed.
std::uint64_t next_address = platform::pci_window + 0x3000'0000;

std::uint16_t select(function f, std::uint8_t offset) noexcept
{
    out(platform::pci_address,
        1U << 31 | std::uint32_t{f.device} << 11 | std::uint32_t{f.number} << 8 | (offset & 0xfcU));
    return static_cast<std::uint16_t>(platform::pci_data + (offset & 3));
}

std::uint32_t size_of(function f, std::uint8_t offset) noexcept
{
    const auto was = read<std::uint32_t>(f, offset);
    write(f, offset, ~std::uint32_t{0});
    const auto mask = read<std::uint32_t>(f, offset);
    write(f, offset, was);
    return mask;
}

void print_name(std::string_view key, function f) noexcept
{
    guest::write(key);
    guest::write("00:");
    guest::write(digits{f.device, 2});
    guest::write(".");
    guest::write(f.number);
    guest::write(" ");
}

std::string_view virtio_structure(std::uint8_t type) noexcept
{
    constexpr std::array<std::string_view, 6> names = {"",    "common", "notify",
                                                       "isr", "device", "access"};
    return type < names.size() && type > 0 ? names[type] : "other";
}

void print_capability(function f, std::uint8_t at) noexcept
{
    print_name("capability=", f);
    const auto id = read<std::uint8_t>(f, at);
    if (id == msix_capability) {
        const auto table = read<std::uint32_t>(f, static_cast<std::uint8_t>(at + 4));
        const auto bits = read<std::uint32_t>(f, static_cast<std::uint8_t>(at + 8));
        print("msix vectors=", (read<std::uint16_t>(f, at + 2) & 0x7ffU) + 1U, " bar=", table & 7,
              " offset=", hex{table & ~7U}, " pending_bar=", bits & 7,
              " pending_offset=", hex{bits & ~7U});
    } else if (id == vendor_capability && read<std::uint16_t>(f, vendor) == 0x1af4) {
        const auto type = read<std::uint8_t>(f, at + 3);
        print("virtio ", virtio_structure(type), " type=", type,
              " bar=", read<std::uint8_t>(f, at + 4),
              " offset=", hex{read<std::uint32_t>(f, static_cast<std::uint8_t>(at + 8))},
              " length=", hex{read<std::uint32_t>(f, static_cast<std::uint8_t>(at + 12))});
    } else {
        print("id=", hex{id});
    }
}

} // namespace

template <typename T>
T read(function f, std::uint8_t offset) noexcept
{
    return in<T>(select(f, offset));
}

template <typename T>
void write(function f, std::uint8_t offset, T value) noexcept
{
    out(select(f, offset), value);
}

template std::uint8_t read(function, std::uint8_t) noexcept;
template std::uint16_t read(function, std::uint8_t) noexcept;
template std::uint32_t read(function, std::uint8_t) noexcept;
template void write(function, std::uint8_t, std::uint8_t) noexcept;
template void write(function, std::uint8_t, std::uint16_t) noexcept;
template void write(function, std::uint8_t, std::uint32_t) noexcept;

std::span<const function> find() noexcept
{
    std::size_t count = 0;
    for (std::uint8_t d = 0; d < 32; ++d) {
        std::uint8_t numbers = 1;
        for (std::uint8_t n = 0; n < numbers && count < functions.size(); ++n) {
            const function f{d, n};
            if (read<std::uint16_t>(f, vendor) == 0xffff) {
                continue;
            }
            functions[count++] = f;
            if ((read<std::uint8_t>(f, header_type) & 0x80) != 0) {
                numbers = 8;
            }
        }
    }
    return {functions.data(), count};
}

std::array<bar, 6> bars(function f) noexcept
{
    std::array<bar, 6> all{};
    const std::size_t count = (read<std::uint8_t>(f, header_type) & 0x7f) == 0 ? 6 : 0;
    const auto enabled = read<std::uint16_t>(f, command);
    write(f, command, static_cast<std::uint16_t>(enabled & ~3U));
    for (std::size_t i = 0; i < count; ++i) {
        const auto offset = static_cast<std::uint8_t>(first_bar + 4 * i);
        const auto value = read<std::uint32_t>(f, offset);
        const std::uint32_t mask = size_of(f, offset);
        if (mask == 0) {
            continue;
        }
        bar& b = all[i];
        b.memory = (value & 1) == 0;
        if (!b.memory) {
            b.address = value & ~3U;
            b.size = (~(mask & ~3U) + 1ULL) & 0xffffU;
            continue;
        }
        b.wide = (value & 6) == 4;
        b.address = value & ~15U;
        std::uint64_t whole = 0xffff'ffff'0000'0000 | (mask & ~15U);
        const auto upper = static_cast<std::uint8_t>(offset + 4);
        if (b.wide && ++i < count) {
            b.address |= std::uint64_t{read<std::uint32_t>(f, upper)} << 32;
            whole = std::uint64_t{size_of(f, upper)} << 32 | (mask & ~15U);
        }
        b.size = ~whole + 1;
        if (b.address == 0) {
            b.address = (next_address + b.size - 1) & ~(b.size - 1);
            next_address = b.address + b.size;
            write(f, offset, static_cast<std::uint32_t>(b.address));
            if (b.wide) {
                write(f, upper, static_cast<std::uint32_t>(b.address >> 32));
            }
        }
    }
    write(f, command, static_cast<std::uint16_t>(enabled | memory_enable));
    return all;
}

std::uint8_t next_capability(function f, std::uint8_t last) noexcept
{
    if (last == 0 && (read<std::uint16_t>(f, status) & 0x10) == 0) {
        return 0;
    }
    const auto at = last == 0 ? capabilities : static_cast<std::uint8_t>(last + 1);
    return read<std::uint8_t>(f, at) & 0xfc;
}

void print_all() noexcept
{
    const auto found = find();
    for (const function f : found) {
        print_name("pci=", f);
        print(digits{read<std::uint16_t>(f, vendor), 4}, ":",
              digits{read<std::uint16_t>(f, device), 4}, " class ",
              digits{read<std::uint32_t>(f, revision) >> 8, 6});
        const auto all = bars(f);
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (all[i].size != 0) {
                print_name("bar=", f);
                print(i, all[i].memory ? all[i].wide ? " memory64 " : " memory " : " ports ",
                      hex{all[i].address}, " ", hex{all[i].size});
            }
        }
        unsigned left = 48;
        for (std::uint8_t at = 0; left > 0 && (at = next_capability(f, at)) != 0; --left) {
            print_capability(f, at);
        }
        if (left == 0) {
            print_name("capability=", f);
            print("endless");
        }
    }
    print("pci_functions=", found.size());
}

} // namespace strait::guest::pci
