// SPDX-License-Identifier: BSD-3-Clause
// Which queues go where, and which stay.
#include "control/queue_balance.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace strait::control {

void PrintTo(const queue_step& s, std::ostream* out)
{
    *out << s.queue << " to " << s.to;
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

double most(const std::vector<queue_load>& queues, std::size_t workers)
{
    std::vector<double> loads(workers, 0);
    for (const queue_load& q : queues) {
        loads[q.worker] += q.load;
    }
    return std::ranges::max(loads);
}

TEST(balance, moves_one_of_two_busy_queues_to_an_idle_worker)
{
    const std::vector<queue_load> queues = {{0, 0.3, false}, {0, 0.4, false}, {1, 0.0, false}};
    const auto steps = plan_balance(queues, 2, least_gain);
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_NE(steps[0].queue, 2U);
    EXPECT_EQ(steps[0].to, 1U);
}

TEST(balance, leaves_what_one_queue_alone_makes_busy)
{
    const std::vector<queue_load> queues = {{0, 1.0, false}, {1, 0.1, false}};
    EXPECT_THAT(plan_balance(queues, 2, 0.01), IsEmpty());
}

TEST(balance, leaves_a_little_that_could_be_gained)
{
    const std::vector<queue_load> queues = {{0, 0.45, false}, {0, 0.05, false}, {1, 0.4, false}};
    EXPECT_THAT(plan_balance(queues, 2, least_gain), IsEmpty());
    EXPECT_THAT(plan_balance(queues, 2, 0.04), ElementsAre(queue_step{1, 1}));
}

TEST(balance, moves_others_for_one_that_is_pinned)
{
    const std::vector<queue_load> queues = {{0, 0.5, true}, {0, 0.4, false}, {1, 0.1, true}};
    EXPECT_THAT(plan_balance(queues, 2, least_gain), ElementsAre(queue_step{1, 1}));
    const std::vector<queue_load> pinned = {{0, 0.5, true}, {0, 0.4, true}, {1, 0.1, false}};
    EXPECT_THAT(plan_balance(pinned, 2, least_gain), IsEmpty());
}

// No one queue helps: 0.5 and 0.4 against 0.3 and 0.2.
TEST(balance, exchanges_two_where_one_alone_does_not_help)
{
    const std::vector<queue_load> queues = {
        {0, 0.5, false}, {0, 0.4, false}, {1, 0.3, false}, {1, 0.2, false}};
    EXPECT_THAT(plan_balance(queues, 2, least_gain),
                ElementsAre(queue_step{0, 1}, queue_step{2, 0}));
}

TEST(balance, of_one_worker_or_of_nothing_is_none)
{
    const std::vector<queue_load> queues = {{0, 0.5, false}, {0, 0.5, false}};
    EXPECT_THAT(plan_balance(queues, 1, 0), IsEmpty());
    EXPECT_THAT(plan_balance({}, 4, 0), IsEmpty());
    const std::vector<queue_load> idle = {{0, 0, false}, {0, 0, false}};
    EXPECT_THAT(plan_balance(idle, 2, 0.01), IsEmpty());
}

TEST(balance, of_very_many_light_queues_comes_in_parts)
{
    std::vector<queue_load> queues(10'000, {0, 0.9 / 10'000, false});
    for (int part = 0; part < 3; ++part) {
        const double before = most(queues, 8);
        const auto steps = plan_balance(queues, 8, 0.05);
        EXPECT_THAT(steps.size(), testing::AllOf(testing::Gt(500U), testing::Le(2000U)));
        for (const queue_step& s : steps) {
            queues[s.queue].worker = s.to;
        }
        EXPECT_LT(most(queues, 8), before - 0.05);
    }
    std::minstd_rand random{3};
    for (queue_load& q : queues) {
        q = {random() % 2, static_cast<double>(random() % 1000) / 1e7, false};
    }
    EXPECT_LE(plan_balance(queues, 2, 0).size(), 2000U) << "and ends";
}

TEST(balance, of_anything_makes_the_busiest_less_busy_and_moves_nothing_that_is_pinned)
{
    std::minstd_rand random{7};
    const auto part = [&] { return static_cast<double>(random() % 1000) / 1000; };
    std::size_t moved = 0;
    for (int round = 0; round < 2000; ++round) {
        const std::size_t workers = 1 + random() % 6;
        std::vector<queue_load> queues(random() % 24);
        for (queue_load& q : queues) {
            q = {random() % workers, part() / 4, random() % 5 == 0};
        }
        const auto steps = plan_balance(queues, workers, least_gain);
        auto after = queues;
        for (const queue_step& s : steps) {
            ASSERT_LT(s.to, workers);
            ASSERT_NE(after[s.queue].worker, s.to);
            ASSERT_FALSE(after[s.queue].stays);
            after[s.queue].worker = s.to;
        }
        moved += steps.size();
        if (!steps.empty()) {
            ASSERT_LE(most(after, workers), most(queues, workers) - least_gain + 1e-9);
            ASSERT_THAT(plan_balance(after, workers, least_gain), IsEmpty()) << "it would go on";
        }
    }
    EXPECT_GT(moved, 1000U);
}

} // namespace
} // namespace strait::control
