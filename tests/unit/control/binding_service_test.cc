// SPDX-License-Identifier: BSD-3-Clause
// Bindings as clients say them: what is refused and why, what workers see of them.
#include "service_fixture.hh"

#include "control/dhcp_snooper.hh"
#include "control/ip_text.hh"
#include "dataplane/guard/guard.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

class bindings_of_the_service : public testing_support::methods_of_the_service {
protected:
    bindings_of_the_service() { add_two_ports(); }

    std::string add(std::string_view rest)
    {
        return why("binding.add",
                   R"({"port":"a","mac":"02:00:00:00:00:01")" + std::string{rest} + "}");
    }
    const guard::port_guard* guard_of(const std::string& port)
    {
        const auto& p = *switch_.ports().at(port).config;
        return testing_support::shared_engine().current().port(p.index)->guard.get();
    }
};

TEST_F(bindings_of_the_service, are_listed_as_they_were_said)
{
    EXPECT_EQ(add(R"(,"addresses":"10.0.0.5,fd00::5,fd01::/64")"), R"(done: {"added":true})");
    EXPECT_EQ(why("binding.add", R"({"port":"b","mac":"02:00:00:00:00:02","vlan":11})"),
              R"(done: {"added":true})");
    const auto all = ask("binding.list").as_array();
    ASSERT_EQ(all.size(), 4U);
    EXPECT_EQ(all[0], json::parse(R"({"port":"a","bridge":"br0","vlan":null,
        "mac":"02:00:00:00:00:01","address":"10.0.0.5","type":"static","expires":null})"));
    EXPECT_EQ(all[2].at("address"), "fd01::/64");
    EXPECT_EQ(all[3], json::parse(R"({"port":"b","bridge":"br0","vlan":11,
        "mac":"02:00:00:00:00:02","address":null,"type":"static","expires":null})"));
    EXPECT_EQ(ask("binding.list", R"({"port":"b"})").as_array().size(), 1U);
    EXPECT_EQ(ask("binding.del", R"({"port":"a","mac":"02:00:00:00:00:01",
        "addresses":"fd00::5"})")
                  .at("removed"),
              1);
    EXPECT_EQ(ask("binding.del", R"({"port":"a"})").at("removed"), 3);
    ask("port.del", R"({"name":"b"})");
    EXPECT_EQ(ask("binding.list").as_array().size(), 0U) << "they go with their port";
}

TEST_F(bindings_of_the_service, that_are_wrong_are_refused_with_what_would_be_right)
{
    EXPECT_THAT(why("binding.add", R"({"port":"x","mac":"02:00:00:00:00:01"})"),
                HasSubstr("there is no port x"));
    EXPECT_THAT(why("binding.add", R"({"port":"a","mac":"01:00:00:00:00:01"})"),
                HasSubstr("multicast"));
    EXPECT_THAT(why("binding.add", R"({"port":"a","mac":"00:00:00:00:00:00"})"), HasSubstr("zero"));
    EXPECT_THAT(why("binding.add", R"({"port":"a","mac":"nonsense"})"), HasSubstr("mac"));
    EXPECT_THAT(add(R"(,"addresses":"10.0.0.300")"), HasSubstr("10.0.0.300 is no address"));
    EXPECT_THAT(add(R"(,"addresses":"10.0.0.1,,10.0.0.2")"), HasSubstr("an empty word"));
    EXPECT_THAT(add(R"(,"addresses":"10.0.0.1,10.0.0.1")"), HasSubstr("twice"));
    EXPECT_THAT(add(R"(,"addresses":"10.0.0.1/24")"), HasSubstr("the network is 10.0.0.0/24"));
    EXPECT_THAT(add(R"(,"addresses":"224.0.0.1")"), HasSubstr("no address of a station"));
    EXPECT_THAT(add(R"(,"addresses":"ff02::1")"), HasSubstr("no address of a station"));
    EXPECT_THAT(add(R"(,"addresses":"0.0.0.0")"), HasSubstr("no address of a station"));
    EXPECT_THAT(why("binding.add", R"({"port":"b","mac":"02:00:00:00:00:01","vlan":99})"),
                HasSubstr("does not carry VLAN 99"));
    EXPECT_EQ(ask("binding.list").as_array().size(), 0U);

    EXPECT_EQ(add(R"(,"addresses":"10.0.0.1")"), R"(done: {"added":true})");
    ask("port.set", R"({"name":"b","no_vlan":true})");
    EXPECT_THAT(why("binding.add", R"({"port":"b","mac":"02:00:00:00:00:01"})"),
                HasSubstr("02:00:00:00:00:01 is bound to port a already"));
    EXPECT_THAT(
        why("binding.add", R"({"port":"b","mac":"02:00:00:00:00:02","addresses":"10.0.0.1"})"),
        HasSubstr("10.0.0.1 is bound to 02:00:00:00:00:01 on port a already"));
    EXPECT_EQ(why("binding.add",
                  R"({"port":"b","mac":"02:00:00:00:00:01","addresses":"10.0.0.1","vlan":9})"),
              R"(done: {"added":true})")
        << "in another VLAN";
    EXPECT_THAT(why("binding.add", R"({"port":"a","mac":"02:00:00:00:00:01","vlan":9})"),
                HasSubstr("binding del b 02:00:00:00:00:01 --vlan 9 ends that"));
    EXPECT_THAT(why("binding.add",
                    R"({"port":"a","mac":"02:00:00:00:00:03","addresses":"10.0.0.1","vlan":9})"),
                HasSubstr("binding del b 02:00:00:00:00:01 --vlan 9 ends that"));

    EXPECT_THAT(why("binding.del", R"({"port":"x"})"), HasSubstr("there is no port x"));
    EXPECT_THAT(why("binding.del", R"({"port":"a","mac":"02:00:00:00:00:09"})"),
                HasSubstr("has no such binding"));
    EXPECT_THAT(why("binding.del", R"({"port":"a","vlan":9})"), HasSubstr("give the MAC"));
    EXPECT_EQ(ask("binding.del", R"({"port":"x","if_exists":true})").at("removed"), 0);
    EXPECT_THAT(why("binding.list", R"({"port":"x"})"), HasSubstr("there is no port x"));
}

TEST_F(bindings_of_the_service, are_seen_by_workers_only_where_they_are_asked_to_look)
{
    add(R"(,"addresses":"10.0.0.1")");
    EXPECT_EQ(guard_of("a"), nullptr);
    EXPECT_EQ(ask("port.set", R"({"name":"a","port_security":true})").at("port_security"), true);
    ASSERT_NE(guard_of("a"), nullptr);
    EXPECT_TRUE(guard_of("a")->security);
    EXPECT_FALSE(guard_of("a")->open);
    ASSERT_EQ(guard_of("a")->stations.size(), 1U);
    EXPECT_EQ(guard_of("b"), nullptr);
    ask("bridge.set", R"({"name":"br0","neigh_suppress":true,"dhcp_snooping":true})");
    ASSERT_NE(guard_of("b"), nullptr);
    EXPECT_TRUE(guard_of("b")->suppresses);
    EXPECT_FALSE(guard_of("b")->security);
    EXPECT_EQ(guard_of("b")->dhcp, guard::dhcp_role::snooped);
    ask("port.set", R"({"name":"b","dhcp_trust":true})");
    EXPECT_EQ(guard_of("b")->dhcp, guard::dhcp_role::trusted);
    EXPECT_TRUE(guard_of("a")->security) << "others' changes leave it";
    // A binding in the VLAN of untagged frames follows it.
    ask("port.set", R"({"name":"a","vlan":12})");
    EXPECT_EQ(guard_of("a")->stations.at(0).vlan, dataplane::vlan_id{12});
    EXPECT_EQ(ask("binding.list", R"({"port":"a"})").at(0).at("vlan"), 12);
    const auto shown = ask("bridge.list").at(0);
    EXPECT_EQ(shown.at("dhcp_snooping"), true);
    EXPECT_EQ(shown.at("neigh_suppress"), true);
    EXPECT_EQ(shown.at("neigh_answers"), 0);
    ask("bridge.set", R"({"name":"br0","neigh_suppress":false,"dhcp_snooping":false})");
    ask("port.set", R"({"name":"a","port_security":false})");
    EXPECT_EQ(guard_of("a"), nullptr);
    EXPECT_EQ(guard_of("b"), nullptr);
}

TEST_F(bindings_of_the_service, of_routers_are_not_answered_for)
{
    ask("bridge.set", R"({"name":"br0","neigh_suppress":true})");
    EXPECT_EQ(add(R"(,"addresses":"10.0.0.1,fd00::1,fe80::1")"), R"(done: {"added":true})");
    const auto known = [&](std::string_view address) {
        return guard_of("a")->bridge->find(*parse_address(address), {}) != nullptr;
    };
    EXPECT_TRUE(known("10.0.0.1") && known("fd00::1") && known("fe80::1"));
    add(R"(,"addresses":"0.0.0.0/0")");
    EXPECT_TRUE(known("10.0.0.1") && known("fd00::1"));
    add(R"(,"addresses":"::/0")");
    EXPECT_TRUE(known("10.0.0.1")) << "ARP tells nothing of routers";
    EXPECT_FALSE(known("fd00::1") || known("fe80::1"));
}

TEST_F(bindings_of_the_service, a_port_is_open_to_dhcp_until_an_operator_binds_a_mac)
{
    ask("bridge.set", R"({"name":"br0","dhcp_snooping":true})");
    ask("port.set", R"({"name":"a","port_security":true})");
    EXPECT_TRUE(guard_of("a")->open);
    add("");
    EXPECT_FALSE(guard_of("a")->open);
    ask("binding.del", R"({"port":"a"})");
    EXPECT_TRUE(guard_of("a")->open);
    ask("bridge.set", R"({"name":"br0","dhcp_snooping":false})");
    EXPECT_FALSE(guard_of("a")->open) << "no lease would bind it";
}

TEST_F(bindings_of_the_service, are_told_of_in_traces)
{
    add(R"(,"addresses":"10.0.0.1")");
    ask("port.set", R"({"name":"a","port_security":true})");
    const auto trace = [&](std::string_view packet) {
        return json::serialize(
            ask("trace", R"({"port":"a","packet":")" + std::string{packet} + R"("})"));
    };
    EXPECT_THAT(trace("udp,dl_src=02:00:00:00:00:02,nw_src=10.0.0.1"), HasSubstr("spoofed_mac"));
    EXPECT_THAT(trace("udp,dl_src=02:00:00:00:00:01,nw_src=10.0.0.2"), HasSubstr("spoofed_ip"));
    EXPECT_THAT(trace("udp,dl_src=02:00:00:00:00:01,nw_src=10.0.0.1"),
                HasSubstr("port security: from what is bound"));
}

} // namespace
} // namespace strait::control
