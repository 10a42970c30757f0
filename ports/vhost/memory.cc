// SPDX-License-Identifier: BSD-3-Clause
// Building a guest's memory table from what its front end said.
#include "ports/vhost/memory.hh"

#include <algorithm>
#include <bit>
#include <limits>
#include <sstream>
#include <vector>

namespace strait::vhost {

namespace {

std::string describe(const guest_memory::mapping& m)
{
    std::ostringstream text;
    text << "guest memory region at 0x" << std::hex << m.guest_address << " of 0x" << m.size
         << " bytes";
    return text.str();
}

bool lies_in_mapping(const guest_memory::mapping& m)
{
    const auto base = reinterpret_cast<std::uintptr_t>(m.base);
    const auto map = reinterpret_cast<std::uintptr_t>(m.map_base);
    return m.map_base != nullptr && base >= map && base - map <= m.map_size &&
           m.size <= m.map_size - (base - map);
}

} // namespace

ports::result<std::unique_ptr<guest_memory>> guest_memory::make(std::span<const mapping> mappings)
{
    if (mappings.empty()) {
        return ports::error{"the front end shares no memory: its guest's RAM must be one or more "
                            "shared regions (QEMU: memory-backend-memfd,share=on)"};
    }
    if (mappings.size() > max_regions) {
        return ports::error{"the front end shares " + std::to_string(mappings.size()) +
                            " memory regions; at most " + std::to_string(max_regions) +
                            " can be taken"};
    }
    std::vector<mapping> sorted(mappings.begin(), mappings.end());
    std::ranges::sort(sorted, {}, &mapping::guest_address);
    std::uint64_t previous_end = 0;
    for (const mapping& m : sorted) {
        if (m.size == 0) {
            return ports::error{describe(m) + " is empty"};
        }
        if (m.size > std::numeric_limits<std::uint64_t>::max() - m.guest_address) {
            return ports::error{describe(m) + " reaches beyond the end of the address space"};
        }
        if (m.guest_address < previous_end) {
            return ports::error{describe(m) + " overlaps another"};
        }
        if (!lies_in_mapping(m)) {
            return ports::error{describe(m) + " is larger than what was mapped of it"};
        }
        previous_end = m.guest_address + m.size;
    }

    std::ranges::stable_sort(sorted, std::greater{}, &mapping::size);
    std::unique_ptr<guest_memory> memory{new guest_memory};
    std::uint64_t identity = 0xcbf2'9ce4'8422'2325ULL;
    const auto mix = [&identity](std::uint64_t value) {
        identity = (identity ^ value) * 0x0000'0100'0000'01b3ULL;
        identity ^= identity >> 29;
    };
    for (const mapping& m : sorted) {
        const std::size_t i = memory->region_count_++;
        memory->regions_[i] = {m.guest_address, m.size, {m.base, m.size}};
        memory->bases_[i] = static_cast<const std::byte*>(m.base);
        // All of the mapping: huge pages cannot be replaced in parts.
        memory->guards_[i] =
            dataplane::guest_range_registration(m.map_base, m.map_size, memory->lost_);
        mix(m.guest_address);
        mix(m.size);
        mix(m.inode);
    }
    // 0 stands for "no memory".
    memory->identity_ = identity | 1;
    return memory;
}

bool guest_memory::from_host(const void* host, std::uint64_t size,
                             dataplane::guest_span& out) const noexcept
{
    const auto at = reinterpret_cast<std::uintptr_t>(host);
    for (std::size_t i = 0; i < region_count_; ++i) {
        const std::uint64_t offset = at - reinterpret_cast<std::uintptr_t>(bases_[i]);
        if (offset < regions_[i].size && size <= regions_[i].size - offset) {
            out = regions_[i].span.subspan(offset, size);
            return true;
        }
    }
    return false;
}

std::uint64_t guest_memory::guest_address_of(const void* host) const noexcept
{
    const auto at = reinterpret_cast<std::uintptr_t>(host);
    for (std::size_t i = 0; i < region_count_; ++i) {
        const std::uint64_t offset = at - reinterpret_cast<std::uintptr_t>(bases_[i]);
        if (offset < regions_[i].size) {
            return regions_[i].guest_address + offset;
        }
    }
    return 0;
}

std::uint64_t guest_memory::guest_address_of(const dataplane::guest_span& span) const noexcept
{
    // Spans tell nobody where they are; this is the inverse of what they were made by, and nothing
    // is read or written by it.
    struct place {
        const std::byte* base;
        std::size_t size;
    };
    return guest_address_of(std::bit_cast<place>(span).base);
}

std::uint64_t guest_memory::end() const noexcept
{
    std::uint64_t end = 0;
    for (const region& r : regions()) {
        end = std::max(end, r.guest_address + r.size);
    }
    return end;
}

} // namespace strait::vhost
