// SPDX-License-Identifier: BSD-3-Clause
// BPDUs on their way between workers and control: those that ports received, and those that control
// sends. Bounded both ways, and each port has room of its own; what spanning tree makes of them is
// control's business.
#pragma once

#include "dataplane/doorbell.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"
#include "dataplane/tap.hh"
#include "dataplane/types.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <rte_config.h>

namespace strait::dataplane {

class bpdu_channel {
public:
    // Of a frame are shown: all that a bridge of this version reads. Frames are as long as their
    // senders like, and a few long ones are not to take the room of a port's other senders.
    static constexpr std::uint32_t most_bytes = 64;
    // What a port's frames take of all rings at most, until control has looked at them.
    static constexpr std::size_t share_bytes = std::size_t{15} << 10;
    // A worker's ring: whatever its other ports, which all are devices of DPDK's, put there, a port
    // finds its share; what is too short for a frame at the ring's end is left out.
    static constexpr std::size_t received_bytes =
        std::bit_ceil(RTE_MAX_ETHPORTS * share_bytes + tap_ring::room_for(most_bytes));
    static constexpr std::size_t most_waiting = 256; // to be sent, of a worker's
    static constexpr std::size_t frame_bytes = 60;

    // A frame that control sends by a port.
    struct outgoing {
        std::uint32_t incarnation; // of the port
        port_index port;
        std::array<std::byte, frame_bytes> bytes;
    };

    explicit bpdu_channel(std::size_t workers)
    {
        for (std::size_t i = 0; i < workers; ++i) {
            received_.push_back(std::make_unique<tap_ring>(received_bytes));
            to_send_.push_back(std::make_unique<ring>());
        }
        bell_.open();
    }

    // The worker. False: the port has no room left, as control has not looked for long.
    bool show(worker_index worker, const packet& p, const port_config& in,
              std::uint64_t tsc) noexcept
    {
        auto& taken = taken_[to_index(in.index)];
        const std::size_t room = room_of(p.length);
        if (taken.fetch_add(room, std::memory_order_acquire) + room > share_bytes ||
            !received_[to_index(worker)]->put(p, {.tsc = tsc, .incarnation = in.incarnation},
                                              in.index, most_bytes)) {
            taken.fetch_sub(room, std::memory_order_relaxed);
            return false;
        }
        bell_.ring();
        return true;
    }
    // The worker; null: there is none. It stays until sent().
    [[nodiscard]] const outgoing* next_to_send(worker_index worker) const noexcept
    {
        const ring& r = *to_send_[to_index(worker)];
        const std::size_t tail = r.tail.load(std::memory_order_relaxed);
        return tail == r.head.load(std::memory_order_acquire) ? nullptr
                                                              : &r.frames[tail % most_waiting];
    }
    void sent(worker_index worker) noexcept
    {
        ring& r = *to_send_[to_index(worker)];
        r.tail.store(r.tail.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    [[nodiscard]] bool nothing_to_send(worker_index worker) const noexcept
    {
        return next_to_send(worker) == nullptr;
    }

    // Control. By worker, in the order in which that one saw them.
    [[nodiscard]] const std::vector<std::unique_ptr<tap_ring>>& received() const noexcept
    {
        return received_;
    }
    // The oldest of one of these, which there is, was looked at.
    void pop(tap_ring& from) noexcept
    {
        const tap_record r = *from.front();
        from.pop(); // before its port may count on the room
        taken_[to_index(r.at)].fetch_sub(room_of(r.length), std::memory_order_release);
    }
    [[nodiscard]] doorbell& bell() noexcept { return bell_; }
    // The worker is still to be woken. False: there was no room. Any thread but a worker.
    bool send(worker_index worker, const outgoing& frame) noexcept
    {
        const std::lock_guard lock{sending_};
        ring& r = *to_send_[to_index(worker)];
        const std::size_t head = r.head.load(std::memory_order_relaxed);
        if (head - r.tail.load(std::memory_order_acquire) == most_waiting) {
            return false;
        }
        r.frames[head % most_waiting] = frame;
        r.head.store(head + 1, std::memory_order_release);
        return true;
    }

private:
    struct ring {
        std::array<outgoing, most_waiting> frames;
        alignas(64) std::atomic<std::size_t> head{0}; // control's
        alignas(64) std::atomic<std::size_t> tail{0}; // the worker's
    };

    [[nodiscard]] static std::size_t room_of(std::uint32_t length) noexcept
    {
        return tap_ring::room_for(std::min(length, most_bytes));
    }

    std::vector<std::unique_ptr<tap_ring>> received_;
    std::array<std::atomic<std::size_t>, max_ports> taken_{}; // bytes of rings, by port
    std::vector<std::unique_ptr<ring>> to_send_;
    std::mutex sending_; // of those who send
    doorbell bell_;      // control's
};

} // namespace strait::dataplane
