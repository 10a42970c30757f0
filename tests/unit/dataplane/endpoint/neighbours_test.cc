// SPDX-License-Identifier: BSD-3-Clause
// Neighbours: asked for once a second, learned when they were asked for, refreshed and forgotten;
// and read by some while others write.
#include "dataplane/endpoint/neighbours.hh"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace strait::endpoint {
namespace {

using dataplane::bridge_index;
using dataplane::mac_address;
using dataplane::seconds_t;
using dataplane::vlan_id;

constexpr neighbours::key who{ip_address::v4(0x0a00'0002), bridge_index{1}, vlan_id{5}};
constexpr mac_address mac{0x0b00'0000'0002};

TEST(neighbours, are_asked_for_once_a_second_by_one)
{
    neighbours n;
    const auto first = n.use(who, 10);
    EXPECT_TRUE(first.mac.is_zero());
    EXPECT_TRUE(first.ask);
    EXPECT_FALSE(n.use(who, 10).ask);
    EXPECT_TRUE(n.use(who, 11).ask);
}

TEST(neighbours, are_learned_when_they_were_asked_for)
{
    neighbours n;
    n.learn(who, mac, 10);
    EXPECT_TRUE(n.find(who, 10).is_zero());
    (void)n.use(who, 10);
    const auto generation = n.generation();
    n.learn(who, mac_address{0x0100'0000'0001}, 10); // multicast
    EXPECT_TRUE(n.find(who, 10).is_zero());
    n.learn(who, mac, 10);
    EXPECT_EQ(n.find(who, 10), mac);
    EXPECT_NE(n.generation(), generation);
    neighbours::key other = who;
    other.vlan = vlan_id{6};
    EXPECT_TRUE(n.find(other, 10).is_zero());
}

TEST(neighbours, are_asked_again_while_they_are_used_and_forgotten_when_they_are_silent)
{
    neighbours n;
    (void)n.use(who, 10);
    n.learn(who, mac, 10);
    constexpr seconds_t refreshed = 10 + neighbours::refreshed_after;
    EXPECT_FALSE(n.use(who, refreshed - 1).ask);
    const auto old = n.use(who, refreshed);
    EXPECT_TRUE(old.ask);
    EXPECT_EQ(old.mac, mac);
    constexpr seconds_t forgotten = 10 + neighbours::forgotten_after;
    EXPECT_EQ(n.use(who, forgotten - 1).mac, mac);
    EXPECT_TRUE(n.use(who, forgotten).mac.is_zero());
    n.learn(who, mac, forgotten);
    EXPECT_EQ(n.use(who, forgotten + 1).mac, mac);
}

TEST(neighbours, of_another_worker_a_second_ahead_are_not_old)
{
    neighbours n;
    (void)n.use(who, 11);
    n.learn(who, mac, 11);
    EXPECT_EQ(n.use(who, 10).mac, mac);
}

TEST(neighbours, that_are_many_make_way_for_each_other)
{
    neighbours n;
    constexpr std::uint32_t many = 3 * neighbours::capacity;
    for (std::uint32_t i = 0; i < many; ++i) {
        const neighbours::key k{ip_address::v4(0x0a00'0000 + i), bridge_index{}, vlan_id{}};
        EXPECT_TRUE(n.use(k, i / 100).ask);
        n.learn(k, mac, i / 100);
        EXPECT_EQ(n.find(k, i / 100), mac);
    }
    std::size_t count = 0;
    n.for_each(many / 100, [&count](const neighbours::listed&) { ++count; });
    EXPECT_LE(count, neighbours::capacity);
    EXPECT_GT(count, neighbours::capacity / 2);
}

TEST(neighbours, are_flushed_by_bridge)
{
    neighbours n;
    (void)n.use(who, 10);
    n.learn(who, mac, 10);
    const bridge_index other{2};
    n.flush(&other);
    EXPECT_EQ(n.find(who, 10), mac);
    n.flush(&who.bridge);
    EXPECT_TRUE(n.find(who, 10).is_zero());
}

// Two MACs take turns; nobody reads a mixture of them, nor another neighbour's.
TEST(neighbours, are_read_whole)
{
    neighbours n;
    constexpr mac_address other{0x0c11'1111'1102};
    (void)n.use(who, 1);
    std::atomic<bool> stop{false};
    std::thread writer{[&] {
        for (seconds_t i = 2; i < 20'000; ++i) {
            n.learn(who, i % 2 == 0 ? mac : other, i);
        }
        stop = true;
    }};
    while (!stop) {
        const mac_address seen = n.find(who, 1);
        EXPECT_TRUE(seen.is_zero() || seen == mac || seen == other) << seen.value();
    }
    writer.join();
}

} // namespace
} // namespace strait::endpoint
