// SPDX-License-Identifier: BSD-3-Clause
// What a port takes from its guest, or gives to it, at most: bytes and packets a second. No packet
// waits; what is too much is dropped by its worker (worker.cc).
#pragma once

#include "dataplane/offload.hh"
#include "dataplane/packet.hh"
#include "dataplane/token_bucket.hh"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace strait::dataplane {

// 0: no limit; of a burst: the default.
struct port_rate {
    std::uint32_t kbps{0};
    std::uint32_t burst_kbit{0};
    std::uint32_t packets{0}; // a second
    std::uint32_t burst_packets{0};

    [[nodiscard]] bool limits() const noexcept { return kbps != 0 || packets != 0; }
    bool operator==(const port_rate&) const = default;

    // Bursts as they are, given or not: a tenth of a second, and room for one frame of any size or
    // for one burst of a worker.
    [[nodiscard]] std::uint32_t usual_burst_kbit() const noexcept
    {
        constexpr std::uint32_t longest_frame_kbit = 525;
        return burst_kbit != 0 ? burst_kbit : std::max(kbps / 10, longest_frame_kbit);
    }
    [[nodiscard]] std::uint32_t usual_burst_packets() const noexcept
    {
        return burst_packets != 0
                   ? burst_packets
                   : std::max(packets / 10, static_cast<std::uint32_t>(burst::capacity));
    }
};

class policer {
public:
    policer(const port_rate& rate, std::uint64_t tsc_hz, std::size_t workers, std::uint64_t now)
        : rate_{rate}
    {
        constexpr std::uint64_t bytes_a_kbit = 125;
        if (rate.kbps != 0) {
            bytes_.emplace(bytes_a_kbit * rate.kbps, bytes_a_kbit * rate.usual_burst_kbit(), tsc_hz,
                           workers, now);
        }
        if (rate.packets != 0) {
            packets_.emplace(rate.packets, rate.usual_burst_packets(), tsc_hz, workers, now);
        }
    }
    [[nodiscard]] const port_rate& rate() const noexcept { return rate_; }

    // A worker, of packets or pointers to them: how many at the front there is credit for. What
    // comes at once behind one that is too much is too much, too.
    template <typename Packets>
    [[nodiscard]] std::size_t take(worker_index worker, const Packets& packets,
                                   std::uint64_t now) noexcept
    {
        const auto too_much = std::ranges::find_if(
            packets, [&](const packet& p) { return !take_one(worker, p, now); },
            [](const auto& p) -> const packet& {
                if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(p)>>) {
                    return *p;
                } else {
                    return p;
                }
            });
        return static_cast<std::size_t>(too_much - packets.begin());
    }

private:
    // One that is to be cut counts as what it becomes.
    [[nodiscard]] bool take_one(worker_index worker, const packet& p, std::uint64_t now) noexcept
    {
        const wire_cost cost = on_wire(p.length, p.offload);
        return (!packets_ || packets_->take(worker, cost.packets, now)) &&
               (!bytes_ || bytes_->take(worker, cost.bytes, now));
    }

    port_rate rate_;
    std::optional<token_bucket> bytes_;
    std::optional<token_bucket> packets_;
};

} // namespace strait::dataplane
