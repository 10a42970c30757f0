// SPDX-License-Identifier: BSD-3-Clause
// The orders in which the load generator sends its flows.
#include "bench/generator/flow_order.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace strait::bench {
namespace {

std::vector<std::size_t> times_of(const std::vector<std::uint32_t>& order, std::uint32_t flows)
{
    std::vector<std::size_t> out(flows);
    for (const std::uint32_t flow : order) {
        ++out.at(flow);
    }
    return out;
}

TEST(flow_order, round_needs_no_list)
{
    EXPECT_TRUE(make_order(flow_order::round, 100).empty());
}

TEST(flow_order, uniform_has_every_flow_as_often_as_any_other)
{
    for (const std::uint32_t flows : {1U, 2U, 500U, 65'536U, 100'000U}) {
        const auto order = make_order(flow_order::uniform, flows);
        EXPECT_GE(order.size(), 65'536U);
        const auto times = times_of(order, flows);
        EXPECT_EQ(*std::min_element(times.begin(), times.end()),
                  *std::max_element(times.begin(), times.end()));
    }
    const auto order = make_order(flow_order::uniform, 500);
    EXPECT_FALSE(std::equal(order.begin(), order.begin() + 500, order.begin() + 500));
}

TEST(flow_order, zipf_has_flow_i_by_one_over_i)
{
    constexpr std::uint32_t flows = 50'000;
    const auto order = make_order(flow_order::zipf, flows);
    const auto times = times_of(order, flows);
    double sum = 0;
    for (std::uint32_t i = 1; i <= flows; ++i) {
        sum += 1.0 / i;
    }
    for (const std::uint32_t rank : {1U, 2U, 10U, 100U}) {
        const double share =
            static_cast<double>(times[rank - 1]) / static_cast<double>(order.size());
        EXPECT_NEAR(share * sum * rank, 1, 0.1) << rank;
    }
    const auto rare = static_cast<std::size_t>(
        std::count_if(times.begin() + flows / 2, times.end(), [](std::size_t n) { return n > 0; }));
    EXPECT_GT(rare, flows / 2 / 2);
}

TEST(flow_order, is_the_same_each_time)
{
    EXPECT_EQ(make_order(flow_order::zipf, 1000), make_order(flow_order::zipf, 1000));
    EXPECT_EQ(make_order(flow_order::uniform, 1000), make_order(flow_order::uniform, 1000));
}

TEST(flow_order, is_gathered_by_queue_with_each_flow_as_often_as_before)
{
    for (const std::uint32_t queues : {1U, 2U, 4U}) {
        const auto before = make_order(flow_order::uniform, 1001);
        auto order = before;
        gather_by_queue(order, queues, 32);
        EXPECT_EQ(times_of(order, 1001), times_of(before, 1001));
        std::size_t runs = 1;
        for (std::size_t i = 1; i < order.size(); ++i) {
            runs += order[i] % queues != order[i - 1] % queues ? 1U : 0U;
        }
        EXPECT_LE(runs, order.size() / 32 + queues);
        EXPECT_EQ(order == before, queues == 1);
    }
}

} // namespace
} // namespace strait::bench
