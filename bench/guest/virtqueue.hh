// SPDX-License-Identifier: BSD-3-Clause
// The driver's half of one virtqueue, split or packed (VIRTIO 1.1 sections 2.6 and 2.7), in memory
// that the device shares. Every chain is one descriptor, and buffer i stays where it is: a driver
// that costs as little as one can, so that it is the device that is measured.

#pragma once

#include "ports/vhost/virtio.hh"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace strait::bench {

// Used by one thread. Nothing the device writes is trusted further than a wrong count.
class virtqueue {
public:
    enum class layout : std::uint8_t { split, packed };
    enum class direction : std::uint8_t { to_device, to_driver };

    struct shape {
        layout kind;
        direction way;
        std::uint16_t size;          // descriptors, and buffers: a power of two, at most 32,768
        std::uint32_t buffer_length; // bytes offered with each
        bool in_order = true;        // VIRTIO_F_IN_ORDER was negotiated
    };

    // Where the parts lie in the queue's memory. A packed ring has its event structures, the
    // driver's and the device's, in place of the available and the used ring.
    struct places {
        std::size_t descriptors;
        std::size_t available;
        std::size_t used;
    };

    // A buffer that the device has filled.
    struct completion {
        std::uint16_t buffer;
        std::uint32_t length;
    };

    // Bytes of memory that a queue takes, whole pages.
    [[nodiscard]] static std::size_t bytes(const shape& s) noexcept;
    [[nodiscard]] static places places_of(const shape& s) noexcept;

    // `memory` holds bytes() zeros, aligned to a page, and outlives the queue; the device finds it
    // at `address`. Nothing is offered yet.
    virtqueue(const shape& s, std::byte* memory, std::uint64_t address);
    virtqueue(const virtqueue&) = delete;
    virtqueue& operator=(const virtqueue&) = delete;

    [[nodiscard]] const shape& form() const noexcept { return shape_; }
    [[nodiscard]] std::uint64_t address() const noexcept { return address_; }

    // A buffer begins with the virtio header; what follows that is aligned to a cache line.
    [[nodiscard]] std::span<std::byte> buffer(std::uint16_t index) noexcept
    {
        return {buffers_ + stride_ * index, shape_.buffer_length};
    }
    // Bytes of an idle buffer that are offered from now on.
    void set_length(std::uint16_t index, std::uint32_t length) noexcept;

    // Buffers that are the driver's.
    [[nodiscard]] std::uint16_t idle() const noexcept { return idle_; }
    // The buffer that the `i`-th from now is offered as, below idle().
    [[nodiscard]] std::uint16_t upcoming(std::uint16_t i) const noexcept
    {
        const auto at = static_cast<std::uint16_t>((next_ + i) & mask_);
        return shape_.in_order ? at : order_[at];
    }

    // Makes the next `count` buffers available, at most idle(). True: the device wants a kick.
    [[nodiscard]] bool offer(std::uint16_t count) noexcept;

    // Whether the device is to tell of what it returns from now on; at first it is not.
    void want_interrupts(bool yes) noexcept;

    // Where a device that is new to the ring goes on, as vhost-user has it (SET_VRING_BASE): behind
    // all that came back; of a packed ring with the wrap counter above.
    [[nodiscard]] std::uint16_t position() noexcept;

    // To the device: takes back all that it has read, and says how many that are.
    std::uint16_t reclaim() noexcept;

    // To the driver: takes filled buffers, as many as `to` holds. They are idle then: their content
    // lasts until they are offered again. Each must have come back by itself: a device that leaves
    // out all but the last of a batch (section 2.6.9) leaves out lengths, and none is known to.
    std::size_t take(std::span<completion> to) noexcept;

private:
    [[nodiscard]] std::uint64_t address_of(std::uint16_t index) const noexcept;
    [[nodiscard]] std::uint16_t* available() noexcept;
    [[nodiscard]] std::uint16_t* used() noexcept;
    // Split: entries of the used ring that are new.
    [[nodiscard]] std::uint16_t fresh() noexcept;
    // Packed: the descriptor at a place, whether it came back, and how many it stands for then: in
    // order, one may for a batch that ends with its buffer.
    [[nodiscard]] const vhost::packed_descriptor& packed_at(std::uint32_t at) const noexcept;
    [[nodiscard]] bool is_used(std::uint32_t at) const noexcept;
    [[nodiscard]] std::uint32_t batch_at(std::uint32_t at) const noexcept;
    // Packed: whether the descriptor at the place looked at next came back.
    [[nodiscard]] bool came_back() noexcept;
    void step_back(std::uint16_t count) noexcept;
    void keep(std::uint16_t index) noexcept;

    shape shape_;
    places places_;
    std::uint16_t mask_;
    std::byte* memory_;
    std::uint64_t address_;
    std::size_t stride_;
    std::byte* buffers_;

    // Free running. In a packed ring the bit above the index is the lap's, so the wrap counter.
    std::uint32_t next_{0};
    std::uint32_t back_{0};
    std::uint16_t idle_;
    // Not in order: idle buffers, in a ring from next_ on.
    std::vector<std::uint16_t> order_;
    std::uint32_t kept_;
    std::vector<std::uint32_t> lengths_; // packed: the ring's descriptors are the device's to write
};

} // namespace strait::bench
