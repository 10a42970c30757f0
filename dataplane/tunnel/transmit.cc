// SPDX-License-Identifier: BSD-3-Clause
// Frames into tunnels: the way to the far end, what of the frame has to be finished first, and its
// outer headers.
#include "dataplane/tunnel/carrier.hh"

#include "dataplane/ip.hh"
#include "dataplane/offload.hh"
#include "dataplane/parse.hh"
#include "dataplane/remote.hh"
#include "dataplane/tunnel/options.hh"

#include <algorithm>

namespace strait::tunnel {

using namespace dataplane;
using endpoint::ip_address;

namespace {

// What flows say of a packet's tunnel.
class flow_values {
public:
    explicit flow_values(const notes::words& words) noexcept : words_{words} {}
    [[nodiscard]] std::uint64_t number(flow::field f) const noexcept
    {
        const flow::field_place at = flow::place_of(f);
        return words_[at.word - notes::first_word] >> at.shift & flow::wide::ones(at.width).low;
    }
    [[nodiscard]] ip_address address(flow::field v4, flow::field v6) const noexcept
    {
        if (const std::uint64_t value = number(v4); value != 0) {
            return ip_address::v4(static_cast<std::uint32_t>(value));
        }
        const std::size_t word = flow::place_of(v6).word - notes::first_word;
        return {words_[word], words_[word + 1]};
    }

private:
    const notes::words& words_;
};

// What of an inner IP header outer ones take over.
struct inner_ip {
    bool found{false};
    std::uint8_t traffic_class{0};
    std::uint8_t hop_limit{0};
};
inner_ip read_inner(const packet& p) noexcept
{
    std::size_t at = ethernet_header;
    if (p.head_length < ethernet_header) {
        return {};
    }
    std::uint16_t type = load<be16>(p.data + 12);
    for (int tags = 0; tags < 2 && (type == ethertype_vlan || type == ethertype_qinq) &&
                       at + tag_length <= p.head_length;
         ++tags) {
        type = load<be16>(p.data + at + 2);
        at += tag_length;
    }
    const std::byte* const ip = p.data + at;
    if (type == ethertype_ipv4 && at + min_ipv4_header <= p.head_length) {
        return {true, load<std::uint8_t>(ip + 1), load<std::uint8_t>(ip + 8)};
    }
    if (type == ethertype_ipv6 && at + ipv6_header <= p.head_length) {
        return {true, static_cast<std::uint8_t>(load<be16>(ip) >> 4), load<std::uint8_t>(ip + 7)};
    }
    return {};
}

// With a link-layer header in front.
std::size_t room_for(const description& d) noexcept
{
    return length_of(d) + ethernet_header + room_for_tags;
}

description describe(const packet& p, const settings& s, const flow_values& flow) noexcept
{
    using enum flow::field;
    description d;
    d.what = s.what;
    d.destination_port = s.destination_port;
    d.key = s.key_by_flow ? flow.number(tun_id) & flow::wide::ones(key_bits(s.what)).low : s.key;
    d.has_key = s.what != kind::gre || s.has_key || s.key_by_flow;
    d.dont_fragment = s.dont_fragment;
    d.has_sequence = s.sequence;
    const inner_ip inner = read_inner(p);
    d.hop_limit = s.inherits_hop_limit && inner.found ? inner.hop_limit : s.hop_limit;
    d.traffic_class = ecn_out(s.inherits_traffic_class ? inner.traffic_class : s.traffic_class,
                              inner.traffic_class);
    constexpr std::uint64_t oam = 1; // of tun_flags
    d.oam = s.what == kind::geneve && (flow.number(tun_flags) & oam) != 0;
    if (s.policy) {
        d.policy_group = static_cast<std::uint16_t>(flow.number(tun_gbp_id));
        d.policy_flags = static_cast<std::uint8_t>(flow.number(tun_gbp_flags));
        d.has_policy = d.policy_group != 0 || d.policy_flags != 0;
    }
    d.source_port = entropy_port({p.data, p.head_length});
    return d;
}

} // namespace

void carrier::transmit(packet_slot& p, const port_config& to, const surroundings& around,
                       transmit_template& alike) noexcept
{
    const std::uint32_t bytes = p.length;
    if (alike.push(p)) [[likely]] {
        count_sent(bytes, to, around);
        add_ready(p, alike.out(), around, p.note & packet_note::queue);
        return;
    }
    port_counters& counters = around.counters[to_index(to.index)];
    const settings& s = *to.tunnel;
    const flow_values flow{notes_.at(p.note)};
    description d = describe(p, s, flow);
    std::array<std::byte, most_set_options> options;
    if (notes_.has_options(p.note)) [[unlikely]] {
        const auto* const on = around.config.bridge(to.bridge);
        if (s.what == kind::geneve && on != nullptr && on->options) {
            const notes::option_values set = notes_.options_of(p.note);
            d.options = std::span{options}.first(write_options(set, *on->options, options));
        }
    }
    const ip_address remote = s.remote.is_set()
                                  ? s.remote
                                  : flow.address(flow::field::tun_dst, flow::field::tun_ipv6_dst);
    const ip_address local =
        s.local_by_flow ? flow.address(flow::field::tun_src, flow::field::tun_ipv6_src) : s.local;
    const path* const via = remote.is_unicast() ? find_path(remote, local, around) : nullptr;
    if (via == nullptr) {
        counters.drop(drop_reason::tunnel_no_route);
        return;
    }
    d.source = via->source;
    d.destination = remote;
    d.checksum = s.checksum.value_or(over_udp(s.what) && d.ipv6());
    const endpoint::interface& out = around.config.endpoint->interfaces[via->out];
    if (!fits(p, d, out, to, around)) {
        counters.drop(drop_reason::tunnel_too_big);
        return;
    }
    const bool reads_payload = !p.offload.empty() || (d.checksum && d.what == kind::gre);
    if (reads_payload && p.remote != nullptr) {
        packet* const one[] = {&p};
        localise(one, around.pool);
        if (p.remote != nullptr) {
            if (p.remote->unreadable) {
                around.counters[to_index(p.in_port)].drop(drop_reason::grant_error);
            } else {
                counters.drop(drop_reason::no_memory);
            }
            return;
        }
    }
    if (p.offload.segment_size != 0) {
        send_segments(p, to, d, *via, around);
        return;
    }
    if (!p.offload.empty()) {
        finish_checksum(p);
    }
    const owned own = make_own(p, room_for(d), around);
    if (own.p == nullptr) {
        counters.drop(own.reason);
        return;
    }
    const bool by_flow = (p.note & packet_note::tunnel) != notes::none;
    if (send(*own.p, to, d, *via, around) && !by_flow && !s.inherits_hop_limit &&
        !s.inherits_traffic_class && !d.has_sequence) {
        alike.set(*own.p, d, longest_frame(ethernet_header, d, out, to, around), out.local);
    }
}

// Null: there is no way. One without a MAC: it is being asked for.
const carrier::path* carrier::find_path(const ip_address& remote, const ip_address& local,
                                        const surroundings& around) noexcept
{
    const endpoint::config* const c = around.config.endpoint.get();
    if (c == nullptr) {
        return nullptr;
    }
    const std::uint64_t hash = (remote.high ^ remote.low ^ local.low * 31) * 0x9e37'79b9'7f4a'7c15;
    path& kept = paths_[hash >> 32 & (paths_.size() - 1)];
    const std::uint64_t generation = known_.generation();
    if (kept.remote == remote && kept.local == local && kept.version == c->version &&
        kept.generation == generation && kept.found == around.now) [[likely]] {
        return &kept;
    }
    const endpoint::route* const way = c->find(remote);
    if (way == nullptr) {
        return nullptr;
    }
    const endpoint::interface& out = c->interfaces[way->out];
    if (local.is_set() && (local.is_v4() != remote.is_v4() || !c->has(local))) {
        return nullptr;
    }
    path found{.remote = remote,
               .local = local,
               .source = local.is_set() ? local : out.at.address,
               .next_hop = way->via.is_set() ? way->via : remote,
               .mac = {},
               .version = c->version,
               .generation = generation,
               .found = around.now,
               .out = way->out};
    const auto answer = known_.use({found.next_hop, out.bridge, out.vlan}, around.now);
    found.mac = answer.mac;
    if (answer.ask) {
        ask(found, around);
    }
    if (found.mac.is_zero()) {
        lone_ = found;
        return &lone_;
    }
    kept = found;
    return &kept;
}

void carrier::ask(const path& via, const surroundings& around) noexcept
{
    const endpoint::interface& out = around.config.endpoint->interfaces[via.out];
    burst& b = around.ready.copies;
    packet_slot& question = b.slots[b.count++];
    endpoint::make_question(question, out, via.next_hop, via.mac);
    add_ready(question, out.local, around);
}

// Of those with `headers` bytes in front of what they carry.
std::size_t carrier::longest_frame(std::size_t headers, const description& d,
                                   const endpoint::interface& out, const port_config& to,
                                   const surroundings& around) noexcept
{
    const std::size_t overhead = length_of(d) + headers;
    const port_config* const underlay = around.config.port(out.local);
    const std::size_t path = underlay != nullptr ? underlay->mtu : 0;
    const std::size_t most = path > overhead ? path - overhead : 0; // of inner IP packets
    return std::min<std::size_t>(most, to.mtu) + headers;
}

// Whether a frame can go the way whole, or in the segments that it asks for; if not, its sender is
// told.
bool carrier::fits(const packet_slot& p, const description& d, const endpoint::interface& out,
                   const port_config& to, const surroundings& around) noexcept
{
    std::size_t headers = ethernet_header; // of the frame: its tags' too
    if (p.head_length >= ethernet_header) {
        std::uint16_t type = load<be16>(p.data + 12);
        while ((type == ethertype_vlan || type == ethertype_qinq) &&
               headers + tag_length <= p.head_length) {
            type = load<be16>(p.data + headers + 2);
            headers += tag_length;
        }
    }
    const std::size_t most = longest_frame(headers, d, out, to, around);
    const offload_intent& todo = p.offload;
    const std::size_t longest =
        todo.segment_size != 0 ? std::size_t{todo.header_length} + todo.segment_size : p.length;
    if (longest <= most) [[likely]] {
        return true;
    }
    refuse(p, to, static_cast<std::uint32_t>(most - headers), around);
    return false;
}

void carrier::send_segments(packet_slot& p, const port_config& to, description& d, const path& via,
                            const surroundings& around) noexcept
{
    const path way = via; // what goes on meanwhile may find others
    constexpr std::size_t some = 16;
    burst& b = around.ready.copies;
    for (segmenter cutter{p, offloads::none}; !cutter.done();) {
        make_room(around);
        const std::size_t first = b.count;
        const std::size_t room = burst::capacity - around.ready.count;
        if (cutter.cut(b, std::min(some, room)) == 0) {
            around.next.go_on();
            continue;
        }
        for (packet_slot& segment : b.packets().subspan(first)) {
            if (has_room(segment, room_for(d))) {
                (void)send(segment, to, d, way, around);
            } else {
                around.counters[to_index(to.index)].drop(drop_reason::tunnel_nested);
            }
        }
    }
}

void carrier::count_sent(std::uint32_t bytes, const port_config& to,
                         const surroundings& around) noexcept
{
    port_counters& counters = around.counters[to_index(to.index)];
    counters.tx_packets.add(1);
    counters.tx_bytes.add(bytes);
}

// A frame with nothing left to be done, of our own.
bool carrier::send(packet_slot& p, const port_config& to, description& d, const path& via,
                   const surroundings& around) noexcept
{
    const std::uint32_t bytes = p.length;
    if (d.has_sequence) {
        d.sequence = to.tunnel->next_sequence->fetch_add(1, std::memory_order_relaxed);
    }
    push(p, d);
    const endpoint::interface& out = around.config.endpoint->interfaces[via.out];
    endpoint::push_link_header(p, via.mac, out, d.ipv6());
    if (via.mac.is_zero()) [[unlikely]] {
        wait(p, bytes, to, via, around);
        return false;
    }
    count_sent(bytes, to, around);
    add_ready(p, out.local, around, p.note & dataplane::packet_note::queue);
    return true;
}

} // namespace strait::tunnel
