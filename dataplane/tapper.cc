// SPDX-License-Identifier: BSD-3-Clause
// Copies for captures go into rings; those for mirrors are sent at once, before the packet goes on,
// so that nothing of it has to be kept.
#include "dataplane/tapper.hh"

#include "dataplane/forward.hh"
#include "dataplane/parse.hh"

#include <algorithm>

#include <rte_cycles.h>

namespace strait::dataplane {

namespace {

// Tags in front of the EtherType, as far as ports tell them.
std::uint8_t count_tags(const packet& p) noexcept
{
    const auto is_tag = [](std::uint16_t type) noexcept {
        return type == ethertype_vlan || type == ethertype_qinq;
    };
    std::uint8_t tags = 0;
    for (std::size_t at = ethernet_header - 2; tags < 2 && at + 2 <= p.head_length;
         at += tag_length) {
        if (!is_tag(load<be16>(p.data + at))) {
            break;
        }
        ++tags;
    }
    return tags;
}

// The first `length` bytes of a copy. Its payload's pieces are its own, in `b`.
void truncate(packet_slot& p, std::uint32_t length, burst& b) noexcept
{
    if (p.length <= length) {
        return;
    }
    p.length = length;
    p.offload = {}; // what is left of the frame cannot be finished
    if (p.head_length >= length) {
        p.head_length = static_cast<std::uint16_t>(length);
        p.segment_count = 0;
        return;
    }
    std::size_t left = length - p.head_length;
    auto at = static_cast<std::size_t>(p.segments - b.segments.data());
    std::uint16_t kept = 0;
    for (; kept < p.segment_count && left > 0; ++kept, ++at) {
        guest_span& piece = b.segments[at];
        piece = piece.subspan(0, std::min(left, piece.size()));
        left -= piece.size();
    }
    p.segment_count = kept;
}

bool is_full(drop_reason r) noexcept
{
    return r == drop_reason::receiver_full || r == drop_reason::handover_full ||
           r == drop_reason::shaper_full;
}

} // namespace

tapper::tapper(worker_index worker, port_counters* counters) : worker_{worker}, counters_{counters}
{}

void tapper::take(const snapshot& config) noexcept
{
    config_ = &config;
    taps_ = config.taps.get();
    const bool watching = taps_ != nullptr && taps_->any_dropped;
    if (watching != watching_) {
        for (port_counters& c : std::span{counters_, max_ports}) {
            c.watcher = watching ? this : nullptr;
        }
    }
    watching_ = watching;
}

void tapper::received(burst& b, const port_config& in, rte_mempool* pool,
                      mirror_sender& out) noexcept
{
    std::array<packet*, burst::capacity> packets;
    std::fill(mirrored_.begin() + burst::capacity, mirrored_.end(), 0U);
    for (std::size_t i = 0; i < b.count; ++i) {
        packet& p = b.slots[i];
        p.in_port = in.index;
        p.origin = static_cast<std::uint8_t>(i);
        p.destinations = 0;
        p.note = 0; // no flow has looked at it yet
        p.tags = count_tags(p) & 0x3f;
        mirrored_[i] = 0;
        packets[i] = &p;
    }
    for (const tap& t : taps_->all) {
        if (t.filter.received[to_index(in.index)]) {
            see(t, std::span{packets}.first(b.count), in, tap_event::received, pool, out);
        }
    }
}

void tapper::sent(std::span<packet* const> packets, const port_config& by, rte_mempool* pool,
                  mirror_sender& out) noexcept
{
    for (const tap& t : taps_->all) {
        if (t.filter.sent[to_index(by.index)] || t.filter.sent_from.any()) {
            see(t, packets, by, tap_event::sent, pool, out);
        }
    }
}

bool tapper::first_time(const tap& t, const packet& p) noexcept
{
    const std::uint32_t bit = t.outlet->once;
    if (bit == 0 || p.origin == no_origin) {
        return true;
    }
    const bool first = (mirrored_[p.origin] & bit) == 0;
    mirrored_[p.origin] |= bit;
    return first;
}

void tapper::see(const tap& t, std::span<packet* const> packets, const port_config& at,
                 tap_event event, rte_mempool* pool, mirror_sender& out) noexcept
{
    std::array<packet*, burst::capacity> wanted;
    std::size_t count = 0;
    const bool all = event == tap_event::received || t.filter.sent[to_index(at.index)];
    for (packet* const p : packets) {
        if ((all || t.filter.sent_from[to_index(p->in_port)]) &&
            t.filter.wants(*p, at, config_->port(p->in_port)) && first_time(t, *p)) {
            wanted[count++] = p;
        }
    }
    const std::span<packet* const> those = std::span{wanted}.first(count);
    if (count == 0) {
        return;
    }
    if (t.outlet->rings.empty()) {
        mirror(t, those, at, pool, out);
        return;
    }
    for (const packet* const p : those) {
        record(t, *p, at, event);
    }
}

void tapper::record(const tap& t, const packet& p, const port_config& at, tap_event event,
                    drop_reason reason) noexcept
{
    tap_outlet& outlet = *t.outlet;
    tap_outlet::totals& totals = outlet.by_worker[to_index(worker_)];
    const bool there = outlet.rings[to_index(worker_)]->put(
        p, {.tsc = rte_rdtsc(), .incarnation = at.incarnation, .event = event, .reason = reason},
        at.index, outlet.snaplen);
    if (there) {
        totals.packets.add(1);
        totals.bytes.add(p.length);
    } else {
        totals.drops.add(1);
    }
}

void tapper::dropped(const packet& p, drop_reason reason, const port_counters& at) noexcept
{
    if (taps_ == nullptr) {
        return;
    }
    const auto charged = port_index{static_cast<std::uint16_t>(&at - counters_)};
    const port_config* const port = config_->port(charged);
    if (port == nullptr) { // of a port that went
        return;
    }
    const bool incoming = drop_reasons()[static_cast<std::size_t>(reason)].ingress;
    const port_index from = incoming ? charged : p.in_port;
    const port_config* const in = config_->port(from);
    for (const tap& t : taps_->all) {
        if ((t.filter.dropped[to_index(charged)] ||
             (in != nullptr && t.filter.dropped[to_index(from)])) &&
            t.filter.wants(p, *port, in)) {
            record(t, p, *port, tap_event::dropped, reason);
        }
    }
}

void tapper::mirror(const tap& t, std::span<packet* const> packets, const port_config& at,
                    rte_mempool* pool, mirror_sender& out) noexcept
{
    std::array<saved, burst::capacity> before;
    for (std::size_t i = 0; i < packets.size(); ++i) {
        packet& p = *packets[i];
        before[i] = {p.destinations, p.tagged};
        p.tagged = as_it_is;
        // Its mbuf stays where it is: the packet goes on.
        p.destinations = static_cast<std::uint16_t>(p.destinations + 2);
    }
    if (t.output_vlan != vlan_id{}) {
        send_to_vlan(t, packets, at, pool, out);
    } else if (const port_config* const port = config_->port(t.output); port != nullptr) {
        if (std::ranges::any_of(packets, [&t](const packet* p) noexcept {
                return p->length > t.outlet->snaplen;
            })) {
            std::array<packet*, burst::capacity> cut;
            const std::size_t count = copy(t, packets, pool);
            for (std::size_t i = 0; i < count; ++i) {
                packet_slot& p = copies_->slots[i];
                truncate(p, t.outlet->snaplen, *copies_);
                p.destinations = 1;
                cut[i] = &p;
            }
            send(t, std::span{cut}.first(count), *port, out);
        } else {
            send(t, packets, *port, out);
        }
    }
    for (std::size_t i = 0; i < packets.size(); ++i) {
        packets[i]->destinations = before[i].destinations;
        packets[i]->tagged = before[i].tagged & 3;
    }
}

// Into `copies_`; returns how many there are of them.
std::size_t tapper::copy(const tap& t, std::span<packet* const> packets, rte_mempool* pool) noexcept
{
    copies_->clear();
    for (packet* const p : packets) {
        if (clone_packet(*p, *copies_, pool) == nullptr) {
            t.outlet->by_worker[to_index(worker_)].drops.add(1);
        }
    }
    return copies_->count;
}

void tapper::send(const tap& t, std::span<packet* const> packets, const port_config& port,
                  mirror_sender& out) noexcept
{
    std::array<packet*, burst::capacity> let_out;
    std::ranges::copy(packets, let_out.begin());
    const std::size_t kept = admit(std::span{let_out}.first(packets.size()), port, *scratch_).count;
    const std::span<packet* const> those = std::span{let_out}.first(kept);
    bool elsewhere = false;
    if (kept > 0) {
        for (const tap& other : taps_->all) { // who watches that port sees what leaves by it
            if (other.outlet->once == 0 && other.filter.sent[to_index(port.index)]) {
                for (const packet* const p : those) {
                    if (other.filter.wants(*p, port, config_->port(p->in_port))) {
                        record(other, *p, port, tap_event::sent);
                    }
                }
            }
        }
        elsewhere = out.send(those, port, *scratch_);
    }
    std::uint64_t lost = 0;
    for (const counter& c : scratch_->drops) {
        lost += c.read();
    }
    tap_outlet::totals& totals = t.outlet->by_worker[to_index(worker_)];
    totals.drops.add(lost);
    if (elsewhere) {
        const std::size_t given = packets.size() - std::min<std::size_t>(lost, packets.size());
        totals.packets.add(given);
        for (const packet* const p : those.first(std::min(given, kept))) {
            totals.bytes.add(p->length);
        }
    } else {
        totals.packets.add(scratch_->tx_packets.read());
        totals.bytes.add(scratch_->tx_bytes.read());
    }
    settle(counters_[to_index(port.index)]);
}

// The copies are the mirror's: that its port is full is its own reason.
void tapper::settle(port_counters& port) noexcept
{
    port.tx_packets.add(scratch_->tx_packets.read());
    port.tx_bytes.add(scratch_->tx_bytes.read());
    for (std::size_t i = 0; i < drop_reason_count; ++i) {
        const std::uint64_t count = scratch_->drops[i].read();
        if (count > 0) {
            const auto reason = static_cast<drop_reason>(i);
            port.drop(is_full(reason) ? drop_reason::mirror_full : reason, count);
            scratch_->drops[i].set(0);
        }
    }
    scratch_->tx_packets.set(0);
    scratch_->tx_bytes.set(0);
}

// As Open vSwitch does: out of every port that carries the VLAN, in place of the packet's own; what
// is in that VLAN already, and protocols of the link, are not mirrored.
void tapper::send_to_vlan(const tap& t, std::span<packet* const> packets, const port_config& at,
                          rte_mempool* pool, mirror_sender& out) noexcept
{
    const bridge_config* const bridge = config_->bridge(t.output_bridge);
    std::array<packet*, burst::capacity> fit;
    std::size_t count = 0;
    for (packet* const p : packets) {
        if (p->length >= ethernet_header && vlan_at(*p, at) != t.output_vlan &&
            !parse_ethernet(p->data).destination.is_reserved_multicast()) {
            fit[count++] = p;
        }
    }
    if (bridge == nullptr || count == 0) {
        return;
    }
    count = copy(t, std::span{fit}.first(count), pool);
    for (std::size_t i = 0; i < count; ++i) {
        packet_slot& p = copies_->slots[i];
        truncate(p, t.outlet->snaplen, *copies_);
        p.tagged = 0;
        p.priority = 0;
        p.destinations = 2; // it goes to more than one, and is not to be given away
        if (p.tags > 0 && load<be16>(p.data + ethernet_header - 2) == ethertype_vlan &&
            p.head_length >= ethernet_header + tag_length) {
            constexpr std::uint16_t priority_bits = 0xf000;
            p.priority = outer_tag(p.data) & priority_bits;
            pop_tag(p);
        }
        p.vlan = t.output_vlan;
        fit[i] = &p;
    }
    for (const port_index member : bridge->members) {
        const port_config& port = *config_->ports[to_index(member)];
        if (port.passes() && port.vlan.carries(t.output_vlan)) {
            send(t, std::span{fit}.first(count), port, out);
        }
    }
}

} // namespace strait::dataplane
