// SPDX-License-Identifier: BSD-3-Clause
// How many ICMP errors the switch sends (RFC 1812, 4.3.2.8; RFC 4443, 2.4 (f)).
#pragma once

#include "dataplane/types.hh"

#include <algorithm>
#include <array>
#include <cstdint>

namespace strait::endpoint {

// One worker's. By the port that the packets came from that are answered, so that nobody takes from
// others; as many as Linux sends in all.
class error_limit {
public:
    static constexpr std::uint64_t a_second = 1000;
    static constexpr std::uint64_t at_once = 50;

    explicit error_limit(std::uint64_t tsc_hz) noexcept
        : cost_{std::max<std::uint64_t>(1, tsc_hz / a_second)}
    {}

    // Whether one more may be sent now; `now` is the TSC. To be asked before one is made.
    [[nodiscard]] bool has_one(dataplane::port_index port, std::uint64_t now) const noexcept
    {
        return after_one(port, now) <= now;
    }
    // The same, and counts it.
    [[nodiscard]] bool take(dataplane::port_index port, std::uint64_t now) noexcept
    {
        const std::uint64_t until = after_one(port, now);
        if (until > now) {
            return false;
        }
        spent_until_[dataplane::to_index(port)] = until;
        return true;
    }

private:
    [[nodiscard]] std::uint64_t after_one(dataplane::port_index port,
                                          std::uint64_t now) const noexcept
    {
        const std::uint64_t burst = at_once * cost_;
        return std::max(spent_until_[dataplane::to_index(port)], now > burst ? now - burst : 0) +
               cost_;
    }

    std::uint64_t cost_;                                            // of one, in cycles
    std::array<std::uint64_t, dataplane::max_ports> spent_until_{}; // TSC
};

} // namespace strait::endpoint
