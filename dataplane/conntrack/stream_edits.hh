// SPDX-License-Identifier: BSD-3-Clause
// What was put in the place of something else in the streams of a TCP connection, and so how their
// bytes are numbered by who sends them and by who receives them. Numbers and texts alone: packets
// are segment_rewrite.hh's business. Few connections have any of this: what they have lies apart.
#pragma once

#include "dataplane/conntrack/zone_lock.hh"
#include "dataplane/reserved_memory.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace strait::conntrack {

// Of one direction.
class stream_edits {
public:
    static constexpr std::size_t most = 4;          // that the receiver need not have yet
    static constexpr std::size_t longest_text = 54; // |2|, an address of IPv6, |65535|

    struct edit {
        std::uint32_t begin{0}; // the sender's number of the first byte that was replaced
        std::uint16_t old_size{0};
        std::uint8_t size{0}; // 1 at least
        std::array<char, longest_text> text{};

        [[nodiscard]] std::uint32_t end() const noexcept { return begin + old_size; }
    };
    static_assert(sizeof(edit) <= 64);

    // Where a byte goes. What lies inside of a replaced text is shared out so that whoever has got
    // a part of the one has been sent as much of the other.
    [[nodiscard]] std::uint32_t to_receiver(std::uint32_t number) const noexcept;
    // What the receiver has, as the sender knows it; never more than was sent.
    [[nodiscard]] std::uint32_t to_sender(std::uint32_t number) const noexcept;

    // Behind all that there are. The receiver has acknowledged all before this number of the
    // sender's, if any. False: so many are on their way.
    [[nodiscard]] bool add(std::uint32_t begin, std::size_t old_size, std::string_view text,
                           std::optional<std::uint32_t> acknowledged) noexcept;
    // Numbers go round: what lies far behind becomes a mere difference.
    void settle(std::optional<std::uint32_t> acknowledged) noexcept;
    [[nodiscard]] std::span<const edit> all() const noexcept { return {edits_.data(), count_}; }

private:
    void forget_first() noexcept;

    std::uint32_t base_{0}; // by how much numbers differ in front of the first
    std::uint32_t count_{0};
    std::array<edit, most> edits_{};
};

// Of the original side and of the other one.
using connection_edits = std::array<stream_edits, 2>;

// Room for those of some connections, all zones'. Each is its connection's, whose zone's lock is
// held.
class edit_store {
public:
    edit_store(std::size_t connections, bool alone);

    // 0: there is no room left.
    [[nodiscard]] std::uint32_t take() noexcept;
    void give_back(std::uint32_t number) noexcept;
    [[nodiscard]] connection_edits& at(std::uint32_t number) const noexcept
    {
        return places_[number].edits;
    }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

private:
    struct place {
        std::uint32_t next; // of free ones
        connection_edits edits;
    };

    std::size_t capacity_;
    bool alone_;
    zone_lock lock_;
    dataplane::reserved_memory memory_;
    place* places_;
    std::uint32_t used_{0}; // from 1 on
    std::uint32_t free_{0};
};

} // namespace strait::conntrack
