// SPDX-License-Identifier: BSD-3-Clause
// What a port's VLAN policy carries and how.
#include "dataplane/vlan.hh"

#include <gtest/gtest.h>

namespace strait::dataplane {
namespace {

TEST(vlan_policy, transparent_carries_everything_as_it_is)
{
    const vlan_policy p = vlan_policy::transparent();
    EXPECT_TRUE(p.carries(vlan_id{0}));
    EXPECT_TRUE(p.carries(vlan_id{1}));
    EXPECT_TRUE(p.carries(vlan_id{max_vlan}));
    EXPECT_FALSE(p.carries(vlan_id{4095})) << "4095 is reserved";
    EXPECT_FALSE(p.sends_tagged(vlan_id{0}));
    EXPECT_TRUE(p.sends_tagged(vlan_id{7}));
}

TEST(vlan_policy, access_carries_one_vlan_untagged)
{
    const vlan_policy p = vlan_policy::access(vlan_id{10});
    EXPECT_TRUE(p.carries(vlan_id{10}));
    EXPECT_FALSE(p.sends_tagged(vlan_id{10}));
    EXPECT_FALSE(p.carries(vlan_id{0}));
    EXPECT_FALSE(p.carries(vlan_id{11}));
    EXPECT_EQ(p, vlan_policy::access(vlan_id{10}));
    EXPECT_NE(p, vlan_policy::access(vlan_id{11}));
}

} // namespace
} // namespace strait::dataplane
