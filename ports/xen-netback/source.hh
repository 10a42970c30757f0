// SPDX-License-Identifier: BSD-3-Clause
// Taking packets out of a Xen guest's transmit ring. Heads are copied out of the guest's granted
// pages, all of a burst in one call; payload behind them stays there until it is copied to where it
// must be.
#pragma once

#include "dataplane/offload.hh"
#include "ports/gather.hh"
#include "ports/port.hh"
#include "ports/xen-netback/guest.hh"
#include "ports/xen-netback/netif.hh"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::xen {

// One ring, from connection to disconnection; a worker's but for fault() and what it says.
class alignas(64) source final : public ports::notifier {
public:
    // `g` and the mapping of the ring outlive it. The ring is taken up where its responses end;
    // with `left_behind`, by another process that may have been ended at any instruction.
    source(netif::tx_ring ring, guest& g, event_channel& channel, bool left_behind) noexcept;

    ports::rx_queue::poll receive(dataplane::burst& b,
                                  const ports::queue_context& context) noexcept;
    // Of the burst that receive() filled.
    void release(dataplane::burst& b, const ports::queue_context& context) noexcept;
    void notify_if_wanted() noexcept override;
    // Whether there are requests, which may have to wait for their credit.
    [[nodiscard]] bool waits() const noexcept
    {
        return fault() == nullptr && ring_.request_producer() != taken_;
    }
    // Readable when the guest has notified; -1 when nothing more comes.
    [[nodiscard]] int waker() const noexcept
    {
        return fault() == nullptr ? channel_.descriptor() : -1;
    }
    // The guest is to notify of its next request. `notified`: it has, and that is to be taken.
    // False: there is a request.
    bool ask_to_wake(bool notified) noexcept;

    // Why the ring is not polled any more; null while it is. Any thread.
    [[nodiscard]] const char* fault() const noexcept
    {
        return fault_.load(std::memory_order_acquire);
    }
    // Requests taken since the connection, modulo 2^32. Any thread.
    [[nodiscard]] std::uint32_t position() const noexcept
    {
        return shown_.load(std::memory_order_relaxed);
    }

private:
    // A slot to be answered, in the ring's order.
    struct answer {
        std::uint16_t id;
        std::int16_t status;
    };
    struct frame {
        std::uint16_t first_answer;
        std::uint16_t answers;
        std::uint16_t first_piece;
        std::uint16_t pieces;
        std::uint16_t packet; // its slot in the burst
        std::uint16_t segment_size;
        dataplane::segmentation kind;
        bool checksum_blank;
        bool payload; // whether payloads_ has something of it
        bool read;    // its head
        dataplane::offload_fault fault;
    };
    enum class taking : std::uint8_t { frame, nothing, stop };

    void finish_answers() noexcept;
    [[nodiscard]] taking take(dataplane::burst& b, const ports::queue_context& context,
                              std::uint32_t ready) noexcept;
    [[nodiscard]] bool take_extras(std::uint32_t ready, std::uint32_t& used, frame& f,
                                   const netif::tx_request& first, bool& multicast) noexcept;
    void gather(dataplane::burst& b, frame& f, std::span<const netif::tx_request> parts,
                std::uint32_t total) noexcept;
    void infer(dataplane::burst& b, std::span<const dataplane::remote_copy> pieces) noexcept;
    void finish(dataplane::burst& b, const ports::queue_context& context) noexcept;
    void answer_all(const frame& f, std::int16_t status) noexcept;
    void fail(const char* why) noexcept { fault_.store(why, std::memory_order_release); }

    // What a look at an empty ring reads stands in one cache line.
    const netif::tx_ring ring_;
    ports::gatherer gather_;
    std::atomic<const char*> fault_{nullptr};
    std::uint32_t taken_;    // requests
    std::uint32_t answered_; // responses published
    std::uint32_t notified_; // of those, when the guest was last considered to be told
    std::atomic<std::uint32_t> shown_;
    guest& guest_;
    event_channel& channel_;

    // Of the burst that is under way.
    std::size_t answer_count_{0};
    std::size_t frame_count_{0};
    std::size_t piece_count_{0};
    std::size_t span_count_{0};
    std::array<answer, netif::ring_size> answers_;
    std::array<frame, dataplane::burst::capacity> frames_;
    // A slot has at most one piece of a head and one of payload.
    std::array<dataplane::remote_copy, netif::ring_size> pieces_;
    std::array<dataplane::remote_span, netif::ring_size> spans_;
    std::array<dataplane::remote_payload, dataplane::burst::capacity> payloads_;
};

} // namespace strait::xen
