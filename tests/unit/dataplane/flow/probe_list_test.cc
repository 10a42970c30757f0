// SPDX-License-Identifier: BSD-3-Clause
// The order of tuples, and what a probe says of one.
#include "dataplane/flow/probe_list.hh"

#include "tests/unit/dataplane/flow/rule_sets.hh"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <stdexcept>

namespace strait::flow {
namespace {

using test::dice;
using test::make_rule;

// Each number has a mask of its own.
match masked(std::uint32_t number)
{
    match out;
    out.require(field::xreg0, ~wide{}, number);
    return out;
}

TEST(probe_list, has_tuples_by_order_through_all_changes)
{
    dice d{1};
    std::deque<tuple> tuples;
    for (std::uint32_t n = 1; n <= 300; ++n) {
        tuples.emplace_back(make_rule(1, masked(n))->shared_mask());
    }
    probe_list list;
    std::map<order_t, const tuple*> model;
    const auto check = [&](const probe_list& of, const std::map<order_t, const tuple*>& expected) {
        auto next = expected.rbegin();
        for (const auto& block : of.blocks()) {
            ASSERT_GT(block->count, 0U);
            key steady;
            for (std::size_t i = 0; i < block->count; ++i, ++next) {
                ASSERT_NE(next, expected.rend());
                ASSERT_EQ(block->of[i], next->second);
                ASSERT_EQ(block->probes[i].order, next->first);
                next->second->mask().add_to(steady);
            }
            ASSERT_EQ(block->steady, steady);
            ASSERT_EQ(block->varying, 0U);
        }
        ASSERT_EQ(next, expected.rend());
    };
    probe_list copy;
    std::map<order_t, const tuple*> then;
    for (unsigned round = 0; round < 3000; ++round) {
        const std::uint32_t n = d.below(300);
        tuple& t = tuples[n];
        const order_t before = t.order();
        if (t.size() == 0) {
            t.insert(make_rule(static_cast<priority_t>(d.below(100)), masked(n + 1)));
            list.insert(t);
        } else if (d.one_in(3)) {
            list.erase(before, t.mask());
            model.erase(before);
            t = tuple{make_rule(1, masked(n + 1))->shared_mask()};
            continue;
        } else {
            t.insert(make_rule(static_cast<priority_t>(d.below(100)), masked(n + 1)));
            list.update(before, t, flow_mask::hash_of(make_rule(1, masked(n + 1))->values()));
            model.erase(before);
        }
        model[t.order()] = &t;
        if (round == 2000) {
            copy = list;
            then = model;
        }
        if (round % 50 == 0) {
            check(list, model);
        }
    }
    check(copy, then);
    while (!model.empty()) {
        list.erase(model.begin()->first, model.begin()->second->mask());
        model.erase(model.begin());
        check(list, model);
    }
    EXPECT_TRUE(list.blocks().empty());
}

TEST(probe_list, says_what_a_tuple_of_few_rules_does_not_have)
{
    const auto numbered = [](std::uint32_t number) {
        match out;
        out.require(field::nw_src, number);
        out.require(field::tp_dst, number);
        return out;
    };
    tuple t{make_rule(1, numbered(0))->shared_mask()};
    probe_list list;
    const auto may_have = [&](std::uint32_t number) {
        for (const auto& block : list.blocks()) { // there is one
            return block->probes.front().may_have(t.mask().hash(numbered(number).value));
        }
        throw std::logic_error{"no block"};
    };
    t.insert(make_rule(1, numbered(0)));
    list.insert(t);
    for (std::uint32_t i = 1; i < 50; ++i) {
        const rule_ptr r = make_rule(1, numbered(i));
        const order_t before = t.order();
        t.insert(r);
        list.update(before, t, flow_mask::hash_of(r->values()));
    }
    unsigned wrong = 0;
    for (std::uint32_t i = 0; i < 1000; ++i) {
        const bool answer = may_have(i);
        EXPECT_TRUE(answer || i >= 50);
        wrong += static_cast<unsigned>(answer && i >= 50);
    }
    EXPECT_LT(wrong, 100U);
    for (std::uint32_t i = 1; i < 50; ++i) {
        const order_t before = t.order();
        t.erase(*make_rule(1, numbered(i)));
        list.update(before, t, std::nullopt);
    }
    wrong = 0;
    for (std::uint32_t i = 1; i < 50; ++i) {
        wrong += static_cast<unsigned>(may_have(i));
    }
    EXPECT_TRUE(may_have(0));
    EXPECT_LT(wrong, 5U) << "what was erased";
}

TEST(probe_list, hashes_under_masks_of_any_length)
{
    dice d{2};
    for (unsigned i = 0; i < 500; ++i) {
        const rule_ptr r = make_rule(1, d.any_match(20));
        tuple t{r->shared_mask()};
        t.insert(r);
        const probe p{t};
        const key packet = d.any_packet();
        EXPECT_EQ(p.hash(packet, t), r->mask().hash(packet));
        EXPECT_TRUE(p.may_have(r->mask().hash(r->match().value)));
    }
}

} // namespace
} // namespace strait::flow
