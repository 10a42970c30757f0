// SPDX-License-Identifier: BSD-3-Clause
// Walking a packed virtqueue as a device: VIRTIO 1.1 section 2.7. The twin of split_layout.hh.
#pragma once

#include "ports/vhost/split_layout.hh"

namespace strait::vhost {

class packed_layout {
public:
    // As split_layout's.
    explicit packed_layout(const ring_setup& setup, const ring_log* log = nullptr) noexcept
        : descriptors_{setup.packed_descriptors},
          driver_event_{setup.driver_event},
          device_event_{setup.device_event},
          saved_{setup.saved},
          size_{setup.size},
          available_{setup.start},
          used_{setup.start},
          log_{log},
          event_index_{has_feature(setup.features, feature::event_index)}
    {
        decline_kicks();
    }

    // As split_layout's.
    void decline_kicks() noexcept { store_event(event::disable); }
    void ask_for_kick() noexcept { store_event(event::enable); }

    // Passes over descriptors that stand as returned in this lap though we did not return them.
    // QEMU drops what its guest sends while the switch is away, counting from an index of its own;
    // and a switch that is killed while it returns a batch has written all of it but the first.
    [[nodiscard]] const char* refresh() noexcept
    {
        if (available_ == used_) {
            for (std::size_t i = 0; i < dataplane::burst::capacity; ++i) {
                if (!was_returned(load_tail(available_.next), available_.wrap)) [[likely]] {
                    break;
                }
                advance(available_, 1);
                used_ = available_;
            }
        }
        return nullptr;
    }
    // As far as is known without looking at each: all of the ring, or nothing.
    [[nodiscard]] std::size_t ready() const noexcept
    {
        return is_available(load_tail(available_.next), available_.wrap) ? size_ : 0;
    }
    // As split_layout's; a packed ring's descriptors are returned where they were taken.
    void prefetch(std::size_t n) const noexcept
    {
        constexpr std::size_t line = 64;
        ring_index at = available_;
        for (std::size_t i = 0; i < n && i < size_; i += line / sizeof(packed_descriptor)) {
            descriptors_.prefetch_for_write(at.next);
            advance(at, line / sizeof(packed_descriptor));
        }
    }

    [[nodiscard]] bool next(chain_head& head, const char*& /*fault*/) noexcept
    {
        const std::uint64_t tail = load_tail(available_.next);
        if (!is_available(tail, available_.wrap)) {
            return false;
        }
        head = {.address = descriptors_.load_acquire_u64(available_.next, 0),
                .length = static_cast<std::uint32_t>(tail),
                .flags = static_cast<std::uint16_t>(tail >> 48),
                .id = static_cast<std::uint16_t>(tail >> 32),
                .slots = 1,
                .next = 0};
        advance(available_, 1);
        return true;
    }

    template <typename Visit>
    [[nodiscard]] const char* walk(chain_head& head, const guest_memory& memory,
                                   Visit&& visit) noexcept
    {
        if ((head.flags & descriptor_flag::indirect) != 0) {
            return walk_indirect(head, memory, visit);
        }
        packed_descriptor d{head.address, head.length, head.id, head.flags};
        for (std::size_t n = 0; n < max_chain && n < size_; ++n) {
            if ((d.flags & descriptor_flag::indirect) != 0) {
                return fault_text::indirect_nested;
            }
            if (const char* const fault = visit(d.address, d.length, d.flags)) {
                return fault;
            }
            head.id = d.id; // the last descriptor's counts
            if ((d.flags & descriptor_flag::next) == 0) {
                return nullptr;
            }
            // The driver makes a chain's head available last: the others are there.
            d = descriptors_.load(available_.next);
            advance(available_, 1);
            ++head.slots;
        }
        return fault_text::chain_length;
    }

    void complete(std::span<const completion> done) noexcept
    {
        if (done.empty()) {
            return;
        }
        // The driver looks at the first descriptor first: it is written last.
        const ring_index first = used_;
        ring_index at = first;
        ring_index last = first;
        advance(at, done.front().slots);
        unannounced_ += done.front().slots;
        for (const completion& c : done.subspan(1)) {
            descriptors_.store_u64(at.next, tail_offset, make_tail(c, at.wrap));
            last = at;
            advance(at, c.slots);
            unannounced_ += c.slots;
        }
        if (log_ != nullptr) [[unlikely]] {
            log(first, slots_between(first, at));
        }
        if (saved_ != nullptr) {
            saved_->announce({at.next, at.wrap}, {last.next, last.wrap});
        }
        descriptors_.store_release_u64(first.next, tail_offset,
                                       make_tail(done.front(), first.wrap));
        if (log_ != nullptr) [[unlikely]] {
            log(first, 1);
        }
        if (saved_ != nullptr) {
            saved_->confirm();
        }
        used_ = at;
    }

    [[nodiscard]] bool wants_interrupt() noexcept
    {
        const std::uint32_t returned = std::exchange(unannounced_, 0);
        const std::uint16_t flags = driver_event_.load_acquire(1);
        if (flags != event::descriptor || !event_index_) {
            return flags != event::disable;
        }
        const std::uint16_t word = driver_event_.load_acquire(0);
        // An index of the lap before becomes comparable once it is moved down by a size.
        const auto wanted = static_cast<std::uint16_t>(
            (word & 0x7fffU) - (((word & 0x8000U) != 0) != used_.wrap ? size_ : 0U));
        return static_cast<std::uint16_t>(used_.next - wanted - 1) < returned;
    }

    void skip(std::size_t n) noexcept { advance(available_, static_cast<std::uint16_t>(n)); }
    void rewind(const packed_layout& mark) noexcept { available_ = mark.available_; }

    [[nodiscard]] ring_index position() const noexcept { return used_; }

private:
    static constexpr std::size_t tail_offset = 8; // length, id, flags: one 64-bit word

    // Descriptors that were written, and those between them.
    void log(const ring_index& first, std::size_t count) const noexcept
    {
        log_->wrote_elements(log_->descriptors, sizeof(packed_descriptor), size_, first.next,
                             count);
    }
    [[nodiscard]] std::size_t slots_between(const ring_index& first,
                                            const ring_index& end) const noexcept
    {
        return first.wrap == end.wrap ? std::size_t{end.next} - first.next
                                      : std::size_t{end.next} + size_ - first.next;
    }
    void store_event(std::uint16_t flags) noexcept
    {
        device_event_.store(1, flags);
        if (log_ != nullptr) [[unlikely]] {
            log_->wrote_device_area(sizeof flags, sizeof flags);
        }
    }

    template <typename Visit>
    [[nodiscard]] static const char*
    walk_indirect(const chain_head& head, const guest_memory& memory, Visit&& visit) noexcept
    {
        constexpr std::uint32_t entry = sizeof(packed_descriptor);
        dataplane::guest_span table;
        if ((head.flags & descriptor_flag::next) != 0) {
            return fault_text::indirect_nested;
        }
        if (head.length == 0 || head.length % entry != 0 ||
            !memory.translate(head.address, head.length, table)) {
            return fault_text::indirect_table;
        }
        if (head.length / entry > max_chain) {
            return fault_text::chain_length;
        }
        for (std::uint32_t at = 0; at < head.length; at += entry) {
            packed_descriptor d;
            table.copy_out(&d, at, entry);
            if ((d.flags & descriptor_flag::indirect) != 0) {
                return fault_text::indirect_nested;
            }
            if (const char* const fault = visit(d.address, d.length, d.flags)) {
                return fault;
            }
        }
        return nullptr;
    }

    void advance(ring_index& at, std::uint16_t n) const noexcept
    {
        std::uint32_t next = std::uint32_t{at.next} + n;
        if (next >= size_) {
            next -= size_;
            at.wrap = !at.wrap;
        }
        at.next = static_cast<std::uint16_t>(next);
    }
    [[nodiscard]] std::uint64_t load_tail(std::uint16_t index) const noexcept
    {
        return descriptors_.load_acquire_u64(index, tail_offset);
    }
    [[nodiscard]] static bool is_available(std::uint64_t tail, bool wrap) noexcept
    {
        const auto flags = static_cast<std::uint16_t>(tail >> 48);
        return ((flags & descriptor_flag::available) != 0) == wrap &&
               ((flags & descriptor_flag::used) != 0) != wrap;
    }
    [[nodiscard]] static bool was_returned(std::uint64_t tail, bool wrap) noexcept
    {
        const auto flags = static_cast<std::uint16_t>(tail >> 48);
        return ((flags & descriptor_flag::available) != 0) == wrap &&
               ((flags & descriptor_flag::used) != 0) == wrap;
    }
    [[nodiscard]] static std::uint64_t make_tail(const completion& c, bool wrap) noexcept
    {
        const std::uint64_t flags =
            (wrap ? descriptor_flag::available | descriptor_flag::used : 0U) |
            (c.length != 0 ? descriptor_flag::write : 0U);
        return std::uint64_t{c.length} | (std::uint64_t{c.id} << 32) | (flags << 48);
    }

    dataplane::guest_array<packed_descriptor> descriptors_;
    dataplane::guest_array<std::uint16_t> driver_event_;
    dataplane::guest_array<std::uint16_t> device_event_;
    ring_position* saved_;
    std::uint16_t size_;
    ring_index available_;
    ring_index used_;
    std::uint32_t unannounced_{0};
    const ring_log* log_;
    bool event_index_;
};

} // namespace strait::vhost
