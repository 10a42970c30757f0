// SPDX-License-Identifier: BSD-3-Clause
// Frames to the switch's own addresses: answers, and what comes out of tunnels.
#include "dataplane/tunnel/carrier.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"
#include "dataplane/tunnel/options.hh"

#include <algorithm>

namespace strait::tunnel {

using namespace dataplane;
using endpoint::arrival;
using endpoint::neighbour_message;

namespace {

drop_reason unwanted(const arrival& a) noexcept
{
    return a.destination.is_multicast() ? drop_reason::multicast_unwanted
                                        : drop_reason::endpoint_unwanted;
}

drop_reason reason_of(fault f) noexcept
{
    switch (f) {
    case fault::checksum:
    case fault::ip_checksum:
        return drop_reason::tunnel_checksum;
    case fault::critical_option:
    case fault::option_length:
        return drop_reason::tunnel_option;
    case fault::fragment:
        return drop_reason::tunnel_fragment;
    default:
        return drop_reason::tunnel_malformed;
    }
}

// Takes congestion that the outer header tells of over into the inner one. False: the inner packet
// cannot say it, and dies of it.
bool take_over_congestion(packet& p, std::uint8_t outer) noexcept
{
    constexpr std::uint8_t ecn_bits = 3;
    if ((outer & ecn_bits) == 0 || p.head_length < ethernet_header) {
        return true;
    }
    std::size_t at = ethernet_header;
    std::uint16_t type = load<be16>(p.data + 12);
    for (int tags = 0; tags < 2 && (type == ethertype_vlan || type == ethertype_qinq) &&
                       at + tag_length <= p.head_length;
         ++tags) {
        type = load<be16>(p.data + at + 2);
        at += tag_length;
    }
    std::byte* const ip = p.data + at;
    if (type == ethertype_ipv4 && at + min_ipv4_header <= p.head_length) {
        const auto before = load<std::uint16_t>(ip);
        const auto inner = load<std::uint8_t>(ip + 1);
        const ecn_verdict v = ecn_in(outer, inner);
        store(ip + 1, static_cast<std::uint8_t>((inner & ~unsigned{ecn_bits}) | v.ecn));
        sum_change change;
        change.replace(before, load<std::uint16_t>(ip));
        store(ip + ipv4_checksum, change.checksum(load<std::uint16_t>(ip + ipv4_checksum)));
        return !v.dropped;
    }
    if (type == ethertype_ipv6 && at + ipv6_header <= p.head_length) {
        const std::uint32_t first = load<be32>(ip);
        constexpr unsigned shift = 20;
        const ecn_verdict v = ecn_in(outer, static_cast<std::uint8_t>(first >> shift));
        store(ip,
              be32{(first & ~(std::uint32_t{ecn_bits} << shift)) | std::uint32_t{v.ecn} << shift});
        return !v.dropped;
    }
    return true;
}

// What flows see of a received packet's tunnel.
notes::words words_of(const outer_ip& ip, const contents& c) noexcept
{
    using enum flow::field;
    notes::words words{};
    const auto put = [&words](flow::field f, std::uint64_t value) noexcept {
        const flow::field_place at = flow::place_of(f);
        words[at.word - notes::first_word] |= value << at.shift;
    };
    put(tun_id, c.header.what == kind::nvgre ? c.header.key >> 8 : c.header.key);
    if (ip.source.is_v4()) {
        put(tun_src, ip.source.v4());
        put(tun_dst, ip.destination.v4());
    } else {
        const auto put_address = [&words](flow::field f, const endpoint::ip_address& a) noexcept {
            const std::size_t word = flow::place_of(f).word - notes::first_word;
            words[word] = a.high;
            words[word + 1] = a.low;
        };
        put_address(tun_ipv6_src, ip.source);
        put_address(tun_ipv6_dst, ip.destination);
    }
    put(tun_flags, c.header.oam ? 1 : 0);
    put(tun_tos, ip.traffic_class);
    put(tun_ttl, ip.hop_limit);
    put(tun_gbp_id, c.header.policy_group);
    put(tun_gbp_flags, c.header.policy_flags);
    return words;
}

} // namespace

void carrier::receive(packet_slot& p, const port_config& to, const surroundings& around,
                      receive_template& alike) noexcept
{
    port_counters& counters = around.counters[to_index(to.index)];
    const std::uint32_t bytes = p.length;
    if (!receive_alike(p, around, alike)) [[unlikely]] {
        if (const auto reason = handle(p, to, around, alike)) {
            counters.drop(*reason);
            return;
        }
    }
    counters.tx_packets.add(1);
    counters.tx_bytes.add(bytes);
}

bool carrier::receive_alike(packet_slot& p, const surroundings& around,
                            const receive_template& alike) noexcept
{
    if (notes_.full() || !alike.pop(p)) {
        return false;
    }
    add_ready(p, alike.from(), around, notes_.add(alike.words()));
    return true;
}

carrier::refusal carrier::handle(packet_slot& p, const port_config& to, const surroundings& around,
                                 receive_template& alike) noexcept
{
    arrival a;
    if (!around.config.endpoint || !endpoint::read_arrival(p, a)) {
        return drop_reason::endpoint_unwanted;
    }
    if (a.type == ethertype_arp) {
        neighbour_message m;
        if (!endpoint::read_arp(p, a, m)) {
            return drop_reason::tunnel_malformed;
        }
        return answer_neighbour(m, a, to, around);
    }
    if (a.type == ethertype_ipv4 || a.type == ethertype_ipv6) {
        return handle_ip(p, a, to, around, alike);
    }
    return unwanted(a);
}

carrier::refusal carrier::answer_neighbour(const neighbour_message& m, const arrival& a,
                                           const port_config& to,
                                           const surroundings& around) noexcept
{
    if (!m.asks) {
        known_.learn({m.sender, to.bridge, a.vlan}, m.mac, around.now);
        return std::nullopt;
    }
    const endpoint::interface* const asked =
        around.config.endpoint->find(to.bridge, a.vlan, m.target);
    if (asked == nullptr || m.sender == m.target) { // or somebody says that he has it
        return unwanted(a);
    }
    if (!m.mac.is_zero()) {
        known_.learn({m.sender, to.bridge, a.vlan}, m.mac, around.now);
    }
    burst& b = around.ready.copies;
    packet_slot& answer = b.slots[b.count++];
    endpoint::make_answer(answer, *asked, m, a.source);
    add_ready(answer, to.index, around);
    return std::nullopt;
}

carrier::refusal carrier::handle_ip(packet_slot& p, const arrival& a, const port_config& to,
                                    const surroundings& around, receive_template& alike) noexcept
{
    const bool ipv6 = a.type == ethertype_ipv6;
    outer_ip ip;
    if (const fault f = read_ip(p, a.network, ipv6, ip); f != fault::none) {
        return a.destination.is_multicast() ? drop_reason::multicast_unwanted : reason_of(f);
    }
    neighbour_message m;
    if (ipv6 && ip.protocol == protocol_icmpv6 &&
        endpoint::read_discovery(p, a, ip.content, ip.end, m)) {
        return answer_neighbour(m, a, to, around);
    }
    const endpoint::interface* const own =
        around.config.endpoint->find(to.bridge, a.vlan, ip.destination);
    if (own == nullptr || a.destination != own->mac) {
        return unwanted(a);
    }
    if (ip.protocol != (ipv6 ? protocol_icmpv6 : protocol_icmp)) {
        return decapsulate(p, ip, around, alike);
    }
    const owned reply = make_own(p, 0, around);
    if (reply.p == nullptr) {
        return reply.reason;
    }
    if (!endpoint::turn_echo(*reply.p, a, ip.content)) {
        return drop_reason::endpoint_unwanted;
    }
    add_ready(*reply.p, to.index, around);
    return std::nullopt;
}

// What a tunnel's packet carries; which one it is of is still to be found.
carrier::refusal carrier::read_tunnel(const packet& p, const outer_ip& ip, const table* tunnels,
                                      contents& out) noexcept
{
    fault f = fault::none;
    const bool ported = ip.content + udp_header <= std::min<std::uint32_t>(p.head_length, ip.end);
    if (tunnels != nullptr && ip.protocol == protocol_udp && ported) {
        const kind* const what = tunnels->at_udp_port(load<be16>(p.data + ip.content + 2));
        if (what == nullptr) {
            return drop_reason::endpoint_unwanted;
        }
        f = read_udp(p, ip, *what, out);
    } else if (tunnels != nullptr && ip.protocol == protocol_gre && tunnels->has_gre()) {
        f = read_gre(p, ip, out);
    } else {
        return drop_reason::endpoint_unwanted;
    }
    if (f != fault::none) {
        return reason_of(f);
    }
    const bool looked_at = out.inner + ethernet_header <= p.head_length;
    return looked_at && out.end - out.inner >= ethernet_header
               ? std::nullopt
               : std::optional{drop_reason::tunnel_malformed};
}

port_index carrier::find_tunnel(const contents& c, const outer_ip& ip,
                                const surroundings& around) noexcept
{
    const identity now{ip.source,
                       ip.destination,
                       c.header.key,
                       around.config.endpoint->version,
                       c.header.destination_port,
                       c.header.what,
                       c.header.has_key};
    if (now != last_) [[unlikely]] {
        last_ = now;
        last_tunnel_ = around.config.tunnels->find(c, ip);
    }
    return last_tunnel_;
}

carrier::refusal carrier::decapsulate(packet_slot& p, const outer_ip& ip,
                                      const surroundings& around, receive_template& alike) noexcept
{
    contents c;
    if (const auto reason = read_tunnel(p, ip, around.config.tunnels.get(), c)) {
        return reason;
    }
    const port_index from = find_tunnel(c, ip, around);
    const port_config* const port = around.config.port(from);
    if (port == nullptr || !port->tunnel) {
        return drop_reason::tunnel_unknown;
    }
    if (c.header.has_policy && !port->tunnel->policy) {
        return drop_reason::tunnel_malformed;
    }
    c.header.what = port->tunnel->what;
    const notes::words words = words_of(ip, c);
    notes::option_values options;
    const bool has_options = c.critical || !c.header.options.empty();
    if (has_options) {
        const auto* const on = around.config.bridge(port->bridge);
        const flow::option_map* const known = on != nullptr ? on->options.get() : nullptr;
        if (const fault f = read_options(c, known, options); f != fault::none) {
            return reason_of(f);
        }
    }
    const owned own = make_own(p, 0, around);
    if (own.p == nullptr) {
        return own.reason;
    }
    alike.set(*own.p, ip, c, from, words);
    pop(*own.p, c);
    if (!take_over_congestion(*own.p, ip.traffic_class)) {
        return drop_reason::tunnel_congestion;
    }
    const std::uint16_t note =
        has_options && options.present != 0 ? notes_.add(words, options) : notes_.add(words);
    if (note == notes::none) {
        return drop_reason::no_memory;
    }
    add_ready(*own.p, from, around, note);
    return std::nullopt;
}

} // namespace strait::tunnel
