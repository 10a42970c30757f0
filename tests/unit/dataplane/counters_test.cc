// SPDX-License-Identifier: BSD-3-Clause
// The time a worker sleeps, as it is read while it does and afterwards.
#include "dataplane/counters.hh"

#include <gtest/gtest.h>

namespace strait::test {
namespace {

TEST(time_asleep, grows_while_the_worker_sleeps_and_stands_while_it_is_awake)
{
    dataplane::time_asleep asleep;
    EXPECT_EQ(asleep.read(1000), 0U);
    asleep.begin(1000);
    EXPECT_EQ(asleep.read(1000), 0U);
    EXPECT_EQ(asleep.read(1250), 250U);
    asleep.end(1300);
    EXPECT_EQ(asleep.read(1300), 300U);
    EXPECT_EQ(asleep.read(5000), 300U);
    asleep.begin(6000);
    EXPECT_EQ(asleep.read(6001), 301U);
    asleep.end(6100);
    EXPECT_EQ(asleep.read(9000), 400U);
}

// A reader that was held up between the TSC and the word, or whose TSC is a little behind.
TEST(time_asleep, never_underflows)
{
    dataplane::time_asleep asleep;
    asleep.begin(1000);
    EXPECT_EQ(asleep.read(990), 0U);
    asleep.end(995);
    EXPECT_EQ(asleep.read(1000), 0U);
}

// The word has 63 bits for the TSC.
TEST(time_asleep, is_right_late_in_the_life_of_a_host)
{
    dataplane::time_asleep asleep;
    constexpr std::uint64_t late = std::uint64_t{1} << 62;
    asleep.begin(late);
    EXPECT_EQ(asleep.read(late + 7), 7U);
    asleep.end(late + 9);
    EXPECT_EQ(asleep.read(late + 100), 9U);
}

} // namespace
} // namespace strait::test
