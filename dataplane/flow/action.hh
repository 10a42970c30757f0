// SPDX-License-Identifier: BSD-3-Clause
// What a rule does with what it matches, as an operator wrote it: OpenFlow's actions and
// instructions. How text becomes these is control/flow_text.hh's business, what they come to for a
// packet translate.hh's.
#pragma once

#include "dataplane/drop_reason.hh"
#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/flow/hidden.hh"
#include "dataplane/flow/key.hh"

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

namespace strait::flow {

// A port's number as operators see it: 1 to 65279, or one of those below (OpenFlow 1.0, ofp_port).
using port_number = std::uint16_t;
namespace ports {
inline constexpr port_number in_port = 0xfff8;
inline constexpr port_number table = 0xfff9;
inline constexpr port_number normal = 0xfffa;
inline constexpr port_number flood = 0xfffb;
inline constexpr port_number all = 0xfffc;
inline constexpr port_number controller = 0xfffd;
inline constexpr port_number local = 0xfffe;
inline constexpr port_number none = 0xffff;
} // namespace ports

// `bits` of a field, from bit `first`, counted from the lowest.
struct subfield {
    field of{};
    std::uint8_t first{0};
    std::uint8_t bits{0};

    [[nodiscard]] static constexpr subfield whole(field f) noexcept
    {
        return {f, 0, static_cast<std::uint8_t>(width_of(f))};
    }
    [[nodiscard]] constexpr wide mask() const noexcept { return wide::ones(bits) << first; }
    [[nodiscard]] constexpr wide read(const key& k) const noexcept
    {
        return (k.get(of) >> first) & wide::ones(bits);
    }
    constexpr void write(key& k, wide value) const noexcept
    {
        k.set(of, (value & wide::ones(bits)) << first, mask());
    }
    constexpr bool operator==(const subfield&) const noexcept = default;
};

struct action;
using action_list = std::vector<action>;

struct output {
    port_number port;
    std::uint32_t max_length{0}; // in bytes, of what leaves there; 0: all of it
    bool operator==(const output&) const = default;
};
// To the port whose number a field has.
struct output_field {
    subfield port;
    bool operator==(const output_field&) const = default;
};
// mod_*, set_field, load, set_tunnel and write_metadata: the bits of `mask` become those of
// `value`.
struct set_field {
    field of;
    wide value;
    wide mask;
    bool operator==(const set_field&) const = default;
};
struct move_field {
    subfield from;
    subfield to; // as many bits
    bool operator==(const move_field&) const = default;
};
struct push_vlan {
    std::uint16_t tpid; // 0x8100 or 0x88a8
    bool operator==(const push_vlan&) const = default;
};
struct pop_vlan {
    bool operator==(const pop_vlan&) const = default;
};
// Ends the processing of a packet whose TTL is 1 or 0.
struct dec_ttl {
    endpoint::ip_address icmp_from{}; // set: its sender is told, by a router of this address
    bool operator==(const dec_ttl&) const = default;
};
// Goes through a table, and comes back. With another in_port, what matches there sees that one; by
// connection, it sees the addresses, ports and protocol of the connection's first packet in place
// of the packet's own.
struct resubmit {
    std::optional<port_number> in_port;
    std::optional<table_id> table; // the same one
    bool by_connection{false};
    bool operator==(const resubmit&) const = default;
};
struct goto_table {
    table_id table;
    bool operator==(const goto_table&) const = default;
};
struct clear_actions {
    bool operator==(const clear_actions&) const = default;
};
// Of shaped ports that it leaves by from then on: the class that it waits in.
using queue_id = std::uint8_t;
inline constexpr queue_id last_queue = 7;
struct set_queue {
    queue_id queue;
    bool operator==(const set_queue&) const = default;
};
// The queue that it had before any set_queue: 0.
struct pop_queue {
    bool operator==(const pop_queue&) const = default;
};
// set_queue for one output alone.
struct enqueue {
    port_number port;
    queue_id queue;
    bool operator==(const enqueue&) const = default;
};
struct group {
    std::uint32_t id;
    bool operator==(const group&) const = default;
};
struct meter {
    std::uint32_t id;
    bool operator==(const meter&) const = default;
};
// Stands alone in a rule: it is one of several that must all match, each in its dimension.
struct conjunction {
    std::uint32_t id;
    std::uint8_t dimension; // from 0
    std::uint8_t dimensions;
    bool operator==(const conjunction&) const = default;
};
struct check_pkt_larger {
    std::uint16_t length;
    subfield to; // one bit
    bool operator==(const check_pkt_larger&) const = default;
};
struct stack_push {
    subfield from;
    bool operator==(const stack_push&) const = default;
};
struct stack_pop {
    subfield to;
    bool operator==(const stack_pop&) const = default;
};
struct exit_processing {
    bool operator==(const exit_processing&) const = default;
};
struct note {
    std::vector<std::uint8_t> bytes;
    bool operator==(const note&) const = default;
};
// Hidden tables' own: the packet goes no further, and is counted so if nothing of it left.
struct deny {
    dataplane::drop_reason reason;
    bool operator==(const deny&) const = default;
};
struct ct_clear {
    bool operator==(const ct_clear&) const = default;
};
// In a copy of the packet.
struct clone {
    action_list actions;
    bool operator==(const clone&) const;
};
// Put into the action set, which is done when there is no further table.
struct write_actions {
    action_list actions;
    bool operator==(const write_actions&) const;
};

struct nat {
    enum class side : std::uint8_t { restore, source, destination };
    side which{side::restore};
    bool ipv6{false};
    wide first{}; // address range; both zero: the address stays
    wide last{};
    std::uint16_t first_port{0}; // 0: any
    std::uint16_t last_port{0};
    bool hash{false};
    bool random{false};
    bool persistent{false};
    bool operator==(const nat&) const = default;
};
struct ct {
    bool commit{false};
    bool force{false};
    std::variant<std::uint16_t, subfield> zone{std::uint16_t{0}};
    bool of_port{false}; // hidden tables' own: the zone is a port's (conntrack/zone_id.hh)
    std::optional<table_id> table;
    std::optional<flow::nat> translation;
    action_list exec; // set_field and move_field of ct_mark and ct_label
    enum class helper : std::uint8_t { none, ftp, tftp };
    helper alg{helper::none};
    bool operator==(const ct&) const;
};

struct action {
    std::variant<output, output_field, set_field, move_field, push_vlan, pop_vlan, dec_ttl,
                 resubmit, goto_table, clear_actions, set_queue, pop_queue, enqueue, group, meter,
                 conjunction, check_pkt_larger, stack_push, stack_pop, exit_processing, note,
                 ct_clear, clone, write_actions, ct, deny>
        is;
    bool operator==(const action&) const = default;
};

inline bool clone::operator==(const clone& other) const
{
    return actions == other.actions;
}
inline bool write_actions::operator==(const write_actions& other) const
{
    return actions == other.actions;
}
inline bool ct::operator==(const ct& other) const
{
    return commit == other.commit && force == other.force && zone == other.zone &&
           of_port == other.of_port && table == other.table && translation == other.translation &&
           exec == other.exec && alg == other.alg;
}

} // namespace strait::flow
