// SPDX-License-Identifier: BSD-3-Clause
// The guest's memory of fuzz targets whose input is a ring, made once a process.
#pragma once

#include "ports/vhost/memory.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

namespace strait::fuzz {

// Two regions of exact size on the heap, with a hole between their guest addresses.
struct ring_memory {
    static constexpr std::size_t first_size = 32 * 1024;
    static constexpr std::size_t second_size = 4 * 1024;
    static constexpr std::uint64_t first_address = 0x1'0000;
    static constexpr std::uint64_t second_address = 0x2'0000;

    ring_memory()
    {
        const std::array<vhost::guest_memory::mapping, 2> mappings{
            {{first_address, first_size, first.get(), first.get(), first_size, 1},
             {second_address, second_size, second.get(), second.get(), second_size, 2}}};
        memory = vhost::guest_memory::make(mappings).value();
    }
    // What the first begins with; all else is zeros.
    void fill(std::span<const std::uint8_t> image) const
    {
        std::memset(first.get(), 0, first_size);
        std::memset(second.get(), 0, second_size);
        std::memcpy(first.get(), image.data(), std::min(first_size, image.size()));
    }

    std::unique_ptr<std::byte[]> first{new (std::align_val_t{4096}) std::byte[first_size]};
    std::unique_ptr<std::byte[]> second{new (std::align_val_t{4096}) std::byte[second_size]};
    std::unique_ptr<vhost::guest_memory> memory;
};

} // namespace strait::fuzz
