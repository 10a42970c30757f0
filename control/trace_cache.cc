// SPDX-License-Identifier: BSD-3-Clause
#include "control/trace_cache.hh"

#include "control/worker_jobs.hh"

#include <boost/json/array.hpp>

#include <optional>
#include <vector>

namespace strait::control {

namespace json = boost::json;

// Null: packets of a bridge whose only rule is to switch meet no cache.
const flow::pipeline* trace_cache::flows_of_workers(const flow::surroundings& around)
{
    const auto& bridge = around.context.config->bridges[to_index(around.in.bridge)];
    return bridge && bridge->flows ? bridge->flows->current.load(std::memory_order_acquire)
                                   : nullptr;
}

std::optional<flow::cache::look::known> trace_cache::ask(flow::cache& of,
                                                         const flow::cache::look& what)
{
    flow::cache::look l{what.packet, what.layout, what.pass, what.more, what.facts};
    have_done(engine_, of, l);
    return l.answer;
}

void trace_cache::look(const flow::surroundings& around, const flow::key& k, std::uint32_t length,
                       const flow::pass_start& begin, bool first)
{
    const flow::pipeline* const flows = flows_of_workers(around);
    if (flows == nullptr) {
        return;
    }
    const bool whole = first && begin.table == 0;
    const flow::key_layout* const layout = whole ? &flows->layout : flows->layout_from(begin.table);
    if (layout == nullptr) {
        return;
    }
    std::vector<std::uint64_t> more{begin.stack.begin(), begin.stack.end()};
    more.insert(more.end(), begin.set.begin(), begin.set.end());
    const std::uint64_t pass =
        whole ? flow::cache::first_pass(around.in.bridge)
              : flow::cache::later_pass(around.in.bridge, begin.table, begin.stack.size() / 2);
    flow::match told_by;
    std::vector<std::uint64_t> asked;
    for (std::size_t i = 0; i < layout->count; ++i) {
        const std::size_t word = layout->words[i];
        told_by.mask.words[word] = layout->masks[i];
        told_by.value.words[word] = k.words[word] & layout->masks[i];
        asked.push_back(told_by.value.words[word]);
    }
    json::array workers;
    for (std::size_t i = 0; i < engine_.worker_count(); ++i) {
        const auto found =
            ask(engine_.flow_cache(dataplane::worker_index{static_cast<std::uint16_t>(i)}),
                {k, *layout, pass, more, {k.words[flow::varying_word], length}});
        if (found && (found->version == flows->version ||
                      flows->still_holds(found->version, asked.data(), *layout))) {
            workers.push_back({{"worker", i}, {"idle", around.context.now - found->last_used}});
        }
    }
    steps_.cached(told_by, std::move(workers));
}

} // namespace strait::control
