// SPDX-License-Identifier: BSD-3-Clause
// What a flow's ct action asks of connection tracking for one packet, and what comes of it. Who
// asks is flow/forward.cc, who answers the tracker of this folder; neither knows more of the other.
#pragma once

#include "dataplane/conntrack/zone_id.hh"
#include "dataplane/drop_reason.hh"
#include "dataplane/flow/action.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/flow/key.hh"
#include "dataplane/packet.hh"

#include <cstdint>

namespace strait::conntrack {

// Bits of ct_state, as ovs-fields(7) numbers them.
namespace state {
inline constexpr std::uint32_t fresh = 0x01; // new: would make a connection if committed
inline constexpr std::uint32_t established = 0x02;
inline constexpr std::uint32_t related = 0x04;
inline constexpr std::uint32_t reply = 0x08;
inline constexpr std::uint32_t invalid = 0x10;
inline constexpr std::uint32_t tracked = 0x20;
inline constexpr std::uint32_t source_translated = 0x40;
inline constexpr std::uint32_t destination_translated = 0x80;
} // namespace state

// A ct action as it is for the packets of one flow.
struct parameters {
    zone_id zone{0};
    bool commit{false};
    bool force{false};
    flow::ct::helper alg{flow::ct::helper::none};
    const flow::nat* translation{nullptr}; // null: addresses stay
    // What exec() sets in a connection that is committed: the bits of a mask become a value's.
    std::uint32_t mark{0};
    std::uint32_t mark_mask{0};
    flow::wide label{};
    flow::wide label_mask{};
};

// What a packet knows of its connection, in the key's fields ct_*: all zero before the first ct.
struct result {
    std::uint32_t state{0};
    std::uint32_t mark{0};
    flow::wide label{};
    zone_id zone{0};
    // Of the connection's first packet, before any translation; zero: none.
    std::uint8_t protocol{0};
    bool ipv6{false};
    std::uint16_t source_port{0};
    std::uint16_t destination_port{0};
    flow::wide source{};
    flow::wide destination{};
};

// `to` is the packet's result or its connection: what exec() sets in it.
template <class Marked>
void give_marks(Marked& to, const parameters& asked) noexcept
{
    to.mark = (to.mark & ~asked.mark_mask) | (asked.mark & asked.mark_mask);
    to.label = (to.label & ~asked.label_mask) | (asked.label & asked.label_mask);
}

// In a key: the number is field::ct_zone's; whether it is a port's stands in a bit that no field
// has, since no rule asks for it.
inline constexpr std::size_t zone_word = flow::place_of(flow::field::ct_zone).word;
inline constexpr std::uint64_t of_port_bit = std::uint64_t{1} << 56;
inline void put_zone(flow::key& to, zone_id zone) noexcept
{
    to.set(flow::field::ct_zone, number_of(zone));
    to.words[zone_word] =
        (to.words[zone_word] & ~of_port_bit) | (is_of_port(zone) ? of_port_bit : 0);
}
[[nodiscard]] inline zone_id zone_of(const flow::key& k) noexcept
{
    return make_zone(static_cast<std::uint16_t>(k.number(flow::field::ct_zone)),
                     (k.words[zone_word] & of_port_bit) != 0);
}

struct request {
    dataplane::packet_slot* p{nullptr}; // its headers are changed where NAT says so
    dataplane::burst* payload{nullptr}; // where the segments of its payload lie; null: it stays
    flow::header_layout at;             // as extract() has it, at depth::transport
    // Its headers as they stand: the fields from eth_dst to packet_length.
    const flow::key* headers{nullptr};
    parameters asked;
    result answer;          // comes with what the packet knows from ct actions before
    bool translated{false}; // headers are not as they were
    bool dropped{false};    // for this reason
    dataplane::drop_reason reason{};
    bool waits{false}; // dropped, but kept: a fragment that came before its datagram's first
    // Of a fragment, what becomes of it afterwards, as a number; 0: it must not wait.
    std::uint64_t continuation{0};
};

} // namespace strait::conntrack
