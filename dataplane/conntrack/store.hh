// SPDX-License-Identifier: BSD-3-Clause
// What all workers' trackers share: the table of connections, and of each zone the rest that its
// packets may touch, with the lock that whoever touches any of it holds. All that one packet's
// tracking can come to (both directions, whatever they are translated to, errors, announced
// connections, fragments) lies in one zone; so one lock is enough, however packets come to workers.
#pragma once

#include "dataplane/conntrack/expectations.hh"
#include "dataplane/conntrack/fragments.hh"
#include "dataplane/conntrack/stream_edits.hh"
#include "dataplane/conntrack/table.hh"
#include "dataplane/conntrack/tcp.hh"
#include "dataplane/conntrack/timer_wheel.hh"
#include "dataplane/conntrack/zone_lock.hh"
#include "dataplane/conntrack/zones.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace strait::conntrack {

// Seconds without a packet after which a connection is forgotten.
struct timeouts {
    std::array<seconds_t, tcp::state_count> tcp{
        30,     // none
        120,    // syn_sent
        120,    // syn_sent_by_both
        60,     // syn_received
        86'400, // established
        120,    // fin_wait
        60,     // close_wait
        30,     // last_ack
        120,    // time_wait
        10,     // closed
    };
    seconds_t datagram_first{30}; // nobody has answered
    seconds_t datagram{120};
    seconds_t query{30};
    seconds_t other_protocol{600};
};

struct store_settings {
    std::size_t connections{std::size_t{1} << 20}; // at most, of all workers
    unsigned workers{1};
    timeouts times{};
};

// Of the zones that share a lock.
struct alignas(64) shard {
    zone_lock lock;
    fragments datagrams;
    expectations expected;
};

class store {
public:
    static constexpr unsigned shards = 64;

    explicit store(const store_settings& settings)
        : settings_{settings},
          table_{settings.connections, settings.workers},
          edits_{std::clamp<std::size_t>(settings.connections / 64, 64, 65'536), alone()}
    {
        for (unsigned w = 0; w < settings.workers; ++w) {
            wheels_.push_back(std::make_unique<timer_wheel>(table_.all_places(), alone()));
        }
    }

    [[nodiscard]] const store_settings& settings() const noexcept { return settings_; }
    [[nodiscard]] unsigned workers() const noexcept { return settings_.workers; }
    [[nodiscard]] bool alone() const noexcept { return settings_.workers == 1; }

    [[nodiscard]] static constexpr unsigned shard_number(zone_id z) noexcept
    {
        return z * 0x9e37'79b9U >> 26; // neighbours far from each other
    }
    [[nodiscard]] shard& shard_of(zone_id z) noexcept { return shards_[shard_number(z)]; }
    [[nodiscard]] shard& shard_at(unsigned number) noexcept { return shards_[number]; }

    [[nodiscard]] table& connections() noexcept { return table_; }
    [[nodiscard]] const table& connections() const noexcept { return table_; }
    [[nodiscard]] zones& limits() noexcept { return zones_; }
    // Fragments that wait for the first ones of their datagrams, in all zones. Any worker.
    [[nodiscard]] std::uint32_t waiting_fragments() const noexcept
    {
        return waiting_fragments_.load(std::memory_order_relaxed);
    }
    void count_waiting(std::int32_t more) noexcept
    {
        if (more != 0) {
            waiting_fragments_.fetch_add(static_cast<std::uint32_t>(more),
                                         std::memory_order_relaxed);
        }
    }
    // Of connections whose payload was changed.
    [[nodiscard]] edit_store& edits() noexcept { return edits_; }
    [[nodiscard]] timer_wheel& wheel(unsigned worker) noexcept { return *wheels_[worker]; }

private:
    store_settings settings_;
    table table_;
    edit_store edits_;
    zones zones_;
    std::array<shard, shards> shards_;
    std::atomic<std::uint32_t> waiting_fragments_{0};
    std::vector<std::unique_ptr<timer_wheel>> wheels_;
};

} // namespace strait::conntrack
