// SPDX-License-Identifier: BSD-3-Clause
// Packets to keys: what a frame's headers say, and where they lie. As Open vSwitch reads frames: a
// field whose header is missing, cut short or malformed is 0, and IP's lengths bound what belongs
// to a packet. Reads the packet's private head only. Changes of headers are rewrite.hh's business.
#pragma once

#include "dataplane/flow/key.hh"
#include "dataplane/packet.hh"

#include <cstddef>
#include <cstdint>

namespace strait::flow {

enum class network_header : std::uint8_t {
    none,
    ipv4,
    ipv6,
    ipv6_cut, // its extension headers are: of its fields there are the addresses alone
    arp,      // RARP too
};

// What the key's tp_src and tp_dst are of.
enum class transport_header : std::uint8_t { none, tcp, udp, sctp, icmp, igmp, icmpv6 };

// How deep into a frame somebody looks.
enum class depth : std::uint8_t {
    link,      // eth_dst to inner_vlan_tci, packet_length
    network,   // and IP's and ARP's fields
    transport, // and all that is behind IP
};

// Where headers lie, for who changes them. Offsets are from the frame's first byte; 0: not there.
struct header_layout {
    std::uint16_t network{0};
    std::uint16_t transport{0}; // what IP carries, whatever it is, but in later fragments
    std::uint16_t checksum{0};  // TCP's, UDP's, ICMP's: the field, even if no ports were found
    std::uint16_t nd_target{0};
    std::uint16_t nd_source_link{0}; // the address in the option
    std::uint16_t nd_target_link{0};
    network_header network_is{network_header::none};
    transport_header transport_is{transport_header::none};
    depth looked_at{depth::transport};
    std::uint8_t tags : 2 {0};   // up to most_tags
    bool complete : 1 {true};    // all of the headers that were looked for lay in the head
    bool fragment : 1 {false};   // the datagram's other parts are not here
    bool routed : 1 {false};     // IPv6: its destination is not the last, whom checksums are for
    bool outer_qinq : 1 {false}; // the first tag is 802.1ad's
};
static_assert(sizeof(header_layout) == 16);

// Tags that a key has room for; a frame with more has the next one's EtherType.
inline constexpr std::uint8_t most_tags = 2;

// What it takes to match the fields under `mask`. To change fields may take more: rewrite.hh.
[[nodiscard]] constexpr depth depth_to_match(const key& mask) noexcept
{
    const auto any = [&mask](auto... fields) noexcept {
        return (!mask.get(fields).is_zero() || ...);
    };
    using enum field;
    // The link-layer addresses of ARP are neighbour discovery's too.
    if (any(tcp_flags, tp_src, tp_dst, nd_target, arp_sha, arp_tha)) {
        return depth::transport;
    }
    return any(nw_proto, nw_tos, nw_ttl, nw_frag, nw_src, nw_dst, ipv6_src, ipv6_dst, ipv6_label)
               ? depth::network
               : depth::link;
}

// Sets the fields of `out` that a frame has, from eth_dst to packet_length, to what it says, and
// those that it has not, or that lie deeper, to 0. All others stay as they are. False: headers lie
// beyond the head, and their fields are 0; lengthen_head() may help.
bool extract(const dataplane::packet& p, key& out, header_layout& at,
             depth deepest = depth::transport) noexcept;

} // namespace strait::flow
