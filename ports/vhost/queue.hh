// SPDX-License-Identifier: BSD-3-Clause
// Some of a vhost-user port's queue pairs, as the one worker sees them who has them: there for the
// port's whole life, each with rings only while a guest's driver has them ready.
#pragma once

#include "dataplane/types.hh"
#include "ports/busy_rings.hh"
#include "ports/port.hh"
#include "ports/shares.hh"
#include "ports/vhost/ring.hh"

#include <atomic>
#include <cstddef>
#include <memory>

namespace strait::vhost {

inline constexpr std::size_t max_pairs = ports::max_shares; // of a port

class alignas(64) queue final : public ports::rx_queue, public ports::tx_queue {
public:
    // `pairs` of them, from 1 to max_pairs. `first`: the port's queue that gets what this one has
    // no ring for; null: this is that one.
    explicit queue(std::size_t pairs = 1, const queue* first = nullptr);
    ~queue() override;
    queue(const queue&) = delete;
    queue& operator=(const queue&) = delete;

    // Control plane; one thread at a time. pair: of this queue's, from 0. Publishing over a
    // published ring is not allowed. A worker that sleeps has to be woken to see it.
    void publish(std::unique_ptr<source> s, std::size_t pair = 0) noexcept;
    void publish(std::unique_ptr<sink> s, std::size_t pair = 0) noexcept;
    // Takes the ring out; null if there was none. A worker may be in it until a grace period has
    // passed: keep it until then.
    [[nodiscard]] std::unique_ptr<source> unpublish_source(std::size_t pair = 0) noexcept;
    [[nodiscard]] std::unique_ptr<sink> unpublish_sink(std::size_t pair = 0) noexcept;
    // Has the worker take a frame from the guest that the guest has not sent: a RARP request (RFC
    // 903) of a station that has just moved here, for the bridge to learn where it is, and all
    // behind it. At its next look that finds nothing else; one that has not gone yet is replaced. A
    // worker that sleeps has to be woken. Any thread.
    void announce(const dataplane::mac_address& station) noexcept;
    // What is published, to be looked at by the thread that publishes.
    [[nodiscard]] const ring* published_source(std::size_t pair = 0) const noexcept
    {
        return pairs_[pair].out.load();
    }
    [[nodiscard]] const ring* published_sink(std::size_t pair = 0) const noexcept
    {
        return pairs_[pair].in.load();
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
    // What a guest's driver does not use now is closed, if it uses others.
    [[nodiscard]] bool open() const noexcept override
    {
        return sinks_.load(std::memory_order_relaxed) > 0 || first_ == nullptr ||
               first_->sinks_.load(std::memory_order_relaxed) == 0;
    }
    void prefetch_ring(std::size_t n, dataplane::origin_ring from) noexcept override;
    void prefetch_buffers(std::size_t n, dataplane::origin_ring from) noexcept override;

private:
    struct ring_pair {
        std::atomic<source*> out{nullptr};
        std::atomic<sink*> in{nullptr};
    };

    void sources_changed() noexcept;
    void sinks_changed() noexcept;
    [[nodiscard]] bool receive_in_turn(dataplane::burst& b,
                                       const ports::queue_context& context) noexcept;
    [[nodiscard]] sink* sink_for(dataplane::origin_ring from) const noexcept;
    void transmit_by_flow(std::span<dataplane::packet* const> packets,
                          const ports::queue_context& context) noexcept;
    [[nodiscard]] poll take_announcement(dataplane::burst& b,
                                         const ports::queue_context& context) noexcept;
    [[nodiscard]] bool announces() const noexcept
    {
        return announcement_.load(std::memory_order_relaxed) != 0;
    }

    // Where one is published, as for most guests; null where there are several, or none.
    std::atomic<source*> only_source_{nullptr};
    std::atomic<sink*> only_sink_{nullptr};
    source* taken_{nullptr};                     // the worker's: whose packets the burst has
    std::atomic<std::uint64_t> announcement_{0}; // the station's address; 0: none
    std::vector<ring_pair> pairs_;
    // The worker's.
    std::size_t next_{0}; // the pair that was looked at last
    ports::busy_rings busy_;
    // How many are published.
    std::atomic<std::uint8_t> sources_{0};
    std::atomic<std::uint8_t> sinks_{0};
    const queue* const first_;
    std::unique_ptr<ports::shares> shares_; // the worker's; null: of one pair there are none
};

} // namespace strait::vhost
