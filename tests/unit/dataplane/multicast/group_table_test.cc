// SPDX-License-Identifier: BSD-3-Clause
// Who listens: bounds, time, and readers beside writers.
#include "dataplane/multicast/group_table.hh"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>

namespace strait::multicast {
namespace {

constexpr vlan_id none{};
constexpr vlan_id ten{10};
constexpr port_index a{0}, b{1}, c{1023};

ip_address group(std::uint32_t n)
{
    return ip_address::v4(0xef00'0000 + n);
}

std::set<std::size_t> members(const group_table& t, std::uint32_t n, vlan_id vlan = none)
{
    port_set found;
    std::set<std::size_t> out;
    if (t.listeners(group(n), vlan, found) == group_table::found::some) {
        for (const port_index p : {a, b, c}) {
            if (found.contains(p)) {
                out.insert(dataplane::to_index(p));
            }
        }
    }
    return out;
}

using ports = std::set<std::size_t>;

TEST(group_table, knows_who_joined_in_which_vlan)
{
    group_table t{16};
    EXPECT_EQ(t.join(group(1), none, a, 0, 0), group_table::joined::added);
    EXPECT_EQ(t.join(group(1), none, a, 0, 1), group_table::joined::known);
    EXPECT_EQ(t.join(group(1), none, c, 0, 1), group_table::joined::added);
    EXPECT_EQ(t.join(group(1), ten, b, 0, 1), group_table::joined::added);
    EXPECT_EQ(members(t, 1), (ports{0, 1023}));
    EXPECT_EQ(members(t, 1, ten), (ports{1}));
    EXPECT_EQ(members(t, 2), ports{});
    EXPECT_EQ(t.size(), 2U);
    t.leave(group(1), none, a);
    t.leave(group(1), none, a);
    EXPECT_EQ(members(t, 1), (ports{1023}));
    t.leave(group(1), none, c);
    EXPECT_EQ(t.size(), 1U);
}

TEST(group_table, forgets_who_reports_no_more)
{
    group_table t{16};
    t.set_ageing(100);
    // Over the end of what a time's bits count.
    constexpr seconds_t now = 65'500;
    (void)t.join(group(1), none, a, 0, now);
    (void)t.join(group(1), none, b, 0, now + 50);
    t.expire(now + 99);
    EXPECT_EQ(members(t, 1), (ports{0, 1}));
    t.expire(now + 100);
    EXPECT_EQ(members(t, 1), (ports{1}));
    t.expire(now + 150);
    EXPECT_EQ(t.size(), 0U);

    t.set_ageing(1'000'000);
    EXPECT_EQ(t.ageing(), group_table::most_ageing);
    (void)t.join(group(1), none, a, 0, now);
    t.expire(now + group_table::most_ageing - 1);
    EXPECT_EQ(members(t, 1), (ports{0}));
    t.expire(now + group_table::most_ageing);
    EXPECT_EQ(members(t, 1), ports{});
}

TEST(group_table, asks_again_before_it_forgets)
{
    group_table t{16};
    (void)t.join(group(1), none, a, 0, 10);
    (void)t.join(group(1), none, b, 0, 10);
    (void)t.join(group(2), none, b, 0, 10);
    t.shorten(group(1), none, 3, 10);
    t.shorten(group(1), none, 50, 10); // never makes it longer
    t.shorten(group(9), none, 3, 10);
    (void)t.join(group(1), none, a, 0, 12);
    t.expire(13);
    EXPECT_EQ(members(t, 1), (ports{0}));
    EXPECT_EQ(members(t, 2), (ports{1}));
}

TEST(group_table, knows_routers_and_queriers_for_a_while)
{
    group_table t{16};
    EXPECT_FALSE(t.has_querier(false, ten));
    t.hear_querier(false, ten, b, 5);
    t.hear_router(ten, c, 5);
    EXPECT_TRUE(t.has_querier(false, ten));
    EXPECT_FALSE(t.has_querier(true, ten));
    EXPECT_FALSE(t.has_querier(false, none));
    port_set found;
    t.routers(ten, found);
    EXPECT_TRUE(found.contains(c) && !found.contains(b));
    t.queriers(false, ten, found);
    EXPECT_TRUE(found.contains(b));
    t.expire(5 + group_table::querier_interval - 1);
    EXPECT_TRUE(t.has_querier(false, ten));
    t.forget_router(ten, c);
    port_set left;
    t.routers(ten, left);
    EXPECT_TRUE(left.empty());
    t.expire(5 + group_table::querier_interval);
    EXPECT_FALSE(t.has_querier(false, ten));
}

TEST(group_table, sends_everything_to_who_asks_for_more_than_it_may)
{
    group_table t{16};
    t.set_ageing(50);
    EXPECT_EQ(t.join(group(1), none, a, 2, 0), group_table::joined::added);
    EXPECT_EQ(t.join(group(2), none, a, 2, 0), group_table::joined::added);
    EXPECT_EQ(t.join(group(3), none, a, 2, 0), group_table::joined::over_limit);
    EXPECT_EQ(t.join(group(2), none, a, 2, 1), group_table::joined::known);
    EXPECT_EQ(members(t, 3), ports{});
    port_set all;
    t.crowded(none, all);
    EXPECT_TRUE(all.contains(a) && !all.contains(b));
    EXPECT_EQ(t.counted().refused, 1U);
    t.expire(60);
    port_set later;
    t.crowded(none, later);
    EXPECT_TRUE(later.empty());
    EXPECT_EQ(t.join(group(3), none, a, 2, 60), group_table::joined::added)
        << "there is room again";
}

TEST(group_table, is_bounded_and_its_room_comes_back)
{
    group_table t{1};
    ASSERT_EQ(t.capacity(), group_table::least_groups);
    for (int round = 0; round < 3; ++round) {
        for (std::uint32_t i = 0; i < t.capacity(); ++i) {
            ASSERT_EQ(t.join(group(i), none, a, 0, 0), group_table::joined::added);
        }
        EXPECT_EQ(t.join(group(99), none, b, 0, 0), group_table::joined::table_full);
        EXPECT_EQ(t.join(group(3), none, b, 0, 0), group_table::joined::added);
        port_set all;
        t.crowded(none, all);
        EXPECT_TRUE(all.contains(b));
        t.flush_port(a);
        EXPECT_EQ(t.size(), 1U);
        EXPECT_EQ(members(t, 3), (ports{1}));
        t.flush();
        EXPECT_EQ(t.size(), 0U);
        port_set none_left;
        t.crowded(none, none_left);
        EXPECT_TRUE(none_left.empty());
    }
}

TEST(group_table, lists_all_with_the_time_left)
{
    group_table t{16};
    (void)t.join(group(1), ten, a, 0, 0);
    (void)t.join({0xff05ULL << 48, 1}, none, b, 0, 10);
    t.hear_querier(true, ten, c, 20);
    t.hear_router(none, b, 20);
    std::map<group_table::entry::kind, unsigned> seen;
    t.for_each(20, [&](const group_table::entry& e) {
        ++seen[e.is];
        switch (e.is) {
        case group_table::entry::kind::group:
            EXPECT_EQ(e.left, e.six ? 250U : 240U);
            EXPECT_EQ(e.vlan, e.six ? none : ten);
            break;
        default:
            EXPECT_EQ(e.left, group_table::querier_interval);
            break;
        }
    });
    EXPECT_EQ(seen.size(), 3U);
    EXPECT_EQ(seen[group_table::entry::kind::group], 2U);
}

// A group that stays is found whatever comes and goes beside it; and no other's ports are seen.
TEST(group_table, is_read_while_it_changes)
{
    group_table t{64};
    (void)t.join(group(1), none, c, 0, 0);
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> lost{0}, wrong{0}, sure{0};
    std::thread reader{[&] {
        while (!done.load()) {
            port_set found;
            switch (t.listeners(group(1), none, found)) {
            case group_table::found::none:
                ++lost;
                break;
            case group_table::found::some:
                ++sure;
                wrong += found.contains(a) || found.contains(b) || !found.contains(c) ? 1 : 0;
                break;
            case group_table::found::unsure:
                break;
            }
        }
    }};
    std::thread control{[&] {
        while (!done.load()) {
            t.expire(1);
            std::this_thread::yield();
        }
    }};
    for (std::uint32_t i = 0; i < 100'000; ++i) {
        (void)t.join(group(2 + i % 50), none, i % 2 == 0 ? a : b, 0, 0);
        t.leave(group(2 + (i + 25) % 50), none, (i + 25) % 2 == 0 ? a : b);
    }
    done = true;
    reader.join();
    control.join();
    EXPECT_EQ(lost.load(), 0U);
    EXPECT_EQ(wrong.load(), 0U);
    EXPECT_GT(sure.load(), 0U);
}

} // namespace
} // namespace strait::multicast
