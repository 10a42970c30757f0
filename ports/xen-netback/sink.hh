// SPDX-License-Identifier: BSD-3-Clause
// Putting packets into a Xen guest's receive ring: heads from private memory, payload straight from
// where its sender has it, be that another guest's granted pages. All of a burst is copied in as
// few calls as can be, then answered together.
#pragma once

#include "ports/port.hh"
#include "ports/xen-netback/guest.hh"
#include "ports/xen-netback/hash.hh"
#include "ports/xen-netback/netif.hh"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::xen {

// One ring, from connection to disconnection; a worker's but for fault() and what it says.
class sink final : public ports::notifier {
public:
    // As source's.
    sink(netif::rx_ring ring, guest& g, event_channel& channel, bool left_behind) noexcept;

    void transmit(std::span<dataplane::packet* const> packets,
                  const ports::queue_context& context) noexcept;
    void notify_if_wanted() noexcept override;
    void prefetch_ring(std::size_t n) const noexcept;

    // Why the ring is not used any more; null while it is. Any thread.
    [[nodiscard]] const char* fault() const noexcept
    {
        return fault_.load(std::memory_order_acquire);
    }
    // Buffers taken since the connection, modulo 2^32. Any thread.
    [[nodiscard]] std::uint32_t position() const noexcept
    {
        return shown_.load(std::memory_order_relaxed);
    }

private:
    struct frame {
        const dataplane::packet* packet;
        std::uint16_t first_slot; // in slots_
        std::uint16_t slots;      // of data
        std::uint16_t extras;
        std::uint16_t first_piece;
        std::uint16_t pieces;
        std::uint16_t headroom;     // in front of the data, in its first page
        std::uint16_t source_probe; // if it failed: in probes_
        std::uint16_t target_probe;
        bool failed;
        hash_config::value hash;
    };

    void finish_answers() noexcept;
    [[nodiscard]] bool put(const dataplane::packet& p, std::uint32_t available,
                           const ports::queue_context& context) noexcept;
    void scatter(frame& f) noexcept;
    void flush(const ports::queue_context& context) noexcept;
    void find_failed() noexcept;
    void answer(const frame& f) noexcept;
    void write_extras(const frame& f) noexcept;

    static constexpr unsigned most_extras = 3; // of a frame: segments, headroom, hash
    // Enough for the longest chain of payload, and a piece more for each page it goes to.
    static constexpr std::size_t piece_capacity = 512;

    const netif::rx_ring ring_;
    guest& guest_;
    event_channel& channel_;
    std::uint32_t taken_;    // requests
    std::uint32_t answered_; // responses written
    std::uint32_t notified_; // of those, when the guest was last considered to be told
    std::atomic<const char*> fault_{nullptr};
    std::atomic<std::uint32_t> shown_;

    // Of the batch that is under way.
    std::size_t frame_count_{0};
    std::size_t slot_count_{0};
    std::size_t piece_count_{0};
    std::array<frame, dataplane::burst::capacity> frames_;
    std::array<netif::rx_request, netif::ring_size> slots_; // also those that extras take
    std::array<dataplane::remote_copy, piece_capacity> pieces_;
    std::array<dataplane::remote_copy, 2 * dataplane::burst::capacity> probes_;
    std::byte probed_{}; // where they pull to
};

} // namespace strait::xen
