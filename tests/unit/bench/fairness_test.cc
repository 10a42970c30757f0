// SPDX-License-Identifier: BSD-3-Clause
// Jain's index, at its ends and of shares whose index is known.
#include "bench/generator/fairness.hh"

#include <gtest/gtest.h>

#include <array>

namespace strait::bench {
namespace {

TEST(fairness, is_one_of_equal_shares_whatever_their_size)
{
    EXPECT_DOUBLE_EQ(jain_index(std::array{3.0, 3.0, 3.0}), 1);
    EXPECT_DOUBLE_EQ(jain_index(std::array{3e9, 3e9}), 1);
    EXPECT_DOUBLE_EQ(jain_index(std::array{5.0}), 1);
}

TEST(fairness, is_a_part_of_how_many_there_are_if_one_has_all)
{
    EXPECT_DOUBLE_EQ(jain_index(std::array{0.0, 7.0, 0.0, 0.0}), 0.25);
}

TEST(fairness, of_shares_between)
{
    EXPECT_DOUBLE_EQ(jain_index(std::array{2.0, 1.0, 0.0}), 9.0 / 15);
    EXPECT_DOUBLE_EQ(jain_index(std::array{1.0, 2.0, 3.0, 4.0}), 100.0 / 120);
}

TEST(fairness, of_nothing_is_one)
{
    EXPECT_DOUBLE_EQ(jain_index(std::array{0.0, 0.0}), 1);
    EXPECT_DOUBLE_EQ(jain_index({}), 1);
}

} // namespace
} // namespace strait::bench
