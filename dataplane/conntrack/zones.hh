// SPDX-License-Identifier: BSD-3-Clause
// How many connections each zone has, and may have.
#pragma once

#include "dataplane/conntrack/zone_id.hh"
#include "dataplane/reserved_memory.hh"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace strait::conntrack {

class zones {
public:
    static constexpr std::uint32_t unlimited = 0;

    zones() : memory_{zone_count * sizeof(zone)}, all_{reinterpret_cast<zone*>(memory_.data())} {}

    // Any thread. Nothing: the default holds.
    void limit(zone_id z, std::optional<std::uint32_t> connections) noexcept
    {
        all_[z].limit.store(~connections.value_or(by_default), std::memory_order_relaxed);
    }
    void limit_others(std::uint32_t connections) noexcept
    {
        default_.store(connections, std::memory_order_relaxed);
    }
    [[nodiscard]] std::optional<std::uint32_t> own_limit(zone_id z) const noexcept
    {
        const std::uint32_t l = ~all_[z].limit.load(std::memory_order_relaxed);
        return l == by_default ? std::nullopt : std::optional{l};
    }
    [[nodiscard]] std::uint32_t default_limit() const noexcept
    {
        return default_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint32_t used(zone_id z) const noexcept
    {
        return all_[z].used.load(std::memory_order_relaxed);
    }
    [[nodiscard]] bool has_room(zone_id z) const noexcept
    {
        const std::uint32_t most = own_limit(z).value_or(default_limit());
        return most == unlimited || used(z) < most;
    }

    // Who holds the zone's lock.
    void add(zone_id z, std::int32_t n) noexcept
    {
        all_[z].used.store(used(z) + static_cast<std::uint32_t>(n), std::memory_order_relaxed);
    }

private:
    static constexpr std::uint32_t by_default = 0xffff'ffff;
    // As it comes from the system, all zeros: no connections, and the default for a limit.
    struct zone {
        std::atomic<std::uint32_t> used;
        std::atomic<std::uint32_t> limit; // inverted
    };

    dataplane::reserved_memory memory_;
    zone* all_;
    std::atomic<std::uint32_t> default_{unlimited};
};

} // namespace strait::conntrack
