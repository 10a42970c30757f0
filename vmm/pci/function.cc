// SPDX-License-Identifier: BSD-3-Clause
// The header of a configuration space.
#include "vmm/pci/function.hh"

#include "vmm/platform.hh"

#include <linux/pci_regs.h>

namespace strait::vmm::pci {

function::function(const identity& id, std::uint32_t bar_bytes) noexcept : bar_bytes_{bar_bytes}
{
    set(PCI_VENDOR_ID, id.vendor);
    set(PCI_DEVICE_ID, id.device);
    set(PCI_CLASS_REVISION, id.class_code << 8 | id.revision);
    set(PCI_SUBSYSTEM_VENDOR_ID, id.subsystem_vendor);
    set(PCI_SUBSYSTEM_ID, id.subsystem);
    allow_writes(PCI_CACHE_LINE_SIZE, 0xff); // of no effect, and drivers write it
    allow_writes(PCI_INTERRUPT_LINE, 0xff);  // likewise: there is no pin
    if (bar_bytes_ != 0) {
        // What is not an address' bit reads as zero: so its size is found.
        const std::uint32_t mask = ~(bar_bytes_ - 1);
        for (std::size_t i = 0; i < sizeof mask; ++i) {
            allow_writes(PCI_BASE_ADDRESS_0 + i, static_cast<std::uint8_t>(mask >> (8 * i)));
        }
        allow_writes(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
        allow_writes(PCI_COMMAND + 1, PCI_COMMAND_INTX_DISABLE >> 8);
    }
}

void function::place(std::uint32_t address)
{
    set(PCI_BASE_ADDRESS_0, address);
    set<std::uint16_t>(PCI_COMMAND, PCI_COMMAND_MEMORY);
    look_where();
}

void function::read_config(std::size_t offset, std::span<std::byte> to) noexcept
{
    for (std::size_t i = 0; i < to.size(); ++i) {
        to[i] = space_[offset + i];
    }
}

void function::write_config(std::size_t offset, std::span<const std::byte> from) noexcept
{
    for (std::size_t i = 0; i < from.size(); ++i) {
        const std::byte mask{writable_[offset + i]};
        std::byte& there = space_[offset + i];
        there = (there & ~mask) | (from[i] & mask);
    }
    if (bar_bytes_ != 0) {
        look_where();
    }
}

void function::look_where() noexcept
{
    std::uint32_t now = config<std::uint32_t>(PCI_BASE_ADDRESS_0);
    const bool on = (config<std::uint16_t>(PCI_COMMAND) & PCI_COMMAND_MEMORY) != 0;
    // Outside the bus's window nothing is passed on to it.
    if (!on || now < platform::pci_window || now > platform::pci_window_end - bar_bytes_) {
        now = 0;
    }
    if (now != address_) {
        const std::uint32_t before = address_;
        address_ = now;
        moved(before, now);
    }
}

std::uint8_t function::add_capability(std::uint8_t id, std::span<const std::byte> body) noexcept
{
    const std::uint8_t at = free_;
    set(at, id);
    for (std::size_t i = 0; i < body.size(); ++i) {
        space_[at + 2 + i] = body[i];
    }
    if (last_capability_ == 0) {
        set(PCI_CAPABILITY_LIST, at);
        set<std::uint16_t>(PCI_STATUS, PCI_STATUS_CAP_LIST);
    } else {
        set(last_capability_ + std::size_t{PCI_CAP_LIST_NEXT}, at);
    }
    last_capability_ = at;
    constexpr std::size_t alignment = 4;
    free_ =
        static_cast<std::uint8_t>((at + 2 + body.size() + alignment - 1) / alignment * alignment);
    return at;
}

} // namespace strait::vmm::pci
