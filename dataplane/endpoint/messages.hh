// SPDX-License-Identifier: BSD-3-Clause
// Frames that the switch itself says at its own addresses: ARP (RFC 826), neighbour discovery (RFC
// 4861), answers to echo requests, and why a packet goes no further: it is too big (RFC 1191,
// 8201), or its TTL is used up (RFC 1812, 4443). Each is made from what it answers. Who is asked
// when, and whose address it is, is not here; nor is how often (error_limit.hh).
#pragma once

#include "dataplane/endpoint/config.hh"
#include "dataplane/packet.hh"

#include <cstdint>

namespace strait::endpoint {

// A frame as it came to the switch, under its tag.
struct arrival {
    dataplane::mac_address destination;
    dataplane::mac_address source;
    dataplane::vlan_id vlan;
    std::uint16_t type{0};
    std::uint16_t network{0}; // where what the EtherType tells begins
};
// False: too short, or with more tags than one of 802.1Q.
[[nodiscard]] bool read_arrival(const dataplane::packet& p, arrival& out) noexcept;

// What a neighbour says, in ARP or in neighbour discovery.
struct neighbour_message {
    bool asks{false};           // for the target's MAC; else it tells its own
    ip_address sender;          // not set: it looks whether the target is somebody's
    ip_address target;          // of a question
    dataplane::mac_address mac; // the sender's; zero: it does not say
};
// False: it is none, or malformed.
[[nodiscard]] bool read_arp(const dataplane::packet& p, const arrival& a,
                            neighbour_message& out) noexcept;
// Of ICMPv6 at `content`, up to `end`; checks its checksum.
[[nodiscard]] bool read_discovery(const dataplane::packet& p, const arrival& a,
                                  std::uint32_t content, std::uint32_t end,
                                  neighbour_message& out) noexcept;

// Makes the slot an empty packet whose frame is to be written into its own memory.
void begin_frame(dataplane::packet_slot& p) noexcept;

// To everybody, or to who was known by that MAC: who has `target`?
void make_question(dataplane::packet_slot& p, const interface& from, const ip_address& target,
                   dataplane::mac_address known) noexcept;
// That `from` has its address, to who asked.
void make_answer(dataplane::packet_slot& p, const interface& from, const neighbour_message& asked,
                 dataplane::mac_address to) noexcept;

// Turns a request for an echo at `content` into the reply, in place; false: it is none, or too
// short. Its checksum stays as right or wrong as it was.
[[nodiscard]] bool turn_echo(dataplane::packet& p, const arrival& a,
                             std::uint32_t content) noexcept;

// Tells the sender of `big` that IP packets of more than `mtu` bytes do not pass, as if its
// receiver said so. False: its sender is not to be told, or does not speak IP.
[[nodiscard]] bool make_too_big(dataplane::packet_slot& p, const dataplane::packet& big,
                                std::uint32_t mtu) noexcept;

// Tells the sender of `late` that its TTL was used up at a router of address `from`. False: as
// above, or the two are of different IP versions.
[[nodiscard]] bool make_time_exceeded(dataplane::packet_slot& p, const dataplane::packet& late,
                                      const ip_address& from) noexcept;

// An Ethernet header in front, with a tag if there is a VLAN.
void push_link_header(dataplane::packet& p, dataplane::mac_address to, const interface& from,
                      bool ipv6) noexcept;

} // namespace strait::endpoint
