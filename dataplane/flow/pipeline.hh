// SPDX-License-Identifier: BSD-3-Clause
// A bridge's flows as workers see them: tables, the ports that rules name by number, and which bits
// of a packet's key tell its flow. Immutable; control swaps the one of a bridge for the next.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/changed_values.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/flow/flow_tables.hh"
#include "dataplane/flow/group.hh"
#include "dataplane/flow/meter.hh"
#include "dataplane/flow/option_map.hh"
#include "dataplane/types.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <vector>

namespace strait::flow {

// Ports of one bridge by their numbers.
class port_numbers {
public:
    void add(port_number number, dataplane::port_index index)
    {
        if (number == ports::local) {
            local_ = index;
            return;
        }
        if (number >= indices_.size()) {
            indices_.resize(std::size_t{number} + 1, dataplane::no_port);
        }
        indices_[number] = index;
    }
    // no_port: there is none of that number.
    [[nodiscard]] dataplane::port_index index(std::uint64_t number) const noexcept
    {
        return number < indices_.size() ? indices_[number]
               : number == ports::local ? local_
                                        : dataplane::no_port;
    }

private:
    std::vector<dataplane::port_index> indices_;
    dataplane::port_index local_{dataplane::no_port}; // far above the others
};

// Words of keys that a pipeline tells changes by, at most.
inline constexpr std::size_t most_changed_words = 4;

// The bits of a key that tell flows apart in a pass: all that rules may match on and actions may
// read there, but for what varies within a flow, which entries test (tests in translate.hh). The
// first word is in_port's.
struct key_layout {
    static constexpr std::uint8_t absent = 0xff;

    std::size_t count{0};
    std::array<std::uint8_t, key_words> words{};  // indices into a key
    std::array<std::uint64_t, key_words> masks{}; // of these
    depth deepest{depth::link};                   // how far into a frame that takes to look
    // Where the words are that pipeline::changed is asked by; absent: it does not concern the pass.
    std::array<std::uint8_t, most_changed_words> changed_at{absent, absent, absent, absent};
    std::bitset<table_count> tables{std::bitset<table_count>{}.set()}; // that the pass may come to
    // Of what varies, only what tells a connection, in_port, and ct_state, ct_zone, ct_mark.
    bool told_by_connection{false};
    bool told_by_state{false}; // and of the connection no more than its protocol
    // Of a pass behind a ct action, the last version that asked for more bits than the one before.
    std::uint32_t widened{0};

    [[nodiscard]] std::uint8_t place_of_word(std::uint8_t word) const noexcept
    {
        const auto* const end = words.begin() + count;
        const auto* const found = std::find(words.begin(), end, word);
        return found == end ? absent : static_cast<std::uint8_t>(found - words.begin());
    }
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
    flow_tables hidden; // by their number less first_hidden
    group_map groups;
    meter_map meters;
    std::shared_ptr<const port_numbers> ports;
    std::shared_ptr<const option_map> options; // null: there are none
    key_layout layout;                         // of the first pass
    // Ports whose packets begin in first_of_row, the others' in table 0; null: there are none.
    std::shared_ptr<const std::bitset<dataplane::max_ports>> guarded;
    // Of those that begin in a table behind a ct action, and in hidden ones.
    struct later_pass {
        table_id table;
        key_layout layout;
    };
    std::vector<later_pass> later;
    std::uint32_t version{0}; // of no other pipeline, of any bridge

    // Flows that were looked up in one of so many versions before, of this bridge, go where they
    // went, unless their values were changed since (rule_changes.hh).
    std::uint32_t kept{0};
    // Null from where on there are no more.
    using changes_by_word = std::array<std::shared_ptr<changed_values>, most_changed_words>;
    changes_by_word changed;

    // Whether a flow does that was looked up in `older`. `asked`: its key by the layout of its
    // pass.
    [[nodiscard]] bool still_holds(std::uint32_t older, const std::uint64_t* asked,
                                   const key_layout& by) const noexcept
    {
        if (version - older > kept) {
            return false;
        }
        for (std::size_t i = 0; i < changed.size() && changed[i]; ++i) {
            const std::uint8_t at = by.changed_at[i];
            if (at != key_layout::absent && changed[i]->after(older, asked[at])) {
                return false;
            }
        }
        return true;
    }

    // Null: there is no rule.
    [[nodiscard]] const classifier* find(table_id table) const noexcept
    {
        return is_hidden(table) ? hidden.find(static_cast<table_id>(table - first_hidden))
                                : tables.find(table);
    }
    // Where packets of a port begin.
    [[nodiscard]] table_id first_table_of(dataplane::port_index from) const noexcept
    {
        return guarded && guarded->test(to_index(from)) ? first_of_row : table_id{0};
    }
    // Of the pass that begins in a table. Null: no action leads there.
    [[nodiscard]] const key_layout* layout_from(table_id table) const noexcept
    {
        const auto found = std::ranges::find(later, table, &later_pass::table);
        return found == later.end() ? nullptr : &found->layout;
    }
};

// Of a pass whose rules match under `matched` and read with their actions `read`. The first one's
// packets come without registers and connections.
[[nodiscard]] key_layout make_layout(const key& matched, const key& read) noexcept;
[[nodiscard]] key_layout make_later_layout(const key& matched, const key& read) noexcept;

// What a bridge's snapshots share, so that flows change without a new one. Null: there is but
// NORMAL.
struct live_pipeline {
    std::atomic<const pipeline*> current{nullptr};
};

} // namespace strait::flow
