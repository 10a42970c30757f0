// SPDX-License-Identifier: BSD-3-Clause
// The rules of a table that have one mask, by what they ask for under it.
#pragma once

#include "dataplane/flow/flow_mask.hh"
#include "dataplane/flow/hamt.hh"
#include "dataplane/flow/hash_filter.hh"
#include "dataplane/flow/rule.hh"

#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace strait::flow {

// Where a rule stands among those that match a packet: its priority, then its mask's rank.
using order_t = std::uint64_t;
[[nodiscard]] constexpr order_t order_of(priority_t priority, std::uint64_t mask_rank) noexcept
{
    return order_t{priority} << hash_bits | mask_rank;
}

class tuple : public boost::intrusive_ref_counter<tuple, boost::thread_safe_counter> {
public:
    explicit tuple(std::shared_ptr<const flow_mask> mask) noexcept : mask_{std::move(mask)} {}

    [[nodiscard]] const flow_mask& mask() const noexcept { return *mask_; }
    [[nodiscard]] const hamt<const rule>& rules() const noexcept { return rules_; }
    [[nodiscard]] std::size_t size() const noexcept { return rules_.size(); }
    // Of the highest of its rules.
    [[nodiscard]] order_t order() const noexcept
    {
        return order_of(rules_.highest_rank(), mask_->rank());
    }

    // The rule that matches the same at this priority; null if there is none.
    [[nodiscard]] const rule* find(std::span<const std::uint64_t> values,
                                   priority_t priority) const noexcept;
    // Takes that rule's place, which is returned.
    rule_ptr insert(rule_ptr added);
    // Takes out the rule that matches the same at the same priority, if there is one.
    rule_ptr erase(const rule& like);

    // False: no rule has this hash.
    [[nodiscard]] bool may_have(std::uint64_t hash) const noexcept
    {
        return filter_.may_have(hash);
    }
    // Up to so many rules a lookup's list of tuples (probe_list.hh) has a filter; from there to
    // where a filter would be too large to be copied, the tuple has one.
    static constexpr std::size_t few = 256;

    // Whether there may be a rule that matches a key that is like this one where nothing varies.
    [[nodiscard]] bool has_steady(const key& k) const noexcept
    {
        return !steady_.find(mask_->steady_hash(k)).empty();
    }

private:
    // How many rules ask for the same where nothing varies.
    struct group : boost::intrusive_ref_counter<group, boost::thread_safe_counter> {
        std::size_t rules{0};
    };
    void add_to_filter(std::uint64_t hash);
    void count_steady(const rule& r);
    void discount_steady(const rule& r);

    std::shared_ptr<const flow_mask> mask_;
    hamt<const rule> rules_;
    hash_filter filter_;
    hamt<group> steady_; // empty if the mask has nothing that varies
};

} // namespace strait::flow
