// SPDX-License-Identifier: BSD-3-Clause
// What a station may send, and each way to pretend to be another.
#include "dataplane/guard/port_security.hh"

#include "tests/unit/dataplane/guard/frames.hh"

#include <gtest/gtest.h>

namespace strait::guard {
namespace {

using namespace testing_support;
using dataplane::drop_reason;
using dataplane::to_string;

// `segment_size`: of what is still to be cut.
std::string check(guarded& at, const bytes& frame, std::uint16_t segment_size = 0)
{
    const auto b = std::make_unique<dataplane::burst>();
    dataplane::packet_slot& p = b->slots[0];
    place(p, frame, *b);
    p.offload.segment_size = segment_size;
    flow::key k;
    flow::header_layout where;
    if (!flow::extract(p, k, where)) {
        dataplane::lengthen_head(p, *b);
        (void)flow::extract(p, k, where);
    }
    const auto& port = at.guarded_port();
    const auto wrong = check_sender(*at.g, port, p, k, where);
    return wrong ? std::string{to_string(*wrong)} : "passes";
}

class port_security : public testing::Test {
protected:
    std::string arp_of(const bytes& ethernet, unsigned operation, const bytes& sha,
                       const bytes& spa, const bytes& tpa)
    {
        return check(at_, ether(everybody, ethernet, 0x0806, arp(operation, sha, spa, tpa)));
    }
    std::string ipv4_of(const bytes& ethernet, const bytes& from)
    {
        return check(at_, ether(mac(2), ethernet, 0x0800, ipv4(from, v4(2), 6, bytes(20, 0x50))));
    }
    std::string ipv6_of(const bytes& ethernet, const bytes& from)
    {
        return check(at_, ether(mac(2), ethernet, 0x86dd, ipv6(from, v6(2), 6, bytes(20, 0x50))));
    }
    std::string icmpv6_of(const bytes& from, const bytes& message)
    {
        return check(at_, ether(all_nodes, mac(1), 0x86dd, icmpv6(from, v6(2), message)));
    }
    guarded at_;
};

TEST_F(port_security, lets_a_station_be_itself)
{
    EXPECT_EQ(ipv4_of(mac(1), v4(1)), "passes");
    EXPECT_EQ(ipv6_of(mac(1), v6(1)), "passes");
    EXPECT_EQ(ipv6_of(mac(1), link_local(1)), "passes");
    EXPECT_EQ(arp_of(mac(1), 1, mac(1), v4(1), v4(2)), "passes");
    EXPECT_EQ(arp_of(mac(1), 2, mac(1), v4(1), v4(2)), "passes");
    EXPECT_EQ(arp_of(mac(1), 1, mac(1), v4(0), v4(1)), "passes") << "it looks whether it is free";
    EXPECT_EQ(check(at_, ether(everybody, mac(1), 0x88cc, bytes(30))), "passes");
}

TEST_F(port_security, drops_who_has_another_mac_or_address)
{
    EXPECT_EQ(ipv4_of(mac(2), v4(1)), "spoofed_mac");
    EXPECT_EQ(ipv4_of(mac(3), v4(1)), "spoofed_mac");
    EXPECT_EQ(check(at_, ether(everybody, mac(2), 0x88cc, bytes(30))), "spoofed_mac");
    EXPECT_EQ(ipv4_of(mac(1), v4(2)), "spoofed_ip");
    EXPECT_EQ(ipv4_of(mac(1), v4(0)), "spoofed_ip");
    EXPECT_EQ(ipv6_of(mac(1), v6(2)), "spoofed_ip");
    EXPECT_EQ(ipv6_of(mac(1), v6(0)), "spoofed_ip");
    EXPECT_EQ(ipv6_of(mac(1), link_local(2)), "spoofed_ip");
    at_.bind(3);
    EXPECT_EQ(ipv4_of(mac(3), v4(3)), "passes");
    EXPECT_EQ(ipv4_of(mac(3), v4(1)), "spoofed_ip") << "the port's other station";
}

TEST_F(port_security, takes_no_ipv4_address_for_one_of_ipv6)
{
    const bytes mapped = bytes(10) + bytes{0xff, 0xff} + v4(1);
    EXPECT_EQ(ipv6_of(mac(1), mapped), "spoofed_ip");
}

TEST_F(port_security, drops_arp_that_lies)
{
    EXPECT_EQ(arp_of(mac(1), 2, mac(2), v4(1), v4(2)), "spoofed_arp");
    EXPECT_EQ(arp_of(mac(1), 2, mac(1), v4(2), v4(1)), "spoofed_arp");
    EXPECT_EQ(arp_of(mac(1), 1, mac(1), v4(2), v4(1)), "spoofed_arp");
    EXPECT_EQ(arp_of(mac(1), 1, mac(1), v4(0), v4(2)), "spoofed_arp") << "another's address";
    EXPECT_EQ(check(at_, ether(everybody, mac(1), 0x0806, bytes(10))), "spoofed_arp") << "cut off";
    bytes odd = arp(1, mac(1), v4(1), v4(2));
    odd[1] = 6; // hardware that is no Ethernet
    EXPECT_EQ(check(at_, ether(everybody, mac(1), 0x0806, odd)), "spoofed_arp");
    EXPECT_EQ(check(at_, ether(everybody, mac(1), 0x8035, arp(3, mac(1), v4(0), v4(0)))), "passes");
    EXPECT_EQ(check(at_, ether(everybody, mac(1), 0x8035, arp(3, mac(2), v4(0), v4(0)))),
              "spoofed_arp");
}

TEST_F(port_security, drops_discovery_that_lies)
{
    constexpr std::uint8_t ns = 135;
    constexpr std::uint8_t na = 136;
    const bytes source = link_option(1, mac(1));
    const bytes target = link_option(2, mac(1));
    EXPECT_EQ(icmpv6_of(v6(1), nd(ns, v6(2), source)), "passes");
    EXPECT_EQ(icmpv6_of(v6(1), nd(ns, v6(2))), "passes");
    EXPECT_EQ(icmpv6_of(v6(0), nd(ns, v6(1))), "passes") << "duplicate address detection";
    EXPECT_EQ(icmpv6_of(v6(0), nd(ns, link_local(1))), "passes");
    EXPECT_EQ(icmpv6_of(v6(1), nd(na, v6(1), target)), "passes");
    EXPECT_EQ(icmpv6_of(link_local(1), nd(na, v6(1), target)), "passes");

    EXPECT_EQ(icmpv6_of(v6(1), nd(ns, v6(2), link_option(1, mac(2)))), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(v6(0), nd(ns, v6(2))), "spoofed_nd") << "another's address";
    EXPECT_EQ(icmpv6_of(v6(0), nd(ns, v6(1), source)), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(v6(1), nd(na, v6(2), target)), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(v6(1), nd(na, v6(1), link_option(2, mac(2)))), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(v6(0), nd(na, v6(1), target)), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(v6(1), nd(na, v6(1), target + link_option(2, mac(2)))), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(v6(1), bytes{na, 0, 0, 0, 0, 0, 0, 0}), "spoofed_nd") << "cut off";
    EXPECT_EQ(icmpv6_of(v6(1), bytes{na, 0, 0, 0}), "spoofed_nd");
    bytes odd = nd(na, v6(1), target);
    odd[1] = 1; // a code that nobody knows
    EXPECT_EQ(icmpv6_of(v6(1), odd), "spoofed_nd");
    bytes many;
    for (int i = 0; i < 20; ++i) {
        many = many + bytes{14, 1, 0, 0, 0, 0, 0, 0};
    }
    EXPECT_EQ(icmpv6_of(v6(1), nd(na, v6(1), many + link_option(2, mac(2)))), "spoofed_nd")
        << "further than is looked at";
}

TEST_F(port_security, drops_discovery_behind_other_headers_and_in_fragments)
{
    const bytes lie = nd(136, v6(2), link_option(2, mac(1)));
    const bytes options{58, 0, 1, 4, 0, 0, 0, 0};
    EXPECT_EQ(check(at_, ether(all_nodes, mac(1), 0x86dd, ipv6(v6(1), v6(2), 60, options + lie))),
              "spoofed_nd");
    const bytes truth = nd(136, v6(1), link_option(2, mac(1)));
    EXPECT_EQ(check(at_, ether(all_nodes, mac(1), 0x86dd, ipv6(v6(1), v6(2), 60, options + truth))),
              "passes");
    const bytes first{58, 0, 0, 1, 0, 0, 0, 9};
    EXPECT_EQ(check(at_, ether(all_nodes, mac(1), 0x86dd, ipv6(v6(1), v6(2), 44, first + truth))),
              "spoofed_nd")
        << "RFC 6980";
    const bytes echo = bytes{128, 0, 0, 0, 0, 1, 0, 1} + bytes(16);
    EXPECT_EQ(check(at_, ether(all_nodes, mac(1), 0x86dd, ipv6(v6(1), v6(2), 44, first + echo))),
              "passes");
    const bytes endless{60, 255, 1, 4, 0, 0, 0, 0};
    EXPECT_EQ(check(at_, ether(all_nodes, mac(1), 0x86dd, ipv6(v6(1), v6(2), 60, endless))),
              "spoofed_ip");
}

TEST_F(port_security, lets_routers_be_those_that_may_send_from_anywhere)
{
    const bytes advertisement = bytes{134, 0, 0, 0, 64, 0, 7, 8} + bytes(8);
    EXPECT_EQ(icmpv6_of(link_local(1), advertisement), "spoofed_nd");
    const bytes redirect = bytes{137, 0, 0, 0, 0, 0, 0, 0} + v6(2) + v6(2);
    EXPECT_EQ(icmpv6_of(link_local(1), redirect), "spoofed_nd");
    at_.bind_prefix(v6(0), 0);
    EXPECT_EQ(icmpv6_of(link_local(1), advertisement), "passes");
    EXPECT_EQ(icmpv6_of(link_local(1), redirect), "passes");
    EXPECT_EQ(ipv6_of(mac(1), v6(77)), "passes");
    EXPECT_EQ(ipv4_of(mac(1), v4(77)), "spoofed_ip") << "of IPv6 alone";
}

TEST_F(port_security, lets_a_host_ask_before_it_has_an_address)
{
    EXPECT_EQ(icmpv6_of(v6(0), bytes{133, 0, 0, 0, 0, 0, 0, 0}), "passes");
    EXPECT_EQ(icmpv6_of(v6(0), bytes{143, 0, 0, 0, 0, 0, 0, 0}), "passes");
    EXPECT_EQ(icmpv6_of(v6(0), bytes{128, 0, 0, 0, 0, 0, 0, 0}), "spoofed_nd");
    const auto asks = [&](const bytes& to, unsigned from_port, unsigned to_port, const bytes& m) {
        return check(
            at_, ether(everybody, mac(1), 0x0800, ipv4(v4(0), to, 17, udp(from_port, to_port, m))));
    };
    const bytes all(4, 0xff);
    EXPECT_EQ(asks(all, 68, 67, dhcp(1, mac(1))), "passes");
    EXPECT_EQ(asks(all, 68, 67, dhcp(1, mac(2))), "spoofed_mac") << "for another";
    EXPECT_EQ(asks(all, 68, 67, dhcp(2, mac(1))), "spoofed_mac") << "as a server";
    EXPECT_EQ(asks(all, 68, 67, bytes(4)), "spoofed_mac") << "cut off";
    EXPECT_EQ(asks(v4(2), 68, 67, dhcp(1, mac(1))), "spoofed_ip");
    EXPECT_EQ(asks(all, 68, 68, dhcp(1, mac(1))), "spoofed_ip");
    EXPECT_EQ(asks(all, 1, 67, dhcp(1, mac(1))), "spoofed_ip");
}

TEST_F(port_security, tells_vlans_apart_and_sees_through_tags)
{
    const bytes frame = ether(mac(2), mac(1), 0x0800, ipv4(v4(1), v4(2), 6, bytes(20, 0x50)));
    EXPECT_EQ(check(at_, tagged(frame, 0)), "passes") << "a priority alone";
    EXPECT_EQ(check(at_, tagged(frame, 9)), "spoofed_mac");
    EXPECT_EQ(check(at_, tagged(tagged(frame, 9), 0)), "spoofed_mac")
        << "a priority, and the VLAN behind it";
    at_.g->stations[0].vlan = dataplane::vlan_id{9};
    EXPECT_EQ(check(at_, tagged(frame, 9)), "passes");
    EXPECT_EQ(check(at_, tagged(tagged(frame, 9), 0)), "passes");
    EXPECT_EQ(check(at_, tagged(tagged(frame, 5), 9)), "passes");
    EXPECT_EQ(check(at_, tagged(tagged(tagged(frame, 5), 5), 9)), "spoofed_ip");
    const bytes lie = ether(mac(2), mac(1), 0x0800, ipv4(v4(2), v4(2), 6, bytes(20, 0x50)));
    EXPECT_EQ(check(at_, tagged(tagged(lie, 5), 9)), "spoofed_ip");
}

TEST_F(port_security, opens_a_port_for_a_first_lease_and_no_more)
{
    at_.g->stations.clear();
    at_.g->open = true;
    const bytes all(4, 0xff);
    const auto asks = [&](unsigned n) {
        return check(at_, ether(everybody, mac(n), 0x0800,
                                ipv4(v4(0), all, 17, udp(68, 67, dhcp(1, mac(n))))));
    };
    EXPECT_EQ(asks(3), "passes");
    EXPECT_EQ(asks(2), "spoofed_mac") << "bound to another port";
    EXPECT_EQ(ipv4_of(mac(3), v4(3)), "spoofed_ip");
    EXPECT_EQ(arp_of(mac(3), 1, mac(3), v4(3), v4(2)), "spoofed_arp");
    EXPECT_EQ(check(at_, ether(everybody, mac(3), 0x88cc, bytes(30))), "spoofed_mac");
    EXPECT_EQ(
        check(at_, ether(all_nodes, mac(3), 0x86dd, ipv6(link_local(3), v6(2), 17, udp(546, 547)))),
        "passes");
    EXPECT_EQ(
        check(at_, ether(all_nodes, bytes{3, 0, 0, 0, 0, 1}, 0x0800,
                         ipv4(v4(0), all, 17, udp(68, 67, dhcp(1, bytes{3, 0, 0, 0, 0, 1}))))),
        "spoofed_mac")
        << "a multicast";
}

TEST_F(port_security, lets_who_is_bound_nowhere_ask_and_nothing_else)
{
    at_.g->stations.clear();
    at_.g->open = true;
    const auto four = [&](const bytes& from, const bytes& to, unsigned from_port, unsigned of) {
        return check(at_, ether(everybody, mac(3), 0x0800,
                                ipv4(from, to, 17, udp(from_port, 67, dhcp(1, mac(of))))));
    };
    const bytes all(4, 0xff);
    EXPECT_EQ(four(v4(3), all, 68, 3), "passes") << "to keep what it was leased";
    EXPECT_EQ(four(v4(3), all, 68, 4), "spoofed_mac");
    EXPECT_EQ(four(v4(3), v4(2), 68, 3), "spoofed_ip");
    EXPECT_EQ(four(v4(3), all, 67, 3), "spoofed_ip");
    EXPECT_EQ(check(at_, ether(everybody, mac(3), 0x8035, arp(3, mac(3), v4(0), v4(0)))),
              "spoofed_arp");

    const bytes self = link_local(3);
    const auto six = [&](const bytes& from, std::uint8_t next, const bytes& content) {
        return check(at_, ether(all_nodes, mac(3), 0x86dd, ipv6(from, v6(2), next, content)));
    };
    EXPECT_EQ(six(self, 17, udp(546, 547)), "passes");
    EXPECT_EQ(six(self, 17, udp(547, 547)), "spoofed_ip");
    EXPECT_EQ(six(self, 17, udp(546, 53)), "spoofed_ip");
    EXPECT_EQ(six(self, 6, bytes(20, 0x50)), "spoofed_ip");
    EXPECT_EQ(six(self, 59, {}), "spoofed_ip");
    EXPECT_EQ(six(self, 58, bytes{128} + bytes(7)), "spoofed_ip");
    EXPECT_EQ(six(self, 58, bytes{134} + bytes(15)), "spoofed_nd");
    for (const std::uint8_t type : bytes{131, 132, 133, 143}) {
        EXPECT_EQ(six(self, 58, bytes{type} + bytes(7)), "passes") << int{type};
        EXPECT_EQ(six(v6(0), 58, bytes{type} + bytes(7)), "passes") << int{type};
        EXPECT_EQ(six(v6(3), 58, bytes{type} + bytes(7)), "spoofed_ip") << int{type};
    }
    EXPECT_EQ(six(v6(0), 58, nd(135, self)), "passes") << "duplicate address detection";
    EXPECT_EQ(six(v6(0), 58, nd(135, v6(3))), "spoofed_nd");
    EXPECT_EQ(six(self, 58, nd(135, v6(2), link_option(1, mac(3)))), "passes");
    EXPECT_EQ(six(self, 58, nd(136, self, link_option(2, mac(3)))), "passes")
        << "or no server could answer it";
    EXPECT_EQ(six(self, 58, nd(136, v6(2), link_option(2, mac(3)))), "spoofed_nd");
}

TEST_F(port_security, looks_whom_a_client_names_whatever_port_it_sends_from)
{
    const auto asks = [&](unsigned from_port, const bytes& message, unsigned place = 0) {
        return check(at_, ether(mac(2), mac(1), 0x0800,
                                ipv4(v4(1), v4(2), 17, udp(from_port, 67, message), place)));
    };
    EXPECT_EQ(asks(68, dhcp(1, mac(1))), "passes");
    EXPECT_EQ(asks(67, dhcp(1, mac(1))), "passes");
    EXPECT_EQ(asks(67, dhcp(1, mac(2))), "spoofed_mac");
    EXPECT_EQ(asks(9, dhcp(1, mac(2))), "spoofed_mac");
    constexpr unsigned more = 0x2000;
    EXPECT_EQ(asks(68, dhcp(1, mac(1)), more), "spoofed_mac") << "of which a part is to come";
    at_.g->dhcp = dhcp_role::trusted;
    EXPECT_EQ(asks(67, dhcp(2, mac(2))), "passes") << "a server's answer to a relay";
    EXPECT_EQ(asks(68, dhcp(1, mac(2))), "spoofed_mac");
    at_.g->dhcp = dhcp_role::none;
    at_.bind_prefix(bytes(10) + bytes{0xff, 0xff} + v4(0), 96);
    EXPECT_EQ(asks(67, dhcp(1, mac(2))), "passes") << "a relay";
    EXPECT_EQ(asks(67, dhcp(1, mac(2)), more), "passes");
}

TEST_F(port_security, drops_fragments_that_hide_what_asks_dhcp)
{
    constexpr unsigned more = 0x2000;
    const auto four = [&](const bytes& content, unsigned place) {
        return check(at_, ether(mac(2), mac(1), 0x0800, ipv4(v4(1), v4(2), 17, content, place)));
    };
    EXPECT_EQ(four(udp(1, 53), more), "passes");
    EXPECT_EQ(four(bytes(7), more), "spoofed_ip") << "no header of UDP";
    EXPECT_EQ(four(bytes(7), 5), "passes") << "it was in the first";
    const auto six = [&](const bytes& content, std::uint8_t offset) {
        const bytes front{17, 0, 0, static_cast<std::uint8_t>(offset | 1), 0, 0, 0, 9};
        return check(at_, ether(mac(2), mac(1), 0x86dd, ipv6(v6(1), v6(2), 44, front + content)));
    };
    EXPECT_EQ(six(udp(1, 53), 0), "passes");
    EXPECT_EQ(six(udp(546, 547), 0), "spoofed_mac");
    EXPECT_EQ(six(bytes(4), 0), "spoofed_ip");
    EXPECT_EQ(six(bytes(4), 8), "passes");
}

// Only the first of them is looked at.
TEST_F(port_security, drops_datagrams_still_to_be_cut_that_ask_dhcp)
{
    const bytes four =
        ether(mac(2), mac(1), 0x0800, ipv4(v4(1), v4(2), 17, udp(68, 67, dhcp(1, mac(1)))));
    EXPECT_EQ(check(at_, four), "passes");
    EXPECT_EQ(check(at_, four, 100), "spoofed_mac");
    const bytes six = ether(mac(2), mac(1), 0x86dd, ipv6(v6(1), v6(2), 17, udp(546, 547)));
    EXPECT_EQ(check(at_, six), "passes");
    EXPECT_EQ(check(at_, six, 10), "spoofed_mac");
    const bytes others = ether(mac(2), mac(1), 0x0800, ipv4(v4(1), v4(2), 17, udp(1, 443)));
    EXPECT_EQ(check(at_, others, 10), "passes");
}

TEST_F(port_security, drops_routers_solicitations_that_lie)
{
    const bytes asks{133, 0, 0, 0, 0, 0, 0, 0};
    const bytes own = link_option(1, mac(1));
    const bytes other = link_option(1, mac(2));
    const bytes nonce = bytes{14, 1, 1, 2, 3, 4, 5, 6};
    EXPECT_EQ(icmpv6_of(link_local(1), asks + own), "passes");
    EXPECT_EQ(icmpv6_of(link_local(1), asks + nonce + own), "passes");
    EXPECT_EQ(icmpv6_of(v6(0), asks + nonce), "passes");
    EXPECT_EQ(icmpv6_of(link_local(1), asks + other), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(link_local(1), asks + nonce + other), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(link_local(1), asks + own + other), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(v6(0), asks + own), "spoofed_nd") << "who has no address has no neighbours";
    EXPECT_EQ(icmpv6_of(link_local(1), asks + bytes{1, 2} + mac(1) + bytes(8)), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(link_local(1), asks + bytes{14, 0, 0, 0, 0, 0, 0, 0}), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(link_local(1), asks + bytes{14, 2, 0, 0, 0, 0, 0, 0}), "spoofed_nd");
    EXPECT_EQ(icmpv6_of(link_local(1), asks + bytes{14, 1, 0, 0}), "spoofed_nd");
    bytes many;
    for (int i = 0; i < 20; ++i) {
        many = many + nonce;
    }
    EXPECT_EQ(icmpv6_of(link_local(1), asks + many + other), "spoofed_nd");
}

TEST(dhcp_side, is_told_by_ports)
{
    const auto side = [](const bytes& frame) {
        const auto b = std::make_unique<dataplane::burst>();
        place(b->slots[0], frame, *b);
        flow::key k;
        flow::header_layout at;
        (void)flow::extract(b->slots[0], k, at);
        return side_of(k, at);
    };
    const auto four = [&](unsigned from, unsigned to) {
        return side(ether(mac(1), mac(2), 0x0800, ipv4(v4(1), v4(2), 17, udp(from, to))));
    };
    const auto six = [&](unsigned from, unsigned to) {
        return side(ether(mac(1), mac(2), 0x86dd, ipv6(v6(1), v6(2), 17, udp(from, to))));
    };
    EXPECT_EQ(four(68, 67), dhcp_side::client);
    EXPECT_EQ(four(67, 68), dhcp_side::server);
    EXPECT_EQ(four(1, 68), dhcp_side::server);
    EXPECT_EQ(four(67, 67), dhcp_side::server) << "a relay's";
    EXPECT_EQ(four(546, 547), dhcp_side::none);
    EXPECT_EQ(six(546, 547), dhcp_side::client);
    EXPECT_EQ(six(1, 546), dhcp_side::server);
    EXPECT_EQ(six(68, 67), dhcp_side::none);
    EXPECT_EQ(side(ether(mac(1), mac(2), 0x0800, ipv4(v4(1), v4(2), 6, bytes(20, 0x50)))),
              dhcp_side::none);
}

TEST(link_local, is_made_of_a_mac)
{
    EXPECT_EQ(
        link_local_of(mac_of({0x52, 0x54, 0x00, 0x12, 0x34, 0x56})),
        address_of({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0x00, 0xff, 0xfe, 0x12, 0x34, 0x56}));
}

} // namespace
} // namespace strait::guard
