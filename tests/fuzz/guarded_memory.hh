// SPDX-License-Identifier: BSD-3-Clause
// A guest's RAM between pages that cannot be touched.
#pragma once

#include "vmm/memory.hh"

#include <cstdint>
#include <cstdlib>
#include <deque>

#include <sys/mman.h>

namespace strait::fuzz {

// Maps what faults when it is touched, at `address` if that is free. Where it is, and whether it is
// there.
inline std::uintptr_t forbid(std::uintptr_t address, std::uint64_t bytes)
{
    void* const at = reinterpret_cast<void*>(address); // NOLINT(performance-no-int-to-ptr)
    const int fixed = address != 0 ? MAP_FIXED_NOREPLACE : 0;
    return reinterpret_cast<std::uintptr_t>(
        ::mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0));
}

inline vmm::memory& make_guarded(std::uint64_t bytes)
{
    constexpr std::uint64_t page = 4096;
    // Never freed: what could not be guarded keeps its hole from the next.
    static std::deque<vmm::memory>& all = *new std::deque<vmm::memory>;
    for (int tries = 0; tries < 16; ++tries) {
        // The kernel fills holes from above: memory as a rule comes to lie right below this.
        const std::uintptr_t above = forbid(0, bytes);
        vmm::memory& ram = all.emplace_back(vmm::memory::make({.bytes = bytes}).value());
        const vmm::memory::region& first = ram.regions().front();
        const std::uintptr_t end = first.mapped_at + first.bytes;
        // A second region lies below the first; that nothing is written there, each run checks.
        const std::uintptr_t below = ram.regions().back().mapped_at - page;
        if ((above == end || forbid(end, page) == end) && forbid(below, page) == below) {
            return ram;
        }
    }
    std::abort();
}

} // namespace strait::fuzz
