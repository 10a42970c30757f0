// SPDX-License-Identifier: BSD-3-Clause
// What a worker does with packets that wait for their port's rate.
#include "dataplane/engine.hh"
#include "dataplane/shaper.hh"
#include "dataplane/worker.hh"

#include <algorithm>

namespace strait::dataplane {

bool worker::release_waiting(const iteration& now) noexcept
{
    bool released = false;
    for (const worker_plan::shaped& s : now.plan->shapers) {
        if (!s.queue->waits()) {
            continue;
        }
        port_counters& counters = port_counters_[to_index(s.port->index)];
        const queue_in_turn in_turn{counters, s.counters};
        if (!s.port->admin_up) {
            s.queue->drop_all(drop_reason::egress_disabled, counters);
            continue;
        }
        if (!s.port->passes()) {
            s.queue->drop_all(drop_reason::egress_blocked, counters);
            continue;
        }
        if (s.port->link && !s.port->link->load(std::memory_order_relaxed)) {
            s.queue->drop_all(drop_reason::receiver_not_connected, counters);
            continue;
        }
        if (s.queue->next_release() > now.tsc) {
            continue;
        }
        const std::uint64_t before = counters.tx_packets.read();
        const ports::queue_context context{now.tsc, engine_.settings_.pool, &counters,
                                           &notifications_};
        burst_->clear();
        released = s.queue->release(context, *burst_) > 0 || released;
        const std::uint64_t sent = counters.tx_packets.read() - before;
        counters_.tx_packets.add(sent);
        if (s.counters != nullptr) {
            s.counters->tx_packets.add(sent);
        }
    }
    return released;
}

bool worker::give_copies(std::span<packet* const> packets, bool complete, const port_config& port,
                         port_counters& counters, const iteration& now) noexcept
{
    shaper* const shaped = port.egress_shaper.get();
    ports::tx_queue* const queue = now.plan->sinks[to_index(port.index)].open_queue();
    if (shaped == nullptr || queue != shaped) {
        return give(packets, complete, port, queue, counters, now);
    }
    shaped->count_others_at(&port_counters_[to_index(port.index)]);
    (void)give(packets, complete, port, queue, counters, now);
    shaped->count_others_at(nullptr);
    return true;
}

std::uint64_t worker::next_release(const worker_plan& plan) noexcept
{
    std::uint64_t next = shaper::never;
    for (const worker_plan::shaped& s : plan.shapers) {
        next = std::min(next, s.queue->next_release());
    }
    return next;
}

} // namespace strait::dataplane
