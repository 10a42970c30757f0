// SPDX-License-Identifier: BSD-3-Clause
// Publication of rings to the worker that polls them.
#include "ports/vhost/queue.hh"

#include <algorithm>
#include <array>
#include <cstring>

namespace strait::vhost {

namespace {

// In the place of the ring that frames came from, where they came from none.
class no_ring final : public source {
public:
    ports::rx_queue::poll receive(dataplane::burst& /*b*/,
                                  const ports::queue_context& /*context*/) noexcept override
    {
        return ports::rx_queue::poll::empty;
    }
    void release(const ports::queue_context& /*context*/) noexcept override {}
    [[nodiscard]] int waker() const noexcept override { return -1; }
    [[nodiscard]] bool waits() noexcept override { return false; }
    [[nodiscard]] bool ask_to_wake(bool /*kicked*/) noexcept override { return true; }
    void notify_if_wanted() noexcept override {}
    [[nodiscard]] ring_index position() const noexcept override { return {}; }
};
no_ring nobody;

constexpr std::size_t rarp_frame_size = 60; // the least of Ethernet's, without FCS

// RFC 903, with the numbers of RFC 826: "who am I", from whom it is about.
void write_rarp(const dataplane::mac_address& station, std::byte* frame) noexcept
{
    constexpr std::array<unsigned char, 10> kind = {0x80, 0x35,  // EtherType
                                                    0x00, 0x01,  // Ethernet
                                                    0x08, 0x00,  // IPv4
                                                    6,    4,     // bytes of their addresses
                                                    0x00, 0x03}; // a reverse request
    const auto address = station.bytes();
    std::memset(frame, 0, rarp_frame_size);
    std::memset(frame, 0xff, address.size());
    std::memcpy(frame + 6, address.data(), address.size());
    std::memcpy(frame + 12, kind.data(), kind.size());
    std::memcpy(frame + 22, address.data(), address.size()); // sender
    std::memcpy(frame + 32, address.data(), address.size()); // target
}

} // namespace

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
    if (taken_ != nullptr && taken_->receive(b, context) == poll::taken) {
        return poll::taken;
    }
    return announces() ? take_announcement(b, context) : poll::empty;
}

void queue::announce(const dataplane::mac_address& station) noexcept
{
    announcement_.store(station.value(), std::memory_order_relaxed);
}

ports::rx_queue::poll queue::take_announcement(dataplane::burst& b,
                                               const ports::queue_context& context) noexcept
{
    const dataplane::mac_address station{announcement_.exchange(0, std::memory_order_relaxed)};
    dataplane::packet_slot& p = b.slots[b.count++];
    p.data = p.head.data();
    p.length = p.head_length = rarp_frame_size;
    p.segment_count = 0;
    p.segments = nullptr;
    p.mbuf = nullptr;
    p.remote = nullptr;
    p.offload = {};
    write_rarp(station, p.data);
    context.counters->rx_packets.add(1);
    context.counters->rx_bytes.add(rarp_frame_size);
    taken_ = &nobody;
    return poll::taken;
}

void queue::release(dataplane::burst& /*b*/, const ports::queue_context& context) noexcept
{
    // Not source_: the ring may have been unpublished since, and waits for this iteration's end.
    taken_->release(context);
}

bool queue::list_wakers(std::vector<pollfd>& all) noexcept
{
    if (announces()) {
        return false;
    }
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
    if ((s == nullptr) != own.empty() || announces()) {
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
