// SPDX-License-Identifier: BSD-3-Clause
// Networks of bridges come to a tree, whatever they look like, and quickly when a link fails.
#include "network.hh"
#include "tests/soak.hh"
#include "tests/unit/sanitizers.hh"

#include <gtest/gtest.h>

namespace strait::stp {
namespace {

using testing_support::address;
using testing_support::network;
using end = network::end;

// Of bridges that speak RSTP, over links with two ends each.
TEST(stp_bridge, two_links_are_agreed_on_at_once)
{
    network n;
    n.add_bridge();
    n.add_bridge();
    n.connect({0, 1});
    n.connect({0, 1});
    // No second has passed: a proposal and an agreement suffice.
    EXPECT_EQ(n.role_of({0, 1}), role::designated);
    EXPECT_EQ(n.role_of({0, 2}), role::designated);
    EXPECT_EQ(n.role_of({1, 1}), role::root);
    EXPECT_EQ(n.role_of({1, 2}), role::alternate);
    EXPECT_EQ(n.state_of({0, 1}), state::forwarding);
    EXPECT_EQ(n.state_of({1, 1}), state::forwarding);
    EXPECT_EQ(n.state_of({1, 2}), state::discarding);
    const bridge_view v = n.bridges[1]->view();
    EXPECT_EQ(v.root, n.bridges[0]->view().id);
    EXPECT_EQ(v.cost, 20'000U);
    EXPECT_EQ(v.root_port, 1);
    EXPECT_EQ(v.timers.message_age, 1);
    EXPECT_EQ(n.bridges[0]->view().root_port, 0);
}

TEST(stp_bridge, an_alternate_port_takes_over_at_once)
{
    network n;
    n.add_bridge();
    n.add_bridge();
    n.connect({0, 1});
    n.connect({0, 1});
    n.pass(3);
    const auto flushed = n.flushed;
    n.set_link(0, false);
    EXPECT_EQ(n.role_of({1, 2}), role::root);
    EXPECT_EQ(n.state_of({1, 2}), state::forwarding);
    EXPECT_EQ(n.state_of({0, 2}), state::forwarding);
    n.set_link(0, true);
    EXPECT_EQ(n.role_of({1, 1}), role::root);
    EXPECT_EQ(n.role_of({1, 2}), role::alternate);
    EXPECT_EQ(n.state_of({1, 1}), state::forwarding);
    EXPECT_FALSE(n.has_loop());
}

TEST(stp_bridge, a_lost_neighbour_is_missed_after_three_hellos)
{
    network n;
    n.add_bridge();
    n.add_bridge();
    n.connect({0, 1});
    n.connect({0, 1});
    n.pass(3);
    n.links[0].up = false; // and no port is told
    n.pass(4);
    EXPECT_EQ(n.role_of({1, 1}), role::root);
    n.pass(4);
    EXPECT_EQ(n.role_of({1, 1}), role::designated);
    EXPECT_EQ(n.role_of({1, 2}), role::root);
    EXPECT_EQ(n.state_of({1, 2}), state::forwarding);
}

TEST(stp_bridge, priorities_and_costs_choose)
{
    network n;
    n.add_bridge();
    n.add_bridge({.priority = 4096});
    n.connect({0, 1});
    n.connect({0, 1});
    EXPECT_EQ(n.bridges[0]->view().root, n.bridges[1]->view().id);
    EXPECT_EQ(n.role_of({0, 1}), role::root);
    n.bridges[0]->set_port(1, {.path_cost = 20'001, .auto_edge = false});
    n.deliver();
    EXPECT_EQ(n.role_of({0, 2}), role::root);
    EXPECT_EQ(n.role_of({0, 1}), role::alternate);
    n.bridges[0]->set_port(1, {.auto_edge = false});
    n.bridges[1]->set_port(2, {.priority = 16, .auto_edge = false});
    n.deliver();
    EXPECT_EQ(n.role_of({0, 2}), role::root);
    n.bridges[0]->set({.priority = 0});
    n.deliver();
    EXPECT_EQ(n.role_of({0, 1}), role::designated);
    EXPECT_EQ(n.role_of({1, 1}), role::root);
    n.pass(3);
    EXPECT_FALSE(n.has_loop());
    EXPECT_EQ(n.reached(0).size(), 2U);
    n.bridges[0]->set_address(address(77));
    n.pass(10); // until nobody believes any more that the old one is there
    EXPECT_EQ(n.bridges[1]->view().root, (bridge_id{0, address(77)}));
}

TEST(stp_bridge, costs_are_those_of_the_table)
{
    EXPECT_EQ(path_cost_of(0), 20'000U);
    EXPECT_EQ(path_cost_of(1), 20'000'000U);
    EXPECT_EQ(path_cost_of(10), 2'000'000U);
    EXPECT_EQ(path_cost_of(100), 200'000U);
    EXPECT_EQ(path_cost_of(1000), 20'000U);
    EXPECT_EQ(path_cost_of(10'000), 2'000U);
    EXPECT_EQ(path_cost_of(100'000), 200U);
    EXPECT_EQ(path_cost_of(10'000'000), 2U);
    EXPECT_EQ(path_cost_of(std::uint64_t{1} << 40), 1U);
}

// Two ports of one bridge on one medium.
TEST(stp_bridge, a_port_beside_another_of_its_bridge_is_a_backup)
{
    network n;
    n.add_bridge();
    n.add_bridge();
    n.connect({0, 1, 1});
    n.pass(50);
    EXPECT_EQ(n.role_of({1, 1}), role::root);
    EXPECT_EQ(n.role_of({1, 2}), role::alternate);
    n.connect({1, 1});
    n.pass(50);
    EXPECT_EQ(n.role_of({1, 3}), role::designated);
    EXPECT_EQ(n.role_of({1, 4}), role::backup);
    EXPECT_EQ(n.state_of({1, 4}), state::discarding);
    EXPECT_FALSE(n.has_loop());
}

TEST(stp_bridge, a_port_that_hears_itself_never_forwards)
{
    bridge b{{}, address(1)};
    b.add_port(1, {});
    b.set_link(1, true, 1000);
    for (int second = 0; second < 60; ++second) {
        for (const auto& [port, message] : b.take_messages()) {
            b.receive(port, message);
        }
        b.tick();
        EXPECT_EQ(b.state_of(1), state::discarding) << second;
    }
}

TEST(stp_bridge, a_port_without_a_bridge_behind_it_is_an_edge)
{
    network n;
    n.add_bridge();
    n.connect({0}, {});
    EXPECT_EQ(n.state_of({0, 1}), state::discarding);
    n.pass(2);
    EXPECT_EQ(n.state_of({0, 1}), state::discarding);
    n.pass(1);
    EXPECT_TRUE(n.bridges[0]->view(1).edge);
    EXPECT_EQ(n.state_of({0, 1}), state::forwarding);
    n.connect({0}, {.admin_edge = true});
    EXPECT_EQ(n.state_of({0, 2}), state::forwarding);
    // Its link is no topology change.
    EXPECT_EQ(n.bridges[0]->view().topology_changes, 0U);
    // A bridge that is there all the same ends it.
    n.bridges[0]->receive(2, {.priority = {bridge_id{1}, 0, bridge_id{1}, 0x8001}});
    EXPECT_FALSE(n.bridges[0]->view(2).edge);
    EXPECT_EQ(n.role_of({0, 2}), role::root);
    EXPECT_EQ(n.bridges[0]->view().topology_changes, 1U);
}

TEST(stp_bridge, without_anybody_that_agrees_it_takes_two_delays)
{
    network n;
    n.add_bridge({.hello = 1, .max_age = 6, .forward_delay = 4, .rapid = false});
    n.connect({0});
    n.pass(5);
    EXPECT_EQ(n.state_of({0, 1}), state::discarding);
    n.pass(4);
    EXPECT_EQ(n.state_of({0, 1}), state::learning);
    n.pass(1);
    EXPECT_EQ(n.state_of({0, 1}), state::forwarding);
}

TEST(stp_bridge, legacy_peers_are_spoken_to_as_such)
{
    network n;
    n.add_bridge();
    n.add_bridge({.rapid = false});
    const std::size_t first = n.connect({0, 1});
    n.connect({0, 1});
    n.pass(5);
    EXPECT_FALSE(n.bridges[0]->view(1).rapid);
    EXPECT_NE(n.state_of({0, 1}), state::forwarding);
    n.pass(60);
    EXPECT_FALSE(n.has_loop());
    EXPECT_EQ(n.reached(0).size(), 2U);
    EXPECT_EQ(n.role_of({1, 2}), role::alternate);
    // Its notification comes to the root, which tells all of it and acknowledges it once.
    const std::uint64_t before = n.bridges[0]->view().topology_changes;
    n.set_link(first, false);
    n.pass(60);
    EXPECT_EQ(n.state_of({1, 2}), state::forwarding);
    EXPECT_GT(n.bridges[0]->view().topology_changes, before);
    EXPECT_FALSE(n.bridges[1]->view().topology_changes_now);
    // It learns to speak RSTP.
    n.bridges[1]->set({});
    n.pass(10);
    n.bridges[0]->check_migration(2);
    n.pass(10);
    EXPECT_TRUE(n.bridges[0]->view(2).rapid);
    EXPECT_TRUE(n.bridges[1]->view(2).rapid);
}

// What only one end hears is found out by the other.
TEST(stp_bridge, a_link_that_loses_one_direction_is_disputed)
{
    network n;
    n.add_bridge();
    n.add_bridge();
    n.connect({0, 1});
    const std::size_t second = n.connect({1, 0}); // the last end is the root's
    n.pass(5);
    ASSERT_EQ(n.role_of({1, 2}), role::alternate);
    n.links[second].one_way = true;
    n.pass(30);
    EXPECT_EQ(n.role_of({1, 2}), role::designated);
    EXPECT_EQ(n.state_of({0, 2}), state::discarding);
    EXPECT_FALSE(n.has_loop());
    n.links[second].one_way = false;
    n.pass(30);
    EXPECT_EQ(n.role_of({1, 2}), role::alternate);
    EXPECT_EQ(n.state_of({0, 2}), state::forwarding);
}

TEST(stp_bridge, what_is_too_old_is_not_believed)
{
    bridge b{{}, address(1)};
    b.add_port(1, {.auto_edge = false});
    b.set_link(1, true, 1000);
    const bpdu good{.priority = {bridge_id{1}, 0, bridge_id{1}, 0x8001}};
    bpdu old = good;
    old.timers.message_age = old.timers.max_age;
    b.receive(1, old);
    EXPECT_EQ(b.view().root_port, 0);
    EXPECT_EQ(b.view(1).refused, 1U);
    b.receive(1, good);
    EXPECT_EQ(b.view().root_port, 1);
    b.receive(1, old); // of the same bridge: it has heard of no other, either
    EXPECT_EQ(b.view().root_port, 0);
}

// 17.21.13: what bounds settings does not bound what is received. It ends all the same.
TEST(stp_bridge, what_a_root_says_of_times_is_believed_for_three_of_its_hellos)
{
    bridge b{{}, address(9)};
    b.add_port(1, {.auto_edge = false});
    b.set_link(1, true, 1000);
    const times longest{0, 256, 256, 256};
    const auto heard = read(write(
        {.priority = {bridge_id{1}, 0, bridge_id{1}, 0x8001}, .timers = longest}, address(1)));
    ASSERT_TRUE(heard);
    EXPECT_EQ(heard->timers, longest);
    b.receive(1, *heard);
    EXPECT_EQ(b.view().timers, (times{1, 256, 256, 256}));
    for (int second = 1; second < 3 * 256; ++second) {
        b.tick();
        ASSERT_EQ(b.view().root_port, 1) << second;
    }
    b.tick();
    EXPECT_EQ(b.view().root_port, 0);
    EXPECT_EQ(b.view().timers, times{});
    b.receive(1, *heard);
    EXPECT_EQ(b.view().root_port, 1);
    b.set_link(1, false, 1000); // which he does not survive
    EXPECT_EQ(b.view().root_port, 0);
}

TEST(stp_bridge, a_peer_that_floods_is_not_answered_without_end)
{
    bridge b{{}, address(9)};
    b.add_port(1, {});
    b.set_link(1, true, 1000);
    std::mt19937_64 random{1};
    std::size_t sent = 0;
    for (int i = 0; i < 10'000; ++i) {
        b.receive(1,
                  {.is = static_cast<bpdu::kind>(random() % 3),
                   .topology_changes = random() % 2 == 0,
                   .proposes = random() % 2 == 0,
                   .agrees = random() % 2 == 0,
                   .learns = random() % 2 == 0,
                   .sent_by = static_cast<role>(random() % 4),
                   .priority = {bridge_id{random() % 4}, static_cast<std::uint32_t>(random() % 3),
                                bridge_id{random() % 4}, static_cast<port_id>(random() % 3)}});
        sent += b.take_messages().size();
        (void)b.take_flushes();
        (void)b.take_changes();
    }
    EXPECT_LE(sent, bridge_settings{}.hold_count);
}

TEST(stp_bridge, changes_are_told_to_all_and_flush_other_ports)
{
    network n;
    for (int i = 0; i < 3; ++i) {
        n.add_bridge();
    }
    n.connect({0, 1});
    n.connect({1, 2});
    n.pass(10);
    (void)n.bridges[0]->take_changes();
    n.flushed.clear();
    n.connect({2}); // no edge
    n.pass(40);
    const auto told = n.bridges[0]->take_changes();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told.front(), (std::pair<port_number, bool>{1, false}));
    // The way that it came by is not flushed, but for those who found it.
    EXPECT_EQ(n.flushed.count({0, 1}), 0U);
    EXPECT_EQ(n.flushed.count({1, 2}), 0U);
    EXPECT_GE(n.flushed[(end{1, 1})], 1U);
    EXPECT_GE(n.flushed[(end{2, 1})], 1U);
    EXPECT_FALSE(n.bridges[0]->view().topology_changes_now);
}

TEST(stp_bridge, ports_come_and_go)
{
    network n;
    n.add_bridge();
    n.add_bridge();
    n.connect({0, 1});
    n.connect({0, 1});
    n.bridges[1]->remove_port(1);
    n.deliver();
    EXPECT_EQ(n.role_of({1, 2}), role::root);
    EXPECT_EQ(n.state_of({1, 2}), state::forwarding);
    n.bridges[1]->remove_port(2);
    EXPECT_EQ(n.bridges[1]->view().root, n.bridges[1]->view().id);
    EXPECT_EQ(n.bridges[1]->state_of(2), state::discarding);
}

class random_networks : public testing::TestWithParam<unsigned> {};

// A tree at the end that reaches all that there is a way to, however links come and go; and if they
// do one by one, no loop on the way there, in these networks. (The protocol cannot promise that:
// what is known of a root that is gone may go round until it is too old.)
TEST_P(random_networks, come_to_a_tree)
{
    std::mt19937 random{GetParam()};
    const auto pick = [&random](std::size_t below) { return random() % below; };
    const bool some_legacy = GetParam() % 3 == 2;
    const bool one_at_a_time = GetParam() % 2 == 0;
    network n;
    const std::size_t bridges = 2 + pick(12);
    for (std::size_t i = 0; i < bridges; ++i) {
        n.add_bridge({.priority = static_cast<std::uint16_t>(pick(16) * 4096),
                      .rapid = !some_legacy || pick(2) == 0});
    }
    std::size_t looped = 0;
    n.watch = [&] { looped += n.has_loop() ? 1U : 0U; };
    const std::size_t links = bridges + pick(2 * bridges);
    for (std::size_t i = 0; i < links; ++i) {
        const std::size_t a = pick(bridges);
        const std::size_t b = pick(bridges);
        if (a != b || pick(4) == 0) {
            n.connect({a, b});
        }
    }
    for (int round = 0; round < 6; ++round) {
        // What is sent is held back to so many a second, and old roots must age.
        n.pass(some_legacy ? 130 : 60);
        EXPECT_FALSE(n.has_loop()) << round;
        for (std::size_t b = 0; b < bridges; ++b) {
            EXPECT_EQ(n.reached(b), n.reached(b, false)) << round << " bridge " << b;
            bridge_id best = n.bridges[b]->view().id;
            for (const std::size_t other : n.reached(b, false)) {
                best = std::min(best, n.bridges[other]->view().id);
            }
            EXPECT_EQ(n.bridges[b]->view().root, best) << round << " bridge " << b;
        }
        if (n.links.empty()) {
            break;
        }
        for (std::size_t i = 0; i < (one_at_a_time ? 1 : 1 + pick(3)); ++i) {
            const std::size_t l = pick(n.links.size());
            n.set_link(l, !n.links[l].up);
        }
    }
    if (one_at_a_time) {
        EXPECT_EQ(looped, 0U);
    }
    // Once at rest nobody says more than hello.
    n.pass(some_legacy ? 250 : 60);
    std::size_t speakers = 0;
    for (const auto& l : n.links) {
        for (const end& e : l.ends) {
            speakers += l.up && n.role_of(e) == role::designated ? 1U : 0U;
        }
    }
    n.sent = 0;
    n.pass(20);
    EXPECT_EQ(n.sent, speakers * 10);
}

INSTANTIATE_TEST_SUITE_P(stp_bridge, random_networks,
                         testing::Range(0U, test::fewer_if(test::address_sanitizer,
                                                           test::short_or_soak(60U, 200U), 20U)));

} // namespace
} // namespace strait::stp
