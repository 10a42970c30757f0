// SPDX-License-Identifier: BSD-3-Clause
// What the ring engine needs of a virtqueue that the control plane found ready, and what it tells
// back. The engine: split_layout.hh and packed_layout.hh walk rings; source.cc takes packets out
// of one, sink.cc puts packets into one.
#pragma once

#include "dataplane/guest_span.hh"
#include "ports/port.hh"
#include "ports/vhost/dirty_log.hh"
#include "ports/vhost/memory.hh"
#include "ports/vhost/position_file.hh"
#include "ports/vhost/virtio.hh"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace strait::vhost {

// Where a ring stands. For split rings `next` runs freely and `wrap` means nothing.
struct ring_index {
    std::uint16_t next{0};
    bool wrap{true};
    bool operator==(const ring_index&) const noexcept = default;
};

// A virtqueue whose every range was found to lie in one region of `memory`.
struct ring_setup {
    std::uint64_t features{0}; // negotiated
    std::uint16_t size{0};     // descriptors; a power of two for split rings
    dataplane::guest_array<split_descriptor> split_descriptors;
    dataplane::guest_array<std::uint16_t> available;       // flags, index, ring[size], used_event
    dataplane::guest_array<std::uint16_t> used;            // flags, index
    dataplane::guest_array<used_element> used_ring;        // behind those two words
    dataplane::guest_array<std::uint16_t> available_event; // the word behind used_ring
    dataplane::guest_array<packed_descriptor> packed_descriptors;
    dataplane::guest_array<std::uint16_t> driver_event; // offset and wrap, flags
    dataplane::guest_array<std::uint16_t> device_event;
    ring_index start; // next to take and to return: nothing is in flight
    int call_fd{-1};  // eventfd, non-blocking; the engine writes and does not close it
    int kick_fd{-1};  // eventfd; the engine reads, without waiting, and does not close it
    const guest_memory* memory{nullptr};
    ring_position* saved{nullptr}; // packed rings: the position that outlives the process
    ring_log log;                  // what is written is marked there; it outlives the ring

    [[nodiscard]] bool packed() const noexcept
    {
        return has_feature(features, feature::ring_packed);
    }
};

// One direction of one virtqueue at work. A worker works it; the control plane settles it, and
// reads its position, after it was unpublished and a grace period has passed, and its counters and
// fault at any time.
class ring : public ports::notifier {
public:
    virtual ~ring() = default;

    // Where the device goes on: everything before it was returned to the driver.
    [[nodiscard]] virtual ring_index position() const noexcept = 0;
    // Returns what was taken and is held back; true if there was something, of which the driver may
    // want to be told. The control plane, where it may read the position.
    virtual bool return_all() noexcept { return false; }

    // How the guest broke the protocol: a sentence's end; null while it did not. A broken ring
    // moves nothing until it is published anew.
    [[nodiscard]] const char* fault() const noexcept
    {
        return fault_.load(std::memory_order_acquire);
    }
    [[nodiscard]] std::uint64_t kicks() const noexcept { return kicks_.read(); }

protected:
    std::atomic<const char*> fault_{nullptr};
    dataplane::counter kicks_;
};

// Packets out of the guest's transmit virtqueue.
class source : public ring {
public:
    virtual ports::rx_queue::poll receive(dataplane::burst& b,
                                          const ports::queue_context& context) noexcept = 0;
    virtual void release(const ports::queue_context& context) noexcept = 0;

    // For a worker that is about to sleep; see ports/port.hh. The driver's kick, -1 if it has none.
    [[nodiscard]] virtual int waker() const noexcept = 0;
    // Whether there is something to take.
    [[nodiscard]] virtual bool waits() noexcept = 0;
    // Asks the driver to kick; `kicked`: it did, which is forgotten. False: something is there. The
    // next receive() declines kicks again.
    [[nodiscard]] virtual bool ask_to_wake(bool kicked) noexcept = 0;
};

// Packets into the guest's receive virtqueue.
class sink : public ring {
public:
    // What the guest takes unfinished. Any thread; the same for as long as this is.
    [[nodiscard]] virtual dataplane::offloads takes() const noexcept = 0;
    virtual void transmit(std::span<dataplane::packet* const> packets,
                          const ports::queue_context& context) noexcept = 0;
    virtual void prefetch_ring(std::size_t n) noexcept = 0;
    virtual void prefetch_buffers(std::size_t n) noexcept = 0;
};

// The engine for a ring's kind.
[[nodiscard]] std::unique_ptr<source> make_source(const ring_setup& setup);
[[nodiscard]] std::unique_ptr<sink> make_sink(const ring_setup& setup);

} // namespace strait::vhost
