// SPDX-License-Identifier: BSD-3-Clause
// The parser. Words of a key are put together from words of the frame where that is cheaper than
// field by field: see field.hh for what lies where.
#include "dataplane/flow/extract.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <bit>

namespace strait::flow {

namespace {

using namespace dataplane;

constexpr std::uint16_t first_ethertype = 0x0600; // what is smaller is a length
constexpr std::uint64_t ethernet_address = 0xffff'ffff'ffff;
constexpr std::size_t snap_header = 8;            // with LLC
constexpr std::size_t arp_packet = 28;            // of IPv4 on Ethernet
constexpr std::uint32_t longest_padding = 0xffff; // behind IP's packet

// What is put together of a key. Nothing of it is passed by reference, so that it stays in
// registers; nor is the cursor.
struct parts {
    std::uint8_t protocol{0};
    std::uint8_t tos{0};
    std::uint8_t ttl{0};
    std::uint8_t fragment{0};
    std::uint16_t flags{0};
    std::uint32_t ports{0}; // the source's below
    std::uint32_t label{0};
};

// Where the parser stands in a frame, and how far it may go.
struct cursor {
    const std::byte* frame;
    std::uint32_t at;
    std::uint32_t readable; // to where bytes are in the head and belong to the packet
    std::uint32_t end;      // to where they belong to it

    [[nodiscard]] bool has(std::size_t size) const noexcept { return at + size <= readable; }
    // They belong to the packet, in the head or behind it.
    [[nodiscard]] bool belongs(std::size_t size) const noexcept { return at + size <= end; }
    // The packet ends `size` bytes from here: what follows is padding.
    void end_after(std::uint32_t size) noexcept
    {
        end = at + size;
        readable = std::min(readable, end);
    }
    template <typename T>
    [[nodiscard]] T get(std::size_t offset) const noexcept
    {
        return load<T>(frame + at + offset);
    }
};

[[nodiscard]] std::uint64_t address_at(const std::byte* at) noexcept // reads 8 bytes
{
    return __builtin_bswap64(load<std::uint64_t>(at)) >> 16;
}

[[nodiscard]] bool is_tag(std::uint16_t type) noexcept
{
    return type == ethertype_vlan || type == ethertype_qinq;
}

struct link {
    std::uint32_t end;
    std::uint16_t type;
    std::uint16_t outer_tag;
    std::uint16_t inner_tag;
};

// Tags, and LLC with SNAP. The cursor stands behind the first EtherType, which is `type`.
[[gnu::always_inline]] inline link parse_link(cursor c, std::uint16_t type,
                                              header_layout& at) noexcept
{
    link out{c.at, type, 0, 0};
    while (is_tag(out.type) && at.tags < most_tags) {
        if (!c.has(tag_length)) {
            at.complete = !c.belongs(tag_length);
            return out;
        }
        const auto tag = static_cast<std::uint16_t>(c.get<be16>(0) | vlan_present);
        if (at.tags == 0) {
            out.outer_tag = tag;
            at.outer_qinq = out.type == ethertype_qinq;
        } else {
            out.inner_tag = tag;
        }
        ++at.tags;
        out.type = c.get<be16>(2);
        c.at += tag_length;
    }
    if (out.type < first_ethertype) {
        out.type = no_ethertype;
        constexpr std::uint64_t snap = 0xaaaa'0300'0000; // LLC, and Ethernet as the organisation
        if (!c.has(snap_header)) {
            at.complete = !c.belongs(snap_header);
        } else if (address_at(c.frame + c.at) == snap && c.get<be16>(6) >= first_ethertype) {
            out.type = c.get<be16>(6);
            c.at += snap_header;
        }
    }
    out.end = c.at;
    return out;
}

[[nodiscard]] std::uint32_t ports_at(const cursor& c) noexcept
{
    return std::rotl(__builtin_bswap32(c.get<std::uint32_t>(0)), 16);
}

[[nodiscard]] std::uint32_t type_and_code_at(const cursor& c) noexcept
{
    return c.get<std::uint8_t>(0) | std::uint32_t{c.get<std::uint8_t>(1)} << 16;
}

// The target, and the options with link-layer addresses. One that comes twice spoils them all.
[[gnu::noinline]] void parse_neighbour(cursor c, key& out, header_layout& at) noexcept
{
    constexpr std::size_t target_size = 16;
    constexpr std::size_t smallest_option = 8;
    constexpr std::uint8_t source_link = 1;
    constexpr std::uint8_t target_link = 2;
    c.at += icmp_header;
    if (!c.has(target_size)) {
        at.complete = !c.belongs(target_size);
        return;
    }
    const std::uint32_t target = c.at;
    std::uint64_t source = 0;
    std::uint64_t destination = 0;
    c.at += target_size;
    while (c.has(smallest_option)) {
        const auto kind = c.get<std::uint8_t>(0);
        const std::uint32_t size = c.get<std::uint8_t>(1) * 8U;
        if (size == 0) {
            break;
        }
        if (size == smallest_option && (kind == source_link || kind == target_link)) {
            std::uint64_t& address = kind == source_link ? source : destination;
            if (address != 0) {
                at.nd_source_link = 0;
                at.nd_target_link = 0;
                return;
            }
            address = __builtin_bswap64(c.get<std::uint64_t>(0)) & ethernet_address;
            (kind == source_link ? at.nd_source_link : at.nd_target_link) =
                static_cast<std::uint16_t>(c.at + 2);
        }
        c.at += size;
    }
    at.complete = c.has(smallest_option) || !c.belongs(smallest_option);
    at.nd_target = static_cast<std::uint16_t>(target);
    out.words[12] = __builtin_bswap64(load<std::uint64_t>(c.frame + target));
    out.words[13] = __builtin_bswap64(load<std::uint64_t>(c.frame + target + 8));
    out.words[10] |= source;
    out.words[11] = destination;
}

// Whatever IP carries, but in a later fragment.
[[gnu::always_inline]] inline void parse_transport(const cursor& c, parts& found, key& out,
                                                   header_layout& at) noexcept
{
    // Whether the header is there; and if not, whether it is but out of reach.
    const auto here = [&](std::size_t size) noexcept {
        if (c.has(size)) [[likely]] {
            at.transport = static_cast<std::uint16_t>(c.at);
            return true;
        }
        at.complete = !c.belongs(size);
        return false;
    };
    const auto checksum = [&](std::uint16_t offset) noexcept {
        at.checksum = static_cast<std::uint16_t>(c.at + offset);
    };
    switch (found.protocol) {
    case protocol_tcp:
        if (here(min_tcp_header)) {
            checksum(tcp_checksum);
            const std::uint16_t control = c.get<be16>(12);
            const std::size_t size = (control >> 12) * 4U;
            if (size >= min_tcp_header && c.belongs(size)) [[likely]] {
                at.transport_is = transport_header::tcp;
                found.flags = control & 0x0fff;
                found.ports = ports_at(c);
            }
        }
        break;
    case protocol_udp:
        if (here(udp_header)) {
            checksum(udp_checksum);
            at.transport_is = transport_header::udp;
            found.ports = ports_at(c);
        }
        break;
    case protocol_sctp:
        if (here(sctp_header)) {
            at.transport_is = transport_header::sctp;
            found.ports = ports_at(c);
        }
        break;
    case protocol_icmp:
        if (here(icmp_header)) {
            checksum(icmp_checksum);
            at.transport_is = transport_header::icmp;
            found.ports = type_and_code_at(c);
        }
        break;
    case protocol_igmp:
        if (here(icmp_header)) {
            at.transport_is = transport_header::igmp;
            found.ports = type_and_code_at(c);
        }
        break;
    case protocol_icmpv6:
        if (here(icmp_header)) {
            checksum(icmp_checksum);
            at.transport_is = transport_header::icmpv6;
            found.ports = type_and_code_at(c);
            const std::uint16_t type_and_code = c.get<be16>(0);
            constexpr std::uint16_t solicitation = 135 << 8;
            constexpr std::uint16_t advertisement = 136 << 8;
            if (type_and_code == solicitation || type_and_code == advertisement) {
                parse_neighbour(c, out, at);
            }
        }
        break;
    default:
        if (c.has(1)) {
            at.transport = static_cast<std::uint16_t>(c.at);
        }
        break;
    }
}

[[gnu::always_inline]] inline void parse_ipv4(cursor c, parts& found, key& out, header_layout& at,
                                              depth deepest) noexcept
{
    if (!c.has(min_ipv4_header)) {
        at.complete = !c.belongs(min_ipv4_header);
        return;
    }
    const std::uint32_t size = (c.get<std::uint8_t>(0) & 0x0fU) * 4;
    const std::uint16_t total = c.get<be16>(2);
    const std::uint32_t left = c.end - c.at;
    // Of a packet that would be longer than the frame the difference is large as well.
    if (size < min_ipv4_header || total < size || left - total > longest_padding) [[unlikely]] {
        return;
    }
    at.network = static_cast<std::uint16_t>(c.at);
    at.network_is = network_header::ipv4;
    out.words[4] = __builtin_bswap64(c.get<std::uint64_t>(12)); // both addresses
    found.tos = c.get<std::uint8_t>(1);
    found.ttl = c.get<std::uint8_t>(8);
    found.protocol = c.get<std::uint8_t>(9);
    const std::uint16_t place = c.get<be16>(6); // in the datagram
    constexpr std::uint16_t offset_mask = 0x1fff;
    constexpr std::uint16_t more = 0x2000;
    c.end_after(total);
    c.at += size;
    if ((place & (offset_mask | more)) != 0) [[unlikely]] {
        at.fragment = true;
        found.fragment = frag_any;
        if ((place & offset_mask) != 0) {
            found.fragment |= frag_later;
            return;
        }
    }
    if (deepest == depth::transport) {
        parse_transport(c, found, out, at);
    }
}

[[nodiscard]] bool is_extension(std::uint8_t protocol) noexcept
{
    return protocol == ipv6_hop_by_hop || protocol == ipv6_routing ||
           protocol == ipv6_destination || protocol == protocol_authentication ||
           protocol == ipv6_fragment;
}

struct extensions {
    std::uint32_t end{0}; // 0: there is none
    std::uint8_t protocol{0};
    std::uint8_t fragment{0};
};

// Walks to what is no extension header. `kind` is the first's.
[[gnu::noinline]] extensions skip_extensions(cursor c, std::uint8_t kind,
                                             header_layout& at) noexcept
{
    constexpr std::size_t smallest = 8;
    std::uint8_t fragment = 0;
    while (is_extension(kind)) {
        if (!c.has(smallest)) {
            at.complete = !c.belongs(smallest);
            return {};
        }
        const unsigned length = c.get<std::uint8_t>(1);
        std::size_t size = smallest;
        if (kind == ipv6_fragment) {
            constexpr std::uint16_t offset_mask = 0xfff8;
            const std::uint16_t place = c.get<be16>(2);
            if (place != 0) {
                at.fragment = true;
                fragment = frag_any;
            }
            if ((place & offset_mask) != 0) {
                return {c.at, ipv6_fragment, frag_any | frag_later};
            }
        } else if (kind == protocol_authentication) {
            size = (length + 2) * std::size_t{4};
        } else {
            size = (length + 1) * std::size_t{8};
            constexpr std::size_t segments_left = 3;
            at.routed |= kind == ipv6_routing && c.get<std::uint8_t>(segments_left) != 0;
        }
        if (!c.belongs(size)) {
            return {};
        }
        kind = c.get<std::uint8_t>(0);
        c.at += static_cast<std::uint32_t>(size);
    }
    return {c.at, kind, fragment};
}

[[gnu::always_inline]] inline void parse_ipv6(cursor c, parts& found, key& out, header_layout& at,
                                              depth deepest) noexcept
{
    if (!c.has(ipv6_header)) {
        at.complete = !c.belongs(ipv6_header);
        return;
    }
    const std::uint16_t payload = c.get<be16>(4);
    const auto left = static_cast<std::uint32_t>(c.end - c.at - ipv6_header);
    if (left - payload > longest_padding) [[unlikely]] { // as above
        return;
    }
    at.network = static_cast<std::uint16_t>(c.at);
    at.network_is = network_header::ipv6;
    for (std::size_t i = 0; i < 4; ++i) { // both addresses
        out.words[5 + i] = __builtin_bswap64(c.get<std::uint64_t>(8 + i * 8));
    }
    const std::uint32_t first = c.get<be32>(0);
    const auto ttl = c.get<std::uint8_t>(7);
    auto protocol = c.get<std::uint8_t>(6);
    c.at += ipv6_header;
    c.end_after(payload);
    if (is_extension(protocol)) [[unlikely]] {
        const extensions skipped = skip_extensions(c, protocol, at);
        if (skipped.end == 0) {
            at.network_is = network_header::ipv6_cut;
            return;
        }
        c.at = skipped.end;
        protocol = skipped.protocol;
        found.fragment = skipped.fragment;
    }
    constexpr std::uint32_t label_mask = 0xf'ffff;
    found.label = first & label_mask;
    found.protocol = protocol;
    found.tos = static_cast<std::uint8_t>(first >> 20);
    found.ttl = ttl;
    if (deepest == depth::transport && (found.fragment & frag_later) == 0) {
        parse_transport(c, found, out, at);
    }
}

// Returns the operation, if a key can hold it.
[[gnu::noinline]] std::uint8_t parse_arp(cursor c, key& out, header_layout& at) noexcept
{
    if (!c.has(arp_packet)) {
        at.complete = !c.belongs(arp_packet);
        return 0;
    }
    constexpr std::uint64_t ipv4_on_ethernet = 0x0001'0800'0604;
    if (address_at(c.frame + c.at) != ipv4_on_ethernet) {
        return 0;
    }
    at.network = static_cast<std::uint16_t>(c.at);
    at.network_is = network_header::arp;
    out.words[4] = std::uint64_t{c.get<be32>(14)} << 32 | c.get<be32>(24);
    out.words[10] |= address_at(c.frame + c.at + 8);
    out.words[11] = address_at(c.frame + c.at + 18);
    const std::uint16_t operation = c.get<be16>(6);
    return static_cast<std::uint8_t>(operation <= 0xff ? operation : 0);
}

} // namespace

bool extract(const packet& p, key& out, header_layout& at, depth deepest) noexcept
{
    at = {};
    at.looked_at = deepest;
    std::fill_n(out.words.begin() + 4, 10, 0);
    out.words[10] = std::uint64_t{std::min<std::uint32_t>(p.length, 0xffff)} << 48;
    // Of a head that is longer, an mbuf's, no more is read than of a guest's that got its tags:
    // what is read may be written, and only so much of a head is nobody else's (clone_packet()).
    constexpr std::size_t most = longest_head + most_tags * tag_length;
    const auto readable = static_cast<std::uint32_t>(std::min<std::size_t>(p.head_length, most));
    cursor c{p.data, ethernet_header, readable, p.length};
    if (readable < ethernet_header) [[unlikely]] {
        std::fill_n(out.words.begin() + 1, 3, 0);
        at.complete = p.length < ethernet_header;
        return at.complete;
    }
    const std::uint64_t destination = address_at(p.data);
    const std::uint64_t source = __builtin_bswap64(load<std::uint64_t>(p.data + 6));
    auto type = static_cast<std::uint16_t>(source);
    std::uint64_t outer_tag = 0;
    std::uint64_t inner_tag = 0;
    if (is_tag(type) || type < first_ethertype) [[unlikely]] {
        const link l = parse_link(c, type, at);
        c.at = l.end;
        type = l.type;
        outer_tag = l.outer_tag;
        inner_tag = l.inner_tag;
    }
    parts found;
    if (deepest == depth::link) {
        // Nobody asks for more.
    } else if (type == ethertype_ipv4) {
        parse_ipv4(c, found, out, at, deepest);
    } else if (type == ethertype_ipv6) {
        parse_ipv6(c, found, out, at, deepest);
    } else if (type == ethertype_arp || type == ethertype_rarp) {
        found.protocol = parse_arp(c, out, at);
    }
    out.words[1] = destination | std::uint64_t{type} << 48;
    out.words[2] = source >> 16 | outer_tag << 48;
    out.words[3] = inner_tag | std::uint64_t{found.protocol} << 16 |
                   std::uint64_t{found.tos} << 24 | std::uint64_t{found.ttl} << 32 |
                   std::uint64_t{found.fragment} << 40 | std::uint64_t{found.flags} << 48;
    out.words[9] = found.ports | std::uint64_t{found.label} << 32;
    return at.complete;
}

} // namespace strait::flow
