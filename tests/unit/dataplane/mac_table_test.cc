// SPDX-License-Identifier: BSD-3-Clause
// The learning table: what it remembers, for how long, and what many threads may do to it at once.
#include "dataplane/mac_table.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace strait::dataplane {
namespace {

constexpr port_index p1{1};
constexpr port_index p2{2};
constexpr port_index p3{3};

mac_table::key key(std::uint64_t mac, std::uint16_t vlan = 0)
{
    // Scatter, as real addresses do: low bits of the first byte stay unicast.
    return {mac_address{0x02 | (mac << 8)}, vlan_id{vlan}};
}

TEST(mac_table, learns_and_finds_by_vlan)
{
    mac_table t{1024};
    EXPECT_EQ(t.lookup(key(1), 0), no_port);
    EXPECT_EQ(t.learn(key(1), p1, 0), mac_table::learned::added);
    EXPECT_EQ(t.learn(key(1), p1, 0), mac_table::learned::known);
    EXPECT_EQ(t.lookup(key(1), 0), p1);
    EXPECT_EQ(t.lookup(key(1, 10), 0), no_port) << "each VLAN learns for itself";
    EXPECT_EQ(t.learn(key(1, 10), p2, 0), mac_table::learned::added);
    EXPECT_EQ(t.lookup(key(1), 0), p1);
    EXPECT_EQ(t.lookup(key(1, 10), 0), p2);
    EXPECT_EQ(t.size(0), 2U);
}

TEST(mac_table, follows_an_address_that_moves)
{
    mac_table t{1024};
    t.learn(key(1), p1, 5);
    EXPECT_EQ(t.learn(key(1), p2, 5), mac_table::learned::moved);
    EXPECT_EQ(t.lookup(key(1), 5), p2);
    EXPECT_EQ(t.learn(key(1), p1, 6), mac_table::learned::moved);
    EXPECT_EQ(t.lookup(key(1), 6), p1);
    EXPECT_EQ(t.size(6), 1U);
}

TEST(mac_table, learns_no_more_of_a_port_than_its_limit)
{
    using learned = mac_table::learned;
    mac_table t{1024};
    t.set_ageing(300);
    t.set_limit(p1, 2);
    EXPECT_EQ(t.learn(key(1), p1, 0), learned::added);
    EXPECT_EQ(t.learn(key(2), p1, 100), learned::added);
    EXPECT_EQ(t.learn(key(3), p1, 100), learned::over_limit);
    EXPECT_EQ(t.lookup(key(3), 100), no_port);
    EXPECT_EQ(t.learn(key(2), p1, 101), learned::known) << "what is known stays so";
    EXPECT_EQ(t.learn(key(3), p2, 101), learned::added) << "others have their own";
    EXPECT_EQ(t.learn(key(3), p1, 101), learned::over_limit) << "nor does it come from elsewhere";
    EXPECT_EQ(t.lookup(key(3), 101), p2);

    EXPECT_EQ(t.learn(key(2), p2, 102), learned::moved) << "that makes room";
    EXPECT_EQ(t.learn(key(4), p1, 102), learned::added);
    EXPECT_EQ(t.learn(key(2), p1, 102), learned::over_limit);

    // key(1) was seen last at 0: in its place when somebody looks, and not before.
    EXPECT_EQ(t.learn(key(5), p1, 301), learned::over_limit);
    t.expire(301);
    EXPECT_EQ(t.learn(key(5), p1, 301), learned::added);
    EXPECT_EQ(t.learn(key(6), p1, 301), learned::over_limit);

    EXPECT_TRUE(t.remove(key(5), 301));
    EXPECT_EQ(t.learn(key(6), p1, 301), learned::added);
    EXPECT_EQ(t.add_static(key(6), p1, 301), mac_table::added::replaced);
    EXPECT_EQ(t.learn(key(7), p1, 301), learned::added) << "static ones do not count";
    EXPECT_EQ(t.learn(key(8), p1, 301), learned::over_limit);

    const std::vector<std::function<void()>> ways{[&] { t.flush_port(p1); }, [&] { t.flush_all(); },
                                                  [&] { t.flush_vlan(vlan_id{0}); }};
    for (const auto& flush : ways) {
        flush();
        EXPECT_EQ(t.learn(key(10), p1, 302), learned::added);
        EXPECT_EQ(t.learn(key(11), p1, 302), learned::added);
        EXPECT_EQ(t.learn(key(12), p1, 302), learned::over_limit);
    }
    t.set_limit(p1, 0);
    for (std::uint64_t i = 20; i < 120; ++i) {
        EXPECT_EQ(t.learn(key(i), p1, 302), learned::added);
    }
    t.set_limit(p1, 100);
    EXPECT_EQ(t.learn(key(20), p1, 303), learned::known) << "what was learned before stays";
    t.remove_port(p1);
    for (std::uint64_t i = 200; i < 320; ++i) {
        EXPECT_EQ(t.learn(key(i), p1, 303), learned::added) << "who has its index next has none";
    }
}

TEST(mac_table, limits_hold_while_others_write)
{
    mac_table t{65536};
    t.set_limit(p1, 1);
    EXPECT_EQ(t.learn(key(1), p1, 0), mac_table::learned::added);
    std::atomic<unsigned> rounds{0};
    std::atomic<bool> done{false};
    std::thread other{[&] {
        for (; !done; ++rounds) {
            t.flush_vlan(vlan_id{7}); // has the lock nearly all the time
        }
    }};
    unsigned passed = 0;
    for (std::uint64_t i = 2; rounds < 20; ++i) {
        passed += t.learn(key(i), p1, 0) == mac_table::learned::over_limit ? 0U : 1U;
    }
    done = true;
    other.join();
    EXPECT_EQ(passed, 0U);
}

TEST(mac_table, who_began_before_a_flush_learns_nothing_that_would_count_for_ever)
{
    mac_table t{1024};
    t.set_limit(p1, 1);
    mac_table::session old{t, p1, 0};
    t.flush_port(p1);
    EXPECT_EQ(t.learn(key(1), p1, 0), mac_table::learned::added);
    mac_table::probe at{key(1)};
    old.prepare(at);
    EXPECT_EQ(old.learn(at), mac_table::learned::known);
    EXPECT_EQ(t.lookup(key(1), 0), p1);
    EXPECT_TRUE(t.remove(key(1), 0));
    EXPECT_EQ(t.learn(key(2), p1, 0), mac_table::learned::added);
}

// What is counted is what is there, whatever happens.
TEST(mac_table, limits_hold_in_any_order)
{
    constexpr std::uint32_t limit = 40;
    std::mt19937 random{7};
    mac_table t{64}; // small: entries are displaced and find no room
    t.set_ageing(10);
    t.set_limit(p1, limit);
    t.set_limit(p2, limit);
    seconds_t now = 1000;
    const auto pick = [&](unsigned n) { return static_cast<std::uint64_t>(random() % n); };
    const auto count = [&](port_index port) {
        std::uint32_t n = 0;
        t.for_each(now, [&](const mac_entry& e) { n += e.port == port && !e.is_static ? 1 : 0; });
        return n;
    };
    const auto any = [&] { return key(pick(150)); };
    unsigned refused = 0;
    unsigned exact = 0;
    for (int step = 1; step <= 200'000; ++step) {
        const port_index port{static_cast<std::uint16_t>(1 + pick(3))};
        const std::uint64_t what = pick(1000);
        if (what < 900) { // the third, without a limit, fills the table
            const auto done = t.learn(port == p3 ? key(pick(2000)) : any(), port, now);
            refused += done == mac_table::learned::over_limit ? 1U : 0U;
            ASSERT_FALSE(done == mac_table::learned::over_limit && port == p3);
        } else if (what < 930) {
            t.remove(any(), now);
        } else if (what < 980) {
            const auto k = key(3000 + pick(150));
            t.add_static(k, port, now);
            t.remove(key(3000 + pick(150)), now);
        } else if (what < 982 && pick(10) == 0) {
            t.flush_port(port);
        } else if (what < 983 && pick(10) == 0) {
            t.flush_all();
        } else if (what < 984 && pick(10) == 0) {
            t.flush_vlan(vlan_id{0});
        } else {
            now += static_cast<seconds_t>(pick(3));
        }
        if (step % 100 == 0) {
            ASSERT_LE(count(p1), limit);
            ASSERT_LE(count(p2), limit);
        }
        if (step % 1000 != 0) {
            continue;
        }
        // Once those that have aged are gone, as many as may be there find room, and no more.
        for (const bool again : {false, true}) {
            auto done = mac_table::learned::known;
            for (std::uint64_t i = 0; i < 200 && done != mac_table::learned::over_limit; ++i) {
                done = t.learn(key(10'000 + i), p1, now);
            }
            if (again && done == mac_table::learned::over_limit) {
                ++exact;
                ASSERT_EQ(count(p1), limit) << step;
            }
            t.expire(now);
        }
    }
    EXPECT_GT(exact, 50U);
    EXPECT_GT(refused, 1000U);
}

TEST(mac_table, tells_what_moved_since_it_was_asked_last)
{
    mac_table t{1024};
    EXPECT_EQ(t.take_moves().count, 0U);
    t.learn(key(1, 10), p1, 5);
    t.learn(key(1, 10), p1, 6);
    EXPECT_EQ(t.take_moves().count, 0U) << "neither what is new nor what is seen again";
    t.learn(key(1, 10), p2, 6);
    const auto moved = t.take_moves();
    ASSERT_EQ(moved.count, 1U);
    EXPECT_EQ(moved.first[0].mac, mac_address{0x0102});
    EXPECT_EQ(moved.first[0].vlan, vlan_id{10});
    EXPECT_EQ(moved.first[0].from, p1);
    EXPECT_EQ(moved.first[0].to, p2);
    EXPECT_EQ(moved.first[0].times, 1U);
    EXPECT_EQ(t.take_moves().count, 0U);
    t.flush_port(p2);
    t.learn(key(1, 10), p1, 7);
    EXPECT_EQ(t.take_moves().count, 0U) << "it was forgotten";
    for (std::uint64_t i = 0; i < 20; ++i) {
        t.learn(key(i), p1, 8);
        t.learn(key(i), p2, 8);
    }
    const auto many = t.take_moves();
    EXPECT_EQ(many.count, 20U);
    EXPECT_EQ(many.size, mac_table::most_moves);
    EXPECT_EQ(many.first.back().mac, mac_address{0x02 | ((mac_table::most_moves - 1) << 8)})
        << "the first few";
    EXPECT_EQ(t.take_moves().count, 0U);
}

TEST(mac_table, tells_of_one_that_moves_to_and_fro_once)
{
    mac_table t{1024};
    for (std::uint64_t i = 0; i < 3; ++i) {
        t.learn(key(i, 10), p1, 8);
        t.learn(key(i, 20), p1, 8);
    }
    for (int i = 0; i < 100; ++i) {
        t.learn(key(1, 10), i % 2 == 0 ? p2 : p1, 8);
        t.learn(key(2, 20), i % 2 == 0 ? p2 : p1, 8);
    }
    t.learn(key(1, 20), p2, 8);
    const auto moved = t.take_moves();
    EXPECT_EQ(moved.count, 201U);
    ASSERT_EQ(moved.size, 3U);
    EXPECT_EQ(moved.first[0].mac, mac_address{0x0102});
    EXPECT_EQ(moved.first[0].vlan, vlan_id{10});
    EXPECT_EQ(moved.first[0].times, 100U);
    EXPECT_EQ(moved.first[0].from, p2) << "the last time";
    EXPECT_EQ(moved.first[0].to, p1);
    EXPECT_EQ(moved.first[1].times, 100U);
    EXPECT_EQ(moved.first[2].vlan, vlan_id{20}) << "another than in VLAN 10";
    EXPECT_EQ(moved.first[2].times, 1U);
}

TEST(mac_table, holds_an_address_that_flaps_where_it_was)
{
    using learned = mac_table::learned;
    mac_table t{1024};
    t.set_ageing(10);
    t.set_hold(30);
    // It is behind p3, and a loop between p1 and p2 brings back what it sends.
    EXPECT_EQ(t.learn(key(1), p3, 5), learned::added);
    EXPECT_EQ(t.learn(key(1), p1, 5), learned::moved);
    EXPECT_EQ(t.learn(key(1), p2, 6), learned::moved);
    EXPECT_EQ(t.learn(key(1), p1, 6), learned::moved);
    EXPECT_EQ(t.learn(key(1), p2, 7), learned::held_elsewhere);
    EXPECT_EQ(t.lookup(key(1), 7), p3);
    EXPECT_EQ(t.holds(), 1U);
    const auto moves = t.take_moves();
    ASSERT_EQ(moves.size, 1U);
    EXPECT_EQ(moves.count, 4U);
    EXPECT_TRUE(moves.first[0].held);
    EXPECT_EQ(moves.first[0].to, p3);
    EXPECT_EQ(moves.first[0].from, p2);
    t.for_each(17, [](const mac_entry& e) {
        EXPECT_EQ(e.port, p3);
        EXPECT_EQ(e.held, 20U);
        EXPECT_EQ(e.age, 0U);
    });
    for (const port_index other : {p1, p2}) {
        EXPECT_EQ(t.learn(key(1), other, 36), learned::held_elsewhere);
        EXPECT_TRUE(t.is_held_elsewhere(key(1), other, 36));
        EXPECT_FALSE(t.is_held_elsewhere(key(1), other, 37));
    }
    EXPECT_EQ(t.learn(key(1), p3, 36), learned::held_here);
    EXPECT_FALSE(t.is_held_elsewhere(key(1), p3, 36));
    EXPECT_EQ(t.lookup(key(1), 36), p3) << "it does not age meanwhile";
    EXPECT_EQ(t.take_moves().count, 0U);
    // Its time is up: it may move, and be held again.
    EXPECT_EQ(t.learn(key(1), p1, 37), learned::moved);
    EXPECT_EQ(t.learn(key(1), p3, 37), learned::moved);
    EXPECT_EQ(t.learn(key(1), p1, 37), learned::moved);
    EXPECT_EQ(t.learn(key(1), p3, 37), learned::held_here) << "it is back where it was";
    EXPECT_EQ(t.take_moves().first[0].from, p1);
    EXPECT_EQ(t.holds(), 2U);
}

TEST(mac_table, holds_none_that_moves_now_and_then)
{
    using learned = mac_table::learned;
    mac_table t{1024};
    t.set_hold(30);
    t.learn(key(1), p1, 0);
    seconds_t now = 0;
    for (int i = 0; i < 40; ++i) {
        now += mac_table::flap_window / (mac_table::flaps_to_hold - 1) + 1;
        ASSERT_EQ(t.learn(key(1), i % 2 == 0 ? p2 : p1, now), learned::moved) << i;
    }
    EXPECT_EQ(t.holds(), 0U);
    // Nor any as long as that is not asked for.
    t.set_hold(0);
    for (int i = 0; i < 40; ++i) {
        ASSERT_EQ(t.learn(key(1), i % 2 == 0 ? p2 : p1, now), learned::moved) << i;
    }
}

TEST(mac_table, holds_an_address_until_its_port_is_flushed)
{
    using learned = mac_table::learned;
    mac_table t{1024};
    t.set_hold(30);
    const auto hold_at_p1 = [&t] {
        t.learn(key(1), p1, 0);
        for (const port_index port : {p2, p1, p2, p1}) {
            (void)t.learn(key(1), port, 0);
        }
        ASSERT_EQ(t.learn(key(1), p2, 0), learned::held_elsewhere);
    };
    hold_at_p1();
    t.flush_port(p1);
    EXPECT_EQ(t.learn(key(1), p2, 0), learned::added);
    t.flush_all();
    hold_at_p1();
    t.flush_vlan(vlan_id{});
    EXPECT_EQ(t.learn(key(1), p2, 0), learned::added);
    t.flush_all();
    hold_at_p1();
    t.set_hold(0);
    EXPECT_EQ(t.learn(key(1), p2, 0), learned::moved) << "who is held goes free with the option";
    t.set_hold(30);
    t.flush_all();
    // An operator's word counts more.
    hold_at_p1();
    EXPECT_EQ(t.add_static(key(1), p3, 0), mac_table::added::replaced);
    EXPECT_EQ(t.learn(key(1), p1, 0), learned::held_by_static);
    EXPECT_TRUE(t.remove(key(1), 0));
    // A port that was flushed while the address flapped is not where it was.
    t.learn(key(1), p3, 0);
    t.learn(key(1), p1, 0);
    t.flush_port(p3);
    for (const port_index port : {p2, p1, p2, p1}) {
        (void)t.learn(key(1), port, 0);
    }
    EXPECT_EQ(t.lookup(key(1), 0), p1);
    EXPECT_TRUE(t.is_held_elsewhere(key(1), p2, 0));
}

TEST(mac_table, counts_a_held_address_for_the_port_that_it_is_at)
{
    using learned = mac_table::learned;
    mac_table t{1024};
    t.set_hold(30);
    t.set_limit(p3, 2);
    t.learn(key(1), p3, 0);
    for (const port_index port : {p1, p2, p1, p2}) {
        (void)t.learn(key(1), port, 0);
    }
    EXPECT_EQ(t.learn(key(2), p3, 0), learned::added);
    EXPECT_EQ(t.learn(key(3), p3, 0), learned::over_limit);
    t.flush_port(p3);
    EXPECT_EQ(t.learn(key(3), p3, 0), learned::added);
    EXPECT_EQ(t.learn(key(2), p3, 0), learned::added);
}

TEST(mac_table, lets_few_floods_of_held_addresses_through)
{
    mac_table t{1024};
    for (const seconds_t now : {7U, 8U, 100U}) {
        std::uint32_t passed = 0;
        for (std::uint32_t i = 0; i < 3 * mac_table::held_floods; ++i) {
            passed += t.may_flood_held(p1, now) ? 1 : 0;
        }
        EXPECT_EQ(passed, mac_table::held_floods);
        EXPECT_TRUE(t.may_flood_held(p2, now)) << "another port has its own";
    }
}

TEST(mac_table, tells_of_each_move_once_while_workers_learn)
{
    mac_table t{1024};
    std::atomic<std::uint64_t> moved{0};
    std::atomic<int> busy{2};
    const auto learn = [&](port_index port) {
        for (std::uint64_t i = 0; i < 50'000; ++i) {
            moved += t.learn(key(i % 16), port, 5) == mac_table::learned::moved ? 1U : 0U;
        }
        --busy;
    };
    std::thread one{learn, p1};
    std::thread other{learn, p2};
    std::uint64_t told = 0;
    while (busy != 0) {
        told += t.take_moves().count;
        std::this_thread::sleep_for(std::chrono::microseconds{200}); // they get the lock, too
    }
    one.join();
    other.join();
    busy = 2;
    learn(p1);
    learn(p2); // has the table to itself
    told += t.take_moves().count;
    EXPECT_EQ(told, moved);
    EXPECT_GE(told, 16U);
}

TEST(mac_table, forgets_after_the_ageing_time)
{
    mac_table t{1024};
    t.set_ageing(300);
    EXPECT_EQ(t.ageing(), 300U);
    t.learn(key(1), p1, 100);
    EXPECT_EQ(t.lookup(key(1), 400), p1);
    EXPECT_EQ(t.lookup(key(1), 401), no_port);
    EXPECT_EQ(t.size(401), 0U);
    EXPECT_EQ(t.learn(key(1), p1, 350), mac_table::learned::known) << "seen again: younger";
    EXPECT_EQ(t.lookup(key(1), 650), p1);
    EXPECT_EQ(t.learn(key(1), p1, 700), mac_table::learned::added) << "it had aged out";
    t.set_ageing(10);
    EXPECT_EQ(t.lookup(key(1), 711), no_port);
    t.set_ageing(0);
    EXPECT_EQ(t.lookup(key(1), 1'000'000), p1) << "0: entries do not age";
}

TEST(mac_table, tells_the_age_it_shows)
{
    mac_table t{1024};
    t.learn(key(1, 7), p1, 100);
    t.add_static(key(2), p2, 100);
    std::map<std::uint64_t, mac_entry> seen;
    t.for_each(130, [&](const mac_entry& e) { seen[e.mac.value()] = e; });
    ASSERT_EQ(seen.size(), 2U);
    const mac_entry& learned = seen.at(0x02 | (1 << 8));
    EXPECT_EQ(learned.age, 30U);
    EXPECT_EQ(learned.vlan, vlan_id{7});
    EXPECT_EQ(learned.port, p1);
    EXPECT_FALSE(learned.is_static);
    const mac_entry& fixed = seen.at(0x02 | (2 << 8));
    EXPECT_EQ(fixed.age, 0U);
    EXPECT_TRUE(fixed.is_static);
    // Another worker's clock may be a moment ahead.
    t.learn(key(1, 7), p1, 131);
    t.for_each(130, [&](const mac_entry& e) { EXPECT_EQ(e.age, 0U); });
    EXPECT_EQ(t.lookup(key(1, 7), 130), p1);
}

TEST(mac_table, flushes_one_port_and_no_other)
{
    mac_table t{4096};
    for (std::uint64_t i = 0; i < 1000; ++i) {
        t.learn(key(i), i % 2 == 0 ? p1 : p2, 0);
    }
    t.add_static(key(5000), p1, 0);
    EXPECT_EQ(t.size(0), 1001U);
    t.flush_port(p1);
    EXPECT_EQ(t.size(0), 501U);
    EXPECT_EQ(t.lookup(key(0), 0), no_port);
    EXPECT_EQ(t.lookup(key(1), 0), p2);
    EXPECT_EQ(t.lookup(key(5000), 0), p1) << "static entries stay";
    EXPECT_EQ(t.learn(key(0), p1, 0), mac_table::learned::added);
    EXPECT_EQ(t.lookup(key(0), 0), p1);
}

TEST(mac_table, flush_does_not_depend_on_how_much_is_known)
{
    mac_table t{1 << 18};
    for (std::uint64_t i = 0; i < (1 << 18); ++i) {
        t.learn(key(i), p1, 0);
    }
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 10'000; ++i) {
        t.flush_port(p1);
    }
    // A walk of the table takes milliseconds: ten thousand of them would take a minute.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{2});
    EXPECT_EQ(t.size(0), 0U);
}

TEST(mac_table, what_was_flushed_makes_room)
{
    mac_table t{64};
    std::uint64_t next = 0;
    while (t.learn(key(next), p1, 0) != mac_table::learned::table_full) {
        ++next;
        ASSERT_LT(next, 100'000U);
    }
    EXPECT_GE(next, 64U);
    t.flush_port(p1);
    EXPECT_EQ(t.learn(key(next), p2, 0), mac_table::learned::added);
    EXPECT_EQ(t.lookup(key(next), 0), p2);
    EXPECT_EQ(t.size(0), 1U);
}

TEST(mac_table, what_aged_out_makes_room)
{
    mac_table t{64};
    t.set_ageing(10);
    std::uint64_t next = 0;
    while (t.learn(key(next), p1, 0) != mac_table::learned::table_full) {
        ++next;
    }
    EXPECT_EQ(t.learn(key(next), p1, 10), mac_table::learned::table_full);
    EXPECT_EQ(t.learn(key(next), p1, 11), mac_table::learned::added);
}

TEST(mac_table, holds_what_it_was_made_for)
{
    for (const std::size_t entries : {64UL, 1000UL, 65536UL}) {
        mac_table t{entries};
        EXPECT_GE(t.capacity(), entries);
        std::size_t held = 0;
        for (std::uint64_t i = 0; i < entries; ++i) {
            held += t.learn(key(i * 2654435761ULL), p1, 0) == mac_table::learned::added ? 1U : 0U;
        }
        EXPECT_EQ(held, entries);
        for (std::uint64_t i = 0; i < entries; ++i) {
            ASSERT_EQ(t.lookup(key(i * 2654435761ULL), 0), p1) << i;
        }
    }
}

// Guests' addresses come in rows, and every table hashes with numbers of its own.
TEST(mac_table, holds_addresses_in_rows_whatever_its_random_numbers)
{
    constexpr std::uint64_t entries = 64;
    const auto last_bytes = [](std::uint64_t i) {
        return mac_table::key{mac_address{0x005452 | __builtin_bswap64(i << 16)}, vlan_id{}};
    };
    for (int table = 0; table < 2000; ++table) {
        mac_table t{entries};
        mac_table u{entries};
        mac_table v{entries};
        for (std::uint64_t i = 0; i < entries; ++i) {
            ASSERT_EQ(t.learn(key(i), p1, 0), mac_table::learned::added) << i;
            ASSERT_EQ(u.learn(last_bytes(i), p1, 0), mac_table::learned::added) << i;
            const auto vlan = static_cast<std::uint16_t>(i + 1);
            ASSERT_EQ(v.learn(key(1, vlan), p1, 0), mac_table::learned::added) << i;
        }
    }
}

TEST(mac_table, static_entries_are_held_against_learning)
{
    mac_table t{1024};
    EXPECT_EQ(t.add_static(key(1), p1, 0), mac_table::added::added);
    EXPECT_EQ(t.learn(key(1), p2, 0), mac_table::learned::held_by_static);
    EXPECT_EQ(t.lookup(key(1), 1'000'000), p1) << "and do not age";
    EXPECT_EQ(t.add_static(key(1), p2, 0), mac_table::added::replaced);
    EXPECT_EQ(t.lookup(key(1), 0), p2);
    t.flush_port(p2);
    t.flush_all();
    EXPECT_EQ(t.lookup(key(1), 0), p2);
    EXPECT_TRUE(t.remove(key(1), 0));
    EXPECT_EQ(t.lookup(key(1), 0), no_port);
    EXPECT_EQ(t.learn(key(1), p3, 0), mac_table::learned::added);
}

TEST(mac_table, a_static_entry_replaces_a_learned_one)
{
    mac_table t{1024};
    t.learn(key(1), p2, 0);
    EXPECT_EQ(t.add_static(key(1), p1, 0), mac_table::added::replaced);
    EXPECT_EQ(t.lookup(key(1), 0), p1);
    EXPECT_EQ(t.size(0), 1U);
}

TEST(mac_table, a_full_table_says_so_for_static_entries_too)
{
    mac_table t{64};
    std::uint64_t next = 0;
    while (t.add_static(key(next), p1, 0) != mac_table::added::table_full) {
        ++next;
        ASSERT_LT(next, 100'000U);
    }
    EXPECT_EQ(t.lookup(key(next), 0), no_port);
    EXPECT_EQ(t.size(0), next);
    EXPECT_EQ(t.add_static(key(0), p2, 0), mac_table::added::replaced) << "there is one";
    EXPECT_EQ(t.lookup(key(0), 0), p2);
}

// Or a guest that floods the table would keep the operator's entries out.
TEST(mac_table, a_static_entry_takes_a_learned_ones_place_in_a_full_table)
{
    mac_table t{64};
    constexpr std::uint64_t many = 100'000;
    std::uint64_t refused = 0;
    for (std::uint64_t i = 0; i < many; ++i) {
        refused += t.learn(key(i), p1, 0) == mac_table::learned::table_full ? 1U : 0U;
    }
    const std::size_t held = t.size(0);
    EXPECT_EQ(held + refused, many);
    for (std::uint64_t i = many; i < many + 32; ++i) {
        ASSERT_EQ(t.add_static(key(i), p2, 0), mac_table::added::added) << i;
        ASSERT_EQ(t.lookup(key(i), 0), p2) << i;
    }
    EXPECT_EQ(t.size(0), held);
}

TEST(mac_table, remove_says_whether_there_was_one)
{
    mac_table t{1024};
    EXPECT_FALSE(t.remove(key(1), 0));
    t.learn(key(1), p1, 0);
    EXPECT_TRUE(t.remove(key(1), 0));
    EXPECT_FALSE(t.remove(key(1), 0));
    t.learn(key(1), p1, 0);
    t.flush_port(p1);
    EXPECT_FALSE(t.remove(key(1), 0)) << "a flushed entry is none";
}

TEST(mac_table, a_port_that_leaves_takes_its_static_entries_along)
{
    mac_table t{1024};
    t.learn(key(1), p1, 0);
    t.add_static(key(2), p1, 0);
    t.add_static(key(3), p2, 0);
    t.remove_port(p1);
    EXPECT_EQ(t.lookup(key(1), 0), no_port);
    EXPECT_EQ(t.lookup(key(2), 0), no_port);
    EXPECT_EQ(t.lookup(key(3), 0), p2);
    // Its index has a new user: nothing of the old one comes back.
    t.learn(key(9), p1, 0);
    EXPECT_EQ(t.size(0), 2U);
}

TEST(mac_table, sequence_numbers_that_come_round_find_no_ghosts_after_removal)
{
    mac_table t{1024};
    t.set_ageing(0);
    t.learn(key(1), p1, 0);
    t.remove_port(p1);
    for (int i = 0; i < 0x10000 - 1; ++i) {
        t.flush_port(p1);
    }
    EXPECT_EQ(t.lookup(key(1), 0), no_port);
}

TEST(mac_table, sequence_numbers_that_come_round_find_no_ghosts_after_a_flush)
{
    mac_table t{1024};
    t.set_ageing(0);
    t.learn(key(1), p1, 0);
    t.learn(key(2), p2, 0);
    t.add_static(key(3), p1, 0);
    for (int i = 0; i < 0x10000; ++i) {
        t.flush_port(p1);
        if (i == 5) {
            t.learn(key(4), p1, 0); // in the middle of a round
        }
        ASSERT_EQ(t.lookup(key(1), 0), no_port) << i;
    }
    EXPECT_EQ(t.lookup(key(2), 0), p2) << "another port's";
    EXPECT_EQ(t.lookup(key(3), 0), p1) << "static entries stay";
    for (int i = 0; i < 0x10000; ++i) {
        t.flush_port(p1);
        ASSERT_EQ(t.lookup(key(4), 0), no_port) << i;
    }
    EXPECT_EQ(t.learn(key(1), p1, 0), mac_table::learned::added);
}

TEST(mac_table, sequence_numbers_that_come_round_find_no_ghosts_after_flushing_all)
{
    mac_table t{1024};
    t.set_ageing(0);
    t.learn(key(1), p1, 0);
    t.learn(key(2), p2, 0);
    t.add_static(key(3), p1, 0);
    for (int i = 0; i < 0x10000 - 1; ++i) {
        t.flush_port(p1);
    }
    EXPECT_EQ(t.lookup(key(2), 0), p2);
    t.flush_all(); // p1's come round, p2's do not
    EXPECT_EQ(t.lookup(key(1), 0), no_port);
    EXPECT_EQ(t.lookup(key(2), 0), no_port);
    EXPECT_EQ(t.lookup(key(3), 0), p1) << "static entries stay";
}

TEST(mac_table, flushes_all_and_by_vlan)
{
    mac_table t{1024};
    t.learn(key(1, 10), p1, 0);
    t.learn(key(2, 10), p2, 0);
    t.learn(key(3, 20), p1, 0);
    t.add_static(key(4, 10), p1, 0);
    t.flush_vlan(vlan_id{10});
    EXPECT_EQ(t.lookup(key(1, 10), 0), no_port);
    EXPECT_EQ(t.lookup(key(2, 10), 0), no_port);
    EXPECT_EQ(t.lookup(key(3, 20), 0), p1);
    EXPECT_EQ(t.lookup(key(4, 10), 0), p1);
    t.flush_all();
    EXPECT_EQ(t.size(0), 1U);
}

// Key i is only ever seen behind ports i % 8 and i % 8 + 8: whatever else a lookup returned would
// be one entry's key with another's port.
TEST(mac_table, threads_that_learn_and_look_up_never_see_a_mixed_entry)
{
    constexpr std::uint64_t keys = 600; // more than a small table holds
    mac_table t{64};
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<std::uint64_t> found{0};
    const auto home = [](std::uint64_t i, bool moved) {
        return port_index{static_cast<std::uint16_t>(i % 8 + (moved ? 8 : 0))};
    };
    std::vector<std::jthread> threads;
    for (unsigned n = 0; n < 3; ++n) {
        threads.emplace_back([&, n] {
            std::uint64_t x = n * 7919 + 1;
            for (seconds_t now = 0; !stop; ++now) {
                for (int i = 0; i < 200; ++i) {
                    x = x * 6364136223846793005ULL + 1442695040888963407ULL;
                    const std::uint64_t k = (x >> 33) % keys;
                    t.learn(key(k), home(k, (x >> 20) % 2 == 0), now);
                    const std::uint64_t other = (x >> 40) % keys;
                    const port_index at = t.lookup(key(other), now);
                    if (at != no_port) {
                        ++found;
                        wrong += at != home(other, false) && at != home(other, true) ? 1U : 0U;
                    }
                }
            }
        });
    }
    for (int i = 0; i < 300; ++i) {
        t.flush_port(port_index{static_cast<std::uint16_t>(i % 16)});
        t.remove(key(static_cast<std::uint64_t>(i)), 0);
        if (i % 10 == 0) {
            t.flush_all();
        }
        std::uint64_t bad = 0;
        t.for_each(0, [&](const mac_entry& e) {
            const std::uint64_t k = e.mac.value() >> 8;
            bad += e.port != home(k, false) && e.port != home(k, true) ? 1U : 0U;
        });
        EXPECT_EQ(bad, 0U);
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    stop = true;
    threads.clear();
    EXPECT_EQ(wrong.load(), 0U);
    EXPECT_GT(found.load(), 1000U);
}

// Learns addresses behind p2 until told to stop, and makes room when there is none.
class flood {
public:
    explicit flood(mac_table& t)
        : thread_{[&t](const std::stop_token& stop) {
              for (std::uint64_t next = 1000; !stop.stop_requested(); ++next) {
                  if (t.learn(key(next), p2, 0) == mac_table::learned::table_full) {
                      t.flush_port(p2);
                  }
              }
          }}
    {}

private:
    std::jthread thread_;
};

TEST(mac_table, entries_that_move_are_found_all_the_time)
{
    mac_table t{64};
    constexpr std::uint64_t watched = 48;
    std::atomic<std::uint64_t> round{1}; // odd while the watched entries are not there
    const std::jthread others{[&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            for (std::uint64_t k = 0; k < 300; ++k) {
                t.remove(key(k), 0);
            }
            for (std::uint64_t k = 0; k < watched; ++k) {
                t.learn(key(k), p1, 0);
            }
            ++round;
            for (std::uint64_t k = watched; k < 300; ++k) {
                t.learn(key(k), p2, 0);
            }
            ++round;
        }
    }};
    std::uint64_t missed = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{1};
    while (std::chrono::steady_clock::now() < end) {
        for (std::uint64_t k = 0; k < watched; ++k) {
            const std::uint64_t before = round;
            const port_index at = t.lookup(key(k), 0);
            missed += before % 2 == 0 && round == before && at != p1 ? 1U : 0U;
        }
    }
    EXPECT_EQ(missed, 0U);
    EXPECT_GT(round.load(), 100U);
}

TEST(mac_table, a_walk_misses_no_entry_that_could_move)
{
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{1};
    for (int round = 0; std::chrono::steady_clock::now() < end; ++round) {
        mac_table t{64};
        constexpr std::uint64_t watched = 48;
        const flood others{t};
        for (std::uint64_t k = 0; k < watched; ++k) {
            t.add_static(key(k), p1, 0);
        }
        for (int i = 0; i < 20; ++i) {
            std::uint64_t seen = 0;
            t.for_each(0, [&](const mac_entry& e) { seen += e.port == p1 ? 1U : 0U; });
            ASSERT_EQ(seen, watched) << round;
        }
        t.remove_port(p1);
        for (std::uint64_t k = 0; k < watched; ++k) {
            ASSERT_EQ(t.lookup(key(k), 0), no_port) << round;
        }
    }
}

TEST(mac_table, a_static_entry_set_under_learning_wins)
{
    mac_table t{256};
    std::vector<std::jthread> threads;
    for (const port_index port : {p1, p2}) {
        threads.emplace_back([&t, port](const std::stop_token& stop) {
            while (!stop.stop_requested()) {
                for (std::uint64_t k = 0; k < 8; ++k) {
                    t.learn(key(k), port, 0);
                }
            }
        });
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds{500};
    for (int round = 0; std::chrono::steady_clock::now() < end; ++round) {
        const auto k = key(static_cast<std::uint64_t>(round % 8));
        t.add_static(k, p3, 0);
        for (int i = 0; i < 20; ++i) {
            ASSERT_EQ(t.lookup(k, 0), p3) << round;
        }
        t.remove(k, 0);
    }
}

} // namespace
} // namespace strait::dataplane
