// SPDX-License-Identifier: BSD-3-Clause
// Bursts among flows: tables, translation, cache, passes and execution together against a plain
// walk that reads each frame anew after each action, on random rules and frames, with rules that
// change.
#include "dataplane/flow/forward.hh"

#include "dataplane/guard/seen_addresses.hh"
#include "tests/soak.hh"
#include "tests/unit/dataplane/flow/flows_of_a_bridge.hh"
#include "tests/unit/dataplane/flow/random_flows.hh"
#include "tests/unit/sanitizers.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <string>
#include <vector>

#include <rte_cycles.h>

namespace strait::flow {
namespace {

std::string hexadecimal(const frame_bytes& frame)
{
    std::ostringstream out;
    out << std::hex;
    for (const std::byte b : frame) {
        out.width(2);
        out.fill('0');
        out << std::to_integer<int>(b);
    }
    return out.str();
}

// The beginnings of frames by port.
std::string describe(const sent& all)
{
    constexpr std::size_t shown = 40;
    std::string out;
    for (const auto& [port, frames] : all) {
        for (const frame_bytes& f : frames) {
            out +=
                "\n  " + std::to_string(port) + ": " + std::to_string(f.size()) + " bytes " +
                hexadecimal({f.begin(),
                             f.begin() + static_cast<std::ptrdiff_t>(std::min(f.size(), shown))});
        }
    }
    return out;
}

class random_flows_of_a_bridge : public flows_of_a_bridge,
                                 public ::testing::WithParamInterface<int> {};

TEST_P(random_flows_of_a_bridge, are_as_a_plain_walk_has_them)
{
    const bool tracking = GetParam() % 3 == 0;
    random_flows random{static_cast<std::uint64_t>(GetParam()), GetParam() % 2 == 0, tracking};
    // What goes on behind a ct action comes later than others of its burst, and may learn later.
    learns_ = !tracking;
    // Of who is dropped between its rules, all are counted all the same.
    const bool drops = tracking && GetParam() % 5 == 0;
    connections_.drops = drops;
    plain_connections_.drops = drops;
    const auto in_any_order = [tracking](sent all) {
        for (auto& [port, frames] : all) {
            if (tracking) {
                std::ranges::sort(frames);
            }
        }
        return all;
    };
    std::vector<plain_rule> rules;
    for (int i = 0; i < 24; ++i) {
        rules.push_back(random.rule(static_cast<priority_t>(i + 1)));
    }
    for (std::uint32_t id = 0; id < random_flows::group_count; ++id) {
        put_group(random.a_group(id));
    }
    std::vector<frame_bytes> pool;
    for (int i = 0; i < 60; ++i) {
        pool.push_back(random.frame());
    }
    for (int turn = 0; turn < 20; ++turn) {
        for (plain_rule& r : rules) {
            r.packets = 0;
        }
        publish(rules);
        for (int round = 0; round < 3; ++round) {
            const std::size_t port = 1 + random.upto(port_count - 1);
            std::vector<frame_bytes> frames;
            for (std::size_t i = 0; i < burst::capacity; ++i) {
                frames.push_back(pool[random.upto(pool.size() - 1)]);
            }
            sent expected;
            links_[random.upto(port_count - 1)]->store(!random.one_in(3)); // no change of flows
            plain_walk walk{rules, groups_, plain_config_, plain_connections_, learns_};
            for (const frame_bytes& f : frames) {
                for (const auto& [to, all] : walk.send(port, f)) {
                    expected[to].insert(expected[to].end(), all.begin(), all.end());
                }
            }
            expected = in_any_order(expected);
            const sent got = in_any_order(send(port, frames));
            if (got != expected) {
                // The first frame that differs alone says more.
                for (const frame_bytes& f : frames) {
                    const sent alone = in_any_order(walk.send(port, f));
                    const sent here = in_any_order(send(port, {f}));
                    ASSERT_EQ(alone == here, true)
                        << "turn " << turn << ", from port " << port << ": " << hexadecimal(f)
                        << "\nexpected" << describe(alone) << "\ngot" << describe(here)
                        << "\nprogram" << program_of(port, f);
                }
                FAIL() << "turn " << turn << ": frames alone are right, the burst is not";
            }
            ASSERT_EQ(connections_.seen == plain_connections_.seen, true) << "in turn " << turn;
        }
        while (!switcher_.entries().settled()) {
            switcher_.entries().bring_home(rte_rdtsc(), true);
        }
        for (std::size_t i = 0; i < rules.size() && !drops; ++i) {
            ASSERT_EQ(compiled_[i].made->packets() - compiled_[i].packets_before, rules[i].packets)
                << "of the rule of priority " << rules[i].priority << " in turn " << turn;
        }
        if (random.one_in(4)) {
            put_group(random.a_group(
                static_cast<std::uint32_t>(random.upto(random_flows::group_count - 1))));
        }
        for (std::uint64_t changed = random.upto(4); changed > 0; --changed) {
            const std::size_t which = random.upto(rules.size() - 1);
            rules[which] = random.rule(rules[which].priority);
        }
    }
    EXPECT_GT(switcher_.entries().counters.hits.read(), 0U);
    EXPECT_GT(switcher_.entries().counters.stale.read(), 0U);
}

// Of many flows those that a changed rule matches are looked up again, and hardly any other.
TEST_F(flows_of_a_bridge, stay_in_the_cache_when_a_change_does_not_concern_them)
{
    const auto to_port_2 = [](priority_t priority, std::uint64_t address, std::uint64_t mask) {
        plain_rule r{0, priority, {}, {{output{2}}}};
        r.match.require(field::eth_type, 0x0800);
        r.match.require(field::nw_dst, address & mask, mask);
        return r;
    };
    constexpr std::size_t flows = 1000;
    std::vector<plain_rule> rules = {to_port_2(1, 0, 0), to_port_2(3, 1, 0xffffffff),
                                     to_port_2(2, 1, 0xffffffff)};
    const auto send_all = [&] {
        const auto before = switcher_.entries().counters.misses.read();
        for (std::size_t i = 0; i < flows; ++i) {
            frame_bytes f(60);
            const std::array<std::uint8_t, 20> start = {2, 0, 0, 0, 0, 1,    2, 0, 0,
                                                        0, 0, 2, 8, 0, 0x45, 0, 0, 46};
            std::memcpy(f.data(), start.data(), start.size());
            f[30] = std::byte{10};
            f[32] = static_cast<std::byte>(i >> 8);
            f[33] = static_cast<std::byte>(i);
            EXPECT_EQ(send(1, {f})[2].size(), 1U);
        }
        return switcher_.entries().counters.misses.read() - before;
    };
    publish(rules);
    EXPECT_EQ(send_all(), flows);
    EXPECT_EQ(send_all(), 0U);
    rules[2] = to_port_2(2, 0x0a000007, 0xffffffff); // one of them
    publish(rules);
    EXPECT_GE(send_all(), 1U);
    EXPECT_LE(send_all(), 5U);
    rules[2] = to_port_2(2, 0x0a000100, 0xffffff00); // 256 of them
    publish(rules);
    const auto some = send_all();
    EXPECT_GE(some, 257U);
    EXPECT_LE(some, 300U);
    EXPECT_EQ(send_all(), 0U);
    rules[2].actions = {{set_field{field::nw_dst, 1, wide::ones(32)}}, {output{2}}};
    publish(rules); // from here on a rule may meet what is written
    EXPECT_EQ(send_all(), flows);
    rules.pop_back();
    publish(rules);
    EXPECT_EQ(send_all(), flows);
}

// However deep the flows look into a frame.
TEST_F(flows_of_a_bridge, have_addresses_noted_where_that_is_wanted)
{
    frame_bytes says(60);
    constexpr std::array<std::uint8_t, 32> start{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,  0, 0, 0, 0,
                                                 1,    8,    6,    0,    1,    8,    0,  6, 4, 0, 1,
                                                 2,    0,    0,    0,    0,    1,    10, 0, 0, 7};
    std::memcpy(says.data(), start.data(), start.size());
    const auto addresses = std::make_shared<guard::seen_addresses>();
    auto port = std::make_shared<dataplane::port_config>(*config_.ports[1]);
    port->addresses = addresses;
    config_.ports[1] = port;
    plain_rule shallow{0, 1, {}, {{output{2}}}};
    plain_rule deep{0, 2, {}, {{output{3}}}};
    deep.match.require(field::eth_type, 0x0800);
    deep.match.require(field::nw_proto, 6);
    deep.match.require(field::tp_dst, 80);
    for (const auto& rules : {std::vector{shallow}, std::vector{shallow, deep}}) {
        publish(rules);
        for (const bool learns : {false, true}) {
            learns_ = learns;
            EXPECT_EQ(send(1, {says, says})[2].size(), 2U);
            EXPECT_EQ(send(4, {says})[2].size(), 1U);
            EXPECT_EQ(addresses->list(1).size(), learns ? 1U : 0U);
        }
        ASSERT_EQ(addresses->list(1).size(), 1U);
        EXPECT_EQ(addresses->list(1)[0].address, endpoint::ip_address::v4(0x0a00'0007));
        addresses->forget();
    }
}

INSTANTIATE_TEST_SUITE_P(seeds, random_flows_of_a_bridge,
                         ::testing::Range(0, test::fewer_if(test::address_sanitizer,
                                                            test::short_or_soak(40, 200), 15)));

} // namespace
} // namespace strait::flow
