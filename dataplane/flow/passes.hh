// SPDX-License-Identifier: BSD-3-Clause
// Packets between two passes: what ct actions asked for them, until connection tracking has
// answered, and with what they go on then. One stage waits for the packets of one burst; who runs
// them through the next pass is forward.hh.
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/counters.hh"
#include "dataplane/flow/ct_operation.hh"
#include "dataplane/flow/key.hh"
#include "dataplane/flow/translate.hh"
#include "dataplane/packet.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::flow {

// A packet that needs more than any of these is dropped: flow_too_complex.
inline constexpr std::size_t max_passes = 16;        // ct actions behind one another
inline constexpr std::size_t max_passes_in_all = 64; // with those of its copies

// What a packet has in the pass that it is in, beside its headers.
struct pass_state {
    // in_port, and the fields that are no header's. A first pass's packets have in_port alone.
    const key* fields{nullptr};
    std::uint64_t in_port{0};           // where there is no key
    dataplane::burst* payload{nullptr}; // where the segments of its payload lie
    std::uint8_t origin{0};             // which packet of the burst it was, or was copied from
    bool accounted{false};              // what becomes of it is counted, or it has left
};

// Takes packets that ct actions ask for, and what is to be done with them once that is answered.
class ct_taker {
public:
    virtual ~ct_taker() = default;
    // `rest`: the operations that follow, for the packet itself. Neither words nor key need be
    // there afterwards. False: it takes no more.
    [[nodiscard]] virtual bool take(dataplane::packet_slot& p, const pass_state& state,
                                    const ct_operation& what,
                                    std::span<const std::uint64_t> rest) noexcept = 0;
};

class pass_stage final : public ct_taker {
public:
    // One program may ask for so many.
    static constexpr std::size_t room = 32;
    static constexpr std::size_t capacity = dataplane::burst::capacity + room;

    // Packets of a burst have so many passes left, each with its copies.
    using budget = std::array<std::uint8_t, dataplane::burst::capacity>;
    explicit pass_stage(budget& left) noexcept : left_{left} {}

    [[nodiscard]] bool take(dataplane::packet_slot& p, const pass_state& state,
                            const ct_operation& what,
                            std::span<const std::uint64_t> rest) noexcept override;

    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    // Too little is left for another program.
    [[nodiscard]] bool is_full() const noexcept
    {
        return count_ > capacity - room || words_used_ > words_.size() / 2;
    }
    void clear() noexcept
    {
        count_ = 0;
        words_used_ = 0;
        has_fragments_ = false;
    }

    // Whether there may be any among the requests.
    [[nodiscard]] bool has_fragments() const noexcept { return has_fragments_; }
    // Says what becomes of fragments, so that they may wait for others that the same becomes of.
    void let_fragments_wait() noexcept;
    // Asks for a packet what was asked for the one with this number, of whose datagram it is, too.
    // Its payload lies in `payload`. False: there is no room.
    [[nodiscard]] bool ask_as(std::size_t number, dataplane::packet_slot& p,
                              dataplane::burst& payload) noexcept;

    // To be answered.
    [[nodiscard]] std::span<conntrack::request> requests() noexcept
    {
        return {requests_.data(), count_};
    }
    // From here on by number, below count().
    [[nodiscard]] const conntrack::request& answered(std::size_t i) const noexcept
    {
        return requests_[i];
    }
    // Brings the key of a packet that was answered up to date.
    void complete(std::size_t i) noexcept;
    [[nodiscard]] const key& fields(std::size_t i) const noexcept { return keys_[i]; }
    // Of what goes on in a table.
    [[nodiscard]] pass_state state(std::size_t i) noexcept
    {
        return {&keys_[i], 0, items_[i].payload, items_[i].origin, false};
    }
    // Of the packet itself, in what is left for it.
    [[nodiscard]] pass_state rest_state(std::size_t i) noexcept
    {
        const item& it = items_[i];
        return {&keys_[i], 0, it.payload, it.origin, it.accounted || it.goes_on};
    }
    // Whether nothing but headers, in_port and its connection tell it, which it did not change.
    [[nodiscard]] bool is_plain(std::size_t i) const noexcept
    {
        const item& it = items_[i];
        const conntrack::request& r = requests_[i];
        return plain_[i] && it.stack == 0 && it.set == 0 && it.rest == 0 && !r.asked.commit &&
               !r.asked.force && !r.translated;
    }
    // Whether it goes on in a table, and from where.
    [[nodiscard]] bool goes_on(std::size_t i) const noexcept { return items_[i].goes_on; }
    [[nodiscard]] table_id table(std::size_t i) const noexcept { return items_[i].table; }
    [[nodiscard]] std::size_t stack_size(std::size_t i) const noexcept { return items_[i].stack; }
    [[nodiscard]] std::span<const std::uint64_t> stack_and_set(std::size_t i) const noexcept
    {
        const item& it = items_[i];
        return {words_.data() + it.first, std::size_t{2} * it.stack + it.set};
    }
    [[nodiscard]] pass_start start(std::size_t i) const noexcept
    {
        const item& it = items_[i];
        const auto both = stack_and_set(i);
        return {it.table, both.first(std::size_t{2} * it.stack),
                both.subspan(std::size_t{2} * it.stack)};
    }
    // What is left for the packet itself; empty: nothing.
    [[nodiscard]] std::span<const std::uint64_t> rest(std::size_t i) const noexcept
    {
        const item& it = items_[i];
        return {words_.data() + it.first + std::size_t{2} * it.stack + it.set, it.rest};
    }

private:
    struct item {
        dataplane::burst* payload;
        std::uint16_t first; // of its words
        std::uint16_t rest;
        table_id table;
        std::uint8_t stack;
        std::uint8_t set;
        std::uint8_t origin;
        bool goes_on;
        bool accounted;
    };

    [[nodiscard]] std::uint64_t continuation_of(std::size_t i) const noexcept;
    void bring_along(std::size_t i, const pass_state& state, const ct_operation& what) noexcept;

    budget& left_;
    std::size_t count_{0};
    std::size_t words_used_{0};
    bool has_fragments_{false};
    std::array<conntrack::request, capacity> requests_;
    std::array<key, capacity> keys_;
    // Whose key has nothing but headers, in_port, and what is known of a connection, once it is.
    std::array<bool, capacity> plain_{};
    std::array<item, capacity> items_;
    std::array<std::uint64_t, 4 * max_program> words_; // stacks, sets and rests
};

// The key's fields ct_* by what a packet knows of its connection, and back.
void put_connection(const conntrack::result& known, key& to) noexcept;
[[nodiscard]] conntrack::result connection_of(const key& k) noexcept;

} // namespace strait::flow
