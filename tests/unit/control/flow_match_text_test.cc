// SPDX-License-Identifier: BSD-3-Clause
// Matches as text: each kind of word, and what contradicts another.
#include "control/flow_match_text.hh"

#include "control/flow_text.hh"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

namespace strait::control {
namespace {

using flow::field;
using flow::wide;

std::string again(std::string_view text)
{
    const auto matches = parse_match(text);
    if (matches.has_error()) {
        return matches.error().message;
    }
    EXPECT_EQ(matches->size(), 1U);
    return format_match(matches->front());
}

TEST(flow_match, is_written_by_one_name_of_each_field)
{
    for (const auto& [text, written] : std::initializer_list<std::pair<const char*, const char*>>{
             {"eth", ""},
             {"packet_type=(0,0)", ""},
             {"dl_type=0x800", "ip"},
             {"eth_type=0x8847", "mpls"},
             {"dl_type=0x88cc", "dl_type=0x88cc"},
             {"ip,nw_proto=6", "tcp"},
             {"nw_proto=17,ipv6", "udp6"},
             {"ip,nw_proto=0", "ip,nw_proto=0"},
             {"OXM_OF_ETH_SRC=00:00:00:00:00:01", "dl_src=00:00:00:00:00:01"},
             {"NXM_OF_ETH_TYPE=0x0800,NXM_OF_IP_SRC=10.0.0.0/8", "ip,nw_src=10.0.0.0/8"},
             {"arp,nw_src=10.0.0.1,nw_proto=2", "arp,arp_spa=10.0.0.1,arp_op=2"},
             {"icmp,tp_src=8,tp_dst=0", "icmp,icmp_type=8,icmp_code=0"},
             {"reg0[3..5]=5", "reg0=0x28/0x38"},
             {"reg0[]=5", "reg0=0x5"},
             {"reg0[0..3]=5,reg0[8..11]=6,reg0[0..3]=5", "reg0=0x605/0xf0f"},
             {"reg0[31]=1", "reg0=0x80000000/0x80000000"},
             {"xreg0=5", "reg0=0,reg1=0x5"},
             {"vlan_tci[12]=1", "vlan_tci=0x1000/0x1000"},
             {"inner_vlan_tci=0x1005/0x1fff", "inner_dl_vlan=5"},
             {"inner_dl_vlan=0xffff", "inner_vlan_tci=0x0000"},
             {"packet_length=64/0xffc0", "packet_length=0x40/0xffc0"},
             {"ip,nw_src=*", "ip"},
             {"tun_tos=4,tun_ttl=5", "tun_tos=0x4,tun_ttl=5"},
             {"ip,ip,dl_type=0x800", "ip"},
             {"dl_vlan=5,vlan_tci=0x1000/0x1000", "dl_vlan=5"},
             {"ip,nw_tos=8,nw_ecn=1", "ip,nw_tos=8,nw_ecn=1"},
         }) {
        EXPECT_EQ(again(text), written) << text;
    }
}

// A port in a match is all of the key's field, so that there is one match for one port.
TEST(flow_match, has_all_bits_of_ports_and_icmp_types)
{
    const auto mask = [](std::string_view text, field f) {
        return parse_match(text).value().front().mask.get(f);
    };
    EXPECT_EQ(mask("in_port=1", field::in_port), wide::ones(32));
    EXPECT_EQ(mask("in_port_oxm=1", field::in_port), wide::ones(32));
    EXPECT_EQ(mask("icmp,icmp_type=1", field::tp_src), wide::ones(16));
    EXPECT_EQ(mask("icmp6,icmpv6_code=1", field::tp_dst), wide::ones(16));
}

TEST(flow_match, that_contradicts_itself_is_refused)
{
    const auto twice = [](const std::string& second, const std::string& first) {
        return "\"" + second + "\" contradicts \"" + first + "\"; a field may be matched once";
    };
    EXPECT_EQ(again("ip,arp"), "column 4: " + twice("arp", "ip"));
    EXPECT_EQ(again("tcp,nw_proto=17"), "column 5: " + twice("nw_proto=17", "tcp"));
    EXPECT_EQ(again("in_port=1,in_port=2"), "column 11: " + twice("in_port=2", "in_port=1"));
    EXPECT_EQ(again("ip,nw_src=10.0.0.0/8,ip_src=10.0.0.0/16"),
              "column 22: " + twice("ip_src=10.0.0.0/16", "nw_src=10.0.0.0/8"));
    EXPECT_EQ(again("tcp,tp_src=1-9,tp_src=1-8"),
              "column 16: " + twice("tp_src=1-8", "tp_src=1-9"));
    EXPECT_EQ(again("reg0[0..3]=5,reg0[3..4]=0"),
              "column 14: " + twice("reg0[3..4]=0", "reg0[0..3]=5"));
    EXPECT_EQ(again("reg0=1/1,reg0=2/2"), "column 10: " + twice("reg0=2/2", "reg0=1/1"));
    EXPECT_EQ(again("tcp,tp_src=1-9,tcp_src=5"), "column 16: " + twice("tcp_src=5", "tp_src=1-9"));
    EXPECT_EQ(again("reg0=5,xreg0=6"),
              "column 8: \"xreg0=6\" contradicts what stands before it: no packet has both");
    EXPECT_EQ(again("dl_vlan=5,vlan_tci=0x1006"),
              "column 11: \"vlan_tci=0x1006\" contradicts what stands before it: no packet has "
              "both");
    EXPECT_EQ(again("dl_vlan=0xffff,dl_vlan_pcp=1"),
              "column 16: \"dl_vlan_pcp=1\" contradicts what stands before it: no packet has both");
}

// However often the same is said.
TEST(flow_match, that_says_the_same_often_is_read_fast)
{
    std::string text;
    constexpr int often = 200'000;
    for (int i = 0; i < often; ++i) {
        text += "tcp,reg0=5,";
    }
    EXPECT_EQ(again(text), "tcp,reg0=0x5");
}

TEST(flow_match, of_what_no_packet_has_is_refused)
{
    EXPECT_EQ(again("in_port=NORMAL"), "column 9: no packet comes from NORMAL; in_port must be a "
                                       "port's number, its name or LOCAL");
    EXPECT_EQ(again("dl_vlan=4096"),
              "column 9: dl_vlan must be from 0 to 4095, or 0xffff for no tag");
    EXPECT_EQ(again("vlan_pcp=8"), "column 10: vlan_pcp must be from 0 to 7");
    EXPECT_EQ(again("vlan_vid=5"), "column 10: \"5\" is no VLAN that a packet has: a tag has "
                                   "0x1000 set");
    EXPECT_EQ(again("vlan_tci=5/0x1fff"), "column 10: \"5/0x1fff\" is no VLAN that a packet has: a "
                                          "tag has 0x1000 set");
    EXPECT_EQ(again("vlan_vid=0x2000"),
              "column 10: vlan_vid must be 0 for no tag, or 0x1000 and a VLAN");
    EXPECT_EQ(again("dl_vlan=5/7"), "column 9: dl_vlan takes no mask; vlan_tci does");
    EXPECT_EQ(again("ip,nw_tos=3"), "column 11: nw_tos has DSCP alone and must be a multiple of 4; "
                                    "write nw_ecn for the lowest two bits");
    EXPECT_EQ(again("arp,arp_op=256"), "column 12: arp_op must be from 0 to 255");
    EXPECT_EQ(again("ct_state=-trk+new"), "column 10: a packet that is not tracked (-trk) has no "
                                          "other flag of ct_state");
    EXPECT_EQ(again("ip,nw_ttl=5/1"), "column 11: nw_ttl takes no mask; it must be one value");
    EXPECT_EQ(again("icmp,tp_src=300"), "column 6: \"tp_src=300\" is ICMP's type or code here, "
                                        "which must be one number from 0 to 255");
    EXPECT_EQ(again("icmp,tp_src=1-5"), "column 6: \"tp_src=1-5\" is ICMP's type or code here, "
                                        "which must be one number from 0 to 255");
}

TEST(flow_match, of_words_that_are_wrong_is_refused)
{
    EXPECT_EQ(again("reg0"), "column 1: \"reg0\" needs a value behind =");
    EXPECT_EQ(again("reg0="), "column 1: \"reg0\" needs a value behind =");
    EXPECT_EQ(again("tcp=5"), "column 1: tcp takes no value");
    EXPECT_EQ(again("reg0[0..3]=16"), "column 12: \"16\" does not fit into 4 bits");
    EXPECT_EQ(again("reg0[0]=2"), "column 9: \"2\" does not fit into 1 bit");
    EXPECT_EQ(again("reg0[0..3]=a"), "column 12: \"a\" is no number; some bits of a field must be "
                                     "a number");
    EXPECT_EQ(again("vlan_vid[0..3]=1"),
              "column 1: bits of vlan_vid are matched as bits of vlan_tci");
    EXPECT_EQ(again("packet_type=(1,0x800)"), "column 1: \"packet_type\" is packets without an "
                                              "Ethernet header, which flows here do not have");
    EXPECT_EQ(again("tcp,tp_src=1-70000"),
              "column 14: \"70000\" is no tp_src; it must be a number from 0 to 65535");
}

} // namespace
} // namespace strait::control
