// SPDX-License-Identifier: BSD-3-Clause
// Credit against the clock, which is a number here: what passes in a time, by one worker and by
// several.
#include "dataplane/token_bucket.hh"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace strait::dataplane {
namespace {

constexpr std::uint64_t hz = 2'500'000'000;
constexpr std::uint64_t start = ~std::uint64_t{0} - hz; // it goes round meanwhile
constexpr worker_index first{0};
constexpr worker_index second{1};

// Offers packets of `size` units every `gap` cycles for so many seconds; units that passed.
std::uint64_t passed(token_bucket& bucket, std::uint64_t size, std::uint64_t gap, double seconds,
                     std::uint64_t from = start)
{
    std::uint64_t units = 0;
    const auto cycles = static_cast<std::uint64_t>(seconds * hz);
    for (std::uint64_t t = 0; t < cycles; t += gap) {
        units += bucket.take(first, size, from + t) ? size : 0;
    }
    return units;
}

TEST(token_bucket_test, gives_the_burst_at_once_and_no_more)
{
    token_bucket bucket{1000, 50, hz, 1, start};
    for (int i = 0; i < 50; ++i) {
        EXPECT_TRUE(bucket.take(first, 1, start)) << i;
    }
    EXPECT_FALSE(bucket.take(first, 1, start));
    EXPECT_FALSE(bucket.has(1, start));
    EXPECT_TRUE(bucket.has(1, start + hz / 999));
    EXPECT_TRUE(bucket.take(first, 1, start + hz / 999));
    EXPECT_FALSE(bucket.take(first, 1, start + hz / 999));
}

struct example {
    std::uint64_t rate;
    std::uint64_t burst;
    std::uint64_t size;
};
class rates : public testing::TestWithParam<example> {};

TEST_P(rates, are_kept_over_time)
{
    const auto [rate, burst, size] = GetParam();
    token_bucket bucket{rate, burst, hz, 1, start};
    const double seconds = 2;
    // Twice what may pass is offered.
    const std::uint64_t gap = std::max<std::uint64_t>(1, size * hz / rate / 2);
    const double expected = static_cast<double>(rate) * seconds + static_cast<double>(burst);
    const auto units = static_cast<double>(passed(bucket, size, gap, seconds));
    EXPECT_LE(units, expected + static_cast<double>(size));
    EXPECT_GE(units, expected - 2 * static_cast<double>(size) - expected * 1e-4);
}

INSTANTIATE_TEST_SUITE_P(some, rates,
                         testing::Values(example{125, 125, 1},                // 1 kbit/s
                                         example{12'500, 10'000, 60},         // 100 kbit/s
                                         example{125'000'000, 100'000, 1514}, // 1 Gbit/s
                                         example{12'500'000'000, 10'000'000, 65'549},
                                         example{1000, 64, 1}, example{7, 3, 1}));

TEST(token_bucket_test, saves_no_more_than_the_burst)
{
    token_bucket bucket{1000, 10, hz, 1, start};
    EXPECT_EQ(passed(bucket, 1, 1, 1e-8), 10U);
    EXPECT_EQ(passed(bucket, 1, 1, 1e-8, start + 100 * hz), 10U);
}

TEST(token_bucket_test, lets_a_packet_through_that_is_larger_than_the_burst_and_makes_up_for_it)
{
    token_bucket bucket{1000, 100, hz, 1, start};
    EXPECT_TRUE(bucket.take(first, 600, start));
    EXPECT_FALSE(bucket.take(first, 1, start + hz * 4 / 10));
    EXPECT_TRUE(bucket.take(first, 1, start + hz * 6 / 10));
    EXPECT_FALSE(bucket.take(first, 600, start + hz * 6 / 10)) << "it is not full again";
}

TEST(token_bucket_test, stays_within_an_eighth_of_the_burst_with_several_workers)
{
    constexpr std::uint64_t burst = 8000;
    token_bucket bucket{1'000'000, burst, hz, 2, start};
    std::minstd_rand random{7};
    std::uint64_t units = 0;
    const std::uint64_t seconds = 1;
    for (std::uint64_t t = 0; t < seconds * hz; t += 500) {
        units += bucket.take(random() % 2 == 0 ? first : second, 1, start + t);
    }
    EXPECT_LE(units, 1'000'000 * seconds + burst + burst / 8 + 1);
    EXPECT_GE(units, 1'000'000 * seconds);
}

TEST(token_bucket_test, is_shared_by_workers_at_one_time)
{
    constexpr std::uint64_t burst = 100'000;
    token_bucket bucket{1, burst, hz, 2, start}; // what comes back is too little to count
    std::atomic<std::uint64_t> units{0};
    const auto take_all = [&](worker_index w) {
        std::uint64_t mine = 0;
        for (int i = 0; i < 200'000; ++i) {
            mine += bucket.take(w, 1, start);
        }
        units += mine;
    };
    std::thread one{take_all, first};
    std::thread two{take_all, second};
    one.join();
    two.join();
    EXPECT_LE(units, burst);
    EXPECT_GE(units, burst - burst / 8);
}

TEST(token_bucket_test, waits_for_a_clock_that_is_behind)
{
    token_bucket bucket{1000, 10, hz, 2, start};
    EXPECT_EQ(passed(bucket, 1, 1, 1e-8), 10U);
    EXPECT_FALSE(bucket.take(second, 1, start - hz));
}

} // namespace
} // namespace strait::dataplane
