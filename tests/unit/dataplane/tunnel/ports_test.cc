// SPDX-License-Identifier: BSD-3-Clause
// Which tunnel a packet is of: the most specific one.
#include "dataplane/tunnel/ports.hh"

#include <gtest/gtest.h>

#include <optional>

namespace strait::tunnel {
namespace {

using dataplane::no_port;
using dataplane::port_index;
using endpoint::ip_address;

constexpr ip_address here = ip_address::v4(0x0a00'0001);
constexpr ip_address there = ip_address::v4(0x0a00'0002);
constexpr ip_address elsewhere = ip_address::v4(0x0a00'0003);

settings make(kind what, ip_address local, ip_address remote, std::optional<std::uint64_t> key)
{
    settings s;
    s.what = what;
    s.local = local;
    s.remote = remote;
    s.key_by_flow = !key;
    s.key = key.value_or(0);
    s.has_key = true;
    s.destination_port = what == kind::vxlan ? vxlan_port : what == kind::geneve ? geneve_port : 0;
    return s;
}

port_index find(const table& t, kind what, ip_address remote, std::uint64_t key,
                std::uint16_t port = vxlan_port)
{
    contents c;
    c.header.what = what;
    c.header.key = key;
    c.header.destination_port = port;
    outer_ip ip;
    ip.source = remote;
    ip.destination = here;
    return t.find(c, ip);
}

TEST(table, prefers_a_key_to_a_remote_address_and_that_to_a_local_one)
{
    constexpr port_index all{1};
    constexpr port_index local{2};
    constexpr port_index remote{3};
    constexpr port_index both{4};
    constexpr port_index key{5};
    constexpr port_index key_and_remote{6};
    table t;
    EXPECT_TRUE(t.empty());
    t.add(make(kind::vxlan, {}, {}, std::nullopt), all);
    EXPECT_EQ(find(t, kind::vxlan, there, 7), all);
    t.add(make(kind::vxlan, here, {}, std::nullopt), local);
    EXPECT_EQ(find(t, kind::vxlan, there, 7), local);
    t.add(make(kind::vxlan, {}, there, std::nullopt), remote);
    EXPECT_EQ(find(t, kind::vxlan, there, 7), remote);
    EXPECT_EQ(find(t, kind::vxlan, elsewhere, 7), local);
    t.add(make(kind::vxlan, here, there, std::nullopt), both);
    EXPECT_EQ(find(t, kind::vxlan, there, 7), both);
    t.add(make(kind::vxlan, {}, {}, 7), key);
    EXPECT_EQ(find(t, kind::vxlan, there, 7), key);
    EXPECT_EQ(find(t, kind::vxlan, there, 8), both);
    t.add(make(kind::vxlan, {}, there, 7), key_and_remote);
    EXPECT_EQ(find(t, kind::vxlan, there, 7), key_and_remote);
    EXPECT_EQ(find(t, kind::vxlan, elsewhere, 7), key);
}

TEST(table, tells_kinds_and_ports_apart)
{
    table t;
    t.add(make(kind::vxlan, {}, there, 7), port_index{1});
    EXPECT_FALSE(t.has_gre());
    EXPECT_EQ(find(t, kind::geneve, there, 7, geneve_port), no_port);
    EXPECT_EQ(find(t, kind::vxlan, there, 7, 4790), no_port);
    ASSERT_NE(t.at_udp_port(vxlan_port), nullptr);
    EXPECT_EQ(*t.at_udp_port(vxlan_port), kind::vxlan);
    EXPECT_EQ(t.at_udp_port(geneve_port), nullptr);
}

TEST(table, reads_a_GRE_key_as_a_virtual_subnet_where_no_tunnel_has_it)
{
    table t;
    t.add(make(kind::nvgre, {}, there, 0x123456), port_index{1});
    EXPECT_TRUE(t.has_gre());
    EXPECT_EQ(find(t, kind::gre, there, 0x12345650), port_index{1});
    EXPECT_EQ(find(t, kind::gre, there, 0x12345750), no_port);
    t.add(make(kind::gre, {}, there, 0x12345650), port_index{2});
    EXPECT_EQ(find(t, kind::gre, there, 0x12345650), port_index{2});
    EXPECT_EQ(find(t, kind::gre, there, 0x12345651), port_index{1});
}

} // namespace
} // namespace strait::tunnel
