// SPDX-License-Identifier: BSD-3-Clause
// Lines of the log.
#include "control/log.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::control {
namespace {

TEST(log, writes_time_level_subsystem_and_text_on_one_line)
{
    testing::internal::CaptureStderr();
    log(log_level::warning, "vhost", "a\nb\x1b[2J");
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::MatchesRegex("....-..-..T..:..:..\\....Z warning vhost: a.b.\\[2J\n"));
}

TEST(log, leaves_out_what_is_above_its_level)
{
    set_log_level(log_level::warning);
    testing::internal::CaptureStderr();
    log(log_level::info, "x", "y");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    set_log_level(log_level::info);
    EXPECT_EQ(parse_log_level("debug"), log_level::debug);
    EXPECT_EQ(parse_log_level(""), std::nullopt);
}

} // namespace
} // namespace strait::control
