// SPDX-License-Identifier: BSD-3-Clause
#include "control/flow_top.hh"

#include <algorithm>
#include <functional>
#include <utility>

namespace strait::control {

flow_top::result flow_top::look(bridge_flows& flows, order by, std::size_t count,
                                std::chrono::steady_clock::time_point now)
{
    flows.count_switched();
    std::vector<one> all;
    all.reserve(flows.size());
    flows.for_each_in_no_order([&all](const flow::rule& r) {
        all.push_back({&r, r.packets(), r.bytes()});
    });
    std::ranges::sort(all, std::less<>{}, [](const one& o) { return o.rule.get(); });

    result out;
    if (when_ != std::chrono::steady_clock::time_point{}) {
        out.interval = std::chrono::duration_cast<std::chrono::microseconds>(now - when_);
        auto before = seen_.begin();
        for (const one& o : all) {
            while (before != seen_.end() && std::less<>{}(before->rule.get(), o.rule.get())) {
                ++before;
            }
            const bool known = before != seen_.end() && before->rule == o.rule;
            // One that is not known was made since, or took another's counters over.
            if (!known && o.rule->settings().created < last_look_) {
                continue;
            }
            const one since{o.rule, o.packets - (known ? before->packets : 0),
                            o.bytes - (known ? before->bytes : 0)};
            if (since.packets > 0) {
                out.flows.push_back(since);
            }
        }
        out.total = out.flows.size();
        const auto kept =
            out.flows.begin() + static_cast<std::ptrdiff_t>(std::min(count, out.total));
        std::partial_sort(
            out.flows.begin(), kept, out.flows.end(), [by](const one& a, const one& b) {
                return by == order::packets ? a.packets > b.packets : a.bytes > b.bytes;
            });
        out.flows.erase(kept, out.flows.end());
    }
    seen_ = std::move(all);
    when_ = now;
    last_look_ = flows.time();
    return out;
}

} // namespace strait::control
