// SPDX-License-Identifier: BSD-3-Clause
// Whether a group's buckets are live: their ports are up now, by configuration, spanning tree and
// carrier, or one of another group's buckets is live.
#pragma once

#include "dataplane/flow/pipeline.hh"
#include "dataplane/snapshot.hh"

#include <algorithm>

namespace strait::flow {

class liveness {
public:
    liveness(const pipeline& flows, const dataplane::snapshot& config,
             dataplane::bridge_index bridge) noexcept
        : flows_{flows}, config_{config}, bridge_{bridge}
    {}

    [[nodiscard]] bool operator()(const bucket& b) noexcept { return of_bucket(b, deepest_groups); }

private:
    [[nodiscard]] bool of_bucket(const bucket& b, std::size_t deep) noexcept
    {
        if (!b.watch_port && !b.watch_group) {
            return true;
        }
        if (asked_ == most_asked) {
            return false;
        }
        ++asked_;
        return (b.watch_port && of_port(*b.watch_port)) ||
               (b.watch_group && deep > 0 && of_group(*b.watch_group, deep - 1));
    }
    [[nodiscard]] bool of_port(port_number number) const noexcept
    {
        const auto index = flows_.ports->index(number);
        const dataplane::port_config* const port =
            index == dataplane::no_port ? nullptr : config_.port(index);
        return port != nullptr && port->bridge == bridge_ && port->passes() &&
               (!port->link || port->link->load(std::memory_order_relaxed));
    }
    [[nodiscard]] bool of_group(std::uint32_t id, std::size_t deep) noexcept
    {
        const bucket_group* const group = flows_.groups.find(id);
        return group != nullptr &&
               std::ranges::any_of(group->buckets(),
                                   [this, deep](const bucket& b) { return of_bucket(b, deep); });
    }

    const pipeline& flows_;
    const dataplane::snapshot& config_;
    dataplane::bridge_index bridge_;
    // Groups that watch one another may have more ways through them than a packet has time for.
    static constexpr unsigned most_asked = 4 * most_buckets;
    unsigned asked_{0};
};

} // namespace strait::flow
