// SPDX-License-Identifier: BSD-3-Clause
// Who is looked at when: sources that give, that do not, and that begin to.
#include "dataplane/poll_order.hh"

#include <gmock/gmock.h>

#include <random>
#include <set>
#include <vector>

namespace strait::test {
namespace {

using dataplane::poll_order;
using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::Ge;
using testing::Le;

constexpr std::uint64_t hz = 1'000'000'000; // a cycle is a nanosecond
constexpr std::uint64_t microsecond = 1'000;
constexpr std::uint64_t millisecond = 1'000'000;

class poll_order_test : public testing::Test {
protected:
    poll_order order_;
    std::uint64_t now_{5 * hz};
    std::set<std::size_t> giving_;
    bool was_busy_{false};

    void start(std::size_t count, bool patient = true)
    {
        order_ = poll_order{std::vector<bool>(count, patient), now_, hz};
    }
    // Who was looked at in an iteration that began so long after the one before.
    std::vector<std::size_t> run(std::uint64_t after, bool busy = false)
    {
        now_ += after;
        std::vector<std::size_t> looked;
        was_busy_ = order_.run(now_, busy, [&](std::size_t source) {
            looked.push_back(source);
            return giving_.contains(source);
        });
        return looked;
    }
    // All but those that give are quiet afterwards, and were just looked at.
    void fall_quiet()
    {
        for (int i = 0; i < 3; ++i) {
            (void)run(millisecond);
        }
        (void)run(1);
    }
};

TEST_F(poll_order_test, nothing_is_looked_at_where_there_is_nothing)
{
    EXPECT_TRUE(run(1).empty());
    EXPECT_FALSE(was_busy_);
    EXPECT_TRUE(run(1, true).empty());
    EXPECT_TRUE(was_busy_);
}

TEST_F(poll_order_test, all_are_looked_at_while_they_are_new)
{
    start(4);
    giving_ = {2};
    for (int i = 0; i < 5; ++i) {
        EXPECT_THAT(run(100 * microsecond), ElementsAre(0, 1, 2, 3));
        EXPECT_TRUE(was_busy_);
    }
    EXPECT_EQ(order_.quiet(), 0U);
}

TEST_F(poll_order_test, all_are_looked_at_once_each_time_while_there_is_nothing_else_to_do)
{
    start(50);
    fall_quiet();
    EXPECT_EQ(order_.quiet(), 50U);
    for (int i = 0; i < 10; ++i) {
        const auto looked = run(1);
        EXPECT_EQ(looked.size(), 50U);
        EXPECT_EQ(std::set<std::size_t>(looked.begin(), looked.end()).size(), 50U);
        EXPECT_FALSE(was_busy_);
    }
}

TEST_F(poll_order_test, the_quiet_are_looked_at_seldom_while_others_are_busy)
{
    start(65);
    giving_ = {64};
    fall_quiet();
    EXPECT_EQ(order_.quiet(), 64U);
    std::vector<unsigned> looks(65);
    constexpr unsigned iterations = 1000; // of 5 microseconds each
    for (unsigned i = 0; i < iterations; ++i) {
        for (const std::size_t source : run(5 * microsecond)) {
            ++looks[source];
        }
    }
    EXPECT_EQ(looks.back(), iterations);
    looks.pop_back();
    // Every 95 to 100 microseconds each.
    EXPECT_THAT(looks, Each(AllOf(Ge(50U), Le(53U))));
}

TEST_F(poll_order_test, busy_from_elsewhere_is_busy)
{
    start(100);
    fall_quiet();
    EXPECT_TRUE(run(10 * microsecond, true).empty());
    EXPECT_TRUE(was_busy_);
    EXPECT_EQ(run(100 * microsecond, true).size(), 100U);
}

TEST_F(poll_order_test, who_is_not_patient_is_never_quiet)
{
    start(3, false);
    giving_ = {1};
    fall_quiet();
    for (int i = 0; i < 10; ++i) {
        EXPECT_THAT(run(microsecond), ElementsAre(0, 1, 2));
    }
    EXPECT_EQ(order_.quiet(), 0U);
}

// An iteration that would make them late comes after them.
TEST_F(poll_order_test, the_quiet_are_in_time_by_the_length_of_iterations)
{
    start(20);
    giving_ = {0};
    fall_quiet();
    std::uint64_t last = now_;
    for (const std::uint64_t length : {1U, 7U, 30U, 49U, 51U, 99U}) {
        for (int i = 0; i < 200; ++i) {
            if (run(length * microsecond).size() > 1) {
                last = now_;
            }
            // Where a length is new, one iteration late.
            ASSERT_LE(now_ - last, 100 * microsecond + (i < 2 ? length * microsecond : 0))
                << length;
        }
    }
    EXPECT_EQ(run(250 * microsecond).size(), 20U);
}

TEST_F(poll_order_test, who_gives_is_awake_at_once_and_for_a_millisecond)
{
    start(10);
    giving_ = {0};
    fall_quiet();
    EXPECT_EQ(order_.quiet(), 9U);
    giving_ = {0, 7};
    unsigned iterations = 0;
    while (order_.quiet() == 9) {
        (void)run(10 * microsecond);
        ASSERT_LE(++iterations, 10U);
    }
    giving_ = {0};
    for (int i = 0; i < 100; ++i) {
        EXPECT_THAT(run(10 * microsecond), Contains(7));
    }
    (void)run(10 * microsecond);
    EXPECT_EQ(order_.quiet(), 9U);
    EXPECT_THAT(run(1), ElementsAre(0));
}

TEST_F(poll_order_test, everyone_is_looked_at_in_time_however_they_come_and_go)
{
    constexpr std::size_t count = 40;
    start(count);
    std::vector<std::uint64_t> last(count, now_);
    std::mt19937 random{1};
    for (unsigned i = 0; i < 20'000; ++i) {
        if (random() % 50 == 0) {
            giving_.clear();
            for (std::size_t n = random() % 6; n > 0; --n) {
                giving_.insert(random() % count);
            }
        }
        const auto looked = run(5 * microsecond);
        EXPECT_EQ(std::set<std::size_t>(looked.begin(), looked.end()).size(), looked.size());
        bool gave = false;
        for (const std::size_t source : looked) {
            last[source] = now_;
            gave = gave || giving_.contains(source);
        }
        EXPECT_EQ(was_busy_, gave);
        for (const std::uint64_t t : last) {
            ASSERT_LE(now_ - t, 100 * microsecond);
        }
    }
}

// A source that gives each time it is looked at and is charged for it; and how often it was.
class debts : public poll_order_test {
protected:
    std::uint64_t cost_{0};
    std::size_t looks_{0};

    bool run_charged(std::uint64_t after, std::set<std::size_t> others)
    {
        now_ += after;
        return order_.run(now_, false, [&](std::size_t source) {
            if (source == 0 && cost_ > 0) {
                ++looks_;
                order_.charge(cost_);
                return true;
            }
            return others.contains(source);
        });
    }
};

TEST_F(debts, take_a_small_part_of_the_time_while_others_are_busy)
{
    start(2);
    cost_ = 10 * microsecond;
    for (int i = 0; i < 1'000'000; ++i) {
        EXPECT_TRUE(run_charged(microsecond, {1}));
    }
    const double share = static_cast<double>(looks_ * cost_) / (1e6 * microsecond);
    EXPECT_GT(share, 0.03);
    EXPECT_LT(share, 0.05);
    EXPECT_GT(order_.take_waits(), 900'000U);
    EXPECT_EQ(order_.take_waits(), 0U);
}

TEST_F(debts, are_nobodys_matter_while_nobody_else_wants_the_time)
{
    start(2);
    cost_ = 100 * microsecond;
    for (int i = 0; i < 1'000; ++i) {
        (void)run_charged(100 * microsecond, {});
    }
    EXPECT_GT(looks_, 480U) << "each time that it was not its turn, there was nothing to do";
}

TEST_F(debts, that_are_small_make_nobody_wait)
{
    start(2);
    cost_ = microsecond;
    for (int i = 0; i < 10'000; ++i) {
        (void)run_charged(50 * microsecond, {1});
    }
    EXPECT_EQ(looks_, 10'000U);
    EXPECT_EQ(order_.take_waits(), 0U);
}

TEST_F(debts, are_not_made_by_who_cannot_wait)
{
    start(2, false);
    cost_ = 100 * microsecond;
    for (int i = 0; i < 1'000; ++i) {
        (void)run_charged(microsecond, {1});
    }
    EXPECT_EQ(looks_, 1'000U);
}

TEST_F(debts, do_not_make_a_source_quiet)
{
    start(2);
    cost_ = millisecond;
    (void)run_charged(microsecond, {1});
    cost_ = 0;
    for (int i = 0; i < 10'000; ++i) {
        (void)run_charged(microsecond, {1});
    }
    EXPECT_EQ(order_.quiet(), 0U);
}

} // namespace
} // namespace strait::test
