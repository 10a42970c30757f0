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
    std::uint8_t tags{0};        // 0 to most_tags
    bool complete : 1 {true};    // all of the headers lay in the head
    bool fragment : 1 {false};   // the datagram's other parts are not here
    bool routed : 1 {false};     // IPv6: its destination is not the last, whom checksums are for
    bool outer_qinq : 1 {false}; // the first tag is 802.1ad's
};
static_assert(sizeof(header_layout) == 16);

// Tags that a key has room for; a frame with more has the next one's EtherType.
inline constexpr std::uint8_t most_tags = 2;

// Sets the fields of `out` that a frame has: from eth_dst to packet_length; all others stay as they
// are. False: headers lie beyond the head, and their fields are 0; lengthen_head() may help.
bool extract(const dataplane::packet& p, key& out, header_layout& at) noexcept;

} // namespace strait::flow
