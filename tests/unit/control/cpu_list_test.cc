// SPDX-License-Identifier: BSD-3-Clause
// CPU lists.
#include "control/cpu_list.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
    EXPECT_FALSE(allowed_cpus().empty());
}

} // namespace
} // namespace strait::control
