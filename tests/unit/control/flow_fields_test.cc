// SPDX-License-Identifier: BSD-3-Clause
// The table of fields, bits of them, and what they need.
#include "control/flow_fields.hh"

#include "control/flow_text.hh"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>

namespace strait::control {
namespace {

using flow::field;
using flow::wide;

TEST(flow_fields, have_names_that_no_other_has)
{
    std::set<std::string_view> seen;
    std::set<field> places;
    for (const auto& f : flow_fields()) {
        for (const auto name : {f.name, f.alias, f.nxm, f.oxm, f.oxm_alias}) {
            if (!name.empty()) {
                EXPECT_TRUE(seen.insert(name).second) << name;
                EXPECT_EQ(find_field(name), &f);
            }
        }
        EXPECT_LE(f.first + f.bits, flow::width_of(f.of)) << f.name;
        EXPECT_LE(f.low + f.bits, f.width) << f.name;
        places.insert(f.of);
    }
    // What options of Geneve have, has the name that a bridge gives it (flow_options_test.cc).
    EXPECT_EQ(places.size(), flow::field_count - flow::option_words) << "each field has a name";
    EXPECT_EQ(find_field("foo"), nullptr);
    EXPECT_EQ(find_field(""), nullptr);
}

TEST(flow_fields, are_in_the_key_where_they_say)
{
    const flow_field& dscp = *find_field("ip_dscp");
    EXPECT_EQ(dscp.to_key(wide{63}), wide{0xfc});
    EXPECT_EQ(dscp.to_text(wide{0xff}), wide{63});
    const flow_field& tos = *find_field("nw_tos");
    EXPECT_EQ(tos.to_key(wide{0xff}), wide{0xfc});
    EXPECT_EQ(tos.to_text(wide{0xff}), wide{0xfc});
    const flow_field& operation = *find_field("arp_op");
    EXPECT_EQ(operation.to_key(wide{0x1ff}), wide{0xff});
}

std::string bits(std::string_view text)
{
    const auto b = parse_field_bits(text);
    if (b.has_error()) {
        return at_column(text, b.error());
    }
    const auto s = b->in_key();
    return std::to_string(b->first) + '+' + std::to_string(b->bits) + ' ' +
           std::to_string(s.first) + '+' + std::to_string(s.bits);
}

TEST(flow_field_bits, are_counted_in_text_and_in_the_key)
{
    EXPECT_EQ(bits("reg0"), "0+32 0+32");
    EXPECT_EQ(bits("NXM_NX_REG0[]"), "0+32 0+32");
    EXPECT_EQ(bits("reg0[3]"), "3+1 3+1");
    EXPECT_EQ(bits("reg0[3..31]"), "3+29 3+29");
    EXPECT_EQ(bits("vlan_pcp"), "0+3 13+3");
    EXPECT_EQ(bits("nw_tos"), "0+8 2+6");
    EXPECT_EQ(bits("nw_tos[0..1]"), "0+2 0+0");
    EXPECT_EQ(bits("nw_tos[1..4]"), "1+4 2+3");
    EXPECT_EQ(bits("arp_op"), "0+16 0+8");
    EXPECT_EQ(bits("arp_op[4..11]"), "4+8 4+4");
    EXPECT_EQ(bits("xxreg0[127]"), "127+1 127+1");
}

TEST(flow_field_bits, that_are_none_are_refused)
{
    EXPECT_EQ(bits("reg0[32]"), "column 1: reg0 has no bit 32; it has 32, counted from 0");
    EXPECT_EQ(bits("vlan_vid[12]"), "column 1: vlan_vid has no bit 12; it has 12, counted from 0");
    for (const std::string text :
         {"reg0[", "reg0[]]", "reg0[a]", "reg0[-1]", "reg0[1..]", "reg0[5..3]", "reg0[1.2]",
          "reg0[1..2", "reg0[1..2]x", "reg0[99999999999]", "reg0[..]"}) {
        EXPECT_EQ(bits(text), "column 1: \"" + text +
                                  "\" does not say which bits; it must be like reg0, reg0[3] or "
                                  "reg0[0..15]");
    }
    EXPECT_EQ(bits("rge0"), "column 1: \"rge0\" is no field; did you mean reg0?");
    EXPECT_EQ(bits("[1]"), "column 1: a field is missing here");
    EXPECT_EQ(bits("dl_vlan"), "column 1: no action has dl_vlan; write vlan_vid");
    EXPECT_EQ(bits("mpls_label"), "column 1: \"mpls_label\" is MPLS, which flows here do not have");
}

flow::match match_of(std::string_view text)
{
    return parse_match(text).value().front();
}

TEST(flow_prerequisites, hold_if_all_packets_of_a_match_have_them)
{
    EXPECT_TRUE(holds(prerequisite::tcp, match_of("tcp")));
    EXPECT_TRUE(holds(prerequisite::tcp, match_of("tcp6,nw_frag=not_later")));
    EXPECT_FALSE(holds(prerequisite::tcp, match_of("tcp,nw_frag=later")));
    EXPECT_FALSE(holds(prerequisite::tcp, match_of("ip")));
    EXPECT_FALSE(holds(prerequisite::ipv4, match_of("ipv6")));
    EXPECT_FALSE(holds(prerequisite::ip, flow::match{}));
    EXPECT_TRUE(holds(prerequisite::arp, match_of("rarp")));
    EXPECT_TRUE(holds(prerequisite::neighbour_solicitation, match_of("icmp6,icmp_type=135")));
    EXPECT_FALSE(holds(prerequisite::neighbour, match_of("icmp6,icmp_type=135,icmp_code=1")));
    EXPECT_FALSE(holds(prerequisite::neighbour, match_of("icmp6")));
    EXPECT_TRUE(holds(prerequisite::tagged, match_of("dl_vlan=5")));
    EXPECT_FALSE(holds(prerequisite::tagged, match_of("vlan_tci=0/0xfff")));
    EXPECT_TRUE(holds(prerequisite::tracked, match_of("ct_state=+trk-inv")));
    EXPECT_TRUE(holds(prerequisite::tracked, match_of("ct_state=+rpl")));
    EXPECT_FALSE(holds(prerequisite::tracked, match_of("ct_state=+trk")));
    EXPECT_FALSE(holds(prerequisite::tracked, match_of("ct_state=+new+inv")));
}

TEST(flow_prerequisites, contradict_a_match_that_can_never_have_them)
{
    EXPECT_FALSE(contradicts(prerequisite::tcp, flow::match{}));
    EXPECT_FALSE(contradicts(prerequisite::tcp, match_of("ip")));
    EXPECT_TRUE(contradicts(prerequisite::tcp, match_of("udp")));
    EXPECT_TRUE(contradicts(prerequisite::tcp, match_of("arp")));
    EXPECT_TRUE(contradicts(prerequisite::ports, match_of("icmp6")));
    EXPECT_FALSE(contradicts(prerequisite::ports, match_of("sctp6")));
    EXPECT_TRUE(contradicts(prerequisite::tagged, match_of("vlan_tci=0")));
    EXPECT_TRUE(contradicts(prerequisite::tracked, match_of("ct_state=-trk")));
}

} // namespace
} // namespace strait::control
