// SPDX-License-Identifier: BSD-3-Clause
// Counters with one writer (a worker) and any number of readers. Reading and clearing them is
// control's business.
#pragma once

#include "dataplane/drop_reason.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <utility>

namespace strait::dataplane {

// Written by one thread with plain moves, read by any.
class counter {
public:
    void add(std::uint64_t n) noexcept
    {
        value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    void set(std::uint64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t read() const noexcept
    {
        return value_.load(std::memory_order_relaxed);
    }

private:
    std::atomic<std::uint64_t> value_{0};
};

// Cycles that a worker slept, with those of the sleep that it is in. One word: who reads it when
// the worker wakes reads that sleep once.
class time_asleep {
public:
    // The worker, in turn, with the TSC.
    void begin(std::uint64_t now) noexcept { word_.set((now - word_.read() / 2) * 2 + 1); }
    void end(std::uint64_t now) noexcept { word_.set(since(word_.read() / 2, now) * 2); }
    // Any thread; `tsc` is called for the TSC. Never less than before: what it tells is of a moment
    // at which the worker was in the sleep that the word tells of.
    template <typename Clock>
    [[nodiscard]] std::uint64_t read(const Clock& tsc) const noexcept
    {
        for (;;) {
            const std::uint64_t word = word_.read();
            if (word % 2 == 0) {
                return word / 2;
            }
            const std::uint64_t now = tsc();
            if (word_.read() == word) {
                return since(word / 2, now);
            }
        }
    }

private:
    // A CPU's TSC may be a little behind another's.
    static constexpr std::uint64_t since(std::uint64_t begun, std::uint64_t now) noexcept
    {
        return static_cast<std::int64_t>(now - begun) < 0 ? 0 : now - begun;
    }

    counter word_; // twice the cycles; asleep: twice the TSC when it were none, and one
};

struct packet;
struct port_counters;

// Who is shown the packets that are dropped: see tapper.hh.
class drop_watcher {
public:
    virtual void dropped(const packet& p, drop_reason reason, const port_counters& at) noexcept = 0;

protected:
    ~drop_watcher() = default;
};

// Of one queue pair of a port, whose worker writes them: what it carried, and what of the port's
// packets was dropped while they were the queue's. These are in the port's counters, too.
struct alignas(64) queue_counters {
    counter rx_packets;
    counter tx_packets;
    counter cycles; // of its worker, TSC cycles, for what came by it: all that became of it, too
    std::array<counter, drop_reason_count> drops;
};

// What one worker counts of one port. rx: from the port into the switch; tx: out of the switch.
struct alignas(64) port_counters {
    counter rx_packets;
    counter rx_bytes; // whole frames without FCS
    counter tx_packets;
    counter tx_bytes;
    std::array<counter, drop_reason_count> drops;
    drop_watcher* watcher{nullptr}; // the writer's own; null: nobody wants to see them
    queue_counters* queue{nullptr}; // of the queue that the writer serves now; null: of none

    // Of packets that cannot be shown any more, or never were packets.
    void drop(drop_reason reason, std::uint64_t packets = 1) noexcept
    {
        drops[static_cast<std::size_t>(reason)].add(packets);
        if (queue != nullptr) {
            queue->drops[static_cast<std::size_t>(reason)].add(packets);
        }
    }
    void drop(drop_reason reason, const packet& p) noexcept
    {
        drop(reason);
        if (watcher != nullptr) [[unlikely]] {
            watcher->dropped(p, reason, *this);
        }
    }
    void drop(drop_reason reason, std::span<packet* const> packets) noexcept
    {
        drop(reason, packets.size());
        if (watcher != nullptr) [[unlikely]] {
            for (const packet* const p : packets) {
                watcher->dropped(*p, reason, *this);
            }
        }
    }
};

// For as long as it is there, what a worker drops at a port is a queue's.
class queue_in_turn {
public:
    queue_in_turn(port_counters& port, queue_counters* queue) noexcept
        : port_{port}, before_{std::exchange(port.queue, queue)}
    {}
    ~queue_in_turn() { port_.queue = before_; }
    queue_in_turn(const queue_in_turn&) = delete;
    queue_in_turn& operator=(const queue_in_turn&) = delete;
    queue_in_turn(queue_in_turn&&) = delete;
    queue_in_turn& operator=(queue_in_turn&&) = delete;

private:
    port_counters& port_;
    queue_counters* before_;
};

// What a worker says of itself. Cycles are TSC cycles. busy + idle + asleep is all of the worker's
// time: an iteration is idle when no queue gave it a packet.
struct alignas(64) worker_counters {
    counter iterations;
    counter busy_cycles;
    counter idle_cycles;
    time_asleep asleep;
    // Short sleeps by a timer, since somebody cannot wake the worker, and those that ended late.
    counter naps;
    counter late_naps;
    counter rx_packets;
    counter tx_packets;
    counter handed_over;    // packets given to other workers
    counter longest_gap;    // cycles, the longest iteration since the worker started, sleep apart
    counter mac_table_full; // source addresses that found no room
};

} // namespace strait::dataplane
