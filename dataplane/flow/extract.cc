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
constexpr std::uint16_t ethertype_arp = 0x0806;
constexpr std::uint16_t ethertype_rarp = 0x8035;
constexpr std::uint64_t ethernet_address = 0xffff'ffff'ffff;
constexpr std::size_t snap_header = 8; // with LLC
constexpr std::size_t arp_packet = 28; // of IPv4 on Ethernet

// What is put together of a key.
struct parts {
    std::uint16_t type{0};
    std::uint16_t outer_tag{0};
    std::uint16_t inner_tag{0};
    std::uint8_t protocol{0};
    std::uint8_t tos{0};
    std::uint8_t ttl{0};
    std::uint8_t fragment{0};
    std::uint16_t flags{0};
};

// Where the parser stands in a frame, and how far it may go.
struct cursor {
    const std::byte* frame;
    std::uint32_t at;
    std::uint32_t readable; // to where bytes are in the head and belong to the packet
    std::uint32_t end;      // to where they belong to it

    [[nodiscard]] bool has(std::size_t size) const noexcept { return at + size <= readable; }
    // What has() denied is there all the same, but behind the head.
    [[nodiscard]] bool lies_beyond(std::size_t size) const noexcept { return at + size <= end; }
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

// Tags, and LLC with SNAP. The cursor stands behind the first EtherType.
[[gnu::noinline]] void parse_link(cursor& c, parts& found, header_layout& at) noexcept
{
    while (is_tag(found.type) && at.tags < most_tags) {
        if (!c.has(tag_length)) {
            at.complete = !c.lies_beyond(tag_length);
            return;
        }
        const auto tag = static_cast<std::uint16_t>(c.get<be16>(0) | vlan_present);
        if (at.tags == 0) {
            found.outer_tag = tag;
            at.outer_qinq = found.type == ethertype_qinq;
        } else {
            found.inner_tag = tag;
        }
        ++at.tags;
        found.type = c.get<be16>(2);
        c.at += tag_length;
    }
    if (found.type >= first_ethertype) {
        return;
    }
    found.type = no_ethertype;
    constexpr std::uint64_t snap = 0xaaaa'0300'0000; // LLC, and the organisation that is Ethernet's
    if (!c.has(snap_header)) {
        at.complete = !c.lies_beyond(snap_header);
    } else if (address_at(c.frame + c.at) == snap && c.get<be16>(6) >= first_ethertype) {
        found.type = c.get<be16>(6);
        c.at += snap_header;
    }
}

void set_ports(const cursor& c, key& out) noexcept
{
    // Each half swapped where it is: the source port goes below.
    const std::uint32_t ports = std::rotl(__builtin_bswap32(c.get<std::uint32_t>(0)), 16);
    out.words[9] |= ports;
}

void set_type_and_code(const cursor& c, key& out) noexcept
{
    out.words[9] |= c.get<std::uint8_t>(0) | std::uint64_t{c.get<std::uint8_t>(1)} << 16;
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
        at.complete = !c.lies_beyond(target_size);
        return;
    }
    const std::uint32_t target = c.at;
    std::uint64_t source = 0;
    std::uint64_t destination = 0;
    c.at += target_size;
    while (c.has(smallest_option)) {
        const auto kind = c.get<std::uint8_t>(0);
        const std::uint32_t size = c.get<std::uint8_t>(1) * 8U;
        if (size == 0 || !c.lies_beyond(size)) {
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
    at.complete = c.has(smallest_option) || !c.lies_beyond(smallest_option);
    at.nd_target = static_cast<std::uint16_t>(target);
    out.words[12] = __builtin_bswap64(load<std::uint64_t>(c.frame + target));
    out.words[13] = __builtin_bswap64(load<std::uint64_t>(c.frame + target + 8));
    out.words[10] |= source;
    out.words[11] = destination;
}

// Whatever IP carries, but in a later fragment.
[[gnu::always_inline]] inline void parse_transport(cursor& c, parts& found, key& out,
                                                   header_layout& at) noexcept
{
    // Whether the header is there; and if not, whether it is but out of reach.
    const auto here = [&](std::size_t size) noexcept {
        if (c.has(size)) [[likely]] {
            at.transport = static_cast<std::uint16_t>(c.at);
            return true;
        }
        at.complete = !c.lies_beyond(size);
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
            if (size >= min_tcp_header && c.lies_beyond(size)) [[likely]] {
                at.transport_is = transport_header::tcp;
                found.flags = control & 0x0fff;
                set_ports(c, out);
            }
        }
        break;
    case protocol_udp:
        if (here(udp_header)) {
            checksum(udp_checksum);
            at.transport_is = transport_header::udp;
            set_ports(c, out);
        }
        break;
    case protocol_sctp:
        if (here(sctp_header)) {
            at.transport_is = transport_header::sctp;
            set_ports(c, out);
        }
        break;
    case protocol_icmp:
        if (here(icmp_header)) {
            checksum(icmp_checksum);
            at.transport_is = transport_header::icmp;
            set_type_and_code(c, out);
        }
        break;
    case protocol_igmp:
        if (here(icmp_header)) {
            at.transport_is = transport_header::igmp;
            set_type_and_code(c, out);
        }
        break;
    case protocol_icmpv6:
        if (here(icmp_header)) {
            checksum(icmp_checksum);
            at.transport_is = transport_header::icmpv6;
            set_type_and_code(c, out);
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

[[gnu::always_inline]] inline void parse_ipv4(cursor& c, parts& found, key& out,
                                              header_layout& at) noexcept
{
    if (!c.has(min_ipv4_header)) {
        at.complete = !c.lies_beyond(min_ipv4_header);
        return;
    }
    const std::uint32_t size = (c.get<std::uint8_t>(0) & 0x0fU) * 4;
    const std::uint16_t total = c.get<be16>(2);
    const std::uint32_t left = c.end - c.at;
    if (size < min_ipv4_header || total < size || total > left || left - total > 0xffff)
        [[unlikely]] {
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
    parse_transport(c, found, out, at);
}

// Walks to what is no extension header, and finds the protocol and the place in the datagram.
// False: there is none.
bool skip_extensions(cursor& c, parts& found, header_layout& at) noexcept
{
    constexpr std::size_t smallest = 8;
    for (;;) {
        const std::uint8_t kind = found.protocol;
        if (kind != ipv6_hop_by_hop && kind != ipv6_routing && kind != ipv6_destination &&
            kind != protocol_authentication && kind != ipv6_fragment) {
            return true;
        }
        if (!c.has(smallest)) {
            at.complete = !c.lies_beyond(smallest);
            return false;
        }
        found.protocol = c.get<std::uint8_t>(0);
        const unsigned length = c.get<std::uint8_t>(1);
        std::size_t size = smallest;
        if (kind == ipv6_fragment) {
            constexpr std::uint16_t offset_mask = 0xfff8;
            const std::uint16_t place = c.get<be16>(2);
            if (place != 0) {
                at.fragment = true;
                found.fragment = frag_any;
            }
            if ((place & offset_mask) != 0) {
                found.fragment |= frag_later;
                found.protocol = ipv6_fragment;
                return true;
            }
        } else if (kind == protocol_authentication) {
            size = (length + 2) * std::size_t{4};
        } else {
            size = (length + 1) * std::size_t{8};
            constexpr std::size_t segments_left = 3;
            at.routed |= kind == ipv6_routing && c.get<std::uint8_t>(segments_left) != 0;
        }
        if (!c.lies_beyond(size)) {
            return false;
        }
        c.at += static_cast<std::uint32_t>(size);
    }
}

[[gnu::always_inline]] inline void parse_ipv6(cursor& c, parts& found, key& out,
                                              header_layout& at) noexcept
{
    if (!c.has(ipv6_header)) {
        at.complete = !c.lies_beyond(ipv6_header);
        return;
    }
    const std::uint16_t payload = c.get<be16>(4);
    const std::uint32_t left = c.end - c.at;
    if (payload + ipv6_header > left || left - (payload + ipv6_header) > 0xffff) [[unlikely]] {
        return;
    }
    at.network = static_cast<std::uint16_t>(c.at);
    at.network_is = network_header::ipv6;
    for (std::size_t i = 0; i < 4; ++i) { // both addresses
        out.words[5 + i] = __builtin_bswap64(c.get<std::uint64_t>(8 + i * 8));
    }
    const std::uint32_t first = c.get<be32>(0);
    const auto ttl = c.get<std::uint8_t>(7);
    found.protocol = c.get<std::uint8_t>(6);
    c.at += ipv6_header;
    c.end_after(payload);
    if (!skip_extensions(c, found, at)) [[unlikely]] {
        at.network_is = network_header::ipv6_cut;
        found.protocol = 0;
        found.fragment = 0;
        return;
    }
    constexpr std::uint32_t label_mask = 0xf'ffff;
    out.words[9] = std::uint64_t{first & label_mask} << 32;
    found.tos = static_cast<std::uint8_t>(first >> 20);
    found.ttl = ttl;
    if ((found.fragment & frag_later) == 0) [[likely]] {
        parse_transport(c, found, out, at);
    }
}

[[gnu::noinline]] void parse_arp(cursor& c, parts& found, key& out, header_layout& at) noexcept
{
    if (!c.has(arp_packet)) {
        at.complete = !c.lies_beyond(arp_packet);
        return;
    }
    constexpr std::uint64_t ipv4_on_ethernet = 0x0001'0800'0604;
    if (address_at(c.frame + c.at) != ipv4_on_ethernet) {
        return;
    }
    at.network = static_cast<std::uint16_t>(c.at);
    at.network_is = network_header::arp;
    const std::uint16_t operation = c.get<be16>(6);
    if (operation <= 0xff) {
        found.protocol = static_cast<std::uint8_t>(operation);
    }
    out.words[10] |= address_at(c.frame + c.at + 8);
    out.words[11] = address_at(c.frame + c.at + 18);
    out.words[4] = std::uint64_t{c.get<be32>(14)} << 32 | c.get<be32>(24);
}

} // namespace

bool extract(const packet& p, key& out, header_layout& at) noexcept
{
    at = {};
    parts found;
    std::fill_n(out.words.begin() + 4, 10, 0);
    out.words[10] = std::uint64_t{std::min<std::uint32_t>(p.length, 0xffff)} << 48;
    // Of a head that is longer, an mbuf's, no more is read than of others: what is read may be
    // written, and only so much of a head is nobody else's (clone_packet()).
    const auto readable =
        static_cast<std::uint32_t>(std::min<std::size_t>(p.head_length, longest_head));
    cursor c{p.data, ethernet_header, readable, p.length};
    if (readable < ethernet_header) [[unlikely]] {
        std::fill_n(out.words.begin() + 1, 3, 0);
        return at.complete;
    }
    const std::uint64_t destination = address_at(p.data);
    const std::uint64_t source = __builtin_bswap64(load<std::uint64_t>(p.data + 6));
    found.type = static_cast<std::uint16_t>(source);
    if (is_tag(found.type) || found.type < first_ethertype) [[unlikely]] {
        parse_link(c, found, at);
    }
    switch (found.type) {
    case ethertype_ipv4:
        parse_ipv4(c, found, out, at);
        break;
    case ethertype_ipv6:
        parse_ipv6(c, found, out, at);
        break;
    case ethertype_arp:
    case ethertype_rarp:
        parse_arp(c, found, out, at);
        break;
    default:
        break;
    }
    out.words[1] = destination | std::uint64_t{found.type} << 48;
    out.words[2] = source >> 16 | std::uint64_t{found.outer_tag} << 48;
    out.words[3] = found.inner_tag | std::uint64_t{found.protocol} << 16 |
                   std::uint64_t{found.tos} << 24 | std::uint64_t{found.ttl} << 32 |
                   std::uint64_t{found.fragment} << 40 | std::uint64_t{found.flags} << 48;
    return at.complete;
}

} // namespace strait::flow
