// SPDX-License-Identifier: BSD-3-Clause
// What is bound to ports: by operators, by leases; and what transactions of DHCP come to.
#include "control/bindings.hh"

#include "control/dhcp_snooper.hh"
#include "dhcp_messages.hh"

#include <gtest/gtest.h>

namespace strait::control {
namespace {

using namespace testing_support;
using namespace std::chrono_literals;
using dataplane::mac_address;
using endpoint::ip_address;
using kind4 = dhcp4_message::kind;
using kind6 = dhcp6_message::kind;
using leased = bindings::leased;

constexpr mac_address mac_a{0x0a00'0000'0002};
constexpr mac_address mac_b{0x0b00'0000'0002};
constexpr ip_address ip(std::uint32_t n)
{
    return ip_address::v4(0x0a00'0000 + n);
}
const bindings::clock::time_point now{};

std::size_t addresses_of(const bindings& b, const std::string& port)
{
    std::size_t n = 0;
    if (const auto* const stations = b.of(port)) {
        for (const auto& s : *stations) {
            n += s.addresses.size();
        }
    }
    return n;
}

TEST(bindings, are_added_and_removed_by_mac_and_address)
{
    bindings b;
    ASSERT_TRUE(b.add("p", std::nullopt, mac_a, {whole(ip(1)), whole(ip(2))}).has_value());
    ASSERT_TRUE(b.add("p", 7, mac_a, {whole(ip(3))}).has_value());
    ASSERT_TRUE(b.add("p", std::nullopt, mac_b, {}).has_value());
    EXPECT_EQ(b.of("p")->size(), 3U);
    ASSERT_TRUE(b.add("p", std::nullopt, mac_a, {whole(ip(2)), whole(ip(4))}).has_value());
    EXPECT_EQ(addresses_of(b, "p"), 4U);
    EXPECT_EQ(b.remove("p", mac_a, std::nullopt, {whole(ip(1)), whole(ip(9))}), 1U);
    EXPECT_EQ(b.remove("p", mac_a, 8, {}), 0U);
    EXPECT_EQ(b.remove("p", mac_a, 7, {}), 2U) << "the MAC and its address";
    EXPECT_EQ(b.remove("q", std::nullopt, std::nullopt, {}), 0U);
    EXPECT_EQ(b.remove("p", std::nullopt, std::nullopt, {}), 4U);
    EXPECT_EQ(b.of("p"), nullptr);
}

TEST(bindings, are_bounded_and_what_is_refused_changes_nothing)
{
    bindings b;
    for (std::uint64_t i = 0; i < bindings::most_stations; ++i) {
        ASSERT_TRUE(b.add("p", std::nullopt, mac_address{2 | i << 8}, {}).has_value());
    }
    EXPECT_TRUE(b.add("p", std::nullopt, mac_a, {}).has_error());
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(1), std::nullopt), leased::refused);
    std::vector<endpoint::ip_prefix> many;
    for (std::uint32_t i = 0; i <= bindings::most_addresses; ++i) {
        many.push_back(whole(ip(i + 1)));
    }
    EXPECT_TRUE(b.add("q", std::nullopt, mac_a, many).has_error());
    EXPECT_EQ(b.of("q"), nullptr);
    many.pop_back();
    EXPECT_TRUE(b.add("q", std::nullopt, mac_a, many).has_value());
    EXPECT_EQ(b.lease("q", std::nullopt, mac_a, ip(9999), std::nullopt), leased::refused);
}

TEST(leases, end_with_their_time_and_their_mac_with_the_last)
{
    bindings b;
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(1), now + 10s), leased::made);
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(2), std::nullopt), leased::made);
    EXPECT_FALSE(b.expire(now + 9s));
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(1), now + 20s), leased::renewed);
    EXPECT_FALSE(b.expire(now + 10s));
    EXPECT_TRUE(b.expire(now + 20s));
    EXPECT_EQ(addresses_of(b, "p"), 1U) << "the other is for ever";
    EXPECT_FALSE(b.end_lease("p", std::nullopt, mac_b, ip(2)));
    EXPECT_FALSE(b.end_lease("p", 5, mac_a, ip(2)));
    EXPECT_FALSE(b.end_lease("q", std::nullopt, mac_a, ip(2)));
    EXPECT_TRUE(b.end_lease("p", std::nullopt, mac_a, ip(2)));
    EXPECT_EQ(b.of("p"), nullptr);
    EXPECT_FALSE(b.expire(now + 1000s));
}

TEST(leases, leave_what_an_operator_said)
{
    bindings b;
    ASSERT_TRUE(b.add("p", std::nullopt, mac_a, {whole(ip(1))}).has_value());
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(1), now + 1s), leased::given);
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(2), now + 1s), leased::made);
    EXPECT_FALSE(b.end_lease("p", std::nullopt, mac_a, ip(1)));
    EXPECT_TRUE(b.expire(now + 1s));
    ASSERT_NE(b.of("p"), nullptr);
    EXPECT_EQ(addresses_of(b, "p"), 1U);
    // What was leased becomes an operator's when he says it.
    EXPECT_EQ(b.lease("p", std::nullopt, mac_b, ip(3), now + 1s), leased::made);
    ASSERT_TRUE(b.add("p", std::nullopt, mac_b, {whole(ip(3))}).has_value());
    EXPECT_FALSE(b.expire(now + 5s));
    EXPECT_EQ(addresses_of(b, "p"), 2U);
}

TEST(leases, of_a_port_or_a_mac_end_at_once)
{
    bindings b;
    ASSERT_TRUE(b.add("p", std::nullopt, mac_a, {whole(ip(1))}).has_value());
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(2), std::nullopt), leased::made);
    EXPECT_EQ(b.lease("p", 7, mac_a, ip(3), std::nullopt), leased::made);
    EXPECT_EQ(b.lease("p", 7, mac_a, ip(4), std::nullopt), leased::made);
    EXPECT_EQ(b.lease("p", 7, mac_b, ip(5), std::nullopt), leased::made);
    EXPECT_FALSE(b.end_leases("p", 8, mac_a));
    EXPECT_TRUE(b.end_leases("p", 7, mac_a));
    EXPECT_EQ(addresses_of(b, "p"), 3U);
    EXPECT_TRUE(b.end_leases("p"));
    EXPECT_FALSE(b.end_leases("p"));
    EXPECT_EQ(addresses_of(b, "p"), 1U) << "an operator's";
    EXPECT_FALSE(b.end_leases("q"));
}

TEST(leases, are_bounded_for_a_port)
{
    bindings b;
    EXPECT_FALSE(b.is_full("p"));
    for (std::uint32_t i = 0; i < bindings::most_leased; ++i) {
        EXPECT_EQ(
            b.lease("p", std::nullopt, mac_address{2 | std::uint64_t{i} << 8}, ip(i + 1), now + 1s),
            leased::made);
    }
    EXPECT_TRUE(b.is_full("p"));
    EXPECT_FALSE(b.is_full("q"));
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(999), now + 1s), leased::refused);
    EXPECT_EQ(b.lease("q", std::nullopt, mac_a, ip(999), now + 1s), leased::made);
    EXPECT_TRUE(b.end_lease("p", std::nullopt, mac_address{2}, ip(1)));
    EXPECT_EQ(b.lease("p", std::nullopt, mac_a, ip(998), now + 1s), leased::made);
}

class snooped : public testing::Test {
protected:
    static constexpr dataplane::bridge_index bridge{1};
    const dhcp_snooper::place port_{bridge, "p", std::nullopt};
    dhcp_snooper s_;

    static dhcp_frame frame(const message4& m)
    {
        const bytes b = m.build();
        return {mac_of(m.client), {}, {}, read_dhcp4(as_span(b)).value()};
    }
    static message4 message(kind4 k, const bytes& options = {})
    {
        message4 m;
        m.operation = k == kind4::acknowledge || k == kind4::refuse || k == kind4::offer ? 2 : 1;
        m.options = type4(k) + options;
        if (m.operation == 2) {
            m.yours = {10, 0, 0, 5};
        }
        return m;
    }
    static message4 acknowledgement(std::uint32_t lease = 60)
    {
        return message(kind4::acknowledge, option4(51, u32(lease)));
    }
    void ask(const dhcp_snooper::place& from, std::chrono::seconds when = 0s)
    {
        EXPECT_TRUE(
            s_.client(from, frame(message(kind4::request, option4(50, {10, 0, 0, 5}))), now + when)
                .empty());
    }
};

TEST_F(snooped, an_acknowledgement_binds_where_the_client_asked)
{
    EXPECT_TRUE(s_.server(bridge, {}, frame(acknowledgement()), now).empty()) << "nobody asked";
    ask({bridge, "p", 9});
    EXPECT_TRUE(s_.server(dataplane::bridge_index{2}, {}, frame(acknowledgement()), now).empty());
    const auto got = s_.server(bridge, {}, frame(acknowledgement()), now + 1s);
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].where.port, "p");
    EXPECT_EQ(got[0].where.vlan, 9);
    EXPECT_EQ(got[0].mac, mac_of({2, 0, 0, 0, 0, 1}));
    EXPECT_EQ(got[0].address, ip(5));
    EXPECT_EQ(got[0].lease, 60U);
    message4 other = acknowledgement();
    other.transaction = 9;
    EXPECT_TRUE(s_.server(bridge, {}, frame(other), now).empty());
    other = acknowledgement();
    other.client = {2, 0, 0, 0, 0, 2};
    EXPECT_TRUE(s_.server(bridge, {}, frame(other), now).empty());
    EXPECT_TRUE(s_.server(bridge, {}, frame(acknowledgement()), now + 61s).empty()) << "too late";
}

TEST_F(snooped, an_acknowledgement_in_another_vlan_is_not_the_clients)
{
    ask({bridge, "p", 9, dataplane::vlan_id{9}});
    EXPECT_TRUE(s_.server(bridge, {}, frame(acknowledgement()), now).empty());
    EXPECT_TRUE(s_.server(bridge, dataplane::vlan_id{8}, frame(acknowledgement()), now).empty());
    EXPECT_EQ(s_.server(bridge, dataplane::vlan_id{9}, frame(acknowledgement()), now).size(), 1U);
}

TEST_F(snooped, nothing_else_binds)
{
    ask(port_);
    EXPECT_TRUE(
        s_.server(bridge, {}, frame(message(kind4::offer, option4(51, u32(60)))), now).empty());
    EXPECT_TRUE(s_.server(bridge, {}, frame(message(kind4::acknowledge)), now).empty())
        << "without a lease: it tells settings alone";
    message4 to_nobody = acknowledgement();
    to_nobody.yours = bytes(4);
    EXPECT_TRUE(s_.server(bridge, {}, frame(to_nobody), now).empty());
    to_nobody.yours = {224, 0, 0, 1};
    EXPECT_TRUE(s_.server(bridge, {}, frame(to_nobody), now).empty());
}

TEST_F(snooped, a_lease_ends_by_who_has_it_and_by_the_server)
{
    message4 release = message(kind4::release);
    release.current = {10, 0, 0, 5};
    auto gone = s_.client(port_, frame(release), now);
    ASSERT_EQ(gone.size(), 1U);
    EXPECT_EQ(gone[0].address, ip(5));
    EXPECT_FALSE(gone[0].lease);
    gone = s_.client(port_, frame(message(kind4::decline, option4(50, {10, 0, 0, 6}))), now);
    ASSERT_EQ(gone.size(), 1U);
    EXPECT_EQ(gone[0].address, ip(6));
    ask(port_);
    gone = s_.server(bridge, {}, frame(message(kind4::refuse)), now);
    ASSERT_EQ(gone.size(), 1U);
    EXPECT_EQ(gone[0].address, ip(5));
    EXPECT_FALSE(gone[0].lease);
    gone = s_.server(bridge, {}, frame(acknowledgement(0)), now);
    ASSERT_EQ(gone.size(), 1U);
    EXPECT_FALSE(gone[0].lease);
}

TEST_F(snooped, who_hears_a_client_ask_does_not_take_its_answer)
{
    ask(port_);
    ask({bridge, "thief", std::nullopt}, 1s);
    EXPECT_EQ(s_.server(bridge, {}, frame(acknowledgement()), now + 2s).at(0).where.port, "p");
    ask({bridge, "thief", std::nullopt}, 100s);
    EXPECT_EQ(s_.server(bridge, {}, frame(acknowledgement()), now + 100s).at(0).where.port, "thief")
        << "long after: the client moved";
}

TEST_F(snooped, clients_fill_nothing_but_their_own)
{
    ask(port_);
    message4 m = message(kind4::discover);
    for (std::uint32_t i = 0; i < 10'000; ++i) {
        m.transaction = i;
        (void)s_.client({bridge, "flood", std::nullopt}, frame(m), now);
    }
    EXPECT_EQ(s_.size(), dhcp_snooper::most_of_port + 1);
    EXPECT_EQ(s_.server(bridge, {}, frame(acknowledgement()), now).size(), 1U);
    s_.forget_port("flood");
    EXPECT_EQ(s_.size(), 1U);
    s_.forget_port("p");
    s_.forget_port("p");
    EXPECT_EQ(s_.size(), 0U);
}

TEST_F(snooped, replies_of_dhcp6_bind)
{
    const bytes fd_five{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5};
    const ip_address local{0xfe80'0000'0000'0000, 1};
    const auto six = [&](kind6 k, bool from_client, const bytes& options) {
        const bytes b = message6(k, 7, options);
        return dhcp_frame{mac_a, from_client ? local : ip_address{1, 1},
                          from_client ? ip_address{1, 1} : local, read_dhcp6(as_span(b)).value()};
    };
    const bytes has = association6(address6(fd_five, 600));
    EXPECT_TRUE(s_.server(bridge, {}, six(kind6::reply, false, has), now).empty());
    EXPECT_TRUE(s_.client(port_, six(kind6::request, true, {}), now).empty());
    EXPECT_TRUE(s_.server(bridge, {}, six(kind6::advertise, false, has), now).empty());
    const auto got = s_.server(bridge, {}, six(kind6::reply, false, has), now);
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].mac, mac_a);
    EXPECT_EQ(got[0].address, address_of(fd_five));
    EXPECT_EQ(got[0].lease, 600U);
    EXPECT_FALSE(
        s_.server(bridge, {}, six(kind6::reply, false, association6(address6(fd_five, 0))), now)
            .at(0)
            .lease);
    EXPECT_TRUE(s_.server(bridge, {},
                          six(kind6::reply, false, association6(address6(bytes(16, 0xff), 9))), now)
                    .empty());
    const auto gone = s_.client(port_, six(kind6::release, true, has), now);
    ASSERT_EQ(gone.size(), 1U);
    EXPECT_FALSE(gone[0].lease);
}

} // namespace
} // namespace strait::control
