// SPDX-License-Identifier: BSD-3-Clause
// The driver's half of split and packed rings, VIRTIO 1.1 sections 2.6 and 2.7, as far as a
// benchmark needs it: every chain is one descriptor, descriptor i has buffer i, nobody is kicked.

#include "bench/micro/virtqueue.hh"

#include <array>
#include <stdexcept>

#include <sys/mman.h>

namespace strait::bench {

namespace {

constexpr std::size_t page = 4096;

constexpr std::size_t round_up(std::size_t bytes, std::size_t to) noexcept
{
    return (bytes + to - 1) / to * to;
}

// Where the parts of a split ring lie, from the start of its memory.
struct split_parts {
    std::size_t available;
    std::size_t used;
    std::size_t end;
};
split_parts parts_of(std::uint16_t size) noexcept
{
    const std::size_t available = sizeof(vhost::split_descriptor) * size;
    const std::size_t used = round_up(available + 2 * (std::size_t{size} + 3), 64);
    return {available, used, used + 4 + sizeof(vhost::used_element) * size + 2};
}

std::uint16_t* words(std::byte* at) noexcept
{
    return reinterpret_cast<std::uint16_t*>(at);
}

} // namespace

virtqueue::virtqueue(const shape& s)
    : shape_{s},
      ring_bytes_{round_up(parts_of(s.size).end, page)},
      buffer_stride_{round_up(s.buffer_length, 64) + 128},
      bytes_{round_up(ring_bytes_ + buffer_stride_ * s.size, page)}
{
    void* const mapped = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (mapped == MAP_FAILED) {
        throw std::runtime_error{"no memory for a guest"};
    }
    base_ = static_cast<std::byte*>(mapped);
    const std::array mappings = {vhost::guest_memory::mapping{.guest_address = guest_base,
                                                              .size = bytes_,
                                                              .base = mapped,
                                                              .map_base = mapped,
                                                              .map_size = bytes_,
                                                              .inode = 0}};
    memory_ = vhost::guest_memory::make(mappings).value();

    if (s.kind == layout::split) {
        auto* const descriptors = reinterpret_cast<vhost::split_descriptor*>(base_);
        std::uint16_t* const available = words(base_ + parts_of(s.size).available);
        available[0] = vhost::no_interrupt;
        for (std::uint16_t i = 0; i < s.size; ++i) {
            descriptors[i] = {address_of(i), s.buffer_length, direction_flag(), 0};
            available[2 + i] = i;
        }
    } else {
        // The driver's event structure lies behind the descriptors, the device's behind it.
        words(base_ + parts_of(s.size).available)[1] = vhost::event::disable;
    }
}

virtqueue::~virtqueue()
{
    memory_.reset();
    munmap(base_, bytes_);
}

std::uint64_t virtqueue::address_of(std::uint16_t descriptor) const noexcept
{
    return guest_base + ring_bytes_ + buffer_stride_ * descriptor;
}

std::uint16_t virtqueue::direction_flag() const noexcept
{
    return shape_.way == direction::to_driver ? vhost::descriptor_flag::write : std::uint16_t{0};
}

std::span<std::byte> virtqueue::buffer(std::uint16_t descriptor) noexcept
{
    return {base_ + ring_bytes_ + buffer_stride_ * descriptor, shape_.buffer_length};
}

vhost::ring_setup virtqueue::setup(std::uint64_t more_features) const
{
    vhost::ring_setup made;
    made.features = 1ULL << vhost::feature::version_1 | 1ULL << vhost::feature::mergeable_buffers |
                    1ULL << vhost::feature::in_order | more_features;
    made.size = shape_.size;
    made.memory = memory_.get();
    const split_parts parts = parts_of(shape_.size);
    using dataplane::guest_array;
    if (shape_.kind == layout::split) {
        made.split_descriptors = guest_array<vhost::split_descriptor>{base_};
        made.available = guest_array<std::uint16_t>{base_ + parts.available};
        made.used = guest_array<std::uint16_t>{base_ + parts.used};
        made.used_ring = guest_array<vhost::used_element>{base_ + parts.used + 4};
        made.available_event = guest_array<std::uint16_t>{base_ + parts.end - 2};
    } else {
        made.features |= 1ULL << vhost::feature::ring_packed;
        made.packed_descriptors = guest_array<vhost::packed_descriptor>{base_};
        made.driver_event = guest_array<std::uint16_t>{base_ + parts.available};
        made.device_event = guest_array<std::uint16_t>{base_ + parts.available + 4};
    }
    return made;
}

void virtqueue::offer(std::uint16_t count) noexcept
{
    if (shape_.kind == layout::split) {
        next_ = static_cast<std::uint16_t>(next_ + count);
        __atomic_store_n(words(base_ + parts_of(shape_.size).available) + 1, next_,
                         __ATOMIC_RELEASE);
        return;
    }
    auto* const descriptors = reinterpret_cast<vhost::packed_descriptor*>(base_);
    for (std::uint16_t i = 0; i < count; ++i) {
        vhost::packed_descriptor& d = descriptors[next_];
        d.address = address_of(next_);
        d.length = shape_.buffer_length;
        d.id = next_;
        const std::uint16_t state =
            next_wrap_ ? vhost::descriptor_flag::available : vhost::descriptor_flag::used;
        __atomic_store_n(&d.flags, static_cast<std::uint16_t>(direction_flag() | state),
                         __ATOMIC_RELEASE);
        if (++next_ == shape_.size) {
            next_ = 0;
            next_wrap_ = !next_wrap_;
        }
    }
}

std::uint16_t virtqueue::take_back() noexcept
{
    if (shape_.kind == layout::split) {
        const std::uint16_t used =
            __atomic_load_n(words(base_ + parts_of(shape_.size).used) + 1, __ATOMIC_ACQUIRE);
        const auto count = static_cast<std::uint16_t>(used - back_);
        back_ = used;
        return count;
    }
    const auto* const descriptors = reinterpret_cast<const vhost::packed_descriptor*>(base_);
    std::uint16_t count = 0;
    while (count < shape_.size) {
        const std::uint16_t flags = __atomic_load_n(&descriptors[back_].flags, __ATOMIC_ACQUIRE);
        const bool available = (flags & vhost::descriptor_flag::available) != 0;
        const bool used = (flags & vhost::descriptor_flag::used) != 0;
        if (available != back_wrap_ || used != back_wrap_) {
            break;
        }
        ++count;
        if (++back_ == shape_.size) {
            back_ = 0;
            back_wrap_ = !back_wrap_;
        }
    }
    return count;
}

} // namespace strait::bench
