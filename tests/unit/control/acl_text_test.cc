// SPDX-License-Identifier: BSD-3-Clause
// Rule sets as text: what is read, and what is refused with which words.
#include "control/acl_text.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace strait::control {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string why(std::string_view text)
{
    const auto read = read_acl({.text = text, .file = "f"});
    return read.has_error() ? read.error().message : "read";
}

TEST(acl_text, a_rule_a_line)
{
    const auto read = read_acl({.text = "# web\n"
                                        "to allow tcp,tp_dst=80\n"
                                        "\n"
                                        "  from\tdrop   ip,nw_dst=10.0.0.0/8 # not there\n"
                                        "from allow eth\n",
                                .file = "f"});
    ASSERT_TRUE(read.has_value()) << read.error().message;
    ASSERT_EQ(read->size(), 3U);
    EXPECT_FALSE(read->at(0).sends);
    EXPECT_TRUE(read->at(0).allows);
    EXPECT_EQ(read->at(0).text, "to allow tcp,tp_dst=80");
    EXPECT_EQ(read->at(0).matches, parse_match("tcp,tp_dst=80").value());
    EXPECT_TRUE(read->at(1).sends);
    EXPECT_FALSE(read->at(1).allows);
    EXPECT_EQ(read->at(1).text, "from drop ip,nw_dst=10.0.0.0/8");
    EXPECT_EQ(read->at(2).matches, std::vector{flow::match{}}) << "eth is every packet";
}

TEST(acl_text, a_range_is_several_matches_of_one_rule)
{
    const auto read = read_acl({.text = "to allow udp,tp_dst=1000-1999", .file = "f"});
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->size(), 1U);
    EXPECT_EQ(read->front().matches.size(), parse_match("udp,tp_dst=1000-1999").value().size());
}

TEST(acl_text, what_is_wrong_is_told_with_its_place)
{
    struct wrong {
        std::string_view text;
        std::string_view begins;
        std::string_view says;
    };
    for (const wrong& w : {
             wrong{"in allow tcp", "f:1:1: ", "begins with from"},
             wrong{"to allow tcp\n  pass", "f:2:3: ", "begins with from"},
             wrong{"from", "f:1:1: ", "allow or drop"},
             wrong{"from reject tcp", "f:1:6: ", "not \"reject\""},
             wrong{"from allow", "f:1:6: ", "which packets?"},
             wrong{"from allow # all", "f:1:6: ", "which packets?"},
             wrong{"to allow tcp,tp_dts=80", "f:1:14: ", "did you mean tp_dst?"},
             wrong{"to allow tp_dst=80", "f:1:10: ", "tp_dst"},
             wrong{"to allow in_port=1", "f:1:10: ", "in_port is nothing that a packet has itself"},
             wrong{"to allow ip,ct_state=+trk+new", "f:1:10: ", "ct_state is nothing"},
             wrong{"to allow ip,reg0=1", "f:1:10: ", "reg0 is nothing"},
             wrong{"to allow tun_id=1", "f:1:10: ", "tun_id is nothing"},
             wrong{"to allow metadata=1", "f:1:10: ", "metadata is nothing"},
         }) {
        EXPECT_THAT(why(w.text), StartsWith(std::string{w.begins})) << w.text;
        EXPECT_THAT(why(w.text), HasSubstr(std::string{w.says})) << w.text;
    }
}

TEST(acl_text, there_are_so_many_rules_and_no_more)
{
    std::string text;
    for (std::size_t i = 0; i < most_acl_rules; ++i) {
        text += "to allow arp\n";
    }
    EXPECT_EQ(why(text), "read");
    text += "to allow arp\n";
    EXPECT_THAT(why(text), HasSubstr(std::to_string(most_acl_rules) + " rules at the most"));

    text.clear();
    const std::string range = "to allow tcp,tp_src=1-65534,tp_dst=1-65534\n"; // 900 masks
    for (int i = 0; i < 19; ++i) {
        text += range;
    }
    EXPECT_THAT(why(text), HasSubstr("each mask of a range"));
}

} // namespace
} // namespace strait::control
