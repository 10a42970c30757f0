// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/tuple.hh"

#include <algorithm>

namespace strait::flow {

namespace {

constexpr auto any = [](const auto&) noexcept { return true; };

auto asks_for(std::span<const std::uint64_t> values) noexcept
{
    return [values](const rule& r) { return std::ranges::equal(r.values(), values); };
}

} // namespace

const rule* tuple::find(std::span<const std::uint64_t> values, priority_t priority) const noexcept
{
    for (const auto& e : rules_.find(flow_mask::hash_of(values))) {
        if (e.rank() == priority && asks_for(values)(*e.get())) {
            return e.get();
        }
    }
    return nullptr;
}

rule_ptr tuple::insert(rule_ptr added)
{
    const rule& r = *added;
    const std::uint64_t hash = flow_mask::hash_of(r.values());
    rule_ptr before = rules_.put(hash, r.priority(), std::move(added), asks_for(r.values()));
    if (!before) {
        add_to_filter(hash);
        count_steady(r);
    }
    return before;
}

rule_ptr tuple::erase(const rule& like)
{
    const auto values = like.values();
    rule_ptr out = rules_.take(flow_mask::hash_of(values), like.priority(), asks_for(values));
    if (out) {
        discount_steady(*out);
        if (size() <= few) {
            filter_ = {};
        }
    }
    return out;
}

// What was erased stays in the filter until it is made anew.
void tuple::add_to_filter(std::uint64_t hash)
{
    if (size() <= few) {
        return;
    }
    if (filter_.has_room()) {
        filter_.add(hash);
        return;
    }
    filter_ = {};
    if (constexpr std::size_t most = hash_filter::most / 2; size() <= most) {
        hash_filter anew{size()};
        rules_.for_each([&](const auto& entry) { anew.add(entry.hash()); });
        filter_ = std::move(anew);
    }
}

void tuple::count_steady(const rule& r)
{
    if (!mask_->varies()) {
        return;
    }
    const std::uint64_t hash = mask_->steady_hash(r.match().value);
    if (steady_.find(hash).empty()) {
        steady_.put(hash, 0, hamt<group>::pointer{new group}, any);
    }
    ++steady_.own(hash, any).rules;
}

void tuple::discount_steady(const rule& r)
{
    if (!mask_->varies()) {
        return;
    }
    const std::uint64_t hash = mask_->steady_hash(r.match().value);
    if (--steady_.own(hash, any).rules == 0) {
        steady_.take(hash, 0, any);
    }
}

} // namespace strait::flow
