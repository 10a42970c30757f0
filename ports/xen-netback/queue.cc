// SPDX-License-Identifier: BSD-3-Clause
// Rings in turn on the way in; by hash on the way out.
#include "ports/xen-netback/queue.hh"

#include "dataplane/flow_hash.hh"
#include "ports/xen-netback/hash.hh"

namespace strait::xen {

const char* ring_set::fault() const noexcept
{
    for (std::size_t i = 0; i < sources.size(); ++i) {
        if (const char* const why = sources[i]->fault()) {
            return why;
        }
        if (const char* const why = sinks[i]->fault()) {
            return why;
        }
    }
    return nullptr;
}

ports::rx_queue::poll queue::receive(dataplane::burst& b,
                                     const ports::queue_context& context) noexcept
{
    if (source* const only = only_.load(std::memory_order_acquire)) {
        taken_ = only;
        return only->receive(b, context);
    }
    const ring_set* const rings = rings_.load(std::memory_order_acquire);
    if (rings == nullptr) {
        return poll::empty;
    }
    const std::size_t count = rings->sources.size();
    ports::queue_context own = context;
    own.from.of = busy_.count();
    own.packet_cost *= own.from.of; // together they take as much of the worker's time as one would
    for (std::size_t i = 0; i < count; ++i) {
        next_ = next_ + 1 < count ? next_ + 1 : 0;
        source& s = *rings->sources[next_];
        own.from.number = static_cast<std::uint8_t>(next_);
        if (s.receive(b, own) == poll::taken) {
            b.from = own.from;
            busy_.took(next_, b.count, count);
            taken_ = &s;
            return poll::taken;
        }
    }
    return poll::empty;
}

void queue::release(dataplane::burst& b, const ports::queue_context& context) noexcept
{
    // Not through rings_: they may have been taken out since, and wait for this iteration's end.
    taken_->release(b, context);
}

bool queue::list_wakers(std::vector<pollfd>& all) noexcept
{
    const ring_set* const rings = rings_.load(std::memory_order_acquire);
    if (rings == nullptr) {
        return true; // who publishes them wakes
    }
    for (const auto& s : rings->sources) {
        if (s->waits()) {
            return false;
        }
        all.push_back({.fd = s->waker(), .events = POLLIN, .revents = 0});
    }
    return true;
}

bool queue::ask_to_wake(std::span<const pollfd> own) noexcept
{
    const ring_set* const rings = rings_.load(std::memory_order_acquire);
    if ((rings == nullptr ? 0 : rings->sources.size()) != own.size()) {
        return false; // control was here
    }
    for (std::size_t i = 0; i < own.size(); ++i) {
        if (!rings->sources[i]->ask_to_wake(own[i].revents != 0)) {
            return false;
        }
    }
    return true;
}

void queue::transmit(std::span<dataplane::packet* const> packets,
                     const ports::queue_context& context) noexcept
{
    const ring_set* const rings = rings_.load(std::memory_order_acquire);
    if (rings == nullptr) {
        context.counters->drop(dataplane::drop_reason::receiver_not_connected, packets);
        return;
    }
    const std::size_t count = rings->sinks.size();
    if (count == 1) {
        rings->sinks.front()->transmit(packets, context);
        return;
    }
    const hash_config* const hash = rings->guest->hash.load(std::memory_order_acquire);
    for (dataplane::packet* const p : packets) {
        const std::size_t to =
            hash != nullptr ? hash->queue(hash->of(*p), count) : dataplane::flow_hash(*p) % count;
        shares_.add(to, p);
    }
    shares_.empty([&](std::size_t to, std::span<dataplane::packet* const> share) noexcept {
        rings->sinks[to]->transmit(share, context);
    });
}

dataplane::offloads queue::takes() const noexcept
{
    const ring_set* const rings = rings_.load(std::memory_order_acquire);
    // Without a guest nothing needs to be finished for it.
    return rings == nullptr ? dataplane::all_offloads : rings->guest->features.offloads;
}

void queue::prefetch_ring(std::size_t n, dataplane::origin_ring /*from*/) noexcept
{
    if (const ring_set* const rings = rings_.load(std::memory_order_acquire);
        rings != nullptr && rings->sinks.size() == 1) {
        rings->sinks.front()->prefetch_ring(n);
    }
}

} // namespace strait::xen
