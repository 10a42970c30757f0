// SPDX-License-Identifier: BSD-3-Clause
// Every drop reason can be read by a person, and no two are the same.
#include "dataplane/drop_reason.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace strait::dataplane {
namespace {

TEST(drop_reason, each_has_its_own_name_and_explanation)
{
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < drop_reason_count; ++i) {
        const drop_reason_text& text = drop_reasons()[i];
        EXPECT_EQ(static_cast<std::size_t>(text.reason), i) << text.name;
        EXPECT_EQ(to_string(text.reason), text.name);
        EXPECT_TRUE(names.insert(text.name).second) << text.name;
        EXPECT_TRUE(std::ranges::all_of(text.name, [](char c) {
            return (c >= 'a' && c <= 'z') || c == '_';
        })) << text.name;
        EXPECT_GT(text.explanation.size(), 10U) << text.name;
        EXPECT_EQ(text.explanation.find('\n'), std::string_view::npos) << text.name;
    }
    EXPECT_EQ(names.size(), drop_reason_count);
}

TEST(drop_reason, charges_the_side_it_happens_on)
{
    const auto ingress = [](drop_reason r) {
        return drop_reasons()[static_cast<std::size_t>(r)].ingress;
    };
    EXPECT_TRUE(ingress(drop_reason::malformed_descriptor));
    EXPECT_TRUE(ingress(drop_reason::vlan_not_allowed));
    EXPECT_TRUE(ingress(drop_reason::same_port));
    EXPECT_FALSE(ingress(drop_reason::mtu_exceeded));
    EXPECT_FALSE(ingress(drop_reason::receiver_full));
    EXPECT_FALSE(ingress(drop_reason::handover_full));
}

} // namespace
} // namespace strait::dataplane
