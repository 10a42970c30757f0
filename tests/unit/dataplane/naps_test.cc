// SPDX-License-Identifier: BSD-3-Clause
// How long a timer that was late is not trusted.
#include "dataplane/naps.hh"

#include <gtest/gtest.h>

namespace strait::test {
namespace {

using dataplane::naps;

constexpr std::uint64_t tsc_hz = 1'000'000'000;
constexpr std::uint64_t tolerance = 20'000;

TEST(naps, are_of_twenty_five_microseconds)
{
    EXPECT_EQ((naps{tsc_hz, tolerance}.length()), 25'000U);
}

TEST(naps, go_on_while_their_timers_are_in_time)
{
    naps n{tsc_hz, tolerance};
    for (std::uint64_t now = 0; now < 1000; ++now) {
        EXPECT_TRUE(n.may(now));
        EXPECT_TRUE(n.woke(now, now + tolerance, true));
    }
}

TEST(naps, stop_for_twice_as_long_each_time_up_to_an_hour)
{
    naps n{tsc_hz, tolerance};
    std::uint64_t now = 5;
    bool by_timer = false; // whoever ends a nap, it is late
    for (const unsigned seconds :
         {1U, 2U, 4U, 8U, 16U, 32U, 64U, 128U, 256U, 512U, 1024U, 2048U, 3600U, 3600U}) {
        ASSERT_TRUE(n.may(now));
        EXPECT_FALSE(n.woke(now, now + tolerance + 1, by_timer));
        by_timer = !by_timer;
        now += tolerance + 1;
        EXPECT_FALSE(n.may(now + seconds * tsc_hz - 1)) << seconds;
        now += seconds * tsc_hz;
        EXPECT_TRUE(n.may(now)) << seconds;
    }
}

// After a late one, how many seconds there are none.
unsigned seconds_without(naps& n)
{
    EXPECT_FALSE(n.woke(0, tolerance + 1, true));
    unsigned seconds = 1;
    while (!n.may(tolerance + 1 + seconds * tsc_hz)) {
        seconds *= 2;
    }
    return seconds;
}

TEST(naps, are_distrusted_half_as_long_after_ten_thousand_in_time)
{
    naps n{tsc_hz, tolerance};
    EXPECT_EQ(seconds_without(n), 1U);
    EXPECT_EQ(seconds_without(n), 2U);
    for (int i = 0; i < 9'999; ++i) {
        EXPECT_TRUE(n.woke(0, 0, true));
        EXPECT_TRUE(n.woke(0, 0, false)) << "which says nothing of the timer";
    }
    EXPECT_EQ(seconds_without(n), 4U) << "the row is broken";
    for (int i = 0; i < 10'000; ++i) {
        EXPECT_TRUE(n.woke(0, 0, true));
    }
    EXPECT_EQ(seconds_without(n), 4U);
    for (int i = 0; i < 100'000; ++i) {
        EXPECT_TRUE(n.woke(0, 0, true));
    }
    EXPECT_EQ(seconds_without(n), 1U);
}

} // namespace
} // namespace strait::test
