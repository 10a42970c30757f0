// SPDX-License-Identifier: BSD-3-Clause
// The histogram of latencies, held beside sorted values.
#include "bench/generator/histogram.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace strait::bench {
namespace {

TEST(histogram, of_nothing_has_no_percentiles)
{
    const auto h = std::make_unique<histogram>();
    EXPECT_EQ(h->percentile(0.99), 0U);
    EXPECT_EQ(h->count(), 0U);
}

TEST(histogram, of_small_values_is_exact)
{
    const auto h = std::make_unique<histogram>();
    for (std::uint64_t i = 1; i <= 50; ++i) {
        h->add(i);
    }
    EXPECT_EQ(h->percentile(0.5), 25U);
    EXPECT_EQ(h->percentile(0.9), 45U);
    EXPECT_EQ(h->percentile(1), 50U);
    EXPECT_EQ(h->largest(), 50U);
}

TEST(histogram, is_at_most_a_64th_too_high_at_any_percentile)
{
    const auto h = std::make_unique<histogram>();
    std::mt19937_64 random{3};
    std::lognormal_distribution<double> values{9, 2};
    std::vector<std::uint64_t> all(100'000);
    for (auto& one : all) {
        one = static_cast<std::uint64_t>(values(random));
        h->add(one);
    }
    std::sort(all.begin(), all.end());
    for (const double share : {0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
        const auto at = static_cast<std::size_t>(share * static_cast<double>(all.size())) - 1;
        const std::uint64_t right = all.at(at);
        EXPECT_GE(h->percentile(share), right) << share;
        EXPECT_LE(static_cast<double>(h->percentile(share)),
                  static_cast<double>(right) * (1 + 1.0 / 64) + 1)
            << share;
    }
}

TEST(histogram, merged_of_two_is_that_of_all_values)
{
    const auto first = std::make_unique<histogram>();
    const auto second = std::make_unique<histogram>();
    const auto both = std::make_unique<histogram>();
    for (std::uint64_t i = 0; i < 10'000; ++i) {
        const std::uint64_t value = i * i;
        (i % 3 == 0 ? first : second)->add(value);
        both->add(value);
    }
    first->merge(*second);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> merged;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> right;
    first->each([&](std::uint64_t bound, std::uint64_t n) { merged.emplace_back(bound, n); });
    both->each([&](std::uint64_t bound, std::uint64_t n) { right.emplace_back(bound, n); });
    EXPECT_EQ(merged, right);
    EXPECT_EQ(first->count(), 10'000U);
    EXPECT_EQ(first->largest(), both->largest());
}

TEST(histogram, lists_buckets_from_below_with_all_that_was_added)
{
    const auto h = std::make_unique<histogram>();
    for (const std::uint64_t value : {5ULL, 5ULL, 1'000'000ULL, ~0ULL}) {
        h->add(value);
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> listed;
    h->each([&](std::uint64_t bound, std::uint64_t n) { listed.emplace_back(bound, n); });
    ASSERT_EQ(listed.size(), 3U);
    EXPECT_EQ(listed[0], (std::pair<std::uint64_t, std::uint64_t>{5, 2}));
    EXPECT_GE(listed[1].first, 1'000'000U);
    EXPECT_LE(listed[1].first, 1'000'000U + 1'000'000U / 64);
    EXPECT_EQ(listed[2].second, 1U);
}

} // namespace
} // namespace strait::bench
