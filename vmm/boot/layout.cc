// SPDX-License-Identifier: BSD-3-Clause
// The guest's memory as it is told of it.
#include "vmm/boot/layout.hh"

#include "vmm/platform.hh"

#include <algorithm>

namespace strait::vmm::boot {

std::uint64_t low_memory_end(const memory& ram) noexcept
{
    return std::min(ram.bytes(), hole_begin);
}

std::vector<memory_range> memory_map(const memory& ram)
{
    using kind = memory_range::kind;
    const std::uint64_t low = low_memory_end(ram);
    std::vector<memory_range> map = {
        {0, platform::conventional_end, kind::ram},
        {platform::acpi_tables, platform::high_memory - platform::acpi_tables, kind::reserved}};
    if (low > platform::high_memory) {
        map.push_back({platform::high_memory, low - platform::high_memory, kind::ram});
    }
    if (ram.bytes() > low) {
        map.push_back({hole_end, ram.bytes() - low, kind::ram});
    }
    return map;
}

} // namespace strait::vmm::boot
