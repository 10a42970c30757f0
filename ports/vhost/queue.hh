// SPDX-License-Identifier: BSD-3-Clause
// A queue pair of a vhost-user port as its worker sees it: there for the port's whole life, with
// rings only while a guest's driver has them ready.
#pragma once

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
    void prefetch_ring(std::size_t n) noexcept override;
    void prefetch_buffers(std::size_t n) noexcept override;

private:
    std::atomic<source*> source_{nullptr};
    std::atomic<sink*> sink_{nullptr};
    source* taken_{nullptr}; // the worker's: whose packets the burst has
};

} // namespace strait::vhost
