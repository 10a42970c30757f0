// SPDX-License-Identifier: BSD-3-Clause
// The switch's own frames: what one side makes the other reads, what is hostile it does not.
// That others read them is the system tests' business.
#include "dataplane/endpoint/messages.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"
#include "dataplane/tunnel/headers.hh"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>

namespace strait::endpoint {
namespace {

using dataplane::be16;
using dataplane::load;
using dataplane::mac_address;
using dataplane::packet_slot;
using dataplane::store;
using dataplane::vlan_id;

constexpr mac_address mac_a{0x0a00'0000'0002};
constexpr mac_address mac_b{0x0b00'0000'0002};

interface make(bool ipv6, std::uint64_t last, mac_address mac, std::uint16_t vlan)
{
    interface out;
    out.at.address = ipv6 ? ip_address{0xfd00'0000'0000'0000, last}
                          : ip_address::v4(0x0a00'0000 | static_cast<std::uint32_t>(last));
    out.at.length = ipv6 ? 64 : 120;
    out.mac = mac;
    out.vlan = vlan_id{vlan};
    return out;
}

bool read(const dataplane::packet& p, arrival& a, neighbour_message& m)
{
    if (!read_arrival(p, a)) {
        return false;
    }
    if (a.type != dataplane::ethertype_ipv6) {
        return read_arp(p, a, m);
    }
    tunnel::outer_ip ip;
    return tunnel::read_ip(p, a.network, true, ip) == tunnel::fault::none &&
           read_discovery(p, a, ip.content, ip.end, m);
}

TEST(messages, questions_are_answered)
{
    for (const bool ipv6 : {false, true}) {
        for (const std::uint16_t vlan : {std::uint16_t{0}, std::uint16_t{100}}) {
            const interface a = make(ipv6, 1, mac_a, vlan);
            const interface b = make(ipv6, 2, mac_b, vlan);
            const auto p = std::make_unique<packet_slot>();
            arrival at;
            neighbour_message m;
            make_question(*p, a, b.at.address, {});
            ASSERT_TRUE(read(*p, at, m)) << ipv6 << vlan;
            EXPECT_TRUE(at.destination.is_multicast());
            EXPECT_EQ(at.vlan, vlan_id{vlan});
            EXPECT_TRUE(m.asks);
            EXPECT_EQ(m.target, b.at.address);
            EXPECT_EQ(m.sender, a.at.address);
            EXPECT_EQ(m.mac, mac_a);
            EXPECT_GE(p->length, 60U);

            const auto answer = std::make_unique<packet_slot>();
            make_answer(*answer, b, m, at.source);
            neighbour_message said;
            ASSERT_TRUE(read(*answer, at, said));
            EXPECT_EQ(at.destination, mac_a);
            EXPECT_FALSE(said.asks);
            EXPECT_EQ(said.sender, b.at.address);
            EXPECT_EQ(said.mac, mac_b);
        }
    }
}

TEST(messages, who_is_known_is_asked_alone)
{
    for (const bool ipv6 : {false, true}) {
        const auto p = std::make_unique<packet_slot>();
        make_question(*p, make(ipv6, 1, mac_a, 0), make(ipv6, 2, mac_b, 0).at.address, mac_b);
        arrival at;
        neighbour_message m;
        ASSERT_TRUE(read(*p, at, m));
        EXPECT_EQ(at.destination, mac_b);
    }
}

TEST(messages, that_are_cut_or_lie_are_not_read)
{
    for (const bool ipv6 : {false, true}) {
        const auto p = std::make_unique<packet_slot>();
        const interface a = make(ipv6, 1, mac_a, 0);
        make_question(*p, a, make(ipv6, 2, mac_b, 0).at.address, {});
        const std::uint16_t whole = ipv6 ? 86 : 42;
        for (std::uint16_t head = 0; head < whole; ++head) {
            p->head_length = head;
            p->length = head;
            arrival at;
            neighbour_message m;
            EXPECT_FALSE(read(*p, at, m)) << head;
        }
    }
    const auto p = std::make_unique<packet_slot>();
    arrival at;
    neighbour_message m;
    const auto ask = [&](bool ipv6) {
        make_question(*p, make(ipv6, 1, mac_a, 0), make(ipv6, 2, mac_b, 0).at.address, {});
    };
    ask(false);
    store(p->data + 22, std::uint8_t{0x66}); // the MAC within is not the frame's
    EXPECT_FALSE(read(*p, at, m));
    ask(false);
    store(p->data + 14, be16{6}); // another kind of link
    EXPECT_FALSE(read(*p, at, m));
    ask(true);
    store(p->data + 14 + 7, std::uint8_t{254}); // from behind a router
    EXPECT_FALSE(read(*p, at, m));
    ask(true);
    store(p->data + 14 + 40 + 2, be16{1}); // the checksum
    EXPECT_FALSE(read(*p, at, m));
}

TEST(messages, options_without_length_end_nothing)
{
    const auto p = std::make_unique<packet_slot>();
    make_question(*p, make(true, 1, mac_a, 0), make(true, 2, mac_b, 0).at.address, {});
    constexpr std::size_t option = 14 + 40 + 24;
    // The checksum stays right: what one byte loses another gains.
    store(p->data + option + 1, std::uint8_t{0});
    store(p->data + option + 7,
          static_cast<std::uint8_t>(load<std::uint8_t>(p->data + option + 7) + 1));
    arrival at;
    neighbour_message m;
    EXPECT_FALSE(read(*p, at, m));
}

TEST(messages, echoes_come_back_with_all_they_had)
{
    const auto p = std::make_unique<packet_slot>();
    begin_frame(*p);
    constexpr std::array<std::uint8_t, 46> frame{
        0x02, 0, 0,    0,    0, 0x0b, 0x02, 0, 0, 0, 0,    0x0a, 0x08, 0x00, // Ethernet
        0x45, 0, 0,    32,   0, 1,    0,    0, 1, 1, 0xa5, 0xda, 10,   0,
        0,    1, 10,   0,    0, 2,                             // IPv4, TTL 1
        8,    0, 0xf7, 0xfb, 0, 1,    0,    2, 0, 0, 0,    1}; // echo
    std::memcpy(p->data, frame.data(), frame.size());
    p->length = p->head_length = frame.size();
    tunnel::outer_ip ip;
    ASSERT_EQ(tunnel::read_ip(*p, 14, false, ip), tunnel::fault::none);
    arrival at;
    ASSERT_TRUE(read_arrival(*p, at));
    ASSERT_TRUE(turn_echo(*p, at, ip.content));
    ASSERT_TRUE(read_arrival(*p, at));
    EXPECT_EQ(at.destination, mac_a);
    tunnel::outer_ip back;
    ASSERT_EQ(tunnel::read_ip(*p, 14, false, back), tunnel::fault::none);
    EXPECT_EQ(back.destination, ip.source);
    EXPECT_EQ(back.source, ip.destination);
    EXPECT_EQ(back.hop_limit, 64);
    std::uint64_t sum = 0;
    ASSERT_TRUE(tunnel::sum_range(*p, back.content, back.end, sum));
    EXPECT_EQ(dataplane::fold(sum), 0xffff);
    EXPECT_FALSE(turn_echo(*p, at, ip.content)); // a reply is none
}

// A frame of TCP from a to b.
void make_tcp(packet_slot& p, bool ipv6)
{
    begin_frame(p);
    std::memset(p.data, 0, dataplane::longest_head);
    const std::uint64_t to = mac_b.value() | mac_a.value() << 48;
    store(p.data, to);
    store(p.data + 8, static_cast<std::uint32_t>(mac_a.value() >> 16));
    store(p.data + 12, be16{ipv6 ? dataplane::ethertype_ipv6 : dataplane::ethertype_ipv4});
    std::byte* const ip = p.data + 14;
    store(ip, static_cast<std::uint8_t>(ipv6 ? 0x60 : 0x45));
    store(ip + (ipv6 ? 6 : 9), dataplane::protocol_tcp);
    const interface a = make(ipv6, 1, mac_a, 0);
    const interface b = make(ipv6, 2, mac_b, 0);
    a.at.address.store(ip + (ipv6 ? 8 : 12));
    b.at.address.store(ip + (ipv6 ? 24 : 16));
    p.length = p.head_length = 150;
}

// What its sender is told by ICMP of a packet that make_tcp() made: type and code, the word behind
// the checksum, and the packet from its own IP header on. The error's IP header goes into `ip`.
void expect_error(packet_slot& said, const packet_slot& about, bool ipv6, std::uint16_t type_code,
                  std::uint32_t word, tunnel::outer_ip& ip)
{
    arrival at;
    ASSERT_TRUE(read_arrival(said, at));
    EXPECT_EQ(at.destination, mac_a);
    EXPECT_EQ(at.source, mac_b);
    ASSERT_EQ(tunnel::read_ip(said, 14, ipv6, ip), tunnel::fault::none);
    EXPECT_EQ(ip.destination, make(ipv6, 1, mac_a, 0).at.address);
    const std::byte* const icmp = said.data + ip.content;
    EXPECT_EQ(load<be16>(icmp), type_code);
    EXPECT_EQ(load<dataplane::be32>(icmp + 4), word);
    EXPECT_EQ(std::memcmp(icmp + 8, about.data + 14, ip.end - ip.content - 8), 0);
}

TEST(messages, senders_are_told_what_is_too_big)
{
    for (const bool ipv6 : {false, true}) {
        const auto big = std::make_unique<packet_slot>();
        make_tcp(*big, ipv6);
        const auto said = std::make_unique<packet_slot>();
        ASSERT_TRUE(make_too_big(*said, *big, 1400));
        tunnel::outer_ip ip;
        expect_error(*said, *big, ipv6, ipv6 ? 0x0200 : 0x0304, 1400, ip);
    }
}

TEST(messages, senders_are_told_by_a_router_that_the_ttl_is_used_up)
{
    for (const bool ipv6 : {false, true}) {
        const auto late = std::make_unique<packet_slot>();
        make_tcp(*late, ipv6);
        const auto said = std::make_unique<packet_slot>();
        const ip_address router = make(ipv6, 254, {}, 0).at.address;
        ASSERT_TRUE(make_time_exceeded(*said, *late, router));
        tunnel::outer_ip ip;
        expect_error(*said, *late, ipv6, ipv6 ? 0x0300 : 0x0b00, 0, ip);
        EXPECT_EQ(ip.source, router);
        EXPECT_EQ(ip.hop_limit, 64);
        // An address of the other version is none to say it from.
        EXPECT_FALSE(make_time_exceeded(*said, *late, make(!ipv6, 254, {}, 0).at.address));
    }
}

// Hosts look at no error that has less (RFC 792).
TEST(messages, errors_quote_eight_bytes_behind_all_options)
{
    const auto late = std::make_unique<packet_slot>();
    make_tcp(*late, false);
    store(late->data + 14, std::uint8_t{0x4f});
    const auto said = std::make_unique<packet_slot>();
    ASSERT_TRUE(make_time_exceeded(*said, *late, ip_address::v4(0x0a00'00fe)));
    tunnel::outer_ip ip;
    ASSERT_EQ(tunnel::read_ip(*said, 14, false, ip), tunnel::fault::none);
    ASSERT_GE(ip.end, ip.content + 8 + 60 + 8);
    EXPECT_EQ(std::memcmp(said->data + ip.content + 8, late->data + 14, 60 + 8), 0);
}

TEST(messages, errors_go_back_with_the_tags_that_packets_came_with)
{
    const auto late = std::make_unique<packet_slot>();
    make_tcp(*late, false);
    dataplane::push_tag(*late, 0x6005);
    const auto said = std::make_unique<packet_slot>();
    ASSERT_TRUE(make_time_exceeded(*said, *late, ip_address::v4(0x0a00'00fe)));
    EXPECT_EQ(load<dataplane::be32>(said->data + 12), 0x8100'6005U);
    EXPECT_EQ(said->tags, 1);
    tunnel::outer_ip ip;
    ASSERT_EQ(tunnel::read_ip(*said, 18, false, ip), tunnel::fault::none);
    EXPECT_EQ(ip.source, ip_address::v4(0x0a00'00fe));
}

TEST(messages, errors_and_multicasts_are_not_answered_with_errors)
{
    const auto big = std::make_unique<packet_slot>();
    const auto said = std::make_unique<packet_slot>();
    make_tcp(*big, false);
    store(big->data + 14 + 9, dataplane::protocol_icmp);
    store(big->data + 14 + 20, std::uint8_t{3}); // unreachable
    EXPECT_FALSE(make_too_big(*said, *big, 1400));
    store(big->data + 14 + 20, std::uint8_t{8}); // an echo
    EXPECT_TRUE(make_too_big(*said, *big, 1400));
    make_tcp(*big, true);
    store(big->data + 14 + 6, dataplane::protocol_icmpv6);
    store(big->data + 14 + 40, std::uint8_t{1});
    EXPECT_FALSE(make_too_big(*said, *big, 1400));
    store(big->data + 14 + 40, std::uint8_t{137}); // a redirect
    EXPECT_FALSE(make_too_big(*said, *big, 1400));
    for (const unsigned kind : {0U, 43U, 44U, 51U, 60U}) { // the same behind an extension header
        make_tcp(*big, true);
        store(big->data + 14 + 6, static_cast<std::uint8_t>(kind));
        std::byte* const behind = big->data + 14 + 40;
        store(behind, dataplane::protocol_icmpv6);
        store(behind + 8, std::uint8_t{1});
        EXPECT_FALSE(make_too_big(*said, *big, 1400)) << kind;
        store(behind + 8, std::uint8_t{128});
        EXPECT_TRUE(make_too_big(*said, *big, 1400)) << kind;
        store(behind + 1, std::uint8_t{0xff}); // longer than what is there
        EXPECT_EQ(make_too_big(*said, *big, 1400), kind == 44) << kind;
    }
    make_tcp(*big, true);
    store(big->data + 14 + 6, std::uint8_t{44});
    store(big->data + 14 + 40, dataplane::protocol_tcp);
    store(big->data + 14 + 40 + 2, be16{8}); // a later fragment
    EXPECT_FALSE(make_too_big(*said, *big, 1400));
    make_tcp(*big, false);
    store(big->data + 14 + 6, be16{1}); // a later fragment
    EXPECT_FALSE(make_too_big(*said, *big, 1400));
    make_tcp(*big, false);
    store(big->data, std::uint8_t{1}); // to a group
    EXPECT_FALSE(make_too_big(*said, *big, 1400));
    make_tcp(*big, false);
    store(big->data + 14 + 12, std::uint8_t{0xe0}); // from one
    EXPECT_FALSE(make_too_big(*said, *big, 1400));
    make_tcp(*big, false);
    store(big->data + 12, be16{0x88b5});
    EXPECT_FALSE(make_too_big(*said, *big, 1400));
    make_tcp(*big, false);
    for (std::uint16_t head = 0; head < 14 + 28; ++head) {
        big->head_length = head;
        EXPECT_FALSE(make_too_big(*said, *big, 1400)) << head;
    }
}

} // namespace
} // namespace strait::endpoint
