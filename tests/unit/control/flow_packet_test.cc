// SPDX-License-Identifier: BSD-3-Clause
// Packets in the words of flows.
#include "control/flow_packet.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string_view>

namespace strait::control {
namespace {

using flow::field;
using testing::HasSubstr;

flow::key one(std::string_view words)
{
    const auto key = parse_packet(words);
    EXPECT_TRUE(key.has_value()) << words << "\n" << (key.has_error() ? key.error().message : "");
    return key.has_value() ? *key : flow::key{};
}

std::string wrong(std::string_view words)
{
    const auto key = parse_packet(words);
    EXPECT_TRUE(key.has_error()) << words;
    return key.has_error() ? key.error().message : "";
}

TEST(packet_words, become_values_and_defaults)
{
    const flow::key k = one("tcp,nw_src=10.0.0.1,tp_dst=80,dl_vlan=5,in_port=3,reg1=7");
    EXPECT_EQ(k.number(field::eth_type), 0x0800U);
    EXPECT_EQ(k.number(field::nw_proto), 6U);
    EXPECT_EQ(k.number(field::nw_src), 0x0a00'0001U);
    EXPECT_EQ(k.number(field::tp_dst), 80U);
    EXPECT_EQ(k.number(field::vlan_tci), 0x1005U);
    EXPECT_EQ(k.number(field::in_port), 3U);
    EXPECT_EQ(k.number(field::xreg0), 7U);
    EXPECT_EQ(k.number(field::nw_ttl), 64U);
    EXPECT_EQ(k.number(field::packet_length), 60U);
    EXPECT_EQ(k.number(field::tp_src), 0U);

    EXPECT_EQ(one("dl_vlan=1").number(field::eth_type), 0x05ffU);
    EXPECT_EQ(one("ip").number(field::nw_proto), 59U);
    EXPECT_EQ(one("ip,nw_proto=0").number(field::nw_proto), 0U);
    EXPECT_EQ(one("arp").number(field::nw_proto), 1U);
    EXPECT_EQ(one("icmp6,icmp_type=135").number(field::nw_ttl), 255U);
    EXPECT_EQ(one("icmp6,icmp_type=135,nw_ttl=3").number(field::nw_ttl), 3U);
    EXPECT_EQ(one("tcp6").number(field::packet_length), 74U);
    EXPECT_EQ(one("tcp6,packet_length=1514").number(field::packet_length), 1514U);
}

TEST(packet_words, may_be_flags_and_fragments)
{
    EXPECT_EQ(one("tcp,tcp_flags=+syn-ack").number(field::tcp_flags), 2U);
    EXPECT_EQ(one("tcp,tcp_flags=syn|ack").number(field::tcp_flags), 0x12U);
    EXPECT_EQ(one("ct_state=+trk+est").number(field::ct_state), 0x22U);
    EXPECT_EQ(one("ct_state=+est").number(field::ct_state), 0x22U);
    EXPECT_EQ(one("ct_state=0").number(field::ct_state), 0U);
    EXPECT_EQ(one("ip,nw_frag=no").number(field::nw_frag), 0U);
    EXPECT_EQ(one("ip,nw_frag=first").number(field::nw_frag), 1U);
    EXPECT_EQ(one("ip,nw_frag=later").number(field::nw_frag), 3U);
    EXPECT_THAT(wrong("ip,nw_frag=yes"), HasSubstr("is not one value"));
    EXPECT_THAT(wrong("ip,nw_frag=not_later"), HasSubstr("is not one value"));
}

TEST(packet_words, that_leave_a_field_open_are_refused)
{
    for (const auto* words : {"ip,nw_src=10.0.0.0/8", "tcp,tp_dst=80/0xf0", "tcp,tp_dst=80-90",
                              "vlan_tci=0x1000/0x1000", "vlan_tci[12]=1", "reg0[0..3]=1",
                              "metadata=1/1", "dl_dst=*", "vlan_vid=0x1001/0x1001"}) {
        EXPECT_THAT(wrong(words), HasSubstr("is not one value, which a packet has")) << words;
    }
}

TEST(packet_words, of_packets_that_there_are_not_are_refused)
{
    EXPECT_EQ(wrong("tp_dst=80"),
              "column 1: \"tp_dst=80\" needs in the match a protocol that has ports: tcp, udp, "
              "sctp, tcp6, udp6 or sctp6, and no later fragments");
    EXPECT_EQ(wrong("tcp,tp_dts=80"),
              "column 5: \"tp_dts\" is no word of a match; did you mean tp_dst?");
    EXPECT_EQ(wrong("ip,packet_length=20"),
              "there is no such packet: packet_length is 20; with these headers it must be from "
              "34 to 65535");
    EXPECT_THAT(wrong("packet_length=2000"), HasSubstr("it must be from 17 to 1514"));
    EXPECT_THAT(wrong("dl_type=0x8100"), HasSubstr("a tag is said by dl_vlan"));
    EXPECT_THAT(wrong("dl_type=5"), HasSubstr("dl_type must be 0x0600 at least"));
    EXPECT_THAT(wrong("inner_dl_vlan=3"), HasSubstr("say dl_vlan too"));
    EXPECT_THAT(wrong("ipv6,nw_proto=44"), HasSubstr("not an extension header"));
    EXPECT_THAT(wrong("tcp,actions=drop"), HasSubstr("\"actions\" is no word of a match"));
}

TEST(packet_words, are_written_as_they_are_read)
{
    EXPECT_EQ(format_key(one("tcp,nw_src=10.0.0.1,tp_dst=80,tcp_flags=syn,dl_vlan=5,in_port=2")),
              "tcp,in_port=2,packet_length=60,dl_vlan=5,dl_vlan_pcp=0,dl_src=00:00:00:00:00:00,"
              "dl_dst=00:00:00:00:00:00,nw_src=10.0.0.1,nw_dst=0.0.0.0,nw_ttl=64,tp_src=0,"
              "tp_dst=80,tcp_flags=syn");
    port_names names;
    names.add(2, "vm1");
    EXPECT_THAT(format_key(one("in_port=2"), &names), HasSubstr("in_port=vm1"));
    for (const auto* words :
         {"tcp,nw_tos=8,nw_ecn=1,tcp_flags=+syn+[800]", "udp6,ipv6_label=5,nw_frag=first",
          "udp,nw_frag=later", "icmp,icmp_type=3,icmp_code=4", "sctp6,tp_src=1",
          "icmp6,icmp_type=135,nd_target=fe80::1,nd_sll=00:00:00:00:00:01",
          "icmp6,icmp_type=136,nd_target=fe80::1,nd_tll=00:00:00:00:00:01",
          "icmp6,icmp_type=136,icmp_code=1",
          "arp,arp_op=2,arp_spa=1.2.3.4,arp_tha=00:00:00:00:00:01", "rarp,arp_op=3",
          "dl_type=0x88cc,dl_vlan=4,inner_dl_vlan=5,inner_dl_vlan_pcp=7", "dl_type=0x8847",
          "packet_length=17",
          "ip,ct_state=+trk+new,ct_zone=4,ct_mark=5,"
          "ct_label=6,ct_nw_src=1.2.3.4,ct_nw_proto=6,ct_tp_dst=80,nw_proto=89",
          "xxreg3=0x123456789abcdef0123456789abcdef0,reg0=1,metadata=2,pkt_mark=3,conj_id=4,"
          "tun_id=5,tun_src=1.2.3.4,tun_ipv6_dst=::1,tun_flags=oam,tun_gbp_id=7,tun_gbp_flags=8,"
          "tun_tos=9,tun_ttl=10,actset_output=3,in_port=LOCAL"}) {
        const flow::key k = one(words);
        EXPECT_TRUE(one(format_key(k)) == k) << words << "\n" << format_key(k);
    }
}

} // namespace
} // namespace strait::control
