// SPDX-License-Identifier: BSD-3-Clause
// The driver's half of one virtqueue, split or packed, with or without event indices (VIRTIO 1.1
// sections 2.6 and 2.7). All of it is inline: ring 0 and ring 3 are compiled differently.
#pragma once

#include "ports/vhost/virtio.hh"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace strait::guest {

// Every chain has the same number of descriptors, and an id below size() / that.
class virtqueue {
public:
    struct segment {
        std::uint64_t address;
        std::uint32_t length;
        bool writable; // by the device
    };

    struct completion {
        std::uint16_t id;
        std::uint32_t length;
    };

    struct shape {
        bool packed;
        bool event_index;
        std::uint16_t size; // a power of two
        std::uint16_t chain;
    };

    // What the device is told; guest-physical, which is the same here.
    struct places {
        std::uint64_t descriptors;
        std::uint64_t driver;
        std::uint64_t device;
    };

    [[nodiscard]] static constexpr std::size_t bytes(std::uint16_t size) noexcept
    {
        return device_area(size) + 8 * std::size_t{size} + 64;
    }

    virtqueue() = default;

    // `memory` holds bytes() zeros and is aligned to 16 bytes. No interrupts are wanted yet.
    virtqueue(const shape& s, std::byte* memory) noexcept
        : shape_{s}, wrap_{s.packed ? 2U * s.size - 1U : 0xffffU}, memory_{memory}
    {
        want_interrupt(false);
    }

    [[nodiscard]] std::uint16_t size() const noexcept { return shape_.size; }
    [[nodiscard]] places where() const noexcept
    {
        const auto base = reinterpret_cast<std::uint64_t>(memory_);
        return {base, base + driver_area(shape_.size), base + device_area(shape_.size)};
    }

    // Of a split ring, the device sees it from publish() on.
    void offer(std::uint16_t id, std::span<const segment> chain) noexcept
    {
        if (shape_.packed) {
            offer_packed(id, chain);
            return;
        }
        const auto head = static_cast<std::uint16_t>(id * shape_.chain);
        for (std::uint16_t i = 0; i < chain.size(); ++i) {
            const bool more = i + 1U < chain.size();
            descriptors<vhost::split_descriptor>()[head + i] = {
                chain[i].address, chain[i].length, flags_of(chain[i], more),
                static_cast<std::uint16_t>(more ? head + i + 1 : 0)};
        }
        driver()[2 + (next_ & (shape_.size - 1U))] = head;
        ++next_;
    }

    // True: the device wants to be notified.
    [[nodiscard]] bool publish() noexcept
    {
        const std::uint32_t from = published_;
        published_ = next_;
        if (!shape_.packed) {
            set(driver() + 1, static_cast<std::uint16_t>(next_));
        }
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (shape_.packed) {
            const std::uint16_t flags = get(device() + 1);
            return flags == vhost::event::descriptor ? passes(packed_event(get(device())), from)
                                                     : flags != vhost::event::disable;
        }
        if (shape_.event_index) {
            return passes(get(device() + 2 + 4U * shape_.size), from);
        }
        return (get(device()) & vhost::no_notify) == 0;
    }

    [[nodiscard]] bool pending() const noexcept
    {
        if (!shape_.packed) {
            return get(device() + 1) != static_cast<std::uint16_t>(back_);
        }
        const std::uint16_t flags =
            get(&descriptors<vhost::packed_descriptor>()[place(back_)].flags);
        const bool even_lap = (back_ & shape_.size) == 0;
        return ((flags & vhost::descriptor_flag::available) != 0) == even_lap &&
               ((flags & vhost::descriptor_flag::used) != 0) == even_lap && back_ != next_;
    }

    [[nodiscard]] std::optional<completion> take() noexcept
    {
        if (!pending()) {
            return std::nullopt;
        }
        completion c{};
        if (shape_.packed) {
            const auto& d = descriptors<vhost::packed_descriptor>()[place(back_)];
            c = {id_of(d.id), d.length};
            back_ += shape_.chain;
        } else {
            const auto* const ring = reinterpret_cast<const vhost::used_element*>(device() + 2);
            const vhost::used_element& e = ring[place(back_)];
            c = {id_of(e.id / shape_.chain), e.length};
            ++back_;
        }
        return c;
    }

    // For what is used next. To be followed by pending(): it may have come before.
    void want_interrupt(bool yes) noexcept
    {
        if (shape_.packed) {
            set(driver() + 1, yes ? vhost::event::enable : vhost::event::disable);
        } else if (shape_.event_index) {
            set(driver() + 2 + shape_.size, static_cast<std::uint16_t>(yes ? back_ : back_ - 1));
        } else {
            set(driver(), yes ? std::uint16_t{0} : vhost::no_interrupt);
        }
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }

private:
    static constexpr std::size_t driver_area(std::uint16_t size) noexcept
    {
        return sizeof(vhost::split_descriptor) * size;
    }
    static constexpr std::size_t device_area(std::uint16_t size) noexcept
    {
        return (driver_area(size) + 2 * std::size_t{size} + 8 + 63) & ~std::size_t{63};
    }
    static std::uint16_t get(const std::uint16_t* at) noexcept
    {
        return __atomic_load_n(at, __ATOMIC_ACQUIRE);
    }
    static void set(std::uint16_t* at, std::uint16_t value) noexcept
    {
        __atomic_store_n(at, value, __ATOMIC_RELEASE);
    }
    // Of what the device says, nothing can lead out of the ring.
    [[nodiscard]] std::uint16_t id_of(std::uint32_t said) const noexcept
    {
        return static_cast<std::uint16_t>(said & (shape_.size - 1U));
    }
    static std::uint16_t flags_of(const segment& s, bool more) noexcept
    {
        namespace flag = vhost::descriptor_flag;
        return static_cast<std::uint16_t>((s.writable ? flag::write : 0) | (more ? flag::next : 0));
    }

    template <typename T>
    [[nodiscard]] T* descriptors() const noexcept
    {
        return reinterpret_cast<T*>(memory_);
    }
    [[nodiscard]] std::uint16_t* driver() const noexcept
    {
        return reinterpret_cast<std::uint16_t*>(memory_ + driver_area(shape_.size));
    }
    [[nodiscard]] std::uint16_t* device() const noexcept
    {
        return reinterpret_cast<std::uint16_t*>(memory_ + device_area(shape_.size));
    }
    [[nodiscard]] std::uint32_t place(std::uint32_t position) const noexcept
    {
        return position & (shape_.size - 1U);
    }

    // The head's flags last: with them the device sees the chain.
    void offer_packed(std::uint16_t id, std::span<const segment> chain) noexcept
    {
        namespace flag = vhost::descriptor_flag;
        auto* const ring = descriptors<vhost::packed_descriptor>();
        for (std::size_t i = chain.size(); i-- > 0;) {
            const std::uint32_t position = next_ + static_cast<std::uint32_t>(i);
            vhost::packed_descriptor& d = ring[place(position)];
            d.address = chain[i].address;
            d.length = chain[i].length;
            d.id = id;
            const bool odd_lap = (position & shape_.size) != 0;
            set(&d.flags, static_cast<std::uint16_t>(flags_of(chain[i], i + 1 < chain.size()) |
                                                     (odd_lap ? flag::used : flag::available)));
        }
        next_ += static_cast<std::uint32_t>(chain.size());
    }

    // An event of a packed ring, which has the wrap counter at bit 15, as a position.
    [[nodiscard]] std::uint32_t packed_event(std::uint16_t event) const noexcept
    {
        return (event & 0x7fffU) + ((event & 0x8000U) != 0 ? 0U : shape_.size);
    }
    [[nodiscard]] bool passes(std::uint32_t event, std::uint32_t from) const noexcept
    {
        return ((next_ - event - 1) & wrap_) < ((next_ - from) & wrap_);
    }

    shape shape_{};
    std::uint32_t wrap_{0}; // positions are compared modulo this, plus one
    std::byte* memory_{nullptr};
    // Positions count on for ever: entries of the available ring, descriptors of a packed one.
    std::uint32_t next_{0};
    std::uint32_t published_{0};
    std::uint32_t back_{0};
};

} // namespace strait::guest
