// SPDX-License-Identifier: BSD-3-Clause
// The switch's own frames, byte by byte.
#include "dataplane/endpoint/messages.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"
#include "dataplane/sum.hh"

#include <algorithm>
#include <cstring>

namespace strait::endpoint {

using namespace dataplane;

namespace {

constexpr std::size_t arp_length = 28;
constexpr std::uint16_t arp_request = 1;
constexpr std::uint16_t arp_reply = 2;
constexpr std::size_t shortest_frame = 60; // without FCS
constexpr std::uint8_t echo_request = 8;
constexpr std::uint8_t echo_request6 = 128;
constexpr std::uint8_t echo_reply6 = 129;
constexpr std::uint8_t solicitation = 135;
constexpr std::uint8_t advertisement = 136;
constexpr std::size_t discovery_length = 24; // without options
constexpr std::uint8_t link_option_source = 1;
constexpr std::uint8_t link_option_target = 2;
constexpr std::uint8_t discovery_hop_limit = 255;

constexpr mac_address broadcast{mac_address::mask};

void store_mac(std::byte* at, mac_address mac) noexcept
{
    const auto bytes = mac.bytes();
    std::memcpy(at, bytes.data(), bytes.size());
}
mac_address load_mac(const std::byte* at) noexcept
{
    std::uint64_t value = 0;
    constexpr std::size_t size = 6;
    std::memcpy(&value, at, size);
    return mac_address{value};
}

// Where an IPv6 multicast goes (RFC 2464, 7).
mac_address mac_of_multicast(const ip_address& group) noexcept
{
    return mac_address{
        0x3333U | std::uint64_t{__builtin_bswap32(static_cast<std::uint32_t>(group.low))} << 16};
}
constexpr ip_address all_nodes{0xff02'0000'0000'0000, 1};
constexpr ip_address solicited_node(const ip_address& of) noexcept
{
    return {0xff02'0000'0000'0000, 0x1'ff00'0000 | (of.low & 0xff'ffff)};
}

void write_link_header(std::byte* at, mac_address to, mac_address from, std::uint16_t type) noexcept
{
    store_mac(at, to);
    store_mac(at + 6, from);
    store(at + 12, be16{type});
}

void finish_frame(packet_slot& p, std::size_t length, vlan_id vlan) noexcept
{
    if (length < shortest_frame) {
        std::memset(p.data + length, 0, shortest_frame - length);
        length = shortest_frame;
    }
    p.length = static_cast<std::uint32_t>(length);
    p.head_length = static_cast<std::uint16_t>(length);
    if (vlan != vlan_id{}) {
        push_tag(p, vlan.value());
    }
}

// Fills ICMPv6's checksum behind the IPv6 header at `ip`.
void fill_icmpv6_checksum(std::byte* ip, std::size_t size) noexcept
{
    std::byte* const icmp = ip + ipv6_header;
    store(icmp + icmp_checksum, std::uint16_t{0});
    const std::uint64_t sum = sum_of(ip + 8, 32) + sum_of(icmp, size) +
                              __builtin_bswap16(static_cast<std::uint16_t>(size)) +
                              __builtin_bswap16(protocol_icmpv6);
    store(icmp + icmp_checksum, static_cast<std::uint16_t>(~fold(sum)));
}

void write_ipv6(std::byte* at, const ip_address& from, const ip_address& to, std::size_t content,
                std::uint8_t hop_limit) noexcept
{
    store(at, be32{0x6000'0000});
    store(at + 4, be16{static_cast<std::uint16_t>(content)});
    store(at + 6, protocol_icmpv6);
    store(at + 7, hop_limit);
    from.store(at + 8);
    to.store(at + 24);
}

void make_arp(packet_slot& p, std::uint16_t operation, const interface& from, mac_address to,
              mac_address target_mac, const ip_address& target) noexcept
{
    begin_frame(p);
    write_link_header(p.data, to, from.mac, ethertype_arp);
    std::byte* const arp = p.data + ethernet_header;
    store(arp, be16{1});
    store(arp + 2, be16{ethertype_ipv4});
    store(arp + 4, std::uint8_t{6});
    store(arp + 5, std::uint8_t{4});
    store(arp + 6, be16{operation});
    store_mac(arp + 8, from.mac);
    from.at.address.store(arp + 14);
    store_mac(arp + 18, target_mac);
    target.store(arp + 24);
    finish_frame(p, ethernet_header + arp_length, from.vlan);
}

// `flags` are of an advertisement. `link`: the option that tells the sender's MAC.
void make_discovery(packet_slot& p, std::uint8_t type, std::uint32_t flags, std::uint8_t link,
                    const interface& from, mac_address to_mac, const ip_address& to,
                    const ip_address& target) noexcept
{
    begin_frame(p);
    constexpr std::size_t size = discovery_length + 8;
    write_link_header(p.data, to_mac, from.mac, ethertype_ipv6);
    std::byte* const ip = p.data + ethernet_header;
    write_ipv6(ip, from.at.address, to, size, discovery_hop_limit);
    std::byte* const icmp = ip + ipv6_header;
    store(icmp, type);
    store(icmp + 1, std::uint8_t{0});
    store(icmp + 4, be32{flags});
    target.store(icmp + 8);
    store(icmp + discovery_length, link);
    store(icmp + discovery_length + 1, std::uint8_t{1});
    store_mac(icmp + discovery_length + 2, from.mac);
    fill_icmpv6_checksum(ip, size);
    finish_frame(p, ethernet_header + ipv6_header + size, from.vlan);
}

// The link-layer address in an option of that kind; zero: there is none. False: options lie.
bool read_link_option(const std::byte* at, std::size_t size, std::uint8_t kind,
                      mac_address& out) noexcept
{
    out = {};
    while (size > 0) {
        if (size < 8) {
            return false;
        }
        const std::size_t length = load<std::uint8_t>(at + 1) * std::size_t{8};
        if (length == 0 || length > size) {
            return false;
        }
        if (load<std::uint8_t>(at) == kind && length == 8) {
            out = load_mac(at + 2);
        }
        at += length;
        size -= length;
    }
    return true;
}

} // namespace

bool read_arrival(const packet& p, arrival& out) noexcept
{
    if (p.head_length < ethernet_header) {
        return false;
    }
    const ethernet header = parse_ethernet(p.data);
    out = {.destination = header.destination,
           .source = header.source,
           .vlan = {},
           .type = header.type,
           .network = ethernet_header};
    if (header.type == ethertype_vlan) {
        if (p.head_length < ethernet_header + tag_length) {
            return false;
        }
        constexpr std::uint16_t vid_mask = 0x0fff;
        out.vlan = vlan_id{static_cast<std::uint16_t>(outer_tag(p.data) & vid_mask)};
        out.type = load<be16>(p.data + ethernet_header + 2);
        out.network += tag_length;
    }
    return out.type != ethertype_vlan && out.type != ethertype_qinq;
}

bool read_arp(const packet& p, const arrival& a, neighbour_message& out) noexcept
{
    if (p.head_length < a.network + arp_length) {
        return false;
    }
    const std::byte* const arp = p.data + a.network;
    constexpr std::uint64_t ethernet_and_ipv4 = 0x0001'0800'0604'0000;
    constexpr std::uint64_t operation_bits = 0xffff;
    const std::uint64_t first = load<big_endian<std::uint64_t>>(arp);
    const auto operation = static_cast<std::uint16_t>(first & operation_bits);
    if ((first & ~operation_bits) != ethernet_and_ipv4 ||
        (operation != arp_request && operation != arp_reply)) {
        return false;
    }
    out.asks = operation == arp_request;
    out.mac = load_mac(arp + 8);
    out.sender = ip_address::load_v4(arp + 14);
    out.target = ip_address::load_v4(arp + 24);
    if (!out.sender.is_unicast()) {
        out.sender = {};
    }
    return out.mac == a.source && !out.mac.is_multicast();
}

bool read_discovery(const packet& p, const arrival& a, std::uint32_t content, std::uint32_t end,
                    neighbour_message& out) noexcept
{
    const std::size_t size = end - content;
    if (size < discovery_length || end > p.head_length) {
        return false;
    }
    const std::byte* const ip = p.data + a.network;
    const std::byte* const icmp = p.data + content;
    const auto type = load<std::uint8_t>(icmp);
    if ((type != solicitation && type != advertisement) || load<std::uint8_t>(icmp + 1) != 0 ||
        load<std::uint8_t>(ip + 7) != discovery_hop_limit) { // from behind a router
        return false;
    }
    const std::uint64_t sum = sum_of(ip + 8, 32) + sum_of(icmp, size) +
                              __builtin_bswap16(static_cast<std::uint16_t>(size)) +
                              __builtin_bswap16(protocol_icmpv6);
    if (fold(sum) != 0xffff) {
        return false;
    }
    out.asks = type == solicitation;
    out.target = ip_address::load_v6(icmp + 8);
    if (!read_link_option(icmp + discovery_length, size - discovery_length,
                          out.asks ? link_option_source : link_option_target, out.mac)) {
        return false;
    }
    // An advertisement tells of its target, whoever sends it.
    out.sender = out.asks ? ip_address::load_v6(ip + 8) : out.target;
    if (!out.asks && out.mac.is_zero()) {
        out.mac = a.source;
    }
    return out.target.is_unicast();
}

void begin_frame(packet_slot& p) noexcept
{
    static_cast<packet&>(p) = {};
    p.data = p.head.data();
    p.origin = no_origin;
}

void make_question(packet_slot& p, const interface& from, const ip_address& target,
                   mac_address known) noexcept
{
    if (target.is_v4()) {
        make_arp(p, arp_request, from, known.is_zero() ? broadcast : known, {}, target);
        return;
    }
    const ip_address group = solicited_node(target);
    const bool everybody = known.is_zero();
    make_discovery(p, solicitation, 0, link_option_source, from,
                   everybody ? mac_of_multicast(group) : known, everybody ? group : target, target);
}

void make_answer(packet_slot& p, const interface& from, const neighbour_message& asked,
                 mac_address to) noexcept
{
    if (from.at.address.is_v4()) {
        // Who only looks whether an address is free has none (RFC 5227).
        const ip_address target = asked.sender.is_set() ? asked.sender : ip_address::v4(0);
        make_arp(p, arp_reply, from, to, asked.mac, target);
        return;
    }
    constexpr std::uint32_t solicited = 0x4000'0000;
    constexpr std::uint32_t overrides = 0x2000'0000;
    const bool known = asked.sender.is_set();
    make_discovery(p, advertisement, overrides | (known ? solicited : 0), link_option_target, from,
                   known ? to : mac_of_multicast(all_nodes), known ? asked.sender : all_nodes,
                   from.at.address);
}

bool turn_echo(packet& p, const arrival& a, std::uint32_t content) noexcept
{
    const bool ipv6 = a.type == ethertype_ipv6;
    std::byte* const ip = p.data + a.network;
    std::byte* const icmp = p.data + content;
    if (content + icmp_header > p.head_length ||
        load<std::uint16_t>(icmp) != (ipv6 ? echo_request6 : echo_request)) {
        return false;
    }
    sum_change change;
    const std::uint16_t reply = ipv6 ? echo_reply6 : 0; // the code is 0
    change.replace(load<std::uint16_t>(icmp), reply);
    store(icmp, reply);
    store(icmp + icmp_checksum, change.checksum(load<std::uint16_t>(icmp + icmp_checksum)));
    std::swap_ranges(p.data, p.data + 6, p.data + 6);
    const std::size_t size = ipv6 ? 16 : 4;
    std::byte* const addresses = ip + (ipv6 ? 8 : 12);
    std::swap_ranges(addresses, addresses + size, addresses + size);
    constexpr std::uint8_t hops = 64;
    if (ipv6) {
        store(ip + 7, hops);
    } else {
        sum_change header;
        const auto before = load<std::uint16_t>(ip + 8);
        store(ip + 8, hops);
        header.replace(before, load<std::uint16_t>(ip + 8));
        store(ip + ipv4_checksum, header.checksum(load<std::uint16_t>(ip + ipv4_checksum)));
    }
    return true;
}

namespace {

// Whether its sender may be told of an IPv4 packet's fate (RFC 1812, 4.3.2.7).
bool may_answer_ipv4(const std::byte* ip, std::size_t size) noexcept
{
    constexpr std::uint16_t place = 0x1fff;
    if (size < min_ipv4_header + icmp_header || load<std::uint8_t>(ip) >> 4 != 4 ||
        (load<be16>(ip + 6) & place) != 0) {
        return false;
    }
    const std::size_t header = (load<std::uint8_t>(ip) & 0x0fU) * 4U;
    if (header < min_ipv4_header || header + icmp_header > size) {
        return false;
    }
    if (load<std::uint8_t>(ip + 9) == protocol_icmp) {
        const auto type = load<std::uint8_t>(ip + header);
        if (type != echo_request && type != 0) {
            return false;
        }
    }
    return ip_address::load_v4(ip + 12).is_unicast() && ip_address::load_v4(ip + 16).is_unicast();
}

// Whether what an IPv6 packet carries may be answered with an error: not an error or a redirect
// (RFC 4443, 2.4 (e)), nor what cannot be told to be none.
bool is_no_icmpv6_error(const std::byte* ip, std::size_t size) noexcept
{
    constexpr std::size_t smallest = 8;
    std::size_t at = ipv6_header;
    auto kind = load<std::uint8_t>(ip + 6);
    while (kind == ipv6_hop_by_hop || kind == ipv6_routing || kind == ipv6_destination ||
           kind == protocol_authentication || kind == ipv6_fragment) {
        if (size - at < smallest) {
            return false;
        }
        const std::size_t length = load<std::uint8_t>(ip + at + 1);
        std::size_t bytes = (length + 1) * smallest;
        if (kind == ipv6_fragment) {
            constexpr std::uint16_t place = 0xfff8;
            if ((load<be16>(ip + at + 2) & place) != 0) {
                return false;
            }
            bytes = smallest;
        } else if (kind == protocol_authentication) {
            bytes = (length + 2) * 4;
        }
        if (size - at < bytes) {
            return false;
        }
        kind = load<std::uint8_t>(ip + at);
        at += bytes;
    }
    if (kind != protocol_icmpv6) {
        return true;
    }
    constexpr std::uint8_t first_informational = 128;
    constexpr std::uint8_t redirect = 137;
    const auto type = at < size ? load<std::uint8_t>(ip + at) : std::uint8_t{0};
    return type >= first_informational && type != redirect;
}

bool may_answer_ipv6(const std::byte* ip, std::size_t size) noexcept
{
    if (size < ipv6_header + icmp_header || load<std::uint8_t>(ip) >> 4 != 6 ||
        !is_no_icmpv6_error(ip, size)) {
        return false;
    }
    return ip_address::load_v6(ip + 8).is_unicast() && ip_address::load_v6(ip + 24).is_unicast();
}

// An ICMP error in both versions: type and code, and the word behind the checksum.
struct icmp_error {
    std::uint16_t icmp;
    std::uint16_t icmpv6;
    std::uint32_t word{0};
};
constexpr std::uint16_t type_and_code(std::uint8_t type, std::uint8_t code) noexcept
{
    return static_cast<std::uint16_t>(type << 8 | code);
}

// `from` not set: as if its receiver said so.
bool make_error(packet_slot& p, const packet& about, const icmp_error& what,
                const ip_address& from) noexcept
{
    std::size_t network = ethernet_header;
    if (about.head_length < ethernet_header) {
        return false;
    }
    const ethernet link = parse_ethernet(about.data);
    std::uint16_t type = link.type;
    for (int tags = 0; type == ethertype_vlan || type == ethertype_qinq; ++tags) {
        if (tags == 2 || network + tag_length > about.head_length) {
            return false;
        }
        type = load<be16>(about.data + network + 2);
        network += tag_length;
    }
    const std::byte* const ip = about.data + network;
    // Of a long head no more is looked at than of any other.
    const std::size_t there = std::min<std::size_t>(about.head_length, longest_head) - network;
    const bool ipv6 = type == ethertype_ipv6;
    if (link.destination.is_multicast() || link.source.is_multicast() ||
        (from.is_set() && from.is_v4() == ipv6) ||
        !(ipv6 ? may_answer_ipv6(ip, there)
               : type == ethertype_ipv4 && may_answer_ipv4(ip, there))) {
        return false;
    }
    begin_frame(p);
    const std::size_t header = ipv6 ? ipv6_header : min_ipv4_header;
    const std::size_t room = longest_head - network - header - icmp_header;
    constexpr std::size_t most_quoted = 60 + 8; // IPv4's longest header, and of what it carries
    const std::size_t quoted = std::min({there, room, most_quoted}) / 2 * 2;
    // With the tags it came with.
    std::memcpy(p.data, about.data, network);
    store_mac(p.data, link.source);
    store_mac(p.data + 6, link.destination);
    std::byte* const out = p.data + network;
    std::byte* const icmp = out + header;
    std::memcpy(icmp + icmp_header, ip, quoted);
    const std::size_t size = icmp_header + quoted;
    constexpr std::uint8_t hops = 64;
    if (ipv6) {
        write_ipv6(out, from.is_set() ? from : ip_address::load_v6(ip + 24),
                   ip_address::load_v6(ip + 8), size, hops);
        store(icmp, be16{what.icmpv6});
        store(icmp + 4, be32{what.word});
        fill_icmpv6_checksum(out, size);
    } else {
        std::memset(out, 0, min_ipv4_header);
        store(out, std::uint8_t{0x45});
        store(out + 2, be16{static_cast<std::uint16_t>(header + size)});
        store(out + 8, hops);
        store(out + 9, protocol_icmp);
        (from.is_set() ? from : ip_address::load_v4(ip + 16)).store(out + 12);
        std::memcpy(out + 16, ip + 12, 4);
        store(out + ipv4_checksum, static_cast<std::uint16_t>(~fold(sum_of(out, header))));
        store(icmp, be16{what.icmp});
        store(icmp + icmp_checksum, std::uint16_t{0});
        store(icmp + 4, be32{std::min<std::uint32_t>(what.word, 0xffff)});
        store(icmp + icmp_checksum, static_cast<std::uint16_t>(~fold(sum_of(icmp, size))));
    }
    finish_frame(p, network + header + size, {});
    p.tags = static_cast<std::uint8_t>((network - ethernet_header) / tag_length) & 0x3f;
    return true;
}

} // namespace

bool make_too_big(packet_slot& p, const packet& big, std::uint32_t mtu) noexcept
{
    constexpr std::uint16_t fragmentation_needed = type_and_code(3, 4);
    constexpr std::uint16_t packet_too_big = type_and_code(2, 0);
    return make_error(p, big, {fragmentation_needed, packet_too_big, mtu}, {});
}

bool make_time_exceeded(packet_slot& p, const packet& late, const ip_address& from) noexcept
{
    constexpr std::uint16_t ttl_exceeded = type_and_code(11, 0);
    constexpr std::uint16_t hop_limit_exceeded = type_and_code(3, 0);
    return make_error(p, late, {ttl_exceeded, hop_limit_exceeded}, from);
}

void push_link_header(packet& p, mac_address to, const interface& from, bool ipv6) noexcept
{
    p.data -= ethernet_header;
    p.length += ethernet_header;
    p.head_length = static_cast<std::uint16_t>(p.head_length + ethernet_header);
    write_link_header(p.data, to, from.mac, ipv6 ? ethertype_ipv6 : ethertype_ipv4);
    move_intent(p.offload, int{ethernet_header});
    if (from.vlan != vlan_id{}) {
        push_tag(p, from.vlan.value());
    }
}

} // namespace strait::endpoint
