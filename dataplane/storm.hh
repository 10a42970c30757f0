// SPDX-License-Identifier: BSD-3-Clause
// What of a port's frames is flooded, at most: a loop behind it, or a guest that scans, costs every
// port of a bridge. Frames that go to one port alone are policer.hh's business.
#pragma once

#include "dataplane/drop_reason.hh"
#include "dataplane/offload.hh"
#include "dataplane/packet.hh"
#include "dataplane/parse.hh"
#include "dataplane/token_bucket.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace strait::dataplane {

// Frames a second; 0: no limit.
struct storm_limits {
    std::uint32_t broadcast{0};
    std::uint32_t multicast{0};
    std::uint32_t unknown_unicast{0};

    [[nodiscard]] bool limits() const noexcept
    {
        return broadcast != 0 || multicast != 0 || unknown_unicast != 0;
    }
    bool operator==(const storm_limits&) const = default;
};

class storm_control {
public:
    // `now` is the TSC.
    storm_control(const storm_limits& limits, std::uint64_t tsc_hz, std::size_t workers,
                  std::uint64_t now)
    {
        const std::array rates{limits.broadcast, limits.multicast, limits.unknown_unicast};
        for (std::size_t i = 0; i < rates.size(); ++i) {
            if (rates[i] != 0) {
                buckets_[i].emplace(rates[i], usual_burst(rates[i]), tsc_hz, workers, now);
            }
        }
    }

    // What may come at once: a tenth of a second's, and what a station asks for as it comes up.
    [[nodiscard]] static std::uint32_t usual_burst(std::uint32_t rate) noexcept
    {
        constexpr std::uint32_t least = 8;
        return std::max(rate / 10, least);
    }

    // A worker, of a frame that is about to be flooded, once for all that it is copied to: why it
    // is not.
    [[nodiscard]] std::optional<drop_reason> refuse(worker_index worker, const packet& p,
                                                    std::uint64_t now) noexcept
    {
        static constexpr std::array reasons{drop_reason::storm_broadcast,
                                            drop_reason::storm_multicast,
                                            drop_reason::storm_unknown_unicast};
        const mac_address to = parse_ethernet(p.data).destination;
        const std::size_t kind = !to.is_multicast() ? 2 : to.is_broadcast() ? 0 : 1;
        std::optional<token_bucket>& bucket = buckets_[kind];
        const std::uint32_t count = on_wire(p.length, p.offload).packets;
        return !bucket || bucket->take(worker, count, now) ? std::nullopt
                                                           : std::optional{reasons[kind]};
    }

private:
    std::array<std::optional<token_bucket>, 3> buckets_;
};

} // namespace strait::dataplane
