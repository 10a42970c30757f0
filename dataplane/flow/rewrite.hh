// SPDX-License-Identifier: BSD-3-Clause
// Keys back to packets: header fields changed in place, tags put in and taken out. Checksums stay
// as right, or as wrong, as they were (RFC 1624), and what an intent leaves to be filled is kept
// as it must be. Works on what extract() found in a packet's private head; no payload is touched.
// Frames are no shorter than an Ethernet header.
#pragma once

#include "dataplane/flow/extract.hh"

namespace strait::flow {

// How deep extract() must have looked for the fields under `mask` to be set. That of IP's addresses
// changes checksums behind it.
[[nodiscard]] constexpr depth depth_to_set(const key& mask) noexcept
{
    key without_checksum;
    for (const field f : {field::nw_tos, field::nw_ttl, field::ipv6_label}) {
        without_checksum.set(f, mask.get(f));
    }
    key others = mask;
    for (std::size_t i = 0; i < key_words; ++i) {
        others.words[i] &= ~without_checksum.words[i];
    }
    return depth_to_match(others) != depth::link ? depth::transport
                                                 : depth_to_match(without_checksum);
}

// Writes the bits under `mask` of fields that the frame has and that can be set: addresses of
// Ethernet, IP and ARP; tags but for DEI; DSCP, ECN, TTL, IPv6's label; ports of TCP, UDP, SCTP;
// type and code of ICMP; ARP's operation; of neighbour discovery the target, and the link-layer
// addresses whose options are there. False, and nothing is written: extract() did not look deep
// enough, or headers lie behind the head; or SCTP's ports in a fragment, whose checksum is of the
// whole datagram and differs by how long that is.
[[nodiscard]] bool set_headers(dataplane::packet& p, const header_layout& at, const key& value,
                               const key& mask) noexcept;

// A tag in front of all others, with DEI clear, and the first one taken out. The layout moves with
// the frame. False, and nothing changes: there are most_tags already, or there is none.
[[nodiscard]] bool insert_tag(dataplane::packet& p, header_layout& at, std::uint16_t type,
                              std::uint16_t control_information) noexcept;
[[nodiscard]] bool remove_tag(dataplane::packet& p, header_layout& at) noexcept;
// What they come to for a key. What lies behind the tags it has room for is not looked at.
void insert_tag(key& k, std::uint16_t control_information) noexcept;
void remove_tag(key& k) noexcept;

// Of IP; nothing happens to other frames. False: it was 0 or 1, and still is, or extension headers
// are cut short.
[[nodiscard]] bool decrement_ttl(dataplane::packet& p, const header_layout& at) noexcept;

} // namespace strait::flow
