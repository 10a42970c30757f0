// SPDX-License-Identifier: BSD-3-Clause
// The queue pair of a Xen port as its worker sees it: there for the port's whole life, with a
// guest's rings only while it is connected. All rings of a guest, up to 16 pairs, are one worker's:
// which of them a packet goes to is for the guest to say, and no packet changes its worker for it.
#pragma once

#include "ports/busy_rings.hh"
#include "ports/port.hh"
#include "ports/shares.hh"
#include "ports/xen-netback/guest.hh"
#include "ports/xen-netback/sink.hh"
#include "ports/xen-netback/source.hh"

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace strait::xen {

inline constexpr std::size_t max_queues = ports::max_shares;

// A connected guest's rings. Made by the control side, seen by the worker from publish() on.
struct ring_set {
    // In the order in which they are to be made; destroyed the other way round.
    std::unique_ptr<xen::guest> guest;
    std::vector<std::unique_ptr<mapped_grants>> mappings;
    std::vector<std::unique_ptr<event_channel>> channels;
    std::vector<std::unique_ptr<source>> sources; // as many as sinks: 1 to max_queues
    std::vector<std::unique_ptr<sink>> sinks;
    std::unique_ptr<const hash_config> hash;

    // Why one of the rings is not used any more, or null.
    [[nodiscard]] const char* fault() const noexcept;
};

class alignas(64) queue final : public ports::rx_queue, public ports::tx_queue {
public:
    queue() = default;
    ~queue() override = default;
    queue(const queue&) = delete;
    queue& operator=(const queue&) = delete;

    // Control side, one thread. A worker that sleeps does not see it until it is woken. Null takes
    // the rings out: a worker may be in them until a grace period has passed.
    void publish(ring_set* rings) noexcept
    {
        rings_.store(rings, std::memory_order_release);
        const bool one = rings != nullptr && rings->sources.size() == 1;
        only_.store(one ? rings->sources.front().get() : nullptr, std::memory_order_release);
    }

    poll receive(dataplane::burst& b, const ports::queue_context& context) noexcept override;
    void release(dataplane::burst& b, const ports::queue_context& context) noexcept override;
    [[nodiscard]] bool sender_waits() const noexcept override { return true; }
    [[nodiscard]] bool can_wake() const noexcept override { return true; }
    bool list_wakers(std::vector<pollfd>& all) noexcept override;
    bool ask_to_wake(std::span<const pollfd> own) noexcept override;
    void transmit(std::span<dataplane::packet* const> packets,
                  const ports::queue_context& context) noexcept override;
    [[nodiscard]] dataplane::offloads takes() const noexcept override;
    [[nodiscard]] bool takes_remote() const noexcept override { return true; }
    void prefetch_ring(std::size_t n, dataplane::origin_ring from) noexcept override;

private:
    std::atomic<ring_set*> rings_{nullptr};
    // Where there is one pair, as most have: an idle port costs two lines less.
    std::atomic<source*> only_{nullptr};
    // The worker's.
    source* taken_{nullptr}; // whose packets the burst has
    std::size_t next_{0};    // the ring to be looked at first
    ports::busy_rings busy_;
    ports::shares shares_;
};

} // namespace strait::xen
