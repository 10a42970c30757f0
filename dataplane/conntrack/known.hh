// SPDX-License-Identifier: BSD-3-Clause
// The short way of most packets: of a connection that is known, in IPv4 as nearly all have it, with
// nothing to be done but to say in which state it is. Whoever has many of them reads their headers
// here without making a flow's key, and has a tracker follow them one by one; what is out of the
// ordinary goes the long way (tracking.hh), in the same order.
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/table.hh"
#include "dataplane/ip.hh"
#include "dataplane/packet.hh"
#include "dataplane/parse.hh"

#include <bit>
#include <cstdint>

namespace strait::conntrack {

struct plain_packet {
    packed_tuple tuple;
    std::uint64_t hash;
    connection_id likely; // set by tracker::look_for()
    const std::byte* transport;
    std::uint16_t carried; // bytes from there to the end of IP's packet
};

[[nodiscard]] inline bool is_ipv4(const dataplane::packet& p) noexcept
{
    return p.head_length < dataplane::ethernet_header ||
           dataplane::load<dataplane::be16>(p.data + 12) == dataplane::ethertype_ipv4;
}

// Whether it is as nearly all are: IPv4 behind an untagged Ethernet header, without options, no
// fragment, TCP or UDP, lengths that go together and headers in the head. Then it is as classify()
// has it.
[[nodiscard]] inline bool read_plain(const dataplane::packet& p, zone_id zone,
                                     plain_packet& out) noexcept
{
    using namespace dataplane;
    constexpr std::size_t network = ethernet_header;
    constexpr std::size_t transport = network + min_ipv4_header;
    if (p.head_length < transport + min_tcp_header) [[unlikely]] {
        return false;
    }
    const std::byte* const ip = p.data + network;
    constexpr std::uint16_t version_and_size = 0x45;
    constexpr std::uint16_t fragment_bits = 0x3fff; // more, and the offset
    const auto total = load<be16>(ip + 2);
    const auto protocol = load<std::uint8_t>(ip + 9);
    if (load<be16>(p.data + network - 2) != ethertype_ipv4 ||
        load<std::uint8_t>(ip) != version_and_size || (load<be16>(ip + 6) & fragment_bits) != 0 ||
        p.length - network - total > 0xffff) [[unlikely]] {
        return false;
    }
    out.transport = p.data + transport;
    if (protocol == protocol_tcp) {
        const std::size_t size = (load<std::uint8_t>(out.transport + 12) >> 4) * std::size_t{4};
        if (size < min_tcp_header || min_ipv4_header + size > total ||
            transport + size > p.head_length) [[unlikely]] {
            return false;
        }
    } else if (protocol != protocol_udp || total < min_ipv4_header + udp_header) [[unlikely]] {
        return false;
    }
    out.carried = static_cast<std::uint16_t>(total - min_ipv4_header);
    const std::uint64_t addresses = __builtin_bswap64(load<std::uint64_t>(ip + 12));
    const std::uint32_t ports =
        std::rotl(__builtin_bswap32(load<std::uint32_t>(out.transport)), 16);
    out.tuple = packed_tuple::make(addresses, ports, zone, protocol, false);
    out.hash = out.tuple.hash_of_ports();
    return true;
}

// What is known of a plain packet's connection before the packet is: one that is not translated,
// and whose payload nobody looks at.
struct known_connection {
    connection* of{nullptr}; // null: it is to go the long way
    connection_id id{no_connection};
    bool reply{false};
    std::uint8_t state{0}; // bits of ct_state
    std::uint32_t mark{0};
};

} // namespace strait::conntrack
