// SPDX-License-Identifier: BSD-3-Clause
// Frames made of keys, against frames made by hand, and sums that a receiver would check.
#include "control/flow_frame.hh"

#include "control/flow_packet.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace strait::control {
namespace {

using testing::StartsWith;

std::string hex_of(std::string_view words)
{
    const auto key = parse_packet(words);
    EXPECT_TRUE(key.has_value()) << words;
    std::string out;
    constexpr std::string_view digits = "0123456789abcdef";
    for (const std::byte b : frame_of(key.value())) {
        out += digits[std::to_integer<std::size_t>(b) >> 4];
        out += digits[std::to_integer<std::size_t>(b) & 15];
    }
    return out;
}

std::string zeros(std::size_t bytes)
{
    return std::string(2 * bytes, '0');
}

constexpr std::string_view ethernet = "dl_dst=02:00:00:00:00:02,dl_src=02:00:00:00:00:01,";
const std::string addresses = "020000000002020000000001";

std::string frame(std::string_view words)
{
    return hex_of(std::string{ethernet} + std::string{words});
}

// 16-bit words of a frame, summed, from byte `from` on; 0xffff: the sum in it is right.
std::uint32_t sum_of(const std::vector<std::byte>& f, std::size_t from, std::size_t to,
                     std::uint32_t begin)
{
    std::uint32_t sum = begin;
    for (std::size_t i = from; i < to; ++i) {
        const auto byte = std::to_integer<std::uint32_t>(f.at(i));
        sum += (i - from) % 2 == 0 ? byte * 256 : byte;
    }
    while (sum > 0xffff) {
        sum = sum % 65536 + sum / 65536;
    }
    return sum;
}

TEST(frames, have_tags_and_types)
{
    EXPECT_EQ(frame("dl_type=0x88cc"), addresses + "88cc" + zeros(46));
    EXPECT_EQ(frame("dl_vlan=5,dl_vlan_pcp=3,dl_type=0x88cc"),
              addresses + "8100600588cc" + zeros(42));
    EXPECT_EQ(frame("dl_vlan=5,inner_dl_vlan=6,inner_dl_vlan_pcp=7,dl_type=0x88cc"),
              addresses + "88a800058100e00688cc" + zeros(38));
    // One without a type has its length there.
    EXPECT_EQ(frame("packet_length=64"), addresses + "0032424203" + zeros(47));
    EXPECT_EQ(frame("dl_vlan=3"), addresses + "81000003002a424203" + zeros(39));
}

TEST(frames, of_arp)
{
    EXPECT_EQ(frame("arp,arp_op=2,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,"
                    "arp_sha=02:00:00:00:00:01,arp_tha=02:00:00:00:00:02"),
              addresses + "08060001080006040002" + "020000000001" + "0a000001" + "020000000002" +
                  "0a000002" + zeros(18));
}

TEST(frames, of_tcp_and_udp_over_ipv4)
{
    EXPECT_EQ(frame("tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_tos=8,nw_ecn=1,tp_src=1000,tp_dst=80,"
                    "tcp_flags=syn,packet_length=54"),
              addresses + "0800" + "45090028" + "00000000" + "400666c5" + "0a000001" + "0a000002" +
                  "03e80050" + zeros(8) + "50020000" + "97a8" + "0000");
    EXPECT_EQ(frame("udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=5,tp_dst=53,packet_length=42"),
              addresses + "0800" + "4500001c" + "00000000" + "401166cf" + "0a000001" + "0a000002" +
                  "000500350008eba1");
}

TEST(frames, of_fragments_have_an_offset_or_more_to_come)
{
    EXPECT_THAT(frame("udp,nw_frag=first"), StartsWith(addresses + "08004500002e00002000"));
    EXPECT_THAT(frame("udp,nw_frag=later"), StartsWith(addresses + "08004500002e000000b9"));
    EXPECT_THAT(frame("udp6,nw_frag=first,packet_length=80"),
                StartsWith(addresses + "86dd60000000001a2c40" + zeros(32) + "1100000100000000"));
    EXPECT_THAT(frame("udp6,nw_frag=later,packet_length=80"),
                StartsWith(addresses + "86dd60000000001a2c40" + zeros(32) + "110005c800000000" +
                           zeros(18)));
}

TEST(frames, of_neighbour_discovery_have_the_option_that_is_said)
{
    EXPECT_EQ(frame("icmp6,icmp_type=135,ipv6_src=fe80::1,ipv6_dst=ff02::1,nd_target=fe80::5,"
                    "nd_sll=00:11:22:33:44:55"),
              addresses + "86dd" + "6000000000203aff" + "fe80" + zeros(13) + "01" + "ff02" +
                  zeros(13) + "01" + "870014ff00000000" + "fe80" + zeros(13) + "05" +
                  "0101001122334455");
    EXPECT_EQ(frame("icmp6,icmp_type=136,nd_target=fe80::5"),
              addresses + "86dd" + "6000000000183aff" + zeros(32) + "8800792700000000" + "fe80" +
                  zeros(13) + "05");
}

TEST(frames, of_sctp_have_a_crc)
{
    EXPECT_EQ(frame("sctp6,tp_src=5,tp_dst=6"), addresses + "86dd" + "60000000000c8440" +
                                                    zeros(32) + "0005000600000000" + "286850d9");
}

TEST(frames, have_the_key_s_length_and_sums_that_a_receiver_takes)
{
    for (const auto* protocol : {"tcp", "udp", "icmp", "tcp6", "udp6", "icmp6"}) {
        const bool is_ipv6 = std::string_view{protocol}.ends_with('6');
        for (const std::size_t length : {78U, 79U, 100U, 1513U, 9000U, 65535U}) {
            const std::string words = std::string{protocol} +
                                      ",dl_vlan=7,packet_length=" + std::to_string(length) +
                                      (is_ipv6 ? ",ipv6_src=2001:db8::ffff:1,ipv6_dst=fe80::fffe"
                                               : ",nw_src=192.168.255.254,nw_dst=10.0.0.9");
            const auto key = parse_packet(words);
            ASSERT_TRUE(key.has_value()) << words << key.error().message;
            const auto f = frame_of(*key);
            ASSERT_EQ(f.size(), length);
            const std::size_t network = 18;
            const std::size_t transport = network + (is_ipv6 ? 40 : 20);
            if (!is_ipv6) {
                EXPECT_EQ(sum_of(f, network, transport, 0), 0xffffU) << words;
            }
            const std::uint32_t pseudo =
                std::string_view{protocol} == "icmp"
                    ? 0
                    : sum_of(f, network + (is_ipv6 ? 8 : 12), transport,
                             static_cast<std::uint32_t>(length - transport +
                                                        key->number(flow::field::nw_proto)));
            EXPECT_EQ(sum_of(f, transport, f.size(), pseudo), 0xffffU) << words;
        }
    }
}

} // namespace
} // namespace strait::control
