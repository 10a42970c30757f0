// SPDX-License-Identifier: BSD-3-Clause
// CPU lists.
#include "control/cpu_list.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace strait::control {
namespace {

using testing::ElementsAre;

TEST(cpu_list, is_read_in_the_order_written)
{
    EXPECT_THAT(parse_cpu_list("1").value(), ElementsAre(1));
    EXPECT_THAT(parse_cpu_list("2-5").value(), ElementsAre(2, 3, 4, 5));
    EXPECT_THAT(parse_cpu_list("0,1,0,1").value(), ElementsAre(0, 1, 0, 1));
    EXPECT_THAT(parse_cpu_list("7,2-3").value(), ElementsAre(7, 2, 3));
}

TEST(cpu_list, of_anything_else_is_refused)
{
    for (const auto* text : {"", ",", "1,", ",1", "a", "1-", "-1", "5-2", "1 2", "0x1", "1--2",
                             "1024", "99999999999", "1-2-3"}) {
        const auto cpus = parse_cpu_list(text);
        ASSERT_TRUE(cpus.has_error()) << text;
        EXPECT_THAT(cpus.error().message, testing::HasSubstr("it must be like 1 or 2-5")) << text;
    }
    EXPECT_TRUE(parse_cpu_list("0-64").has_error()) << "more than there can be workers";
    EXPECT_EQ(parse_cpu_list("0-63").value().size(), 64U);
}

TEST(cpu_list, is_written_short)
{
    EXPECT_EQ(to_cpu_list({0, 1, 2, 3, 6, 8, 9}), "0-3,6,8-9");
    EXPECT_EQ(to_cpu_list({}), "");
}

TEST(cpu_list, of_this_process_is_left_as_it_was)
{
    const auto before = allowed_cpus();
    EXPECT_FALSE(before.empty());
    EXPECT_TRUE(std::ranges::includes(before, isolated_cpus()));
    EXPECT_EQ(allowed_cpus(), before);
}

TEST(cpu_list, a_worker_is_where_nobody_else_runs)
{
    EXPECT_EQ(default_worker_cpu({}, {0, 1, 2}), 2U);
    EXPECT_EQ(default_worker_cpu({1, 2}, {0, 1, 2, 3}), 2U);
    // And all else is not.
    EXPECT_EQ(default_main_cpu({}, {0, 1, 2}, {2}), 0U);
    EXPECT_EQ(default_main_cpu({}, {0, 1, 2}, {0, 1}), 2U);
    EXPECT_EQ(default_main_cpu({0, 1}, {0, 1, 2, 3}, {1}), 2U);
    EXPECT_EQ(default_main_cpu({1, 2}, {0, 1, 2}, {0, 2}), 1U) << "there is no other";
    EXPECT_EQ(default_main_cpu({}, {3}, {3}), 3U);
}

} // namespace
} // namespace strait::control
