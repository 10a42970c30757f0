// SPDX-License-Identifier: BSD-3-Clause
// The bitmap by which a front end that moves its guest to another host learns which pages were
// written: a bit a page of 4 KiB of guest physical addresses, the lowest in the lowest bit of the
// first byte (QEMU's docs/interop/vhost-user.rst, "Migration"). It belongs to the front end, who
// clears bits while they are set here, and may cut its file off.
#pragma once

#include "dataplane/guest_span.hh"
#include "ports/error.hh"
#include "ports/vhost/memory.hh"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace strait::vhost {

class dirty_log {
public:
    static constexpr unsigned page_bits = 12;

    // Maps `size` bytes at `offset` of a file, as SET_LOG_BASE names them. The error ends a
    // sentence that says who sent it. The descriptor stays the caller's. Control threads only.
    [[nodiscard]] static ports::result<std::unique_ptr<dirty_log>> map(int fd, std::uint64_t size,
                                                                       std::uint64_t offset);
    dirty_log(const dirty_log&) = delete;
    dirty_log& operator=(const dirty_log&) = delete;
    ~dirty_log();

    // Marks the pages of [address, address + size) as written. To be called behind the writes, and
    // before anybody is told of them: who clears a bit copies the page then, and must not find it
    // as it was. What lies beyond end() is left out. Any thread.
    void mark(std::uint64_t address, std::uint64_t size) const noexcept;

    // Whether it has a bit for each page of that. Any thread.
    [[nodiscard]] bool covers(std::uint64_t address, std::uint64_t size) const noexcept
    {
        std::uint64_t end = 0;
        return !__builtin_add_overflow(address, size, &end) && end <= this->end();
    }
    // The first guest physical address that it has no bit for.
    [[nodiscard]] std::uint64_t end() const noexcept { return pages_ << page_bits; }
    // The file was cut off: what is marked since then, nobody reads.
    [[nodiscard]] bool lost() const noexcept { return lost_.load(std::memory_order_acquire); }

private:
    dirty_log(std::byte* at, std::uint64_t size) noexcept;

    std::byte* bits_;
    std::uint64_t pages_;
    std::size_t mapped_{0}; // bytes
    std::atomic<bool> lost_{false};
    dataplane::guest_range_registration guard_; // after lost_, which it refers to
};

// What is to be marked of one ring and its buffers. Without a log nothing is.
struct ring_log {
    const dirty_log* pages{nullptr};
    const guest_memory* memory{nullptr};
    std::uint64_t descriptors{
        0}; // of a packed ring, guest physical: it is written where it is read
    // Guest physical: the used ring, or a packed ring's device event suppression area. Where the
    // front end gave an address for this alone (VHOST_VRING_F_LOG), that one.
    std::uint64_t device_area{0};

    [[nodiscard]] bool on() const noexcept { return pages != nullptr; }
    // The first `size` bytes of a buffer. These three with a log only.
    void wrote(const dataplane::guest_span& buffer, std::uint64_t size) const noexcept
    {
        pages->mark(memory->guest_address_of(buffer), size);
    }
    void wrote_device_area(std::uint64_t offset, std::uint64_t size) const noexcept
    {
        pages->mark(device_area + offset, size);
    }
    // `count` elements of a ring of `ring_size`, `width` bytes each, from number `first` on.
    void wrote_elements(std::uint64_t base, std::size_t width, std::size_t ring_size,
                        std::size_t first, std::size_t count) const noexcept;
};

} // namespace strait::vhost
