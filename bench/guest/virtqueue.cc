// SPDX-License-Identifier: BSD-3-Clause
// Rings as memory. A position counts on for ever; its low bits are the place in the ring.

#include "bench/guest/virtqueue.hh"

#include <algorithm>
#include <atomic>
#include <numeric>

namespace strait::bench {

namespace {

namespace flag = vhost::descriptor_flag;

constexpr std::size_t page = 4096;
constexpr std::size_t line = 64;
// Beyond its bytes, so that buffers do not all begin in the same few sets of a cache.
constexpr std::size_t apart = 2 * line;

constexpr std::size_t round_up(std::size_t bytes, std::size_t to) noexcept
{
    return (bytes + to - 1) / to * to;
}

std::size_t stride_of(const virtqueue::shape& s) noexcept
{
    return round_up(s.buffer_length, line) + apart;
}

std::size_t ring_bytes(const virtqueue::shape& s) noexcept
{
    const std::size_t used = 4 + sizeof(vhost::used_element) * s.size + 2;
    return round_up(virtqueue::places_of(s).used + used, page);
}

std::uint16_t load(const std::uint16_t* at) noexcept
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

void store(std::uint16_t* at, std::uint16_t value) noexcept
{
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}

} // namespace

std::size_t virtqueue::bytes(const shape& s) noexcept
{
    return round_up(ring_bytes(s) + stride_of(s) * s.size, page);
}

virtqueue::places virtqueue::places_of(const shape& s) noexcept
{
    const std::size_t available = sizeof(vhost::split_descriptor) * s.size;
    return {0, available, round_up(available + 2 * (std::size_t{s.size} + 3), line)};
}

virtqueue::virtqueue(const shape& s, std::byte* memory, std::uint64_t address)
    : shape_{s},
      places_{places_of(s)},
      mask_{static_cast<std::uint16_t>(s.size - 1)},
      memory_{memory},
      address_{address},
      stride_{stride_of(s)},
      buffers_{memory + ring_bytes(s) + line - sizeof(vhost::net_header)},
      idle_{s.size},
      kept_{s.size}
{
    if (!s.in_order) {
        order_.resize(s.size);
        std::iota(order_.begin(), order_.end(), std::uint16_t{0});
    }
    want_interrupts(false);
    if (s.kind == layout::packed) {
        lengths_.assign(s.size, s.buffer_length);
        return;
    }
    auto* const descriptors = reinterpret_cast<vhost::split_descriptor*>(memory_);
    const std::uint16_t flags = s.way == direction::to_driver ? flag::write : std::uint16_t{0};
    for (std::uint16_t i = 0; i < s.size; ++i) {
        descriptors[i] = {address_of(i), s.buffer_length, flags, 0};
        available()[2 + i] = i;
    }
}

std::uint64_t virtqueue::address_of(std::uint16_t index) const noexcept
{
    return address_ + static_cast<std::uint64_t>(buffers_ - memory_) + stride_ * index;
}

std::uint16_t* virtqueue::available() noexcept
{
    return reinterpret_cast<std::uint16_t*>(memory_ + places_.available);
}

std::uint16_t* virtqueue::used() noexcept
{
    return reinterpret_cast<std::uint16_t*>(memory_ + places_.used);
}

void virtqueue::set_length(std::uint16_t index, std::uint32_t length) noexcept
{
    if (shape_.kind == layout::split) {
        reinterpret_cast<vhost::split_descriptor*>(memory_)[index].length = length;
    } else {
        lengths_[index] = length;
    }
}

bool virtqueue::offer(std::uint16_t count) noexcept
{
    if (shape_.kind == layout::split) {
        if (!shape_.in_order) {
            for (std::uint16_t i = 0; i < count; ++i) {
                available()[2 + ((next_ + i) & mask_)] = upcoming(i);
            }
        }
        next_ += count;
        idle_ = static_cast<std::uint16_t>(idle_ - count);
        store(available() + 1, static_cast<std::uint16_t>(next_));
    } else {
        auto* const descriptors = reinterpret_cast<vhost::packed_descriptor*>(memory_);
        const std::uint16_t way = shape_.way == direction::to_driver ? flag::write : 0;
        for (; count > 0; --count, ++next_, --idle_) {
            const std::uint16_t index = upcoming(0);
            vhost::packed_descriptor& d = descriptors[next_ & mask_];
            d.address = address_of(index);
            d.length = lengths_[index];
            d.id = index;
            const bool odd_lap = (next_ & shape_.size) != 0;
            store(&d.flags,
                  static_cast<std::uint16_t>(way | (odd_lap ? flag::used : flag::available)));
        }
    }
    // What is offered must be seen before the device's wish is read: it does the same in reverse.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return shape_.kind == layout::split ? (load(used()) & vhost::no_notify) == 0
                                        : load(used() + 1) != vhost::event::disable;
}

void virtqueue::want_interrupts(bool yes) noexcept
{
    if (shape_.kind == layout::packed) {
        store(available() + 1, yes ? vhost::event::enable : vhost::event::disable);
    } else {
        store(available(), yes ? std::uint16_t{0} : vhost::no_interrupt);
    }
}

std::uint16_t virtqueue::position() noexcept
{
    if (shape_.kind == layout::split) {
        return load(used() + 1); // it may have returned more than was looked at
    }
    // It may have here, too.
    std::uint32_t at = back_;
    for (const std::uint32_t end = back_ + shape_.size - idle_; at != end && is_used(at);) {
        at += std::min(shape_.way == direction::to_device ? batch_at(at) : 1U, end - at);
    }
    constexpr unsigned wrap = 0x8000;
    return static_cast<std::uint16_t>((at & mask_) | ((at & shape_.size) == 0 ? wrap : 0U));
}

std::uint16_t virtqueue::fresh() noexcept
{
    const auto count = static_cast<std::uint16_t>(load(used() + 1) - back_);
    return std::min(count, static_cast<std::uint16_t>(shape_.size - idle_));
}

const vhost::packed_descriptor& virtqueue::packed_at(std::uint32_t at) const noexcept
{
    return reinterpret_cast<const vhost::packed_descriptor*>(memory_)[at & mask_];
}

bool virtqueue::is_used(std::uint32_t at) const noexcept
{
    const std::uint16_t flags = load(&packed_at(at).flags);
    const bool even_lap = (at & shape_.size) == 0;
    return ((flags & flag::available) != 0) == even_lap && ((flags & flag::used) != 0) == even_lap;
}

std::uint32_t virtqueue::batch_at(std::uint32_t at) const noexcept
{
    return shape_.in_order ? ((packed_at(at).id - at) & mask_) + 1 : 1;
}

bool virtqueue::came_back() noexcept
{
    return idle_ < shape_.size && is_used(back_);
}

void virtqueue::step_back(std::uint16_t count) noexcept
{
    back_ += count;
    idle_ = static_cast<std::uint16_t>(idle_ + count);
}

void virtqueue::keep(std::uint16_t index) noexcept
{
    order_[kept_++ & mask_] = index & mask_;
}

std::uint16_t virtqueue::reclaim() noexcept
{
    if (shape_.kind == layout::split) {
        const std::uint16_t count = fresh();
        if (!shape_.in_order) {
            const auto* const ring =
                reinterpret_cast<const vhost::used_element*>(memory_ + places_.used + 4);
            for (std::uint16_t i = 0; i < count; ++i) {
                keep(static_cast<std::uint16_t>(ring[(back_ + i) & mask_].id));
            }
        }
        step_back(count);
        return count;
    }
    std::uint16_t total = 0;
    while (came_back()) {
        if (!shape_.in_order) {
            keep(packed_at(back_).id);
        }
        const auto count = static_cast<std::uint16_t>(
            std::min<std::uint32_t>(batch_at(back_), std::uint32_t{shape_.size} - idle_));
        step_back(count);
        total = static_cast<std::uint16_t>(total + count);
    }
    return total;
}

std::size_t virtqueue::take(std::span<completion> to) noexcept
{
    std::size_t taken = 0;
    const auto add = [&](std::uint16_t index, std::uint32_t length) {
        index &= mask_;
        if (!shape_.in_order) {
            keep(index);
        }
        to[taken++] = {index, std::min(length, shape_.buffer_length)};
    };
    if (shape_.kind == layout::split) {
        const auto* const ring =
            reinterpret_cast<const vhost::used_element*>(memory_ + places_.used + 4);
        const auto count = static_cast<std::uint16_t>(std::min(std::size_t{fresh()}, to.size()));
        for (std::uint16_t i = 0; i < count; ++i) {
            const vhost::used_element& one = ring[(back_ + i) & mask_];
            add(static_cast<std::uint16_t>(shape_.in_order ? back_ + i : one.id), one.length);
        }
        step_back(count);
    } else {
        while (taken < to.size() && came_back()) {
            const vhost::packed_descriptor& one = packed_at(back_);
            add(static_cast<std::uint16_t>(shape_.in_order ? back_ : one.id), one.length);
            step_back(1);
        }
    }
    return taken;
}

} // namespace strait::bench
