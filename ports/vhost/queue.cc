// SPDX-License-Identifier: BSD-3-Clause
// Publication of rings to the worker that polls them.
#include "ports/vhost/queue.hh"

#include "dataplane/flow_hash.hh"

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

queue::queue(std::size_t pairs, const queue* first)
    : pairs_(pairs), first_{first}, shares_{pairs > 1 ? std::make_unique<ports::shares>() : nullptr}
{}

queue::~queue()
{
    for (ring_pair& p : pairs_) {
        delete p.out.load();
        delete p.in.load();
    }
}

void queue::publish(std::unique_ptr<source> s, std::size_t pair) noexcept
{
    pairs_[pair].out.store(s.release(), std::memory_order_release);
    sources_changed();
}

void queue::publish(std::unique_ptr<sink> s, std::size_t pair) noexcept
{
    pairs_[pair].in.store(s.release(), std::memory_order_release);
    sinks_changed();
}

std::unique_ptr<source> queue::unpublish_source(std::size_t pair) noexcept
{
    std::unique_ptr<source> s{pairs_[pair].out.exchange(nullptr, std::memory_order_acq_rel)};
    sources_changed();
    return s;
}

std::unique_ptr<sink> queue::unpublish_sink(std::size_t pair) noexcept
{
    std::unique_ptr<sink> s{pairs_[pair].in.exchange(nullptr, std::memory_order_acq_rel)};
    sinks_changed();
    return s;
}

namespace {

// What `get` says of each that is not null: how many there are, and the only one.
template <typename Ring, typename Pairs, typename Get>
void count_rings(const Pairs& pairs, Get&& get, std::atomic<Ring*>& only,
                 std::atomic<std::uint8_t>& count) noexcept
{
    Ring* found = nullptr;
    std::uint8_t rings = 0;
    for (const auto& p : pairs) {
        if (Ring* const ring = get(p)) {
            found = ring;
            ++rings;
        }
    }
    only.store(rings == 1 ? found : nullptr, std::memory_order_release);
    count.store(rings, std::memory_order_relaxed);
}

} // namespace

// A worker that finds no only one looks at pairs, each of which is right at any time.
void queue::sources_changed() noexcept
{
    count_rings(
        pairs_, [](const ring_pair& p) { return p.out.load(); }, only_source_, sources_);
}

void queue::sinks_changed() noexcept
{
    count_rings(
        pairs_, [](const ring_pair& p) { return p.in.load(); }, only_sink_, sinks_);
}

ports::rx_queue::poll queue::receive(dataplane::burst& b,
                                     const ports::queue_context& context) noexcept
{
    taken_ = only_source_.load(std::memory_order_acquire);
    if (taken_ != nullptr ? taken_->receive(b, context) == poll::taken
                          : pairs_.size() > 1 && receive_in_turn(b, context)) {
        return poll::taken;
    }
    return announces() ? take_announcement(b, context) : poll::empty;
}

bool queue::receive_in_turn(dataplane::burst& b, const ports::queue_context& context) noexcept
{
    ports::queue_context own = context;
    own.from.of = busy_.count();
    own.packet_cost *= own.from.of; // together they take as much of the worker's time as one would
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
        next_ = next_ + 1 < pairs_.size() ? next_ + 1 : 0;
        source* const s = pairs_[next_].out.load(std::memory_order_acquire);
        own.from.number = static_cast<std::uint8_t>(next_);
        if (s != nullptr && s->receive(b, own) == poll::taken) {
            b.from = own.from;
            busy_.took(next_, b.count, std::max<std::size_t>(sources_.load(), 1));
            taken_ = s;
            return true;
        }
    }
    return false;
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
    // Not through pairs_: the ring may have been unpublished since, and waits for this iteration's
    // end.
    taken_->release(context);
}

bool queue::list_wakers(std::vector<pollfd>& all) noexcept
{
    if (announces()) {
        return false;
    }
    // Who publishes one wakes.
    for (const ring_pair& p : pairs_) {
        source* const s = p.out.load(std::memory_order_acquire);
        if (s == nullptr) {
            continue;
        }
        // A driver without a kick descriptor counts on being polled.
        if (s->waker() < 0 || s->waits()) {
            return false;
        }
        all.push_back({.fd = s->waker(), .events = POLLIN, .revents = 0});
    }
    return true;
}

bool queue::ask_to_wake(std::span<const pollfd> own) noexcept
{
    if (announces()) {
        return false;
    }
    for (const ring_pair& p : pairs_) {
        source* const s = p.out.load(std::memory_order_acquire);
        if (s == nullptr) {
            continue;
        }
        if (own.empty() || own.front().fd != s->waker()) {
            return false; // control was here
        }
        if (!s->ask_to_wake(own.front().revents != 0)) {
            return false;
        }
        own = own.subspan(1);
    }
    return own.empty();
}

void queue::transmit(std::span<dataplane::packet* const> packets,
                     const ports::queue_context& context) noexcept
{
    if (sink* const one = sink_for(context.from)) [[likely]] {
        one->transmit(packets, context);
        return;
    }
    transmit_by_flow(packets, context);
}

// The one for all that came by one ring: the only one, or, where the sender spreads its packets
// over as many rings as there are here, the one of the same place. Null: each packet's is another.
sink* queue::sink_for(dataplane::origin_ring from) const noexcept
{
    if (sink* const only = only_sink_.load(std::memory_order_acquire)) [[likely]] {
        return only;
    }
    const std::size_t sinks = sinks_.load(std::memory_order_relaxed);
    if (sinks == 0 || from.of < sinks) {
        return nullptr;
    }
    if (from.number < pairs_.size()) {
        if (sink* const same = pairs_[from.number].in.load(std::memory_order_acquire)) {
            return same;
        }
    }
    return pairs_[from.number % sinks].in.load(std::memory_order_acquire);
}

// A flow keeps its ring while the driver uses that; one whose ring it does not use shares
// another's.
void queue::transmit_by_flow(std::span<dataplane::packet* const> packets,
                             const ports::queue_context& context) noexcept
{
    std::array<sink*, max_pairs> rings;
    std::array<std::size_t, max_pairs> used; // their numbers
    std::size_t count = 0;
    const std::size_t pairs = pairs_.size();
    for (std::size_t i = 0; i < pairs; ++i) {
        rings[i] = pairs_[i].in.load(std::memory_order_acquire);
        if (rings[i] != nullptr) {
            used[count++] = i;
        }
    }
    if (count == 0) {
        context.counters->drop(dataplane::drop_reason::receiver_not_connected, packets);
        return;
    }
    if (count == 1) { // since a moment ago
        rings[used[0]]->transmit(packets, context);
        return;
    }
    for (dataplane::packet* const p : packets) {
        const std::uint32_t hash = dataplane::flow_hash(*p);
        const std::size_t wanted = hash % pairs;
        shares_->add(rings[wanted] != nullptr ? wanted : used[hash / pairs % count], p);
    }
    shares_->empty([&](std::size_t ring, std::span<dataplane::packet* const> share) noexcept {
        rings[ring]->transmit(share, context);
    });
}

// The same for all rings of a guest.
dataplane::offloads queue::takes() const noexcept
{
    if (const sink* const only = only_sink_.load(std::memory_order_acquire)) [[likely]] {
        return only->takes();
    }
    for (const ring_pair& p : pairs_) {
        if (const sink* const s = p.in.load(std::memory_order_acquire)) {
            return s->takes();
        }
    }
    // Without a guest nothing needs to be finished for it. Should there be one before transmit() is
    // called, its sink looks again.
    return dataplane::all_offloads;
}

void queue::prefetch_ring(std::size_t n, dataplane::origin_ring from) noexcept
{
    if (sink* const s = sink_for(from)) {
        s->prefetch_ring(n);
    }
}

void queue::prefetch_buffers(std::size_t n, dataplane::origin_ring from) noexcept
{
    if (sink* const s = sink_for(from)) {
        s->prefetch_buffers(n);
    }
}

} // namespace strait::vhost
