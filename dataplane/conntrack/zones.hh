// SPDX-License-Identifier: BSD-3-Clause
// How many connections each zone has, and may have: shared by all workers' trackers. Each counts
// its own; a limit is on the sum.
#pragma once

#include "dataplane/conntrack/zone_id.hh"
#include "dataplane/counters.hh"
#include "dataplane/reserved_memory.hh"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace strait::conntrack {

class zones {
public:
    static constexpr std::size_t count = zone_count;
    static constexpr std::uint32_t unlimited = 0;

    explicit zones(unsigned workers)
        : workers_{workers},
          memory_{workers * count * sizeof(dataplane::counter)},
          counts_{reinterpret_cast<dataplane::counter*>(memory_.data())},
          limits_(count)
    {
        for (auto& l : limits_) {
            l.store(by_default, std::memory_order_relaxed);
        }
    }

    // Any thread. Nothing: the default holds.
    void limit(zone_id zone, std::optional<std::uint32_t> connections) noexcept
    {
        limits_[zone].store(connections.value_or(by_default), std::memory_order_relaxed);
    }
    void limit_others(std::uint32_t connections) noexcept
    {
        default_.store(connections, std::memory_order_relaxed);
    }
    [[nodiscard]] std::optional<std::uint32_t> own_limit(zone_id zone) const noexcept
    {
        const std::uint32_t l = limits_[zone].load(std::memory_order_relaxed);
        return l == by_default ? std::nullopt : std::optional{l};
    }
    [[nodiscard]] std::uint32_t default_limit() const noexcept
    {
        return default_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t used(zone_id zone) const noexcept
    {
        std::uint64_t sum = 0;
        for (unsigned w = 0; w < workers_; ++w) {
            sum += counts_[w * count + zone].read();
        }
        return sum;
    }
    // Workers that ask at the same time may go beyond it by one each.
    [[nodiscard]] bool has_room(zone_id zone) const noexcept
    {
        const std::uint32_t most = own_limit(zone).value_or(default_limit());
        return most == unlimited || used(zone) < most;
    }

    // That worker alone.
    void add(unsigned worker, zone_id zone, std::int64_t n) noexcept
    {
        counts_[worker * count + zone].add(static_cast<std::uint64_t>(n));
    }

private:
    static constexpr std::uint32_t by_default = 0xffff'ffff;

    unsigned workers_;
    dataplane::reserved_memory memory_;
    dataplane::counter* counts_; // by worker and zone
    std::vector<std::atomic<std::uint32_t>> limits_;
    std::atomic<std::uint32_t> default_{unlimited};
};

} // namespace strait::conntrack
