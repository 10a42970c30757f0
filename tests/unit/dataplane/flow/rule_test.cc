// SPDX-License-Identifier: BSD-3-Clause
// What a rule keeps of what it was made of, and what it counts.
#include "dataplane/flow/rule.hh"

#include "tests/unit/dataplane/flow/rule_sets.hh"

#include <gtest/gtest.h>

#include <thread>

namespace strait::flow {
namespace {

using test::make_rule;
using namespace std::chrono_literals;

TEST(rule, keeps_what_it_was_made_of)
{
    const auto actions = std::make_shared<const action_list>(action_list{{output{3}}});
    const rule_settings settings{.cookie = 0x1234,
                                 .created = 5s,
                                 .priority = 77,
                                 .idle_timeout = 10,
                                 .hard_timeout = 20,
                                 .importance = 30,
                                 .table = 4,
                                 .flags = rule_flags::send_removed | rule_flags::no_byte_counts};
    match what;
    what.require(field::ipv6_dst, {1, 2});
    what.require(field::tp_src, 0x100, 0xff00);
    const rule_ptr r = rule::make(settings, what, actions);
    EXPECT_EQ(r->match(), what);
    EXPECT_EQ(r->mask().whole(), what.mask);
    EXPECT_EQ(r->shared_actions(), actions);
    EXPECT_EQ(r->actions(), *actions);
    EXPECT_EQ(r->cookie(), 0x1234U);
    EXPECT_EQ(r->priority(), 77);
    EXPECT_EQ(r->table(), 4);
    EXPECT_EQ(r->settings().created, 5s);
    EXPECT_EQ(r->settings().idle_timeout, 10);
    EXPECT_EQ(r->settings().hard_timeout, 20);
    EXPECT_EQ(r->settings().importance, 30);
    EXPECT_TRUE(has(r->settings().flags, rule_flags::send_removed));
    EXPECT_FALSE(has(r->settings().flags, rule_flags::no_packet_counts));
    EXPECT_FALSE(r->is_conjunctive());
}

TEST(rule, drops_where_it_was_given_no_actions)
{
    EXPECT_TRUE(make_rule(1, {})->actions().empty());
}

TEST(rule, is_conjunctive_if_its_actions_are)
{
    const auto actions =
        std::make_shared<const action_list>(action_list{{note{{1, 2}}}, {conjunction{1, 0, 2}}});
    EXPECT_TRUE(make_rule(1, {}, actions)->is_conjunctive());
}

TEST(rule, ignores_value_bits_outside_of_its_mask)
{
    match what;
    what.mask.set(field::nw_src, 0xff00);
    what.value.set(field::nw_src, 0x12345678);
    const rule_ptr r = make_rule(1, what);
    EXPECT_EQ(r->match().value.number(field::nw_src), 0x5600U);
    match clean;
    clean.require(field::nw_src, 0x5600, 0xff00);
    EXPECT_TRUE(r->same_match(*make_rule(2, clean)));
}

TEST(rule, compares_as_matches_do)
{
    test::dice d{3};
    unsigned matched = 0;
    unsigned overlapping = 0;
    unsigned inside = 0;
    for (unsigned i = 0; i < 20000; ++i) {
        const match a = d.any_match(3);
        const match b = d.any_match(3);
        const key packet = d.any_packet();
        const rule_ptr r = make_rule(1, a);
        EXPECT_EQ(r->matches(packet), a.matches(packet));
        EXPECT_EQ(r->same_match(*make_rule(2, b)), a == b);
        // Two matches overlap if what they both ask for is the same, and one is within the other
        // if it then asks for all that the other does.
        bool differs = false;
        bool all = true;
        for (std::size_t w = 0; w < key_words; ++w) {
            const std::uint64_t both = a.mask.words[w] & b.mask.words[w];
            differs = differs || (a.value.words[w] & both) != (b.value.words[w] & both);
            all = all && both == b.mask.words[w];
        }
        EXPECT_EQ(r->overlaps(b), !differs);
        EXPECT_EQ(r->within(b), !differs && all);
        matched += static_cast<unsigned>(r->matches(packet));
        overlapping += static_cast<unsigned>(!differs);
        inside += static_cast<unsigned>(r->within(b));
    }
    EXPECT_GT(matched, 1000U);
    EXPECT_GT(overlapping, 1000U);
    EXPECT_GT(inside, 1000U);
}

TEST(rule, adds_up_what_several_threads_count)
{
    const rule_ptr r = rule::make({.created = 7s}, {}, {});
    EXPECT_EQ(r->packets(), 0U);
    EXPECT_EQ(r->last_used(), 7s);
    const auto count = [&] {
        for (unsigned i = 0; i < 10000; ++i) {
            r->count(2, 128, 9s);
        }
    };
    std::thread other{count};
    count();
    other.join();
    EXPECT_EQ(r->packets(), 40000U);
    EXPECT_EQ(r->bytes(), 40000U * 64);
    EXPECT_EQ(r->last_used(), 9s);
    r->count(1, 64, 8s);
    EXPECT_EQ(r->last_used(), 9s) << "a worker that was late";
}

} // namespace
} // namespace strait::flow
