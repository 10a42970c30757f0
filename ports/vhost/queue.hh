// SPDX-License-Identifier: BSD-3-Clause
// A queue pair of a vhost-user port as its worker sees it: there for the port's whole life, with
// rings only while a guest's driver has them ready.
#pragma once

#include "dataplane/types.hh"
#include "ports/port.hh"
#include "ports/vhost/ring.hh"

#include <atomic>
#include <memory>

namespace strait::vhost {

class queue final : public ports::rx_queue, public ports::tx_queue {
public:
    queue() = default;
    ~queue() override;
    queue(const queue&) = delete;
    queue& operator=(const queue&) = delete;

    // Control plane; one thread at a time. Publishing over a published ring is not allowed. A
    // worker that sleeps has to be woken to see it.
    void publish(std::unique_ptr<source> s) noexcept;
    void publish(std::unique_ptr<sink> s) noexcept;
    // Takes the ring out; null if there was none. A worker may be in it until a grace period has
    // passed: keep it until then.
    [[nodiscard]] std::unique_ptr<source> unpublish_source() noexcept;
    [[nodiscard]] std::unique_ptr<sink> unpublish_sink() noexcept;
    // Has the worker take a frame from the guest that the guest has not sent: a RARP request (RFC
    // 903) of a station that has just moved here, for the bridge to learn where it is, and all
    // behind it. At its next look that finds nothing else; one that has not gone yet is replaced. A
    // worker that sleeps has to be woken. Any thread.
    void announce(const dataplane::mac_address& station) noexcept;
    // What is published, to be looked at by the thread that publishes.
    [[nodiscard]] const ring* published_source() const noexcept { return source_.load(); }
    [[nodiscard]] const ring* published_sink() const noexcept { return sink_.load(); }

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
    void prefetch_ring(std::size_t n) noexcept override;
    void prefetch_buffers(std::size_t n) noexcept override;

private:
    [[nodiscard]] poll take_announcement(dataplane::burst& b,
                                         const ports::queue_context& context) noexcept;
    [[nodiscard]] bool announces() const noexcept
    {
        return announcement_.load(std::memory_order_relaxed) != 0;
    }

    std::atomic<source*> source_{nullptr};
    std::atomic<sink*> sink_{nullptr};
    source* taken_{nullptr};                     // the worker's: whose packets the burst has
    std::atomic<std::uint64_t> announcement_{0}; // the station's address; 0: none
};

} // namespace strait::vhost
