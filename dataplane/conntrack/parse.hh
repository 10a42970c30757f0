// SPDX-License-Identifier: BSD-3-Clause
// Which connection a packet asks for: its tuple, or that of the packet which a message of ICMP
// complains about; and what a TCP segment says. Reads private heads only, and believes no length
// that they do not bear out.
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/tcp.hh"
#include "dataplane/conntrack/tuple.hh"

#include <cstdint>

namespace strait::conntrack {

enum class packet_kind : std::uint8_t {
    unknown, // of no connection: no IP, cut short, malformed, or a message about nobody's packet
    tcp,
    datagram, // UDP, and all protocols whose packets say nothing of a connection's state
    query,    // of ICMP: asks, or answers
    error,    // of ICMP: about another packet
    later_fragment,
};

// The packet that a message of ICMP has in it; offsets are from the frame's first byte.
struct embedded_packet {
    std::uint16_t network{0};
    std::uint16_t transport{0};
    std::uint16_t end{0}; // of what there is of it in the head
    std::uint8_t protocol{0};
    bool ipv6{false};
    whole_tuple tuple{};
};

// The tuple's zone is 0.
[[nodiscard]] bool read_embedded(const dataplane::packet& p, const flow::header_layout& at,
                                 embedded_packet& out) noexcept;

// Sets `out` to the packet's tuple; of an error, to that of packets which go the error's way.
[[nodiscard]] packet_kind classify(const request& r, whole_tuple& out) noexcept;
// Whether a query of this type begins a connection.
[[nodiscard]] bool may_begin_query(const packed_tuple& t) noexcept;

// Of a packet of TCP.
[[nodiscard]] tcp::segment read_segment(const request& r) noexcept;

} // namespace strait::conntrack
