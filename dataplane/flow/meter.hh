// SPDX-License-Identifier: BSD-3-Clause
// A meter: bands, each with a rate beyond which packets are dropped, and what went through it.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/id_map.hh"
#include "dataplane/flow/rule.hh"
#include "dataplane/flow/tally.hh"
#include "dataplane/offload.hh"
#include "dataplane/token_bucket.hh"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace strait::flow {

inline constexpr std::uint32_t last_meter = 0xffff'0000;
inline constexpr std::size_t most_bands = 8; // of one meter

struct meter_settings {
    struct band {
        std::uint32_t rate{0};  // kbit or packets a second, 1 or more
        std::uint32_t burst{0}; // kbit or packets; 0: what comes in a second
        bool operator==(const band&) const = default;
    };
    std::uint32_t id{0};
    bool in_packets{false}; // else in kbit
    bool burst{false};      // was said, as `stats` may be: they are always kept
    bool stats{false};
    std::vector<band> bands;
    bool operator==(const meter_settings&) const = default;
};

class packet_meter : public boost::intrusive_ref_counter<packet_meter, boost::thread_safe_counter> {
public:
    struct clock {
        std::uint64_t tsc;
        std::uint64_t tsc_hz;
    };
    packet_meter(meter_settings settings, instant created, std::size_t workers, const clock& now)
        : settings_{std::move(settings)}, created_{created}, in_{new tally{workers}}
    {
        constexpr std::uint64_t bytes_a_kbit = 125;
        const std::uint64_t units = settings_.in_packets ? 1 : bytes_a_kbit;
        for (const meter_settings::band& b : settings_.bands) {
            bands_.push_back(std::make_unique<limit>(
                units * b.rate, units * (b.burst != 0 ? b.burst : b.rate), workers, now));
        }
    }

    [[nodiscard]] std::uint32_t id() const noexcept { return settings_.id; }
    [[nodiscard]] const meter_settings& settings() const noexcept { return settings_; }
    [[nodiscard]] instant created() const noexcept { return created_; }

    // A worker. False: the packet is to be dropped. All bands are asked; of those that it is too
    // much for the one of the highest rate counts it. One that is to be cut is asked for as what it
    // becomes.
    [[nodiscard]] bool pass(dataplane::worker_index worker, const dataplane::packet& p,
                            std::uint64_t tsc) const noexcept
    {
        in_->count(worker, 1, p.length);
        const std::uint32_t units = units_of(p);
        std::size_t exceeded = bands_.size();
        for (std::size_t i = 0; i < bands_.size(); ++i) {
            if (!bands_[i]->credit.take(worker, units, tsc) &&
                (exceeded == bands_.size() ||
                 settings_.bands[i].rate > settings_.bands[exceeded].rate)) {
                exceeded = i;
            }
        }
        if (exceeded == bands_.size()) {
            return true;
        }
        bands_[exceeded]->dropped.count(worker, 1, p.length);
        return false;
    }
    // Whether it would; any thread.
    [[nodiscard]] bool would_pass(const dataplane::packet& p, std::uint64_t tsc) const noexcept
    {
        return std::ranges::all_of(
            bands_, [&](const auto& band) { return band->credit.has(units_of(p), tsc); });
    }

    [[nodiscard]] const tally& counted() const noexcept { return *in_; }
    [[nodiscard]] const tally& dropped(std::size_t by_band) const noexcept
    {
        return bands_[by_band]->dropped;
    }

private:
    [[nodiscard]] std::uint32_t units_of(const dataplane::packet& p) const noexcept
    {
        const dataplane::wire_cost cost = dataplane::on_wire(p.length, p.offload);
        return settings_.in_packets ? cost.packets : cost.bytes;
    }

    struct limit {
        limit(std::uint64_t rate, std::uint64_t burst, std::size_t workers, const clock& now)
            : credit{rate, burst, now.tsc_hz, workers, now.tsc}, dropped{workers}
        {}
        dataplane::token_bucket credit;
        tally dropped;
    };

    meter_settings settings_;
    instant created_;
    std::unique_ptr<tally> in_;
    std::vector<std::unique_ptr<limit>> bands_;
};
using meter_ptr = boost::intrusive_ptr<const packet_meter>;
using meter_map = id_map<packet_meter>;

// Calls `visit` for each meter that actions name. Meters stand in flows themselves alone.
template <typename Visit>
void for_each_meter(const action_list& actions, const Visit& visit)
{
    for (const action& a : actions) {
        if (const auto* const m = std::get_if<meter>(&a.is)) {
            visit(m->id);
        }
    }
}

} // namespace strait::flow
