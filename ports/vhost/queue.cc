// SPDX-License-Identifier: BSD-3-Clause
// Publication of rings to the worker that polls them.
#include "ports/vhost/queue.hh"

namespace strait::vhost {

queue::~queue()
{
    delete source_.load();
    delete sink_.load();
}

void queue::publish(std::unique_ptr<source> s) noexcept
{
    source_.store(s.release(), std::memory_order_release);
}

void queue::publish(std::unique_ptr<sink> s) noexcept
{
    sink_.store(s.release(), std::memory_order_release);
}

std::unique_ptr<source> queue::unpublish_source() noexcept
{
    return std::unique_ptr<source>{source_.exchange(nullptr, std::memory_order_acq_rel)};
}

std::unique_ptr<sink> queue::unpublish_sink() noexcept
{
    return std::unique_ptr<sink>{sink_.exchange(nullptr, std::memory_order_acq_rel)};
}

ports::rx_queue::poll queue::receive(dataplane::burst& b,
                                     const ports::queue_context& context) noexcept
{
    taken_ = source_.load(std::memory_order_acquire);
    return taken_ == nullptr ? poll::empty : taken_->receive(b, context);
}

void queue::release(dataplane::burst& /*b*/, const ports::queue_context& context) noexcept
{
    // Not source_: the ring may have been unpublished since, and waits for this iteration's end.
    taken_->release(context);
}

bool queue::list_wakers(std::vector<pollfd>& all) noexcept
{
    source* const s = source_.load(std::memory_order_acquire);
    if (s == nullptr) {
        return true; // who publishes one wakes
    }
    // A driver without a kick descriptor counts on being polled.
    if (s->waker() < 0 || s->waits()) {
        return false;
    }
    all.push_back({.fd = s->waker(), .events = POLLIN, .revents = 0});
    return true;
}

bool queue::ask_to_wake(std::span<const pollfd> own) noexcept
{
    source* const s = source_.load(std::memory_order_acquire);
    if ((s == nullptr) != own.empty()) {
        return false; // control was here
    }
    return s == nullptr || s->ask_to_wake(own.front().revents != 0);
}

void queue::transmit(std::span<dataplane::packet* const> packets,
                     const ports::queue_context& context) noexcept
{
    sink* const s = sink_.load(std::memory_order_acquire);
    if (s == nullptr) {
        context.counters->drop(dataplane::drop_reason::receiver_not_connected, packets);
        return;
    }
    s->transmit(packets, context);
}

dataplane::offloads queue::takes() const noexcept
{
    const sink* const s = sink_.load(std::memory_order_acquire);
    // Without a guest nothing needs to be finished for it. Should there be one before transmit() is
    // called, its sink looks again.
    return s == nullptr ? dataplane::all_offloads : s->takes();
}

void queue::prefetch_ring(std::size_t n) noexcept
{
    if (sink* const s = sink_.load(std::memory_order_acquire)) {
        s->prefetch_ring(n);
    }
}

void queue::prefetch_buffers(std::size_t n) noexcept
{
    if (sink* const s = sink_.load(std::memory_order_acquire)) {
        s->prefetch_buffers(n);
    }
}

} // namespace strait::vhost
