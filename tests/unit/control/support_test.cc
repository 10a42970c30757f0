// SPDX-License-Identifier: BSD-3-Clause
#include "control/support.hh"

#include <gtest/gtest.h>

namespace strait::control {
namespace {

TEST(support, shows_no_secret_of_a_command_line)
{
    EXPECT_EQ(without_secrets("ro quiet rd.luks.key=/k:abc PASSWORD=x isolcpus=2-3 api_token= a"),
              "ro quiet rd.luks.key=*** PASSWORD=*** isolcpus=2-3 api_token=*** a");
    EXPECT_EQ(without_secrets("--workers 2 --key x"), "--workers 2 --key x");
    EXPECT_EQ(without_secrets(""), "");
    EXPECT_EQ(without_secrets(" a  b "), " a  b ");
}

} // namespace
} // namespace strait::control
