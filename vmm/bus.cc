// SPDX-License-Identifier: BSD-3-Clause
// Finding the device of an address.
#include "vmm/bus.hh"

#include <algorithm>
#include <iterator>

namespace strait::vmm {

void bus::add(std::uint64_t base, std::uint64_t size, io_device& device)
{
    const auto behind = std::ranges::upper_bound(ranges_, base, {}, &range::base);
    ranges_.insert(behind, {base, size, &device});
}

const bus::range* bus::find(std::uint64_t address, std::size_t size) const noexcept
{
    const auto behind = std::ranges::upper_bound(ranges_, address, {}, &range::base);
    if (behind == ranges_.begin()) {
        return nullptr;
    }
    const range& r = *std::prev(behind);
    const std::uint64_t offset = address - r.base;
    return offset < r.size && size <= r.size - offset ? &r : nullptr;
}

bool bus::read(std::uint64_t address, std::span<std::byte> to) const noexcept
{
    const range* const r = find(address, to.size());
    if (r == nullptr) {
        std::ranges::fill(to, std::byte{0xff});
        return false;
    }
    r->device->read(address - r->base, to);
    return true;
}

bool bus::write(std::uint64_t address, std::span<const std::byte> from) const noexcept
{
    const range* const r = find(address, from.size());
    if (r == nullptr) {
        return false;
    }
    r->device->write(address - r->base, from);
    return true;
}

} // namespace strait::vmm
