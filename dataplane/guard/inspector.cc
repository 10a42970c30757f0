// SPDX-License-Identifier: BSD-3-Clause
// Packet by packet; most are no ARP, no neighbour discovery and no DHCP, which is told at once.
#include "dataplane/guard/inspector.hh"

#include "dataplane/bpdu.hh"
#include "dataplane/endpoint/messages.hh"
#include "dataplane/guard/port_security.hh"
#include "dataplane/guard/seen_addresses.hh"
#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <array>

#include <rte_mbuf.h>

namespace strait::guard {

using namespace dataplane;

namespace {

// Without security: whether there may be something in it to look at.
bool concerns(const port_guard& g, const packet& p) noexcept
{
    if (p.head_length < ethernet_header + min_ipv4_header) {
        return false;
    }
    const auto type = load<be16>(p.data + 12);
    const bool multicast = (load<std::uint8_t>(p.data) & 1) != 0;
    if (g.suppresses && multicast && type != ethertype_ipv4) {
        return true;
    }
    if (g.dhcp == dhcp_role::none) {
        return false;
    }
    switch (type) {
    case ethertype_ipv4:
        return load<std::uint8_t>(p.data + ethernet_header + 9) == protocol_udp;
    case ethertype_ipv6: {
        const auto next = load<std::uint8_t>(p.data + ethernet_header + 6);
        return next != protocol_tcp && next != protocol_icmpv6;
    }
    default:
        return type != ethertype_arp;
    }
}

bool is_up(const port_config& p) noexcept
{
    return p.passes() && (!p.link || p.link->load(std::memory_order_relaxed));
}

} // namespace

const directory::neighbour* find_answer(const port_guard& g, const port_config& in, const packet& p,
                                        const flow::header_layout& at,
                                        const snapshot& config) noexcept
{
    endpoint::arrival a;
    // Who asks one station knows it, and looks whether it is still there.
    if (!p.offload.empty() || p.length < ethernet_header || !endpoint::read_arrival(p, a) ||
        !a.destination.is_multicast()) {
        return nullptr;
    }
    endpoint::neighbour_message asked;
    if (at.network_is == flow::network_header::arp && a.type == ethertype_arp) {
        if (!endpoint::read_arp(p, a, asked)) {
            return nullptr;
        }
    } else if (at.transport_is == flow::transport_header::icmpv6 && at.nd_target != 0 &&
               !at.fragment && a.type == ethertype_ipv6 && a.network == at.network) {
        const std::uint32_t end = at.network + static_cast<std::uint32_t>(ipv6_header) +
                                  load<be16>(p.data + at.network + 4);
        if (!endpoint::read_discovery(p, a, at.transport, end, asked)) {
            return nullptr;
        }
    } else {
        return nullptr;
    }
    // From nobody, or for itself: it looks whether the address is free, or tells that it has it.
    if (!asked.asks || !asked.sender.is_set() || asked.sender == asked.target) {
        return nullptr;
    }
    const vlan_id vlan = vlan_at(p, in);
    // Tagged: it goes nowhere, or asks within a customer's network.
    const bool foreign = a.vlan != vlan_id{} && (in.vlan.port_mode != vlan_policy::mode::trunk ||
                                                 in.vlan.tag_type != ethertype_vlan);
    if (foreign || !in.vlan.carries(vlan)) {
        return nullptr; // nor would it go anywhere
    }
    const directory::neighbour* const found = g.bridge->find(asked.target, vlan);
    if (found == nullptr || found->port == in.index) {
        return nullptr;
    }
    const port_config* const port = config.port(found->port);
    return port != nullptr && is_up(*port) ? found : nullptr;
}

burst& inspector::inspect(burst& b, const surroundings& around, output_lists& out) noexcept
{
    answers_->clear();
    if (!around.in.admin_up) [[unlikely]] { // nothing of it goes on
        return b;
    }
    std::array<packet_slot*, burst::capacity> kept;
    std::size_t count = 0;
    const bool takes_bpdus = around.in.guard->bpdus != nullptr;
    const bool forwards = around.in.passes(); // else what goes on is only counted, or learned from
    for (packet_slot& p : b.packets()) {
        if (takes_bpdus && take_bpdu(p, around)) [[unlikely]] {
            continue;
        }
        if (!forwards || passes(p, &b, around, &out)) {
            kept[count++] = &p;
        }
    }
    if (count == b.count) [[likely]] {
        return b;
    }
    // Packets do not move within a burst that is not given back yet.
    rest_->clear();
    for (packet_slot* const p : std::span{kept}.first(count)) {
        if (move_packet(*p, *rest_) == nullptr) {
            around.counters.drop(drop_reason::no_memory, *p);
        }
    }
    return *rest_;
}

std::span<packet_slot*> inspector::inspect(std::span<packet_slot*> packets,
                                           const surroundings& around) noexcept
{
    std::size_t count = 0;
    for (packet_slot* const p : packets) {
        if (passes(*p, nullptr, around, nullptr)) {
            packets[count++] = p;
        }
    }
    return packets.first(count);
}

bool inspector::passes(packet_slot& p, burst* b, const surroundings& around,
                       output_lists* out) noexcept
{
    const port_guard& g = *around.in.guard;
    if (p.length < ethernet_header || (!g.security && !concerns(g, p))) [[likely]] {
        return true; // what is too short is counted as that
    }
    p.in_port = around.in.index;
    flow::key k;
    flow::header_layout at;
    if (!flow::extract(p, k, at) && b != nullptr) [[unlikely]] {
        lengthen_head(p, *b);
        (void)flow::extract(p, k, at);
    }
    if (g.security) {
        if (const auto wrong = check_sender(g, around.in, p, k, at)) [[unlikely]] {
            around.counters.drop(*wrong, p);
            return false;
        }
    }
    if (g.dhcp != dhcp_role::none) {
        if (const auto wrong = check_dhcp(g, around.in, p, k, at)) {
            around.counters.drop(*wrong, p);
            return false;
        }
        const dhcp_side side = side_of(k, at);
        const bool tells =
            side == (g.dhcp == dhcp_role::trusted ? dhcp_side::server : dhcp_side::client);
        if (tells && !show_dhcp(p, side == dhcp_side::server, around)) {
            around.counters.drop(drop_reason::dhcp_too_many, p);
            return false;
        }
    }
    return !g.suppresses || out == nullptr || !answer(p, at, around, *out);
}

bool inspector::take_bpdu(const packet& p, const surroundings& around) noexcept
{
    const port_guard& g = *around.in.guard;
    if (!g.bpdus || !may_be_bpdu({p.data, p.head_length})) [[likely]] {
        return false;
    }
    if (!g.bpdu_limit->take(worker_, p, around.tsc) ||
        !g.bpdus->show(worker_, p, around.in, around.tsc)) {
        around.counters.drop(drop_reason::bpdu_too_many, p);
    }
    return true;
}

// What control does not see goes nowhere: the client would have an address that is not bound.
bool inspector::show_dhcp(const packet& p, bool from_server, const surroundings& around) noexcept
{
    const port_guard& g = *around.in.guard;
    const std::span<const packet> one{&p, 1};
    if (!from_server && g.dhcp_limit->take(worker_, one, around.tsc) == 0) {
        return false;
    }
    dhcp_outlet& to = *g.outlet;
    if (!to.rings[to_index(worker_)]->put(p,
                                          {.tsc = around.tsc, .incarnation = around.in.incarnation},
                                          around.in.index, dhcp_outlet::most_bytes)) {
        return false;
    }
    to.bell.ring();
    return true;
}

bool inspector::answer(const packet_slot& p, const flow::header_layout& at,
                       const surroundings& around, output_lists& out) noexcept
{
    const port_guard& g = *around.in.guard;
    const directory::neighbour* const found = find_answer(g, around.in, p, at, around.config);
    if (found == nullptr || out.is_full(around.in.index)) {
        return false;
    }
    if (around.in.addresses) { // of what goes on, that is done where it is forwarded
        note_address(p, around.in, around.now);
    }
    // As find_answer() read it.
    endpoint::arrival a;
    endpoint::neighbour_message asked;
    (void)endpoint::read_arrival(p, a);
    if (found->address.is_v4()) {
        (void)endpoint::read_arp(p, a, asked);
    } else {
        asked.asks = true;
        asked.sender = endpoint::ip_address::load_v6(p.data + at.network + 8);
        asked.target = found->address;
    }
    packet_slot& made = answers_->slots[answers_->count++];
    const endpoint::interface owner {
        .at = {found->address, 128}, .vlan = a.vlan, .bridge = around.in.bridge,
        .local = around.in.index, .mac = found->mac
    };
    endpoint::make_answer(made, owner, asked, a.source);
    made.in_port = found->port;
    made.origin = p.origin;
    made.tags = a.vlan == vlan_id{} ? 0 : 1;
    made.tagged = as_it_is;
    out.add(around.in.index, made);
    g.answered->fetch_add(1, std::memory_order_relaxed);
    return true;
}

} // namespace strait::guard
