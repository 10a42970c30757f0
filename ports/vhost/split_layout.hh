// SPDX-License-Identifier: BSD-3-Clause
// Walking a split virtqueue as a device: VIRTIO 1.1 section 2.6. No packet is known here; source.cc
// and sink.cc are written once for this layout and the packed one.
#pragma once

#include "ports/vhost/ring.hh"

#include <array>
#include <span>
#include <utility>

namespace strait::vhost {

// The first descriptor of a chain that the driver made available, copied.
struct chain_head {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t id;    // to be returned
    std::uint16_t slots; // ring descriptors of the chain, known after walk()
    std::uint16_t next;  // split: of the second descriptor

    [[nodiscard]] bool simple() const noexcept
    {
        return (flags & (descriptor_flag::next | descriptor_flag::indirect)) == 0;
    }
    [[nodiscard]] bool writable() const noexcept { return (flags & descriptor_flag::write) != 0; }
};

// A chain to be returned to the driver.
struct completion {
    std::uint32_t length; // bytes written by the device
    std::uint16_t id;
    std::uint16_t slots;
};

// Longest chain that is walked; beyond, the guest has broken the protocol or made a loop.
inline constexpr std::size_t max_chain = dataplane::burst::max_segments;

namespace fault_text {
inline constexpr const char* index_jump = "its available index ran ahead by more than the ring";
inline constexpr const char* head_range = "an available entry names a descriptor beyond the ring";
inline constexpr const char* next_range = "a chain continues at a descriptor beyond its table";
inline constexpr const char* chain_length = "a descriptor chain is longer than 288 or loops";
inline constexpr const char* indirect_table =
    "an indirect descriptor's table is empty, not a multiple of 16 bytes or outside its memory";
inline constexpr const char* indirect_nested = "an indirect descriptor is chained or nested";
inline constexpr const char* address = "a buffer lies outside its memory";
inline constexpr const char* direction = "a buffer has the wrong direction";
} // namespace fault_text

class split_layout {
public:
    // log: of what is written to the ring; null: none is kept. It outlives all copies.
    explicit split_layout(const ring_setup& setup, const ring_log* log = nullptr) noexcept
        : descriptors_{setup.split_descriptors},
          available_{setup.available},
          used_{setup.used},
          used_ring_{setup.used_ring},
          available_event_{setup.available_event},
          size_{setup.size},
          mask_{static_cast<std::uint16_t>(setup.size - 1)},
          next_available_{setup.start.next},
          next_used_{setup.start.next},
          seen_available_{setup.start.next},
          log_{log},
          event_index_{has_feature(setup.features, feature::event_index)}
    {
        decline_kicks();
    }

    // We poll: the driver need not kick. With event indices its next kick is 2^16 away.
    void decline_kicks() noexcept
    {
        if (event_index_) {
            store_event(static_cast<std::uint16_t>(next_available_ - 1));
        } else {
            store_flags(no_notify);
        }
    }
    // The driver is to kick when it makes the next chain available. What it did before a full
    // barrier behind this is not told.
    void ask_for_kick() noexcept
    {
        if (event_index_) {
            store_event(next_available_);
        } else {
            store_flags(0);
        }
    }

    // Looks what the driver has made available. Null, or how it broke the protocol.
    [[nodiscard]] const char* refresh() noexcept
    {
        seen_available_ = available_.load_acquire(1);
        return waiting() > size_ ? fault_text::index_jump : nullptr;
    }
    // After refresh(): chains that are there, at most.
    [[nodiscard]] std::size_t ready() const noexcept { return waiting(); }

    // Asks for the lines that the next `n` chains are in, all at once: each comes from the cache of
    // the guest's CPU, and taken one by one they would be waited for one by one.
    void prefetch(std::size_t n) const noexcept
    {
        constexpr std::size_t line = 64;
        for (std::size_t i = 0; i < n; ++i) {
            const auto at = static_cast<std::uint16_t>((next_available_ + i) & mask_);
            // An index beyond the ring is only prefetched; next() finds it out.
            descriptors_.prefetch(available_.load_acquire(2 + std::size_t{at}));
        }
        for (std::size_t i = 0; i < n; i += line / sizeof(used_element)) {
            used_ring_.prefetch_for_write((next_used_ + i) & mask_);
        }
    }

    // Takes the next chain's head. False if there is none, or if `fault` was set.
    [[nodiscard]] bool next(chain_head& head, const char*& fault) noexcept
    {
        if (next_available_ == seen_available_) {
            return false;
        }
        const std::uint16_t index =
            available_.load(2 + std::size_t{static_cast<std::uint16_t>(next_available_ & mask_)});
        if (index >= size_) [[unlikely]] {
            fault = fault_text::head_range;
            return false;
        }
        const split_descriptor d = descriptors_.load(index);
        head = {.address = d.address,
                .length = d.length,
                .flags = d.flags,
                .id = index,
                .slots = 1,
                .next = d.next};
        ++next_available_;
        return true;
    }

    // Visits each descriptor of the chain as (address, length, flags), in order, indirect ones
    // resolved. Null, or how the guest broke the protocol; `visit` tells by the same means.
    template <typename Visit>
    [[nodiscard]] const char* walk(chain_head& head, const guest_memory& memory,
                                   Visit&& visit) noexcept
    {
        if ((head.flags & descriptor_flag::indirect) != 0) {
            return walk_indirect(head, memory, visit);
        }
        split_descriptor d{head.address, head.length, head.flags, head.next};
        for (std::size_t n = 0; n < max_chain; ++n) {
            if ((d.flags & descriptor_flag::indirect) != 0) {
                return fault_text::indirect_nested;
            }
            if (const char* const fault = visit(d.address, d.length, d.flags)) {
                return fault;
            }
            if ((d.flags & descriptor_flag::next) == 0) {
                return nullptr;
            }
            if (d.next >= size_) {
                return fault_text::next_range;
            }
            d = descriptors_.load(d.next);
        }
        return fault_text::chain_length;
    }

    // Returns chains to the driver, in the order they were taken.
    void complete(std::span<const completion> done) noexcept
    {
        std::uint16_t at = next_used_;
        for (const completion& c : done) {
            used_ring_.store(static_cast<std::uint16_t>(at & mask_), {c.id, c.length});
            ++at;
        }
        if (log_ != nullptr) [[unlikely]] {
            log_->wrote_elements(log_->device_area + 2 * word, sizeof(used_element), size_,
                                 next_used_ & mask_, done.size());
        }
        used_.store_release(1, at);
        if (log_ != nullptr) [[unlikely]] {
            log_->wrote_device_area(word, word);
        }
        next_used_ = at;
        unannounced_ += static_cast<std::uint32_t>(done.size());
    }
    // After complete() and a full barrier: whether the driver wants to be told of what was returned
    // since the last call.
    [[nodiscard]] bool wants_interrupt() noexcept
    {
        const std::uint32_t returned = std::exchange(unannounced_, 0);
        if (!event_index_) {
            return (available_.load_acquire(0) & no_interrupt) == 0;
        }
        const std::uint16_t event = available_.load_acquire(2 + std::size_t{size_});
        return static_cast<std::uint16_t>(next_used_ - event - 1) < returned;
    }

    // Takes `n` chains of one descriptor each, which next() of a copy has found.
    void skip(std::size_t n) noexcept
    {
        next_available_ = static_cast<std::uint16_t>(next_available_ + n);
    }
    // Gives back chains taken since `mark`, untouched.
    void rewind(const split_layout& mark) noexcept { next_available_ = mark.next_available_; }

    [[nodiscard]] ring_index position() const noexcept { return {next_used_, true}; }

private:
    static constexpr std::size_t word = sizeof(std::uint16_t);

    void store_flags(std::uint16_t flags) noexcept
    {
        used_.store(0, flags);
        if (log_ != nullptr) [[unlikely]] {
            log_->wrote_device_area(0, word);
        }
    }
    void store_event(std::uint16_t index) noexcept
    {
        available_event_.store(0, index);
        if (log_ != nullptr) [[unlikely]] {
            log_->wrote_device_area(2 * word + size_ * sizeof(used_element), word);
        }
    }

    template <typename Visit>
    [[nodiscard]] static const char*
    walk_indirect(const chain_head& head, const guest_memory& memory, Visit&& visit) noexcept
    {
        constexpr std::uint32_t entry = sizeof(split_descriptor);
        dataplane::guest_span table;
        if ((head.flags & descriptor_flag::next) != 0) {
            return fault_text::indirect_nested;
        }
        if (head.length == 0 || head.length % entry != 0 ||
            !memory.translate(head.address, head.length, table)) {
            return fault_text::indirect_table;
        }
        const std::uint32_t entries = head.length / entry;
        std::uint32_t at = 0;
        for (std::size_t n = 0; n < max_chain; ++n) {
            split_descriptor d;
            table.copy_out(&d, std::size_t{at} * entry, entry);
            if ((d.flags & descriptor_flag::indirect) != 0) {
                return fault_text::indirect_nested;
            }
            if (const char* const fault = visit(d.address, d.length, d.flags)) {
                return fault;
            }
            if ((d.flags & descriptor_flag::next) == 0) {
                return nullptr;
            }
            if (d.next >= entries) {
                return fault_text::next_range;
            }
            at = d.next;
        }
        return fault_text::chain_length;
    }

    [[nodiscard]] std::uint16_t waiting() const noexcept
    {
        return static_cast<std::uint16_t>(seen_available_ - next_available_);
    }

    dataplane::guest_array<split_descriptor> descriptors_;
    dataplane::guest_array<std::uint16_t> available_;
    dataplane::guest_array<std::uint16_t> used_;
    dataplane::guest_array<used_element> used_ring_;
    dataplane::guest_array<std::uint16_t> available_event_;
    std::uint16_t size_;
    std::uint16_t mask_;
    std::uint16_t next_available_;
    std::uint16_t next_used_;
    std::uint16_t seen_available_;
    std::uint32_t unannounced_{0};
    const ring_log* log_;
    bool event_index_;
};

} // namespace strait::vhost
