// SPDX-License-Identifier: BSD-3-Clause
// A guest's side of one virtqueue, for benchmarks: memory with a split or packed ring and a buffer
// a descriptor, a driver that offers buffers and takes them back in order, as virtio-user's does.

#pragma once

#include "ports/vhost/memory.hh"
#include "ports/vhost/ring.hh"
#include "ports/vhost/virtio.hh"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace strait::bench {

class virtqueue {
public:
    enum class layout : std::uint8_t { split, packed };
    enum class direction : std::uint8_t { to_device, to_driver };

    struct shape {
        layout kind;
        direction way;
        std::uint16_t size;          // descriptors: a power of two
        std::uint32_t buffer_length; // bytes offered by each descriptor
    };

    explicit virtqueue(const shape& s);
    virtqueue(const virtqueue&) = delete;
    virtqueue& operator=(const virtqueue&) = delete;
    ~virtqueue();

    // For the ring engine, with what was negotiated beside the usual. Valid as long as this object.
    [[nodiscard]] vhost::ring_setup setup(std::uint64_t more_features = 0) const;

    // Makes the next `count` descriptors available; they were never offered or came back.
    void offer(std::uint16_t count) noexcept;
    // Takes back what the device has returned, and says how many descriptors that are.
    std::uint16_t take_back() noexcept;

    // The buffer of a descriptor.
    [[nodiscard]] std::span<std::byte> buffer(std::uint16_t descriptor) noexcept;

private:
    static constexpr std::uint64_t guest_base = 0x1'0000'0000;

    [[nodiscard]] std::uint64_t address_of(std::uint16_t descriptor) const noexcept;
    [[nodiscard]] std::uint16_t direction_flag() const noexcept;

    shape shape_;
    std::size_t ring_bytes_;
    std::size_t buffer_stride_;
    std::size_t bytes_;
    std::byte* base_;
    std::unique_ptr<vhost::guest_memory> memory_;
    // Split: free running. Packed: index in the ring, and the lap's wrap counter.
    std::uint16_t next_{0};
    std::uint16_t back_{0};
    bool next_wrap_{true};
    bool back_wrap_{true};
};

} // namespace strait::bench
