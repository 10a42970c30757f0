// SPDX-License-Identifier: BSD-3-Clause
// The memory of one guest as its front end shared it: from guest physical addresses, which
// descriptors hold, to spans. Immutable once built; a changed memory table is a new object. Mapping
// the memory is the vhost library's work, surviving its loss dataplane/guest_span.cc's.
#pragma once

#include "dataplane/guest_span.hh"
#include "ports/error.hh"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace strait::vhost {

class guest_memory {
public:
    static constexpr std::size_t max_regions = 8;

    struct region {
        std::uint64_t guest_address{0};
        std::uint64_t size{0};
        dataplane::guest_span span;
    };
    // A region as the front end described it and the vhost library mapped it.
    struct mapping {
        std::uint64_t guest_address; // guest physical
        std::uint64_t size;          // bytes
        void* base;                  // of the region's first byte here
        void* map_base;              // the whole mapping the region lies in
        std::size_t map_size;
        std::uint64_t inode; // of what backs it; 0 when that is unknown
    };

    // Regions in any order. An error names the first that is empty, wraps, does not lie in its
    // mapping or overlaps another, or says that there are none or too many. The mappings outlive
    // the object. Control threads only.
    [[nodiscard]] static ports::result<std::unique_ptr<guest_memory>>
    make(std::span<const mapping> mappings);

    guest_memory(const guest_memory&) = delete;
    guest_memory& operator=(const guest_memory&) = delete;
    ~guest_memory() = default;

    // Fills `out` and returns true when [address, address + size) lies in one region. Any thread.
    [[gnu::always_inline]] [[nodiscard]] bool translate(std::uint64_t address, std::uint64_t size,
                                                        dataplane::guest_span& out) const noexcept
    {
        if (inside(regions_[0], address, size, out)) [[likely]] {
            return true;
        }
        return translate_elsewhere(address, size, out);
    }

    // The span of `size` bytes at `host`, a pointer into this process that the vhost library made
    // of a front end's address; false unless all of it lies in one region. Control threads only.
    [[nodiscard]] bool from_host(const void* host, std::uint64_t size,
                                 dataplane::guest_span& out) const noexcept;
    // The guest physical address of what from_host() accepts.
    [[nodiscard]] std::uint64_t guest_address_of(const void* host) const noexcept;
    // That of a span which translate() made. Any thread.
    [[nodiscard]] std::uint64_t guest_address_of(const dataplane::guest_span& span) const noexcept;
    // Behind the highest guest physical address of any region.
    [[nodiscard]] std::uint64_t end() const noexcept;

    // Largest first, so that the first one tried is the likely one.
    [[nodiscard]] std::span<const region> regions() const noexcept
    {
        return {regions_.data(), region_count_};
    }
    // Tells this memory from another guest's: made of what backs it, not of where it is mapped.
    [[nodiscard]] std::uint64_t identity() const noexcept { return identity_; }

    // True after a worker met a page that is no longer there. Private pages stand in its place.
    [[nodiscard]] bool lost() const noexcept { return lost_.load(std::memory_order_acquire); }

private:
    guest_memory() = default;

    [[gnu::always_inline]] [[nodiscard]] static bool inside(const region& r, std::uint64_t address,
                                                            std::uint64_t size,
                                                            dataplane::guest_span& out) noexcept
    {
        // An address below the region wraps to an offset beyond its end: no region is that large.
        const std::uint64_t offset = address - r.guest_address;
        if (offset >= r.size || size > r.size - offset) {
            return false;
        }
        out = r.span.subspan(offset, size);
        return true;
    }
    [[nodiscard]] bool translate_elsewhere(std::uint64_t address, std::uint64_t size,
                                           dataplane::guest_span& out) const noexcept
    {
        for (std::size_t i = 1; i < region_count_; ++i) {
            if (inside(regions_[i], address, size, out)) {
                return true;
            }
        }
        return false;
    }

    std::array<region, max_regions> regions_{};
    std::size_t region_count_{0};
    std::atomic<bool> lost_{false};
    std::uint64_t identity_{0};
    std::array<const std::byte*, max_regions> bases_{};
    // After lost_, which they refer to.
    std::array<dataplane::guest_range_registration, max_regions> guards_;
};

} // namespace strait::vhost
