// SPDX-License-Identifier: BSD-3-Clause
// What tunnels put in front of a frame, from the outer IP header to the tunnel's own: VXLAN (RFC
// 7348) with its group policy extension, Geneve (RFC 8926), GRE (RFC 2784, 2890) of Ethernet frames
// and NVGRE (RFC 7637). Written from a description, and read back into one with every length and
// flag checked. Which tunnel a packet is of, and where it goes, is not here.
#pragma once

#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/flow/option_map.hh"
#include "dataplane/packet.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace strait::tunnel {

enum class kind : std::uint8_t { vxlan, geneve, gre, nvgre };

inline constexpr std::uint16_t vxlan_port = 4789;
inline constexpr std::uint16_t geneve_port = 6081;
inline constexpr std::uint8_t protocol_gre = 47;

[[nodiscard]] constexpr bool over_udp(kind k) noexcept
{
    return k == kind::vxlan || k == kind::geneve;
}
// Bits of a key: VXLAN's and Geneve's VNI, GRE's key, NVGRE's virtual subnet.
[[nodiscard]] constexpr unsigned key_bits(kind k) noexcept
{
    return k == kind::gre ? 32 : 24;
}

// Options of a Geneve header, in bytes, with their own headers. Flows set no more than these; more
// may be received.
inline constexpr std::size_t option_header = 4;
inline constexpr std::size_t most_set_options =
    flow::longest_option_data + flow::option_words * option_header;

struct description {
    kind what{kind::vxlan};
    endpoint::ip_address source; // outer; both of one version
    endpoint::ip_address destination;
    std::uint16_t source_port{0}; // UDP's
    std::uint16_t destination_port{vxlan_port};
    std::uint64_t key{0};
    bool has_key{true};            // GRE may be without one
    std::uint8_t traffic_class{0}; // outer: DSCP and ECN
    std::uint8_t hop_limit{64};
    bool dont_fragment{true};
    bool checksum{false}; // the outer UDP's or GRE's own
    bool has_sequence{false};
    std::uint32_t sequence{0}; // GRE's
    bool oam{false};           // Geneve's control packet
    bool has_policy{false};    // VXLAN's group policy extension
    std::uint16_t policy_group{0};
    std::uint8_t policy_flags{0};
    std::span<const std::byte> options; // Geneve's; whole ones

    [[nodiscard]] bool ipv6() const noexcept { return !source.is_v4(); }
};

// In front of outer headers, Ethernet's among them, room stays for four tags that are still to
// come: the underlay's own, two that flows push, and that of the port that they leave by. Who
// pushes one does not look whether there is room.
inline constexpr std::size_t room_for_tags = 16;

// Bytes in front of the inner frame, from the outer IP header on.
[[nodiscard]] std::size_t length_of(const description& d) noexcept;

// Puts them in front of the packet's frame, which has nothing left to be done and room for them.
// What the outer UDP checksum lacks becomes the packet's intent; GRE's is filled at once, for which
// the payload must be local. Offsets of the intent count from the outer IP header.
void push(dataplane::packet& p, const description& d) noexcept;

// A UDP source port for an inner frame, of the dynamic range (RFC 6335): the same for all packets
// of an inner flow. `head` is what of the frame can be looked at.
[[nodiscard]] std::uint16_t entropy_port(std::span<const std::byte> head) noexcept;

enum class fault : std::uint8_t {
    none,
    truncated,       // shorter than its headers say
    beyond_head,     // the headers are longer than what is looked at
    version,         // of IP, Geneve or GRE
    ip_checksum,     // of the outer IPv4 header
    fragment,        // of an outer datagram
    flags,           // that are not zero, or that are missing
    protocol,        // carries no Ethernet frames
    options,         // Geneve's lie about their lengths
    critical_option, // Geneve's, that must be understood, and is not
    option_length,   // one of Geneve's that is known, but with another length
    checksum,        // of UDP or GRE
    trailing,        // more behind it than a short frame's padding
    unsegmented,     // several datagrams that are still to be cut
};
[[nodiscard]] std::string_view to_string(fault f) noexcept;

// The outer IP header of a packet.
struct outer_ip {
    endpoint::ip_address source;
    endpoint::ip_address destination;
    std::uint8_t protocol{0};
    std::uint8_t traffic_class{0};
    std::uint8_t hop_limit{0};
    bool dont_fragment{false};
    std::uint32_t content{0}; // where what it carries begins, from the frame's first byte
    std::uint32_t end{0};     // where it ends: a frame may be padded
};

// Reads what is at `network`, of IPv4 or IPv6 by `ipv6`.
[[nodiscard]] fault read_ip(const dataplane::packet& p, std::uint32_t network, bool ipv6,
                            outer_ip& out) noexcept;

// What a tunnel header says; of the description all but what read_ip() tells.
struct contents {
    description header;
    std::uint32_t inner{0}; // where the inner frame begins
    std::uint32_t end{0};   // and ends
    bool critical{false};   // Geneve's says that one of its options must be understood
};

// Bytes of the first of some options, of which there is one.
[[nodiscard]] std::size_t option_size(std::span<const std::byte> options) noexcept;

// Of UDP to a tunnel's port, at ip.content. Checks the checksum, if there is one.
[[nodiscard]] fault read_udp(const dataplane::packet& p, const outer_ip& ip, kind what,
                             contents& out) noexcept;
// Of GRE, at ip.content; without a word of whether a key is NVGRE's.
[[nodiscard]] fault read_gre(const dataplane::packet& p, const outer_ip& ip,
                             contents& out) noexcept;

// Makes the frame begin with the inner one, and end with it.
void pop(dataplane::packet& p, const contents& c) noexcept;

// ECN of a tunnel (RFC 6040, 4.1 and 4.2). Outer traffic class of a packet whose inner one is
// given; and what becomes of the inner one's: false, the packet must be dropped.
[[nodiscard]] constexpr std::uint8_t ecn_out(std::uint8_t outer, std::uint8_t inner) noexcept
{
    return static_cast<std::uint8_t>((outer & 0xfcU) | (inner & 0x3U));
}
struct ecn_verdict {
    bool dropped;
    std::uint8_t ecn; // of the inner header
};
[[nodiscard]] constexpr ecn_verdict ecn_in(std::uint8_t outer, std::uint8_t inner) noexcept
{
    const unsigned o = outer & 0x3U;
    const unsigned i = inner & 0x3U;
    if (o == 3) { // congestion met
        return {i == 0, 3};
    }
    return {false, static_cast<std::uint8_t>(o == 1 && i == 2 ? 1 : i)};
}

// Ones' complement sum of the packet's bytes from `from` to `to`, wherever they lie; as of words in
// memory, `from` counting as even. False: the payload cannot be read.
[[nodiscard]] bool sum_range(const dataplane::packet& p, std::size_t from, std::size_t to,
                             std::uint64_t& sum) noexcept;

} // namespace strait::tunnel
