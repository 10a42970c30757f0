// SPDX-License-Identifier: BSD-3-Clause
// Packets that a worker forwards more than once: into tunnels, out of them, and from the switch
// itself.
#include "dataplane/worker_rounds.hh"

#include "dataplane/engine.hh"
#include "dataplane/forward.hh"
#include "dataplane/parse.hh"
#include "dataplane/tap.hh"

#include <utility>

#include <rte_mbuf.h>

namespace strait::dataplane {

tunnel::surroundings worker::around(round& r, const iteration& now,
                                    tunnel::continuation& next) noexcept
{
    return {*now.config,          now_,    now.tsc, engine_.settings_.pool,
            port_counters_.get(), r.ready, next};
}

namespace {

// To a member function that does it.
template <typename Function>
class continuation final : public tunnel::continuation {
public:
    explicit continuation(const Function& f) noexcept : f_{f} {}
    void go_on() noexcept override { f_(); }

private:
    const Function& f_;
};

} // namespace

void worker::carry(std::span<packet* const> packets, const port_config& port, const iteration& now,
                   std::size_t depth) noexcept
{
    if (depth == tunnel::most_rounds) {
        port_counters_[to_index(port.index)].drop(drop_reason::tunnel_nested, packets.size());
        return;
    }
    round& r = *rounds_[depth];
    const auto forwarded = [&]() noexcept { go_on(r, now, depth + 1); };
    continuation next{forwarded};
    carrier_.take(packets, port, around(r, now, next));
    next.go_on();
}

void worker::look_at_waiting(const iteration& now) noexcept
{
    round& r = *rounds_.front();
    const auto forwarded = [&]() noexcept { go_on(r, now, 1); };
    continuation next{forwarded};
    carrier_.look(around(r, now, next));
    next.go_on();
    carrier_.notes().clear();
}

// As if the receiver had said so, as a tunnel does it. Only if the MAC table knows the receiver
// behind this port: of what was flooded nobody can tell whether this was the way, and the answer
// would have the table learn addresses of the sender's choice there.
void worker::tell_senders(const port_config& port, const iteration& now, std::size_t depth) noexcept
{
    std::span<packet*> all = std::span{too_long_.packets}.first(std::exchange(too_long_.count, 0));
    if (depth == tunnel::most_rounds) {
        return;
    }
    const mac_table& macs = *now.config->bridges[to_index(port.bridge)]->macs;
    std::size_t count = 0;
    for (packet* const p : all) {
        const port_config* const in = now.config->port(p->in_port);
        // As the answer will be classified there: flows note no VLAN.
        const mac_table::key receiver{parse_ethernet(p->data).destination, vlan_at(*p, port)};
        // The switch itself knows what fits.
        if (in != nullptr && !in->local && macs.lookup(receiver, now_) == port.index) {
            all[count++] = p;
        }
    }
    all = all.first(count);
    if (port.judged && !all.empty()) {
        // Whom the rules refuse is not answered, and what begins a connection has begun it then.
        all = all.first(judge(all, port, true, *counted_already_, now));
    }
    round& r = *rounds_[depth]; // with room for one answer to each packet of a burst
    const auto forwarded = [&]() noexcept { go_on(r, now, depth + 1); };
    continuation next{forwarded};
    const tunnel::surroundings here = around(r, now, next);
    for (const packet* const p : all) {
        carrier_.refuse(*p, port, port.mtu, here);
    }
    const port_index delivered_to = delivered_to_; // is of what they answer
    next.go_on();
    delivered_to_ = delivered_to;
}

// By a worker that has a queue of the port; what is tracked is known to all of them.
std::size_t worker::judge(std::span<packet*> packets, const port_config& port, bool here,
                          port_counters& counters, const iteration& now) noexcept
{
    const auto& live = now.config->bridges[to_index(port.bridge)]->flows;
    const flow::pipeline* const flows =
        live ? live->current.load(std::memory_order_acquire) : nullptr;
    if (flows == nullptr || !here) {
        return packets.size();
    }
    struct no_lists final : flow::delivery {
        void deliver_lists() noexcept override {} // one list, of a burst at most: never full
    } lists;
    const forward_context context{now.config, now_, &counters_, true, index_, now.tsc};
    return judge_.judge(packets, {*flows, port, context, counters, judged_, lists,
                                  engine_.settings_.pool, nullptr, index_, now.tsc});
}

// Those that come from one port together, in the order of the first of each.
void worker::go_on(round& r, const iteration& now, std::size_t depth) noexcept
{
    tunnel::ready_packets& ready = r.ready;
    while (ready.count > 0) {
        const port_index from = ready.from[0];
        std::array<packet_slot*, burst::capacity> same;
        std::size_t count = 0;
        std::size_t left = 0;
        for (std::size_t i = 0; i < ready.count; ++i) {
            if (ready.from[i] == from) {
                same[count++] = ready.packets[i];
            } else {
                ready.packets[left] = ready.packets[i];
                ready.from[left++] = ready.from[i];
            }
        }
        ready.count = left;
        if (const port_config* const in = now.config->port(from)) {
            std::span<packet_slot*> packets = std::span{same}.first(count);
            // What comes of a port with queues here is the switch's word, not its guest's.
            if (in->guard && in->has_no_queues()) [[unlikely]] {
                packets = inspector_.inspect(
                    packets, {*now.config, *in, port_counters_[to_index(from)], now.tsc});
            }
            forward_again(r, packets, *in, now, depth);
        }
    }
    ready.clear();
}

void worker::forward_again(round& r, std::span<packet_slot* const> packets, const port_config& in,
                           const iteration& now, std::size_t depth) noexcept
{
    port_counters& counters = port_counters_[to_index(in.index)];
    // What the switch says in the place of a port's guest teaches nothing.
    const bool learns = in.has_no_queues();
    const forward_context context{now.config, now_, &counters_, learns, index_, now.tsc};
    const auto& live = now.config->bridges[to_index(in.bridge)]->flows;
    const flow::pipeline* const flows =
        live ? live->current.load(std::memory_order_acquire) : nullptr;
    if (flows == nullptr) {
        if (learns) {
            forward(packets, in, context, counters, r.outputs);
        } else {
            for (packet_slot* const p : packets) {
                p->in_port = in.index;
                forward_one(*p, in, context, counters, r.outputs);
            }
        }
        deliver(now, r.outputs, depth);
        return;
    }
    struct at_once final : flow::delivery {
        at_once(worker& w, round& l, const iteration& i, std::size_t d) noexcept
            : w_{w}, r_{l}, now_{i}, depth_{d}
        {}
        void deliver_lists() noexcept override { w_.deliver(now_, r_.outputs, depth_); }
        worker& w_;
        round& r_;
        const iteration& now_;
        std::size_t depth_;
    } lists{*this, r, now, depth};
    while (!packets.empty()) {
        r.row.clear();
        std::size_t moved = 0;
        while (moved < packets.size() && move_packet(*packets[moved], r.row) != nullptr) {
            ++moved;
        }
        packets = packets.subspan(moved);
        r.flows.forward(r.row,
                        {*flows, in, context, counters, r.outputs, lists, engine_.settings_.pool,
                         &carrier_.notes(), index_, now.tsc, &carrier_.errors()});
        deliver(now, r.outputs, depth);
        for (packet_slot& p : r.row.packets()) {
            rte_pktmbuf_free(p.mbuf);
        }
    }
}

} // namespace strait::dataplane
