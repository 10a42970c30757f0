// SPDX-License-Identifier: BSD-3-Clause
// A bridge's flows as workers see them: tables, the ports that rules name by number, and which bits
// of a packet's key tell its flow. Immutable; control swaps the one of a bridge for the next.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/changed_values.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/flow/flow_tables.hh"
#include "dataplane/types.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace strait::flow {

// Ports of one bridge by their numbers.
class port_numbers {
public:
    void add(port_number number, dataplane::port_index index)
    {
        if (number >= indices_.size()) {
            indices_.resize(std::size_t{number} + 1, dataplane::no_port);
        }
        indices_[number] = index;
    }
    // no_port: there is none of that number.
    [[nodiscard]] dataplane::port_index index(std::uint64_t number) const noexcept
    {
        return number < indices_.size() ? indices_[number] : dataplane::no_port;
    }

private:
    std::vector<dataplane::port_index> indices_;
};

// The bits of a key that tell flows apart: all that rules may match on and actions may read, but
// for what varies within a flow, which entries test (tests in translate.hh). The first word is
// in_port's.
struct key_layout {
    std::size_t count{0};
    std::array<std::uint8_t, key_words> words{};  // indices into a key
    std::array<std::uint64_t, key_words> masks{}; // of these
    depth deepest{depth::link};                   // how far into a frame that takes to look
};

// Of the key's word with nw_tos, nw_ttl and tcp_flags: what varies within a flow.
inline constexpr std::size_t varying_word = place_of(field::nw_ttl).word;
inline constexpr std::uint64_t ttl_bits = std::uint64_t{0xff} << place_of(field::nw_ttl).shift;
inline constexpr std::uint64_t varying_bits =
    std::uint64_t{0x3} << place_of(field::nw_tos).shift | ttl_bits |
    std::uint64_t{0xffff} << place_of(field::tcp_flags).shift;
static_assert(place_of(field::nw_tos).word == varying_word &&
              place_of(field::tcp_flags).word == varying_word);

struct pipeline {
    flow_tables tables;
    std::shared_ptr<const port_numbers> ports;
    key_layout layout;
    std::uint32_t version{0}; // of no other pipeline, of any bridge

    // Flows that were looked up in one of so many versions before, of this bridge, go where they
    // went, unless their values were changed since (rule_changes.hh).
    std::uint32_t kept{0};
    struct by_word {
        std::shared_ptr<changed_values> values; // null: there are no more
        std::uint8_t at{0};                     // in the layout
    };
    using changes_by_word = std::array<by_word, 4>;
    changes_by_word changed;

    // Whether a flow does that was looked up in `older`. `asked`: its key by the layout.
    [[nodiscard]] bool still_holds(std::uint32_t older, const std::uint64_t* asked) const noexcept
    {
        if (version - older > kept) {
            return false;
        }
        for (const by_word& c : changed) {
            if (!c.values) {
                break;
            }
            if (c.values->after(older, asked[c.at])) {
                return false;
            }
        }
        return true;
    }
};

// Of tables whose rules match under `matched` and read with their actions `read`.
[[nodiscard]] key_layout make_layout(const key& matched, const key& read) noexcept;

// What a bridge's snapshots share, so that flows change without a new one. Null: there is but
// NORMAL.
struct live_pipeline {
    std::atomic<const pipeline*> current{nullptr};
};

} // namespace strait::flow
