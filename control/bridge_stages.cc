// SPDX-License-Identifier: BSD-3-Clause
// Hidden stages of a bridge's flows: what others say of them, as tables and ports.
#include "control/bridge_flows.hh"

#include "dataplane/flow/flow_mask.hh"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

namespace strait::control {

using flow::action;
using flow::action_list;
using flow::rule;
using flow::rule_ptr;
using flow::stage;

// Null: no packet is to begin in hidden tables.
std::shared_ptr<const std::bitset<dataplane::max_ports>>
guarded_ports(std::span<const hidden_stage, flow::stage_count> stages,
              const flow::port_numbers& ports)
{
    auto out = std::make_shared<std::bitset<dataplane::max_ports>>();
    for (std::size_t i = 0; i < stages.size(); ++i) {
        if (static_cast<stage>(i) == stage::acl_to) {
            continue;
        }
        for (const flow::port_number number : stages[i].ports) {
            if (const auto index = ports.index(number); index != dataplane::no_port) {
                out->set(to_index(index));
            }
        }
    }
    return out->any() ? out : nullptr;
}

namespace {

// The same of rules whose cookies, tables and matches are.
std::uint64_t sum_of(const rule& r) noexcept
{
    constexpr std::uint64_t any = 0x9e37'79b9'7f4a'7c15;
    const flow::match m = r.match();
    std::uint64_t sum = r.cookie() << 8 | r.table();
    for (std::size_t i = 0; i < flow::key_words; ++i) {
        sum = flow::word_hash::fold(sum ^ m.value.words[i], any + m.mask.words[i]);
    }
    return sum;
}

} // namespace

// Of rules before them that are the same but for what they do and their place among others.
std::vector<bridge_flows::heir> bridge_flows::take_counts(hidden_stage& what,
                                                          const hidden_stage& old) const
{
    std::unordered_multimap<std::uint64_t, const rule*> before;
    for (const rule_ptr& r : old.rules) {
        before.emplace(sum_of(*r), r.get());
    }
    std::vector<heir> heirs;
    for (rule_ptr& fresh : what.rules) {
        const auto [first, last] = before.equal_range(sum_of(*fresh));
        const auto found = std::find_if(first, last, [&fresh](const auto& one) {
            const rule& r = *one.second;
            return r.cookie() == fresh->cookie() && r.table() == fresh->table() &&
                   r.same_match(*fresh);
        });
        if (found == last) {
            continue;
        }
        const rule& r = *found->second;
        if (r.priority() == fresh->priority() && r.actions() == fresh->actions()) {
            fresh = rule_ptr{&r};
        } else {
            const std::uint64_t packets = r.packets();
            const std::uint64_t bytes = r.bytes();
            fresh->count(packets, bytes, r.last_used());
            heirs.push_back({rule_ptr{&r}, fresh, packets, bytes});
        }
        before.erase(found);
    }
    return heirs;
}

// In the first table of each stage a rule below all others lets packets through; without any stage
// there are none.
void bridge_flows::make_hidden()
{
    hidden_ = {};
    hidden_used_ = {};
    const bool any =
        std::ranges::any_of(stages_, [](const hidden_stage& s) { return !s.rules.empty(); });
    if (!any) {
        return;
    }
    const auto add = [this](const rule_ptr& r) {
        hidden_used_.add(*r);
        hidden_.own(static_cast<flow::table_id>(r->table() - flow::first_hidden)).insert(r);
    };
    for (std::size_t i = 0; i < stages_.size(); ++i) {
        const auto s = static_cast<stage>(i);
        for (const rule_ptr& r : stages_[i].rules) {
            add(r);
        }
        if (s == stage::acl_to && stages_[i].rules.empty()) {
            continue;
        }
        const action on = s == stage::acl_to ? action{flow::output{flow::ports::in_port}}
                                             : action{flow::goto_table{behind(s)}};
        add(rule::make({.priority = 0, .table = first_table(s)}, {},
                       std::make_shared<const action_list>(action_list{on})));
    }
}

void bridge_flows::set_stages(std::vector<new_stage> to)
{
    std::vector<heir> heirs;
    for (new_stage& one : to) {
        hidden_stage& place = stages_[static_cast<std::size_t>(one.which)];
        std::ranges::move(take_counts(one.what, place), std::back_inserter(heirs));
        place = std::move(one.what);
    }
    make_hidden();
    changes_.add_all();
    publish(std::move(heirs));
}

std::string bridge_flows::describe_hidden(const rule& r) const
{
    const hidden_stage& s = stage_at(flow::stage_of(r.table()));
    return r.priority() == 0 || !s.describe ? std::string{} : s.describe(r);
}

} // namespace strait::control
