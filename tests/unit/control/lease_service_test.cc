// SPDX-License-Identifier: BSD-3-Clause
// Leases that clients and servers tell of: whom they bind where, and who keeps what he has.
#include "dhcp_messages.hh"
#include "service_fixture.hh"

#include "dataplane/guard/guard.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::control {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using guard::testing_support::ether;
using guard::testing_support::everybody;
using guard::testing_support::ipv4;
using guard::testing_support::mac;
using guard::testing_support::tagged;
using guard::testing_support::udp;
using guard::testing_support::v4;
using kind4 = dhcp4_message::kind;
using testing::ElementsAre;
using testing::IsEmpty;

// Clients behind a and b, a server behind s.
class leases_of_the_service : public methods_of_the_service {
protected:
    leases_of_the_service()
    {
        ask("bridge.add", R"({"name":"br0","dhcp_snooping":true})");
        for (const std::string name : {"a", "b", "s"}) {
            ask("port.add", R"({"name":")" + name + R"(","bridge":"br0","type":"nic","device":")" +
                                name + R"("})");
            link(name, true);
        }
        ask("port.set", R"({"name":"s","dhcp_trust":true})");
    }

    void link(const std::string& port, bool up)
    {
        fakes_.links[port] = up;
        switch_.look_at_links();
    }
    const guard::port_guard& guard_of(const std::string& port)
    {
        const auto& p = *switch_.ports().at(port).config;
        return *shared_engine().current().port(p.index)->guard;
    }
    // What a worker shows when a port gives it this frame.
    void show(const std::string& port, const bytes& frame)
    {
        const auto& p = *switch_.ports().at(port).config;
        dataplane::packet shown{};
        shown.data = reinterpret_cast<std::byte*>(const_cast<std::uint8_t*>(frame.data()));
        shown.length = static_cast<std::uint32_t>(frame.size());
        shown.head_length = static_cast<std::uint16_t>(frame.size());
        ASSERT_TRUE(guard_of(port).outlet->rings[0]->put(
            shown, {.tsc = ++tsc_, .incarnation = p.incarnation}, p.index,
            guard::dhcp_outlet::most_bytes));
    }
    void look() { (void)switch_.look_at_dhcp(now_); }

    static bytes asks(unsigned client)
    {
        message4 m;
        m.transaction = client;
        m.client = mac(client);
        m.options = type4(kind4::request);
        return ether(everybody, mac(client), 0x0800,
                     ipv4(v4(0), bytes(4, 0xff), 17, udp(68, 67, m.build())));
    }
    static bytes grants(unsigned client, unsigned address)
    {
        message4 m;
        m.operation = 2;
        m.transaction = client;
        m.client = mac(client);
        m.yours = v4(address);
        m.options = type4(kind4::acknowledge) + option4(51, u32(60));
        return ether(mac(client), mac(99), 0x0800,
                     ipv4(v4(99), v4(address), 17, udp(67, 68, m.build())));
    }
    void lease(const std::string& port, unsigned client, unsigned address)
    {
        show(port, asks(client));
        show("s", grants(client, address));
        look();
    }
    // "PORT MAC's-last-digit ADDRESS" of each binding.
    std::vector<std::string> bound()
    {
        std::vector<std::string> out;
        const auto listed = ask("binding.list");
        for (const auto& row : listed.as_array()) {
            const auto text = [&row](const char* name) {
                const auto* const s = row.at(name).if_string();
                return s == nullptr ? std::string{"-"} : std::string{std::string_view{*s}};
            };
            out.push_back(text("port") + " " + text("mac").substr(16) + " " + text("address"));
        }
        return out;
    }

    bindings::clock::time_point now_{bindings::clock::now()};
    std::uint64_t tsc_{0};
};

TEST_F(leases_of_the_service, bind_where_the_client_asked)
{
    lease("a", 1, 5);
    EXPECT_THAT(bound(), ElementsAre("a 1 10.0.0.5"));
    ASSERT_EQ(guard_of("a").stations.size(), 1U) << "workers know it";
}

TEST_F(leases_of_the_service, do_not_move_from_who_is_there_to_who_says_he_is_he)
{
    lease("a", 1, 5);
    lease("b", 2, 5);
    EXPECT_THAT(bound(), ElementsAre("a 1 10.0.0.5")) << "known by what the client says it is";
    lease("a", 4, 5);
    EXPECT_THAT(bound(), ElementsAre("a 1 10.0.0.5")) << "nor there";
    now_ += 61s;
    lease("b", 2, 5);
    EXPECT_THAT(bound(), ElementsAre("b 2 10.0.0.5")) << "the other's is over";
    link("b", false);
    lease("a", 3, 5);
    EXPECT_THAT(bound(), ElementsAre("a 3 10.0.0.5")) << "nobody is there";
}

TEST_F(leases_of_the_service, move_with_their_mac_all_of_them)
{
    lease("a", 1, 5);
    lease("a", 1, 6);
    lease("a", 2, 7);
    now_ += 61s;
    lease("b", 1, 5);
    EXPECT_EQ(bound().size(), 3U) << "a guest that is there keeps its MAC";
    link("a", false);
    lease("b", 1, 5);
    EXPECT_THAT(bound(), ElementsAre("a 2 10.0.0.7", "b 1 10.0.0.5"));
}

TEST_F(leases_of_the_service, of_one_batch_see_each_other)
{
    show("a", asks(1));
    show("b", asks(2));
    show("s", grants(1, 5));
    show("s", grants(2, 5));
    look();
    EXPECT_THAT(bound(), ElementsAre("a 1 10.0.0.5"));
}

TEST_F(leases_of_the_service, leave_what_an_operator_bound)
{
    ask("binding.add", R"({"port":"a","mac":"02:00:00:00:00:01","addresses":"10.0.0.5"})");
    lease("a", 1, 5);
    link("a", false);
    lease("b", 2, 5);
    now_ += 61s;
    lease("b", 1, 6);
    EXPECT_THAT(bound(), ElementsAre("a 1 10.0.0.5"));
    EXPECT_EQ(ask("binding.list").at(0).at("type"), "static");
}

TEST_F(leases_of_the_service, end_when_their_port_changes_its_vlan)
{
    ask("binding.add", R"({"port":"a","mac":"02:00:00:00:00:03","vlan":9})");
    lease("a", 1, 5);
    show("a", asks(2));
    look();
    ask("port.set", R"({"name":"a","mtu":1400})");
    EXPECT_EQ(bound().size(), 2U);
    EXPECT_EQ(guard_of("a").stations.size(), 2U);
    ask("port.set", R"({"name":"a","vlan":12})");
    EXPECT_THAT(bound(), ElementsAre("a 3 -"));
    EXPECT_THAT(guard_of("a").stations, IsEmpty()) << "in a VLAN that it does not carry";
    EXPECT_EQ(guard_of("a").bridge->port_of(mac_of(mac(3)), dataplane::vlan_id{9}),
              dataplane::no_port);
    show("s", grants(2, 6));
    look();
    EXPECT_EQ(bound().size(), 1U) << "asked in the VLAN that it was in";
}

TEST_F(leases_of_the_service, are_of_the_vlan_where_both_are)
{
    show("a", tagged(asks(1), 9));
    show("s", grants(1, 5));
    show("s", tagged(grants(1, 5), 8));
    look();
    EXPECT_THAT(bound(), IsEmpty());
    show("s", tagged(grants(1, 5), 9));
    look();
    EXPECT_THAT(bound(), ElementsAre("a 1 10.0.0.5"));
    EXPECT_EQ(ask("binding.list").at(0).at("vlan"), 9);
}

TEST_F(leases_of_the_service, fill_a_port)
{
    for (unsigned i = 0; i < bindings::most_leased; ++i) {
        EXPECT_FALSE(guard_of("a").full);
        lease("a", i + 1, i + 1);
    }
    EXPECT_TRUE(guard_of("a").full);
    EXPECT_FALSE(guard_of("b").full);
}

} // namespace
} // namespace strait::control
