// SPDX-License-Identifier: BSD-3-Clause
// Addresses and routes as text and as workers see them; tunnels' options.
#include "control/endpoints.hh"

#include "control/ip_text.hh"
#include "control/tunnel_options.hh"

#include <gtest/gtest.h>

namespace strait::control {
namespace {

using endpoint::ip_address;
using endpoint::ip_prefix;

endpoints::place place(const std::string& bridge)
{
    return {dataplane::bridge_index{static_cast<std::uint16_t>(bridge.back() - '0')},
            dataplane::port_index{7}, dataplane::mac_address{2}};
}

ip_prefix prefix(const std::string& text)
{
    return parse_prefix(text).value();
}
ip_address address(const std::string& text)
{
    return parse_address(text).value();
}

TEST(ip_text, is_read_as_it_is_written)
{
    for (const std::string text : {"10.0.0.1/24", "0.0.0.0/0", "255.255.255.255/32", "fd00::1/64",
                                   "::/0", "fd00::1:2/128"}) {
        EXPECT_EQ(to_text(prefix(text)), text);
    }
    for (const std::string text :
         {"", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0/8", "fd00::1/129", "10.0.0.1/-1",
          "10.0.0.1/24/", " 10.0.0.1/24", "::ffff:10.0.0.1/96"}) {
        EXPECT_FALSE(parse_prefix(text)) << text;
    }
}

TEST(ip_prefix, contains_what_has_its_bits)
{
    EXPECT_TRUE(prefix("10.0.0.1/24").contains(address("10.0.0.255")));
    EXPECT_FALSE(prefix("10.0.0.1/24").contains(address("10.0.1.0")));
    EXPECT_TRUE(prefix("0.0.0.0/0").contains(address("192.0.2.1")));
    EXPECT_FALSE(prefix("0.0.0.0/0").contains(address("fd00::1")));
    EXPECT_FALSE(prefix("::/0").contains(address("192.0.2.1")));
    EXPECT_TRUE(prefix("fd00::1/65").contains(address("fd00::7fff:ffff:ffff:ffff")));
    EXPECT_FALSE(prefix("fd00::1/65").contains(address("fd00::8000:0:0:0")));
    EXPECT_TRUE(prefix("fd00::1/128").contains(address("fd00::1")));
}

TEST(endpoints, lead_by_the_longest_prefix)
{
    endpoints e;
    ASSERT_TRUE(e.add(endpoints::address{"br1", prefix("10.0.0.1/24"), 0}).has_value());
    ASSERT_TRUE(e.add(endpoints::address{"br2", prefix("10.1.0.1/24"), 9}).has_value());
    ASSERT_TRUE(e.add(endpoints::route{prefix("0.0.0.0/0"), address("10.0.0.254")}).has_value());
    ASSERT_TRUE(e.add(endpoints::route{prefix("10.2.0.0/16"), address("10.1.0.254")}).has_value());
    const auto config = e.build(place);
    const auto way = [&](const std::string& to) {
        const endpoint::route* const r = config->find(address(to));
        return r == nullptr ? std::string{"none"}
                            : to_text(config->interfaces[r->out].at.address) + " " +
                                  (r->via.is_set() ? to_text(r->via) : "there");
    };
    EXPECT_EQ(way("10.0.0.9"), "10.0.0.1 there");
    EXPECT_EQ(way("10.1.0.9"), "10.1.0.1 there");
    EXPECT_EQ(way("10.2.3.4"), "10.1.0.1 10.1.0.254");
    EXPECT_EQ(way("192.0.2.1"), "10.0.0.1 10.0.0.254");
    EXPECT_EQ(way("fd00::1"), "none");
    EXPECT_EQ(config->interfaces[1].vlan, dataplane::vlan_id{9});
    EXPECT_NE(config->version, e.build(place)->version);
}

TEST(endpoints, whose_address_goes_lead_nowhere_by_its_gateways)
{
    endpoints e;
    ASSERT_TRUE(e.add(endpoints::address{"br1", prefix("10.0.0.1/24"), 0}).has_value());
    ASSERT_TRUE(e.add(endpoints::address{"br1", prefix("fd00::1/64"), 0}).has_value());
    ASSERT_TRUE(e.add(endpoints::route{prefix("0.0.0.0/0"), address("10.0.0.254")}).has_value());
    EXPECT_FALSE(e.remove("br2", prefix("10.0.0.1/24")));
    EXPECT_TRUE(e.remove("br1", prefix("10.0.0.1/24")));
    EXPECT_EQ(e.build(place)->find(address("192.0.2.1")), nullptr);
    EXPECT_TRUE(e.has("br1"));
    e.remove_bridge("br1");
    EXPECT_EQ(e.build(place), nullptr);
}

TEST(endpoints, that_make_no_sense_are_refused)
{
    endpoints e;
    ASSERT_TRUE(e.add(endpoints::address{"br1", prefix("10.0.0.1/24"), 0}).has_value());
    for (const auto* text : {"10.0.0.1/8", "0.0.0.0/8", "224.0.0.1/8", "ff02::1/64", "::/64"}) {
        EXPECT_TRUE(e.add(endpoints::address{"br1", prefix(text), 0}).has_error()) << text;
    }
    const auto refused = [&e](const char* to, const char* via) {
        return e.add(endpoints::route{prefix(to), address(via)}).has_error();
    };
    EXPECT_TRUE(refused("10.1.0.1/16", "10.0.0.254"));
    EXPECT_TRUE(refused("10.1.0.0/16", "10.1.0.254"));
    EXPECT_TRUE(refused("fd00::/64", "10.0.0.254"));
    EXPECT_FALSE(refused("10.1.0.0/16", "10.0.0.254"));
    EXPECT_TRUE(refused("10.1.0.0/16", "10.0.0.253"));
}

TEST(mac_of_bridge, is_always_the_same_and_local)
{
    EXPECT_EQ(mac_of_bridge("br0"), mac_of_bridge("br0"));
    EXPECT_NE(mac_of_bridge("br0"), mac_of_bridge("br1"));
    for (const auto* name : {"br0", "br1", "a", "under"}) {
        EXPECT_EQ(mac_of_bridge(name).value() & 3, 2U) << name;
    }
}

port_request request(const std::string& type, boost::json::object options)
{
    port_request r;
    r.type = type;
    r.options = std::move(options);
    return r;
}

TEST(tunnel_options, have_their_usual_values)
{
    const auto s = tunnel_settings(request("vxlan", {})).value();
    EXPECT_EQ(s.what, tunnel::kind::vxlan);
    EXPECT_EQ(s.destination_port, 4789);
    EXPECT_EQ(s.hop_limit, 64);
    EXPECT_TRUE(s.dont_fragment);
    EXPECT_FALSE(s.has_key || s.checksum.has_value() || s.policy || s.sequence || s.key_by_flow);
    EXPECT_EQ(tunnel_settings(request("geneve", {})).value().destination_port, 6081);
    EXPECT_EQ(tunnel_settings(request("gre", {})).value().destination_port, 0);
    EXPECT_FALSE(is_tunnel("nic"));
}

TEST(tunnel_options, are_taken_over)
{
    const auto s = tunnel_settings(request("gre", {{"remote", "fd00::2"},
                                                   {"local", "flow"},
                                                   {"key", "0xffffffff"},
                                                   {"ttl", "inherit"},
                                                   {"tos", "0xff"},
                                                   {"df", "off"},
                                                   {"csum", true},
                                                   {"seq", true}}))
                       .value();
    EXPECT_EQ(s.remote, address("fd00::2"));
    EXPECT_TRUE(s.local_by_flow && s.has_key && s.inherits_hop_limit && s.checksum == true &&
                s.sequence);
    EXPECT_EQ(s.key, 0xffff'ffff);
    EXPECT_EQ(s.traffic_class, 0xfc);
    EXPECT_FALSE(s.dont_fragment);
}

TEST(tunnel_options, that_are_wrong_are_told)
{
    for (const auto& [options, sentence] : std::vector<std::pair<boost::json::object, std::string>>{
             {{{"remote", "224.0.0.1"}}, "--remote is 224.0.0.1; it must be an address of a host"},
             {{{"key", "16777216"}}, "for vxlan it must be a number of 24 bits, or flow"},
             {{{"key", "x"}}, "for vxlan it must be a number of 24 bits, or flow"},
             {{{"ttl", "0"}}, "--ttl is 0; it must be a number from 1 to 255, or inherit"},
             {{{"tos", "256"}}, "--tos is 256; it must be a number from 0 to 255, or inherit"},
             {{{"remote", "10.0.0.2"}, {"local", "fd00::1"}}, "are not of one IP version"}}) {
        const auto s = tunnel_settings(request("vxlan", options));
        ASSERT_TRUE(s.has_error());
        EXPECT_NE(s.error().message.find(sentence), std::string::npos) << s.error().message;
    }
}

TEST(tunnel_options, of_two_tunnels_alike_are_the_same_claim)
{
    const auto claim = [](boost::json::object options) {
        return claims_of_tunnel(request("vxlan", std::move(options)));
    };
    EXPECT_EQ(claim({{"remote", "10.0.0.2"}, {"key", "5"}}),
              claim({{"remote", "10.0.0.2"}, {"key", "0x5"}, {"ttl", "9"}}));
    EXPECT_NE(claim({{"remote", "10.0.0.2"}}), claim({{"remote", "10.0.0.3"}}));
    EXPECT_NE(claim({{"key", "flow"}}), claim({{"key", "0"}}));
    EXPECT_NE(claim({{"dst_port", 8472}}), claim({}));
}

} // namespace
} // namespace strait::control
