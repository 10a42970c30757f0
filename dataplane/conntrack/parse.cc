// SPDX-License-Identifier: BSD-3-Clause
// Packets to tuples and segments.
#include "dataplane/conntrack/parse.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>

namespace strait::conntrack {

namespace {

using namespace dataplane;
using flow::network_header;
using flow::transport_header;

constexpr std::uint8_t icmp_echo = 8;
constexpr std::uint8_t icmpv6_echo = 128;

enum class message : std::uint8_t { other, query, error };

[[nodiscard]] message message_of(std::uint8_t type, bool ipv6) noexcept
{
    if (ipv6) {
        if (type == icmpv6_echo || type == icmpv6_echo + 1) {
            return message::query;
        }
        return type >= 1 && type <= 4 ? message::error : message::other;
    }
    switch (type) {
    case 3:  // unreachable
    case 4:  // source quench
    case 5:  // redirect
    case 11: // time exceeded
    case 12: // parameter
        return message::error;
    default:
        return opposite_type(type, false) != type ? message::query : message::other;
    }
}

// What lies in the head and belongs to the frame.
struct head_view {
    const std::byte* data;
    std::size_t size;

    explicit head_view(const packet& p) noexcept
        : data{p.data},
          size{std::min<std::size_t>(
              {p.head_length, p.length, longest_head + flow::most_tags * tag_length})}
    {}
    [[nodiscard]] bool has(std::size_t at, std::size_t bytes) const noexcept
    {
        return at + bytes <= size;
    }
    template <typename T>
    [[nodiscard]] T get(std::size_t at) const noexcept
    {
        return load<T>(data + at);
    }
};

// Where an embedded IPv6 packet's content begins, and of what protocol it is; 0: it cannot be told.
[[nodiscard]] std::size_t skip_extensions(const head_view& h, std::size_t at,
                                          std::uint8_t& protocol) noexcept
{
    constexpr int most = 4;
    constexpr std::uint16_t offset_mask = 0xfff8;
    for (int i = 0; i < most; ++i) {
        const bool fragment = protocol == ipv6_fragment;
        if (!fragment && protocol != ipv6_hop_by_hop && protocol != ipv6_routing &&
            protocol != ipv6_destination) {
            return at;
        }
        if (!h.has(at, 8) || (fragment && (h.get<be16>(at + 2) & offset_mask) != 0)) {
            return 0;
        }
        protocol = h.get<std::uint8_t>(at);
        at += fragment ? 8 : (h.get<std::uint8_t>(at + 1) + std::size_t{1}) * 8;
    }
    return 0;
}

[[nodiscard]] bool read_embedded_ports(const head_view& h, embedded_packet& out,
                                       std::uint32_t& ports) noexcept
{
    ports = 0;
    switch (out.protocol) {
    case protocol_tcp:
    case protocol_udp:
    case protocol_sctp:
        if (!h.has(out.transport, 4)) {
            return false;
        }
        ports = h.get<be16>(out.transport) | std::uint32_t{h.get<be16>(out.transport + 2)} << 16;
        return true;
    case protocol_icmp:
    case protocol_icmpv6: {
        if (!h.has(out.transport, icmp_header) || (out.protocol == protocol_icmpv6) != out.ipv6 ||
            message_of(h.get<std::uint8_t>(out.transport), out.ipv6) != message::query) {
            return false; // an error about an error
        }
        const std::uint16_t type_and_code = h.get<be16>(out.transport);
        ports = h.get<be16>(out.transport + 4) | std::uint32_t{type_and_code} << 16;
        return true;
    }
    default:
        return true;
    }
}

[[nodiscard]] bool read_embedded_ipv4(const head_view& h, embedded_packet& out) noexcept
{
    constexpr std::uint16_t offset_mask = 0x1fff;
    if (!h.has(out.network, min_ipv4_header)) {
        return false;
    }
    const auto first = h.get<std::uint8_t>(out.network);
    const std::size_t size = (first & 0x0fU) * 4;
    if (first >> 4 != 4 || size < min_ipv4_header ||
        (h.get<be16>(out.network + 6) & offset_mask) != 0) {
        return false;
    }
    out.protocol = h.get<std::uint8_t>(out.network + 9);
    out.transport = static_cast<std::uint16_t>(out.network + size);
    std::uint32_t ports = 0;
    if (!read_embedded_ports(h, out, ports)) {
        return false;
    }
    out.tuple.packed = packed_tuple::make(__builtin_bswap64(h.get<std::uint64_t>(out.network + 12)),
                                          ports, 0, out.protocol, false);
    return true;
}

[[nodiscard]] bool read_embedded_ipv6(const head_view& h, embedded_packet& out) noexcept
{
    if (!h.has(out.network, ipv6_header) || h.get<std::uint8_t>(out.network) >> 4 != 6) {
        return false;
    }
    out.ipv6 = true;
    out.protocol = h.get<std::uint8_t>(out.network + 6);
    const std::size_t content = skip_extensions(h, out.network + ipv6_header, out.protocol);
    if (content == 0 || content >= h.size) {
        return false;
    }
    out.transport = static_cast<std::uint16_t>(content);
    std::uint32_t ports = 0;
    if (!read_embedded_ports(h, out, ports)) {
        return false;
    }
    for (std::size_t i = 0; i < 4; ++i) {
        out.tuple.addresses[i] = __builtin_bswap64(h.get<std::uint64_t>(out.network + 8 + i * 8));
    }
    out.tuple.packed =
        packed_tuple::make(digests(out.tuple.addresses), ports, 0, out.protocol, true);
    return true;
}

[[nodiscard]] packet_kind classify_message(const request& r, bool ipv6, whole_tuple& out) noexcept
{
    const std::byte* const at = r.p->data + r.at.transport;
    const auto type = load<std::uint8_t>(at);
    switch (message_of(type, ipv6)) {
    case message::query: {
        const std::uint16_t type_and_code = load<be16>(at);
        out.packed.rest = (out.packed.rest & ~std::uint64_t{0xffff'ffff}) | load<be16>(at + 4) |
                          std::uint32_t{type_and_code} << 16;
        return packet_kind::query;
    }
    case message::error: {
        embedded_packet inner;
        if (r.at.fragment || !read_embedded(*r.p, r.at, inner) || inner.ipv6 != ipv6) {
            return packet_kind::unknown;
        }
        out = inner.tuple.reversed();
        out.packed.rest |= packed_tuple::zone_bits(r.asked.zone);
        return packet_kind::error;
    }
    case message::other:
        break;
    }
    return packet_kind::unknown;
}

// Whether extract() finds a header where there is one, of a protocol that has ports or types.
[[nodiscard]] bool must_have_header(std::uint8_t protocol, bool ipv6) noexcept
{
    return protocol == protocol_tcp || protocol == protocol_udp || protocol == protocol_sctp ||
           protocol == (ipv6 ? protocol_icmpv6 : protocol_icmp);
}

} // namespace

bool read_embedded(const packet& p, const flow::header_layout& at, embedded_packet& out) noexcept
{
    const head_view h{p};
    out = {};
    out.network = static_cast<std::uint16_t>(at.transport + icmp_header);
    out.end = static_cast<std::uint16_t>(h.size);
    return at.network_is == network_header::ipv4 ? read_embedded_ipv4(h, out)
                                                 : read_embedded_ipv6(h, out);
}

packet_kind classify(const request& r, whole_tuple& out) noexcept
{
    const auto& words = r.headers->words;
    const bool ipv6 = r.at.network_is == network_header::ipv6;
    constexpr auto protocol_place = place_of(flow::field::nw_proto);
    constexpr auto fragment_place = place_of(flow::field::nw_frag);
    constexpr auto address_word = place_of(flow::field::nw_src).word;
    constexpr auto ipv6_word = place_of(flow::field::ipv6_src).word;
    constexpr auto port_word = place_of(flow::field::tp_src).word;
    static_assert(place_of(flow::field::nw_src).shift == 32 &&
                  place_of(flow::field::nw_dst).word == address_word &&
                  place_of(flow::field::ipv6_dst).word == ipv6_word + 2 &&
                  place_of(flow::field::tp_src).shift == 0 &&
                  place_of(flow::field::tp_dst).shift == 16);
    const auto protocol =
        static_cast<std::uint8_t>(words[protocol_place.word] >> protocol_place.shift);
    std::uint64_t addresses = words[address_word];
    if (ipv6) {
        std::copy_n(words.begin() + ipv6_word, 4, out.addresses.begin());
        addresses = digests(out.addresses);
    } else if (r.at.network_is != network_header::ipv4) [[unlikely]] {
        return packet_kind::unknown;
    }
    out.packed = packed_tuple::make(addresses, static_cast<std::uint32_t>(words[port_word]),
                                    r.asked.zone, protocol, ipv6);
    switch (r.at.transport_is) {
    case transport_header::tcp:
        return packet_kind::tcp;
    case transport_header::udp:
    case transport_header::sctp:
        return packet_kind::datagram;
    case transport_header::icmp:
    case transport_header::icmpv6:
        return ipv6 == (r.at.transport_is == transport_header::icmpv6)
                   ? classify_message(r, ipv6, out)
                   : packet_kind::unknown;
    case transport_header::igmp:
        out.packed.rest &= ~std::uint64_t{0xffff'ffff};
        return packet_kind::datagram;
    case transport_header::none:
        break;
    }
    if ((words[fragment_place.word] >> fragment_place.shift & flow::frag_later) != 0) {
        return packet_kind::later_fragment;
    }
    return must_have_header(protocol, ipv6) ? packet_kind::unknown : packet_kind::datagram;
}

bool may_begin_query(const packed_tuple& t) noexcept
{
    const auto type = static_cast<std::uint8_t>(t.destination_port() >> 8);
    if (t.ipv6()) {
        return type == icmpv6_echo;
    }
    constexpr std::uint8_t timestamp = 13;
    constexpr std::uint8_t information = 15;
    constexpr std::uint8_t mask = 17;
    return type == icmp_echo || type == timestamp || type == information || type == mask;
}

tcp::segment read_segment(const request& r) noexcept
{
    const packet& p = *r.p;
    const std::byte* const header = p.data + r.at.transport;
    const std::byte* const network = p.data + r.at.network;
    const std::size_t total = r.at.network_is == network_header::ipv4
                                  ? std::size_t{load<be16>(network + 2)}
                                  : load<be16>(network + 4) + ipv6_header;
    const std::size_t size = (load<std::uint8_t>(header + 12) >> 4) * std::size_t{4};
    const std::size_t in_front = r.at.transport - std::size_t{r.at.network} + size;
    tcp::segment out;
    out.sequence = load<be32>(header + 4);
    out.acknowledged = load<be32>(header + 8);
    out.window = load<be16>(header + 14);
    out.flags = load<std::uint8_t>(header + 13);
    out.length = static_cast<std::uint32_t>(total - std::min(total, in_front));
    out.partial = r.at.fragment;
    const std::size_t readable =
        head_view{p}.size - std::min(head_view{p}.size, r.at.transport + min_tcp_header);
    out.options = {header + min_tcp_header,
                   std::min(size - std::min(size, min_tcp_header), readable)};
    return out;
}

} // namespace strait::conntrack
