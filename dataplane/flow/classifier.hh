// SPDX-License-Identifier: BSD-3-Clause
// The rules of one flow table, and which of them a packet meets. A value: copies share all that
// does not differ, so that a published one stays as it is while its successor is made of a copy;
// what only one copy has is changed in place, so a table that is being filled copies nothing.
// Packets are looked up in tuple spaces (Srinivasan, Suri and Varghese): one hash table for each
// mask, by priority until nothing higher can follow.
#pragma once

#include "dataplane/flow/hamt.hh"
#include "dataplane/flow/mask_union.hh"
#include "dataplane/flow/probe_list.hh"
#include "dataplane/flow/rule.hh"
#include "dataplane/flow/tuple.hh"

#include <cstddef>
#include <functional>

namespace strait::flow {

class classifier {
public:
    // Control. Memory that runs out (bad_alloc) leaves a classifier that is good for nothing but to
    // be dropped; copies of it are as they were.

    // Takes the place of the rule with the same match and priority, which is returned.
    rule_ptr insert(rule_ptr added);
    // Takes out the rule with the same match and priority, and returns it; null if there is none.
    rule_ptr erase(const rule& like);
    rule_ptr erase(const match& what, priority_t priority);

    [[nodiscard]] const rule* find_exact(const match& what, priority_t priority) const;
    // In no order. What is visited may be kept (rule_ptr); to change the table meanwhile, go
    // through a copy.
    void for_each(const std::function<void(const rule&)>& visit) const;
    // Rules whose match is that of the filter or says more.
    void for_each_within(const match& filter, const std::function<void(const rule&)>& visit) const;
    // Whether there is a rule of this priority for a packet that `what` matches too.
    [[nodiscard]] bool has_overlap(const match& what, priority_t priority) const;

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::size_t mask_count() const noexcept { return tuples_.size(); }

    // Workers, and anybody else.

    // The rule of the highest priority that matches; of several, the one that asks for more bits.
    // Null if none matches. Each key that is as this one in the bits that are added to `consulted`
    // gets the same answer.
    //
    // Rules of conjunctions do not match by themselves. Where one has all of its dimensions met, at
    // a priority above that of what matches else, the packet is looked up again with its number as
    // conj_id and without conjunctions; if that finds nothing, it is as if it had not been met. Of
    // several of one priority, which is an operator's mistake, the lowest number comes first.
    [[nodiscard]] const rule* lookup(const key& k, key* consulted = nullptr) const noexcept;
    // All bits that some rule asks for.
    [[nodiscard]] const key& union_mask() const noexcept { return union_.bits(); }

private:
    [[nodiscard]] const tuple* find_tuple(const flow_mask& mask) const noexcept;
    [[nodiscard]] const rule* lookup_with_conjunctions(const key& k, key* consulted) const noexcept;

    hamt<tuple> tuples_;
    probe_list probes_;
    std::size_t size_{0};
    std::size_t conjunctive_{0}; // rules of conjunctions
    mask_union union_;           // of all tuples
};

} // namespace strait::flow
