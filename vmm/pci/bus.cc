// SPDX-License-Identifier: BSD-3-Clause
// Selecting a PCI function by its number or by an address.
#include "vmm/pci/bus.hh"

#include "vmm/platform.hh"

#include <algorithm>
#include <cstring>
#include <utility>

#include <linux/pci_regs.h>

namespace strait::vmm::pci {

namespace {

constexpr std::uint64_t data_port = platform::pci_data - platform::pci_address;

// What Linux looks for before it trusts mechanism 1. The numbers are those that other virtual
// machines show, of a device that no driver wants.
constexpr identity host_bridge{0x8086, 0x0d57, 0x06'0000, 0, 0, 0};

} // namespace

bus::bus() : free_{static_cast<std::uint32_t>(platform::pci_window)}
{
    functions_.push_back(std::make_unique<function>(host_bridge, 0));
}

void bus::add(std::unique_ptr<function> f)
{
    const std::uint32_t size = f->bar_bytes();
    free_ = (free_ + size - 1) / size * size;
    f->place(free_);
    free_ += size;
    functions_.push_back(std::move(f));
}

void bus::connect(vmm::bus& ports, vmm::bus& addresses)
{
    ports.add(platform::pci_address, 8, configuration_);
    addresses.add(platform::pci_window, platform::pci_window_end - platform::pci_window, window_);
}

function* bus::selected() const noexcept
{
    // Enable, bus 0, device, function 0.
    constexpr std::uint32_t enable = 1U << 31;
    const std::uint32_t device = address_ >> 11 & 0x1f;
    const bool here = (address_ & (enable | 0x00ff'0700)) == enable;
    return here && device < functions_.size() ? functions_[device].get() : nullptr;
}

function* bus::at(std::uint64_t address, std::size_t size) const noexcept
{
    const auto found = std::ranges::find_if(functions_, [&](const auto& f) {
        const std::uint64_t offset = address - f->address();
        return f->address() != 0 && offset < f->bar_bytes() && size <= f->bar_bytes() - offset;
    });
    return found == functions_.end() ? nullptr : found->get();
}

void bus::configuration::read(std::uint64_t offset, std::span<std::byte> to) noexcept
{
    const std::scoped_lock lock{bus_.mutex_};
    std::ranges::fill(to, std::byte{0xff});
    if (offset == 0 && to.size() == sizeof bus_.address_) {
        std::memcpy(to.data(), &bus_.address_, to.size());
    } else if (offset >= data_port && offset % to.size() == 0) {
        if (function* const f = bus_.selected()) {
            f->read_config((bus_.address_ & 0xfc) + (offset - data_port), to);
        }
    }
}

void bus::configuration::write(std::uint64_t offset, std::span<const std::byte> from) noexcept
{
    const std::scoped_lock lock{bus_.mutex_};
    if (offset == 0 && from.size() == sizeof bus_.address_) {
        std::memcpy(&bus_.address_, from.data(), from.size());
    } else if (offset >= data_port && offset % from.size() == 0) {
        if (function* const f = bus_.selected()) {
            f->write_config((bus_.address_ & 0xfc) + (offset - data_port), from);
        }
    }
}

void bus::window::read(std::uint64_t offset, std::span<std::byte> to) noexcept
{
    const std::scoped_lock lock{bus_.mutex_};
    const std::uint64_t address = platform::pci_window + offset;
    if (function* const f = bus_.at(address, to.size())) {
        f->read_bar(static_cast<std::uint32_t>(address - f->address()), to);
    } else {
        std::ranges::fill(to, std::byte{0xff});
    }
}

void bus::window::write(std::uint64_t offset, std::span<const std::byte> from) noexcept
{
    const std::scoped_lock lock{bus_.mutex_};
    const std::uint64_t address = platform::pci_window + offset;
    if (function* const f = bus_.at(address, from.size())) {
        f->write_bar(static_cast<std::uint32_t>(address - f->address()), from);
    }
}

} // namespace strait::vmm::pci
