// SPDX-License-Identifier: BSD-3-Clause
// The rules of one mask: which there are, how high they reach, and what it says it does not have.
#include "dataplane/flow/tuple.hh"

#include "tests/unit/dataplane/flow/rule_sets.hh"

#include <gtest/gtest.h>

namespace strait::flow {
namespace {

using test::make_rule;

match from(std::uint32_t address)
{
    match out;
    out.require(field::nw_src, address);
    return out;
}

TEST(tuple, has_the_order_of_its_highest_rule)
{
    const rule_ptr low = make_rule(3, from(1));
    const rule_ptr high = make_rule(9, from(1));
    tuple t{low->shared_mask()};
    t.insert(low);
    EXPECT_EQ(t.order(), order_of(3, low->mask().rank()));
    t.insert(high);
    EXPECT_EQ(t.order(), order_of(9, low->mask().rank()));
    EXPECT_EQ(t.find(high->values(), 3), low.get());
    EXPECT_EQ(t.erase(*high), high);
    EXPECT_EQ(t.erase(*high), nullptr);
    EXPECT_EQ(t.order(), order_of(3, low->mask().rank()));
    EXPECT_EQ(t.find(high->values(), 9), nullptr);
    EXPECT_EQ(t.size(), 1U);
}

TEST(tuple, is_sure_of_most_hashes_that_many_rules_do_not_have)
{
    const auto mask = make_rule(1, from(1))->shared_mask();
    tuple t{mask};
    const auto wrong = [&](std::uint32_t first) {
        unsigned out = 0;
        for (std::uint32_t i = first; i < first + 1000; ++i) {
            out += static_cast<unsigned>(t.may_have(mask->hash(from(i).value)));
        }
        return out;
    };
    const auto fill = [&](std::uint32_t first, std::uint32_t last) {
        for (std::uint32_t i = first; i < last; ++i) {
            t.insert(make_rule(1, from(i)));
        }
    };
    const auto erase = [&](std::uint32_t first, std::uint32_t last) {
        for (std::uint32_t i = first; i < last; ++i) {
            t.erase(*make_rule(1, from(i)));
        }
    };
    constexpr std::uint32_t none_from = 1000000;
    fill(0, tuple::few);
    EXPECT_EQ(wrong(none_from), 1000U) << "for few it leaves that to the list of tuples";
    fill(tuple::few, 1000);
    EXPECT_LT(wrong(none_from), 100U);
    erase(10, 1000);
    fill(2000, 2250);
    for (std::uint32_t i = 2000; i < 2250; ++i) {
        ASSERT_TRUE(t.may_have(mask->hash(from(i).value))) << i;
    }
    fill(10, 20000);
    EXPECT_LT(wrong(none_from), 100U);
    EXPECT_EQ(wrong(5000), 1000U) << "all of these are there";
    fill(20000, 40000);
    EXPECT_EQ(wrong(none_from), 1000U) << "for too many it has no filter";

    erase(100, 40000);
    fill(50000, 52000);
    EXPECT_LT(wrong(none_from), 100U);
    EXPECT_LT(wrong(5000), 100U) << "what was erased";
    EXPECT_EQ(wrong(50000), 1000U);
}

TEST(tuple, knows_which_rules_are_alike_but_for_what_varies)
{
    match one = from(1);
    one.require(field::nw_ttl, 1);
    match other = from(1);
    other.require(field::nw_ttl, 2);
    const rule_ptr first = make_rule(1, one);
    const rule_ptr second = make_rule(1, other);
    tuple t{first->shared_mask()};
    EXPECT_FALSE(t.has_steady(one.value));
    t.insert(first);
    t.insert(second);
    t.insert(make_rule(1, other));
    key packet = from(1).value;
    packet.set(field::nw_ttl, 64);
    EXPECT_TRUE(t.has_steady(packet));
    EXPECT_FALSE(t.has_steady(from(2).value));
    const tuple copy = t;
    t.erase(*first);
    EXPECT_TRUE(t.has_steady(packet));
    t.erase(*second);
    EXPECT_FALSE(t.has_steady(packet));
    EXPECT_TRUE(copy.has_steady(packet));
}

} // namespace
} // namespace strait::flow
