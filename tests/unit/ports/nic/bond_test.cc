// SPDX-License-Identifier: BSD-3-Clause
// Bonds of virtual devices: what can be a member, and that nothing is left of a refusal. What they
// do with links, partners and unplugged members is seen on NICs, in tests/system/test_pci.py.
#include "tests/unit/ports/nic/lab.hh"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include <rte_ethdev.h>

namespace strait::test {
namespace {

using nic::bond_mode;
using nic::split_devices;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(lists_of_devices, are_split_where_a_word_has_no_value)
{
    EXPECT_THAT(split_devices(""), IsEmpty());
    EXPECT_THAT(split_devices("0000:03:00.0"), ElementsAre("0000:03:00.0"));
    EXPECT_THAT(split_devices("0000:03:00.0,0000:04:00.0"),
                ElementsAre("0000:03:00.0", "0000:04:00.0"));
    EXPECT_THAT(
        split_devices("net_af_packet0,iface=a,framesz=2048,net_null0,net_null1,size=64"),
        ElementsAre("net_af_packet0,iface=a,framesz=2048", "net_null0", "net_null1,size=64"));
    EXPECT_THAT(split_devices("size=64,net_null0"), ElementsAre("size=64", "net_null0"));
    EXPECT_THAT(split_devices("a,,b,"), ElementsAre("a", "", "b"));
}

class bonds : public ::testing::Test {
protected:
    void SetUp() override
    {
        if (!enter_lab()) {
            GTEST_SKIP() << "skipped: a network namespace of the test's own needs root";
        }
        pool_ = make_pool();
    }
    auto make(const std::string& members, bond_mode mode = bond_mode::active_backup,
              std::uint32_t mtu = 1500)
    {
        return nic::make_bond(
            {.name = "up0", .members = split_devices(members), .mode = mode, .mtu = mtu},
            pool_.get(), rcu_);
    }
    std::string refusal(const std::string& members, std::uint32_t mtu = 1500)
    {
        const std::uint16_t before = rte_eth_dev_count_avail();
        auto made = make(members, bond_mode::active_backup, mtu);
        if (made) {
            return "accepted";
        }
        EXPECT_EQ(rte_eth_dev_count_avail(), before) << "something is left of it";
        return made.error().message;
    }

    pool_ptr pool_;
    dataplane::rcu_domain rcu_;
};

TEST_F(bonds, receive_and_send_by_their_members)
{
    for (const bond_mode mode : {bond_mode::active_backup, bond_mode::balance}) {
        auto made = make("net_null0,size=128,net_null1,size=128", mode);
        ASSERT_TRUE(made) << made.error().message;
        port_under_test port{std::move(made).value(), pool_.get()};
        ASSERT_TRUE(port->start());
        port->tend();
        // Another thread looks at links.
        for (int i = 0; i < 200 && !port->link_up(); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds{10});
        }
        ASSERT_TRUE(port->link_up());
        const auto in = port.receive(64);
        ASSERT_GE(in.size(), 64U);
        EXPECT_EQ(in.front().size(), 128U);
        borrowed_packet one{make_frame("02:00:00:00:00:0b", "02:00:00:00:00:0a", 1514), 3};
        port.transmit({&one.get()});
        EXPECT_EQ(port.counters().tx_packets.read(), 1U);
        const auto details = port->details();
        ASSERT_EQ(details.front().first, "members");
        const auto& members = std::get<std::vector<std::string>>(details.front().second);
        if (mode == bond_mode::balance) {
            EXPECT_THAT(members, ElementsAre("net_null0: up", "net_null1: up"));
        } else {
            EXPECT_THAT(members, ElementsAre("net_null0: up, active", "net_null1: up, in reserve"));
        }
        EXPECT_EQ(port->why_lost(), "");
    }
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U) << "mbufs leaked";
}

TEST_F(bonds, have_an_mtu_that_all_of_their_members_can_have)
{
    run("ip link add veth0 type veth peer name veth1 && ip link set veth0 up && "
        "ip link set veth1 up");
    const std::string members = "net_null0,net_af_packet0,iface=veth0";
    {
        auto made = make(members);
        ASSERT_TRUE(made) << made.error().message;
        port_under_test port{std::move(made).value(), pool_.get()};
        EXPECT_EQ(std::get<std::int64_t>(port.detail("max_mtu")), 1500);
        const auto refused = port->set_mtu(1501);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().message,
                  "port up0: device net_af_packet0, a member of the bond, cannot do an MTU of "
                  "1501: it does 68 to 1500");
        EXPECT_EQ(std::get<std::int64_t>(port.detail("mtu")), 1500);
    }
    EXPECT_EQ(refusal(members, 9000),
              "port up0: device net_af_packet0, a member of the bond, cannot do an MTU of 9000: "
              "it does 68 to 1500");
    run("ip link del veth0");
}

TEST_F(bonds, are_refused_in_a_sentence_with_nothing_left)
{
    EXPECT_EQ(refusal("net_null0,net_null0"), "port up0: device net_null0 is given twice");
    EXPECT_THAT(refusal("net_null0,net_tap0,iface=tap0"),
                HasSubstr("device net_tap0 is a tap, which has no link that could fail"));
    EXPECT_THAT(refusal("net_null0,0000:7f:00.0"),
                HasSubstr("there is no PCI device 0000:7f:00.0"));
    EXPECT_THAT(refusal("net_null0,net_af_packet0,iface=none0"),
                HasSubstr("there is no interface none0"));
    EXPECT_THAT(refusal("net_null0,sixe=7"), HasSubstr("has no argument \"sixe\""));
    EXPECT_THAT(refusal(""), HasSubstr("no device was named"));
    run("ip link add veth0 type veth peer name veth1 && ip link set veth0 up && "
        "ip link set veth1 up");
    EXPECT_EQ(refusal("net_af_packet0,iface=veth0,net_af_packet1,iface=veth0"),
              "port up0: interface veth0 is given twice");
    {
        auto other = nic::make_port({.name = "other", .device = "net_null0"}, pool_.get());
        ASSERT_TRUE(other) << other.error().message;
        EXPECT_EQ(refusal("net_null1,net_null0"),
                  "port up0: device net_null0 is in use by port other");
    }
    const auto made = make("net_null0,net_af_packet0,iface=veth0");
    EXPECT_TRUE(made);
    run("ip link del veth0");
}

} // namespace
} // namespace strait::test
