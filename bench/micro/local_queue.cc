// SPDX-License-Identifier: BSD-3-Clause
// Anonymous memory that stands for a guest's.

#include "bench/micro/local_queue.hh"

#include <array>
#include <stdexcept>

#include <sys/mman.h>

namespace strait::bench {

namespace {

constexpr std::uint64_t guest_base = 0x1'0000'0000;

} // namespace

local_queue::local_queue(const virtqueue::shape& s) : bytes_{virtqueue::bytes(s)}
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
    driver_.emplace(s, base_, guest_base);
}

local_queue::~local_queue()
{
    memory_.reset();
    munmap(base_, bytes_);
}

vhost::ring_setup local_queue::setup(std::uint64_t more_features) const
{
    const virtqueue::shape& shape = driver_->form();
    const virtqueue::places at = virtqueue::places_of(shape);
    vhost::ring_setup made;
    made.features = 1ULL << vhost::feature::version_1 | 1ULL << vhost::feature::mergeable_buffers |
                    1ULL << vhost::feature::in_order | more_features;
    made.size = shape.size;
    made.memory = memory_.get();
    using dataplane::guest_array;
    if (shape.kind == virtqueue::layout::split) {
        made.split_descriptors = guest_array<vhost::split_descriptor>{base_ + at.descriptors};
        made.available = guest_array<std::uint16_t>{base_ + at.available};
        made.used = guest_array<std::uint16_t>{base_ + at.used};
        made.used_ring = guest_array<vhost::used_element>{base_ + at.used + 4};
        made.available_event = guest_array<std::uint16_t>{base_ + at.used + 4 +
                                                          sizeof(vhost::used_element) * shape.size};
    } else {
        made.features |= 1ULL << vhost::feature::ring_packed;
        made.packed_descriptors = guest_array<vhost::packed_descriptor>{base_ + at.descriptors};
        made.driver_event = guest_array<std::uint16_t>{base_ + at.available};
        made.device_event = guest_array<std::uint16_t>{base_ + at.used};
    }
    return made;
}

} // namespace strait::bench
