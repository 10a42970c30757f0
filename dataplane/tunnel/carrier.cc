// SPDX-License-Identifier: BSD-3-Clause
// What packets to tunnel and LOCAL ports have in common, and those that wait. The two directions
// are in transmit.cc and receive.cc.
#include "dataplane/tunnel/carrier.hh"

#include "dataplane/offload.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <cstring>

#include <rte_mbuf.h>

namespace strait::tunnel {

using namespace dataplane;

namespace {

// Of a frame's head, and what is put in front of it.
constexpr std::size_t slot_bytes = head_room + longest_head;

} // namespace

void ready_packets::clear() noexcept
{
    count = 0;
    for (packet_slot& p : copies.packets()) {
        rte_pktmbuf_free(p.mbuf); // of one that waited
        p.mbuf = nullptr;
    }
    copies.clear();
}

carrier::carrier(endpoint::neighbours& known, std::uint64_t tsc_hz)
    : known_{known}, tsc_hz_{tsc_hz}, errors_{tsc_hz}
{
    constexpr std::size_t path_count = 256;
    waiting_.reserve(most_waiting);
    looked_at_.reserve(most_waiting);
    paths_.resize(path_count);
}

carrier::~carrier()
{
    for (const waiting_packet& w : waiting_) {
        rte_pktmbuf_free(w.mbuf);
    }
}

void carrier::take(std::span<packet* const> packets, const port_config& to,
                   const surroundings& around) noexcept
{
    transmit_template out;
    receive_template in;
    for (packet* const p : packets) {
        make_room(around);
        auto& slot = static_cast<packet_slot&>(*p); // packets on lists are in bursts
        if (to.tunnel) {
            transmit(slot, to, around, out);
        } else {
            receive(slot, to, around, in);
        }
    }
}

// Each packet makes three at most: itself, a question and an answer.
void carrier::make_room(const surroundings& around) noexcept
{
    constexpr std::size_t most = 3;
    const burst& b = around.ready.copies;
    if (around.ready.count + most > burst::capacity || b.count + most > burst::capacity ||
        b.segments_used + burst::max_segments > burst::segment_capacity) {
        around.next.go_on();
    }
}

void carrier::add_ready(packet_slot& p, port_index from, const surroundings& around,
                        std::uint16_t note) noexcept
{
    put_ready(p, from, around.ready, note);
    port_counters& counters = around.counters[to_index(from)];
    counters.rx_packets.add(1);
    counters.rx_bytes.add(p.length);
}

void carrier::put_ready(packet_slot& p, port_index from, ready_packets& ready,
                        std::uint16_t note) noexcept
{
    p.note = note;
    ready.packets[ready.count] = &p;
    ready.from[ready.count++] = from;
}

void carrier::refuse(const packet& too_big, const port_config& port, std::uint32_t mtu,
                     const surroundings& around) noexcept
{
    burst& b = around.ready.copies;
    packet_slot& said = b.slots[b.count];
    if (!errors_.has_one(too_big.in_port, around.tsc) ||
        !endpoint::make_too_big(said, too_big, mtu)) {
        return;
    }
    (void)errors_.take(too_big.in_port, around.tsc);
    ++b.count;
    if (port.has_no_queues()) {
        add_ready(said, port.index, around);
    } else {
        put_ready(said, port.index, around.ready, 0); // its guest has not sent that
    }
}

bool carrier::has_room(packet_slot& p, std::size_t room) noexcept
{
    const auto there = static_cast<std::size_t>(p.data - p.room.data());
    if (there >= room) [[likely]] {
        return true;
    }
    const std::size_t more = room - there;
    if (more + there + p.head_length > slot_bytes) {
        return false;
    }
    std::memmove(p.data + more, p.data, p.head_length);
    p.data += more;
    return true;
}

// The packet if it goes nowhere else and has `room` in front, or else a copy.
carrier::owned carrier::make_own(packet_slot& p, std::size_t room,
                                 const surroundings& around) noexcept
{
    if (p.destinations <= 1 && room_before(p) >= room) [[likely]] {
        return {&p};
    }
    // What of the head stays behind is there as long as the copy is.
    packet_slot* const made = clone_packet(p, around.ready.copies, around.pool,
                                           std::min(longest_head, slot_bytes - room));
    if (made == nullptr) {
        return {nullptr, drop_reason::no_memory};
    }
    return has_room(*made, room) ? owned{made} : owned{nullptr, drop_reason::tunnel_nested};
}

void carrier::wait(packet_slot& p, std::uint32_t inner_bytes, const port_config& to,
                   const path& via, const surroundings& around) noexcept
{
    port_counters& counters = around.counters[to_index(to.index)];
    const endpoint::interface& out = around.config.endpoint->interfaces[via.out];
    const endpoint::neighbours::key who{via.next_hop, out.bridge, out.vlan};
    const auto same = std::ranges::count_if(
        waiting_, [&who](const waiting_packet& w) noexcept { return w.who == who; });
    if (waiting_.size() == most_waiting || static_cast<std::size_t>(same) >= most_waiting_for_one ||
        waiting_bytes_ + p.length > most_waiting_bytes) {
        counters.drop(drop_reason::neighbour_queue_full);
        return;
    }
    if (!p.offload.empty()) {
        packet* const one[] = {&p};
        localise(one, around.pool);
        if (p.remote != nullptr) {
            counters.drop(drop_reason::no_memory);
            return;
        }
        finish_checksum(p);
    }
    const std::uint32_t bytes = p.length;
    const auto note = static_cast<std::uint16_t>(p.note & packet_note::queue);
    rte_mbuf* const m = own(p, around.pool);
    if (m == nullptr) {
        counters.drop(drop_reason::no_memory);
        return;
    }
    if (waiting_.empty()) {
        next_look_ = around.tsc + tsc_hz_;
        seen_ = known_.generation();
    }
    waiting_bytes_ += bytes;
    waiting_.push_back({m, who, out.at.address, to.index, to.incarnation, bytes, inner_bytes,
                        around.tsc + patience * tsc_hz_, note});
}

void carrier::look(const surroundings& around) noexcept
{
    seen_ = known_.generation();
    next_look_ = around.tsc + tsc_hz_ / 4;
    waiting_.swap(looked_at_);
    for (const waiting_packet& w : looked_at_) {
        make_room(around);
        if (const auto reason = look_at(w, around)) {
            around.counters[to_index(w.port)].drop(*reason);
            waiting_bytes_ -= w.bytes;
            rte_pktmbuf_free(w.mbuf);
        }
    }
    looked_at_.clear();
}

// Sends it, has it wait further, or tells why it is over.
std::optional<drop_reason> carrier::look_at(const waiting_packet& w,
                                            const surroundings& around) noexcept
{
    const port_config* const port = around.config.port(w.port);
    if (port == nullptr || port->incarnation != w.incarnation) {
        return drop_reason::port_removed;
    }
    const endpoint::config* const all = around.config.endpoint.get();
    const endpoint::interface* const out =
        all != nullptr ? all->find(w.who.bridge, w.who.vlan, w.out) : nullptr;
    if (out == nullptr) {
        return drop_reason::tunnel_no_route;
    }
    const auto answer = known_.use(w.who, around.now);
    burst& b = around.ready.copies;
    if (answer.ask) {
        packet_slot& question = b.slots[b.count++];
        endpoint::make_question(question, *out, w.who.address, answer.mac);
        add_ready(question, out->local, around);
    }
    if (answer.mac.is_zero()) {
        if (around.tsc >= w.until) {
            return drop_reason::neighbour_unresolved;
        }
        if (waiting_.size() == most_waiting) {
            return drop_reason::neighbour_queue_full;
        }
        waiting_.push_back(w);
        return std::nullopt;
    }
    packet_slot& p = b.slots[b.count];
    if (!from_mbuf(p, w.mbuf, b)) {
        return drop_reason::no_memory;
    }
    ++b.count;
    waiting_bytes_ -= w.bytes;
    port_counters& counters = around.counters[to_index(w.port)];
    counters.tx_packets.add(1);
    counters.tx_bytes.add(w.inner_bytes);
    const auto bytes = answer.mac.bytes();
    std::memcpy(p.data, bytes.data(), bytes.size());
    add_ready(p, out->local, around, w.note);
    return std::nullopt;
}

} // namespace strait::tunnel
