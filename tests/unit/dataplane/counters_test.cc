// SPDX-License-Identifier: BSD-3-Clause
// The time a worker sleeps, as it is read while it does and afterwards.
#include "dataplane/counters.hh"

#include <gtest/gtest.h>

namespace strait::test {
namespace {

std::uint64_t read_at(const dataplane::time_asleep& asleep, std::uint64_t now)
{
    return asleep.read([now] { return now; });
}

TEST(time_asleep, grows_while_the_worker_sleeps_and_stands_while_it_is_awake)
{
    dataplane::time_asleep asleep;
    EXPECT_EQ(read_at(asleep, 1000), 0U);
    asleep.begin(1000);
    EXPECT_EQ(read_at(asleep, 1000), 0U);
    EXPECT_EQ(read_at(asleep, 1250), 250U);
    asleep.end(1300);
    EXPECT_EQ(read_at(asleep, 1300), 300U);
    EXPECT_EQ(read_at(asleep, 5000), 300U);
    asleep.begin(6000);
    EXPECT_EQ(read_at(asleep, 6001), 301U);
    asleep.end(6100);
    EXPECT_EQ(read_at(asleep, 9000), 400U);
}

// A reader that is held up between the word and the TSC, while the worker wakes and sleeps again,
// or the other way round, tells neither more nor less than there was.
TEST(time_asleep, is_of_one_moment)
{
    dataplane::time_asleep asleep;
    asleep.begin(1000);
    int calls = 0;
    EXPECT_EQ(asleep.read([&] {
        if (++calls == 1) {
            asleep.end(1100);
            asleep.begin(5000);
        }
        return calls == 1 ? std::uint64_t{1050} : std::uint64_t{5010};
    }),
              110U);
    EXPECT_EQ(calls, 2);
    EXPECT_EQ(asleep.read([&] {
        asleep.end(5100);
        return std::uint64_t{9000};
    }),
              200U);
}

// A reader whose TSC is a little behind.
TEST(time_asleep, never_underflows)
{
    dataplane::time_asleep asleep;
    asleep.begin(1000);
    EXPECT_EQ(read_at(asleep, 990), 0U);
    asleep.end(995);
    EXPECT_EQ(read_at(asleep, 1000), 0U);
}

// The word has 63 bits for the TSC.
TEST(time_asleep, is_right_late_in_the_life_of_a_host)
{
    dataplane::time_asleep asleep;
    constexpr std::uint64_t late = std::uint64_t{1} << 62;
    asleep.begin(late);
    EXPECT_EQ(read_at(asleep, late + 7), 7U);
    asleep.end(late + 9);
    EXPECT_EQ(read_at(asleep, late + 100), 9U);
}

} // namespace
} // namespace strait::test
