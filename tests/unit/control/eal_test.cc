// SPDX-License-Identifier: BSD-3-Clause
// DPDK's lines in the daemon's log.
#include "control/log.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <rte_log.h>

namespace strait::control {
namespace {

std::string logged(const char* line, std::uint32_t level = RTE_LOG_WARNING)
{
    set_log_level(log_level::info);
    testing::internal::CaptureStderr();
    rte_log(level, RTE_LOGTYPE_EAL, "%s\n", line);
    set_log_level(log_level::error); // as the other tests have it
    return testing::internal::GetCapturedStderr();
}

TEST(dpdk_lines, have_the_part_that_speaks_in_front)
{
    EXPECT_THAT(logged("EAL: something is wrong"),
                testing::EndsWith(" warning eal: something is wrong\n"));
    EXPECT_THAT(logged("VHOST_CONFIG: (/s) no", RTE_LOG_ERR),
                testing::EndsWith(" error vhost: (/s) no\n"));
    EXPECT_THAT(logged("whatever"), testing::EndsWith(" warning dpdk: whatever\n"));
}

TEST(dpdk_lines, that_tell_of_nothing_unusual_are_left_out)
{
    EXPECT_EQ(logged("EAL: 4 hugepages of size 1073741824 reserved, but no mounted hugetlbfs found "
                     "for that size"),
              "");
    EXPECT_EQ(logged("EAL: No free 1048576 kB hugepages reported on node 0"), "");
    EXPECT_EQ(logged("EAL: No available 1048576 kB hugepages reported"), "");
    EXPECT_NE(logged("EAL: No free 2048 kB hugepages reported on node 0"), "");
}

} // namespace
} // namespace strait::control
