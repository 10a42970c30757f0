// SPDX-License-Identifier: BSD-3-Clause
// When to look at which place of a table again: slots of a second, each a list of lines full of
// places, so that what is due can be fetched ahead. A place is in one of them at most (see
// table::timed), and stays until it is due: one whose connection lives on is put in anew, by
// tracker.cc. Each worker has one, and others turn it where that falls behind.
#pragma once

#include "dataplane/conntrack/table.hh"
#include "dataplane/counters.hh"
#include "dataplane/reserved_memory.hh"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::conntrack {

class timer_wheel {
public:
    // Seconds ahead, at most.
    static constexpr seconds_t furthest = 64;

    // Room for so many places. `alone`: one thread has it.
    timer_wheel(std::size_t places, bool alone);

    // All of these: any worker. Times may differ a little from worker to worker.
    void add(connection_id place, seconds_t at, seconds_t now) noexcept;
    // Takes out what is due, as many as there are and `due` has room for; how many these are.
    [[nodiscard]] std::size_t take(std::span<connection_id> due, seconds_t now) noexcept;
    [[nodiscard]] bool empty() const noexcept { return size_.read() == 0; }
    // When something is due next, that may be before now; never: nothing is there.
    static constexpr seconds_t never = ~seconds_t{0};
    [[nodiscard]] seconds_t next() noexcept;
    // Seconds that something may have been due for, and is still there.
    [[nodiscard]] seconds_t lag(seconds_t now) const noexcept
    {
        const seconds_t done = done_.load(std::memory_order_relaxed);
        return now > done ? now - done : 0;
    }

private:
    static constexpr std::size_t slots = 128; // a power of two, more than `furthest`
    struct alignas(64) line {
        static constexpr std::size_t size = 15;
        std::uint32_t next;
        std::array<connection_id, size> places;
    };
    struct slot {
        std::uint32_t first{0}; // line, the only one that may have room; 0: none
        std::uint32_t filled{0};
    };

    bool alone_;
    zone_lock lock_;
    dataplane::counter size_;
    std::atomic<seconds_t> done_{0}; // of this second, and those before it, nothing is left
    dataplane::reserved_memory memory_;
    line* lines_;
    std::uint32_t used_{0}; // lines, from 1 on
    std::uint32_t free_{0};
    seconds_t position_{0}; // the second whose slot is taken from
    std::array<slot, slots> slots_{};
};

} // namespace strait::conntrack
