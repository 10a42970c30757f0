// SPDX-License-Identifier: BSD-3-Clause
// What a switcher has for packets that go the short way: for its own files.
#pragma once

#include "dataplane/conntrack/known.hh"
#include "dataplane/flow/forward.hh"
#include "dataplane/flow/verdicts.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::flow {

// A program that does nothing but ask for connections.
struct switcher::asking {
    static constexpr std::size_t longest = 3; // in words

    std::array<std::uint64_t, longest> words; // where they were others may be by now
    std::uint8_t size;                        // two words at least
    bool by_state;                            // key_layout::told_by_state where packets go on,
    table_id table;                           // which is here
    conntrack::zone_id zone;
    std::uint32_t widened; // key_layout's there

    // By words: where programs are short, comparing them by their size costs more.
    [[nodiscard]] bool is(std::span<const std::uint64_t> other) const noexcept
    {
        return other.size() == size && other[0] == words[0] && other[1] == words[1] &&
               (size < longest || other[2] == words[2]);
    }
    [[nodiscard]] std::span<const std::uint64_t> program() const noexcept
    {
        return std::span{words}.first(size);
    }
};

struct switcher::seat {
    candidate* c;
    const asking* by;
    bool plain;
    conntrack::plain_packet packet;
};

// Flows of a burst whose packets from here on go the long way, lest one overtakes another.
class long_flows {
public:
    // A packet has gone it.
    void add(const dataplane::packet& p) noexcept
    {
        conntrack::plain_packet q;
        if (conntrack::read_plain(p, 0, q)) {
            add(q);
        } else {
            add_unknown(p);
        }
    }
    void add(const conntrack::plain_packet& q) noexcept
    {
        if (count_ == std::ssize(flows_)) {
            all_ = true; // to look for so many would cost more than it gives
        } else {
            flows_[static_cast<std::size_t>(count_++)] = {q.tuple.addresses, q.tuple.ports()};
        }
    }
    // It may be of any flow: a fragment, say.
    void add_unknown(const dataplane::packet& p) noexcept { all_ = all_ || conntrack::is_ipv4(p); }
    [[nodiscard]] bool has(const conntrack::plain_packet& q) const noexcept
    {
        if (count_ == 0) [[likely]] {
            return all_;
        }
        const one wanted{q.tuple.addresses, q.tuple.ports()};
        return all_ || std::find(flows_.begin(), flows_.begin() + count_, wanted) !=
                           flows_.begin() + count_;
    }
    void clear() noexcept
    {
        count_ = 0;
        all_ = false;
    }

private:
    struct one {
        std::uint64_t addresses;
        std::uint32_t ports;
        bool operator==(const one&) const noexcept = default;
    };
    std::array<one, 8> flows_;
    std::ptrdiff_t count_{0};
    bool all_{false};
};

struct switcher::seats {
    // Of those in all. One more has them all go their way, and what they wait for overlaps less:
    // flows may ask in another zone for each of their destinations.
    static constexpr std::size_t most_programs = 16;

    verdicts known;
    std::size_t count{0};
    std::array<seat, dataplane::burst::capacity> all;
    std::size_t program_count{0};
    std::array<asking, most_programs> programs;
    const asking* last{nullptr};                                // null: nobody has a seat
    std::array<const seat*, dataplane::burst::capacity> others; // that go the long way
    long_flows long_ones;
};

// False: it is to be run.
inline bool switcher::take_seat(std::span<const std::uint64_t> program, candidate& c,
                                const surroundings& around) noexcept
{
    seats* const here = seats_.get();
    if (here == nullptr) {
        return false;
    }
    // Most of a burst's packets have the same one.
    if ((here->last == nullptr || !here->last->is(program)) && !turn_to(program, around))
        [[unlikely]] {
        return false;
    }
    seat& s = here->all[here->count++];
    s.c = &c;
    s.by = here->last;
    return true;
}

} // namespace strait::flow
