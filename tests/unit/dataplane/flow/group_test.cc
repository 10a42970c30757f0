// SPDX-License-Identifier: BSD-3-Clause
// Which bucket packets take: by weights, by their hashes, by what is live.
#include "dataplane/flow/group.hh"

#include "dataplane/flow/liveness.hh"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace strait::flow {
namespace {

using dataplane::port_index;
using dataplane::worker_index;

constexpr auto all_live = [](const bucket&) { return true; };

group_settings selecting(const std::vector<std::uint16_t>& weights)
{
    group_settings s{.id = 1, .type = group_type::select, .select = {}, .buckets = {}};
    for (std::size_t i = 0; i < weights.size(); ++i) {
        bucket b;
        b.id = static_cast<std::uint32_t>(i);
        b.weight = weights[i];
        s.buckets.push_back(b);
    }
    return s;
}

group_ptr made(group_settings s, const bucket_group* before = nullptr)
{
    return group_ptr{new bucket_group{std::move(s), {}, 2, before}};
}

// A TCP packet of one conversation, from one of its ends.
key conversation(std::uint32_t number, bool reply = false)
{
    key k;
    k.set(field::eth_type, 0x0800);
    k.set(field::nw_proto, 6);
    k.set(reply ? field::nw_dst : field::nw_src, 0x0a000000 + number / 50'000);
    k.set(reply ? field::nw_src : field::nw_dst, 0x0a630001);
    k.set(reply ? field::tp_dst : field::tp_src, 1024 + number % 50'000);
    k.set(reply ? field::tp_src : field::tp_dst, 80);
    return k;
}

template <typename Live = decltype(all_live)>
std::size_t taken(const bucket_group& g, const key& k, const Live& live = all_live)
{
    return g.choose(bucket_group::join(g.hash_of_metadata(k), g.hash_of_headers(k)), live);
}

// How far counts are from what weights make expected: chi squared.
double distance(const std::vector<std::size_t>& counts, const std::vector<std::uint16_t>& weights)
{
    const double packets = static_cast<double>(std::reduce(counts.begin(), counts.end()));
    const double total = std::reduce(weights.begin(), weights.end(), 0.0);
    double out = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const double expected = packets * weights[i] / total;
        if (expected > 0) {
            out += (static_cast<double>(counts[i]) - expected) *
                   (static_cast<double>(counts[i]) - expected) / expected;
        } else {
            EXPECT_EQ(counts[i], 0U);
        }
    }
    return out;
}

constexpr std::uint32_t many = 20'000;

class weights_of_a_group : public testing::TestWithParam<std::vector<std::uint16_t>> {};

TEST_P(weights_of_a_group, are_what_conversations_spread_by)
{
    const auto g = made(selecting(GetParam()));
    std::vector<std::size_t> counts(GetParam().size());
    for (std::uint32_t i = 0; i < many; ++i) {
        ++counts.at(taken(*g, conversation(i)));
    }
    // Slots are shared out by the weights to within one: with 16 or more each, that is a part of a
    // sixteenth, which adds to chance. For eight degrees of freedom chance alone stays below 27.
    const double slots = static_cast<double>(g->slots());
    double rounding = 0;
    const double total = std::reduce(GetParam().begin(), GetParam().end(), 0.0);
    for (const std::uint16_t w : GetParam()) {
        if (w > 0) {
            const double expected = w / total;
            rounding += many / (slots * slots * expected);
        }
    }
    EXPECT_LT(distance(counts, GetParam()), 27 + rounding);
}

INSTANTIATE_TEST_SUITE_P(some, weights_of_a_group,
                         testing::Values(std::vector<std::uint16_t>{1, 1},
                                         std::vector<std::uint16_t>{1, 2, 3},
                                         std::vector<std::uint16_t>{10, 0, 30},
                                         std::vector<std::uint16_t>{5, 5, 5, 5, 5, 5, 5, 5, 5},
                                         std::vector<std::uint16_t>{100, 7, 0, 1, 50}));

TEST(group_test, both_directions_of_a_conversation_take_one_bucket)
{
    const auto g = made(selecting({1, 1, 1, 1}));
    for (std::uint32_t i = 0; i < 1000; ++i) {
        EXPECT_EQ(taken(*g, conversation(i)), taken(*g, conversation(i, true)));
    }
}

TEST(group_test, fragments_of_a_datagram_take_one_bucket)
{
    for (const auto by : {selection::method::usual, selection::method::hash}) {
        group_settings s = selecting({1, 1, 1, 1});
        s.select.by = by;
        if (by == selection::method::hash) {
            s.select.fields = {{field::nw_src, wide::ones(32)}, {field::tp_src, wide::ones(16)}};
        }
        const auto g = made(s);
        for (std::uint32_t i = 0; i < 1000; ++i) {
            key first = conversation(i);
            first.set(field::nw_frag, frag_any);
            key later = first;
            later.set(field::nw_frag, frag_any | frag_later);
            later.set(field::tp_src, 0);
            later.set(field::tp_dst, 0);
            EXPECT_EQ(taken(*g, first), taken(*g, later));
        }
    }
}

TEST(group_test, what_is_no_ip_spreads_by_its_addresses)
{
    const auto g = made(selecting({1, 1, 1, 1}));
    std::set<std::size_t> seen;
    for (std::uint32_t i = 0; i < 100; ++i) {
        key k;
        k.set(field::eth_type, 0x88b5);
        k.set(field::eth_src, 0x020000000000 + i);
        k.set(field::eth_dst, 0x02000000ffff);
        key reply = k;
        reply.set(field::eth_src, k.get(field::eth_dst));
        reply.set(field::eth_dst, k.get(field::eth_src));
        EXPECT_EQ(taken(*g, k), taken(*g, reply));
        seen.insert(taken(*g, k));
    }
    EXPECT_EQ(seen.size(), 4U);
}

TEST(group_test, hashes_the_fields_that_were_named_and_no_others)
{
    group_settings s = selecting({1, 1, 1, 1, 1, 1, 1, 1});
    s.select.by = selection::method::hash;
    s.select.fields = {{field::tp_dst, wide{0x00ff}}, {field::reg0, wide::ones(32)}};
    const auto g = made(s);
    std::set<std::size_t> by_port;
    std::set<std::size_t> by_register;
    for (std::uint32_t i = 0; i < 200; ++i) {
        key k = conversation(i);
        EXPECT_EQ(taken(*g, k), taken(*g, conversation(0)));
        k.set(field::tp_dst, 0x100 * i + (80 & 0xff));
        EXPECT_EQ(taken(*g, k), taken(*g, conversation(0)));
        k.set(field::tp_dst, i);
        by_port.insert(taken(*g, k));
        k = conversation(0);
        k.set(field::reg0, i);
        by_register.insert(taken(*g, k));
    }
    EXPECT_EQ(by_port.size(), 8U);
    EXPECT_EQ(by_register.size(), 8U);
    s.select.parameter = 77;
    const auto other = made(s);
    std::size_t same = 0;
    for (std::uint32_t i = 0; i < 200; ++i) {
        key k;
        k.set(field::tp_dst, i);
        same += taken(*g, k) == taken(*other, k);
    }
    EXPECT_LT(same, 60U) << "another parameter is another hash";
}

TEST(group_test, when_a_bucket_dies_its_packets_alone_go_elsewhere)
{
    const std::vector<std::uint16_t> weights{1, 2, 3, 4};
    const auto g = made(selecting(weights));
    const auto third_is_dead = [](const bucket& b) { return b.id != 2; };
    std::vector<std::size_t> counts(4);
    for (std::uint32_t i = 0; i < many; ++i) {
        const std::size_t before = taken(*g, conversation(i));
        const std::size_t now = taken(*g, conversation(i), third_is_dead);
        if (before != 2) {
            EXPECT_EQ(now, before);
        }
        ++counts.at(now);
    }
    EXPECT_LT(distance(counts, {1, 2, 0, 4}), 40);
}

TEST(group_test, the_only_live_bucket_takes_all_and_none_takes_none)
{
    std::vector<std::uint16_t> weights(200, 1);
    weights[7] = 0;
    const auto g = made(selecting(weights));
    for (std::uint32_t i = 0; i < 200; ++i) {
        EXPECT_EQ(taken(*g, conversation(i), [](const bucket& b) { return b.id == 3; }), 3U);
        EXPECT_EQ(taken(*g, conversation(i), [](const bucket& b) { return b.id == 7; }),
                  bucket_group::no_bucket)
            << "it has no weight";
        EXPECT_EQ(taken(*g, conversation(i), [](const bucket&) { return false; }),
                  bucket_group::no_bucket);
    }
    EXPECT_EQ(taken(*made(selecting({0, 0})), conversation(1)), bucket_group::no_bucket);
    EXPECT_EQ(taken(*made(selecting({})), conversation(1)), bucket_group::no_bucket);
}

// An eighth of what moves at least, moves beyond that at most.
TEST(group_test, a_bucket_more_takes_its_share_and_moves_hardly_anything_else)
{
    const auto before = made(selecting({1, 1, 1, 1}));
    const auto after = made(selecting({1, 1, 1, 1, 1}), before.get());
    std::size_t to_the_new = 0;
    std::size_t between_the_old = 0;
    for (std::uint32_t i = 0; i < many; ++i) {
        const std::size_t was = taken(*before, conversation(i));
        const std::size_t is = taken(*after, conversation(i));
        to_the_new += is == 4;
        between_the_old += is != 4 && is != was;
    }
    EXPECT_NEAR(static_cast<double>(to_the_new) / many, 0.2, 0.02);
    EXPECT_LT(static_cast<double>(between_the_old) / many, 0.08);
}

TEST(group_test, fast_failover_takes_the_first_that_is_live)
{
    group_settings s = selecting({1, 1, 1});
    s.type = group_type::fast_failover;
    const auto g = made(s);
    EXPECT_EQ(g->choose(0, all_live), 0U);
    EXPECT_EQ(g->choose(0, [](const bucket& b) { return b.id > 1; }), 2U);
    EXPECT_EQ(g->choose(0, [](const bucket&) { return false; }), bucket_group::no_bucket);
}

TEST(group_test, counts_go_on_when_it_is_changed_but_of_buckets_that_are_others)
{
    group_settings s = selecting({1, 1});
    const auto before = made(s);
    before->count(worker_index{0}, 0, 100);
    before->count(worker_index{1}, 1, 50);
    s.buckets[1].weight = 2;
    s.buckets.emplace(s.buckets.begin())->id = 9;
    const auto after = made(s, before.get());
    before->count(worker_index{1}, 0, 10); // by a worker that has not seen the change
    EXPECT_EQ(after->counted().packets(), 3U);
    EXPECT_EQ(after->counted().bytes(), 160U);
    EXPECT_EQ(after->counted(0).packets(), 0U);
    EXPECT_EQ(after->counted(1).packets(), 2U);
    EXPECT_EQ(after->counted(2).packets(), 0U) << "it is another now";
    after->count(worker_index{0}, bucket_group::no_bucket, 1);
    EXPECT_EQ(after->counted().packets(), 4U);
    EXPECT_EQ(after->counted(2).packets(), 1U);
}

class buckets_that_watch : public testing::Test {
protected:
    buckets_that_watch()
    {
        auto numbers = std::make_shared<port_numbers>();
        for (std::uint16_t i = 0; i < 3; ++i) {
            auto port = std::make_shared<dataplane::port_config>();
            port->index = port_index{i};
            port->number = static_cast<std::uint16_t>(i + 1);
            links_.push_back(std::make_shared<std::atomic<bool>>(true));
            port->link = links_.back();
            port->admin_up = i != 2;
            config_.ports.push_back(port);
            numbers->add(port->number, port->index);
        }
        flows_.ports = numbers;
    }
    bool live(const bucket& b) { return liveness{flows_, config_, dataplane::bridge_index{0}}(b); }
    static bucket port(port_number n)
    {
        bucket b;
        b.watch_port = n;
        return b;
    }
    static bucket group(std::uint32_t id)
    {
        bucket b;
        b.watch_group = id;
        return b;
    }
    void put(std::uint32_t id, std::vector<bucket> buckets)
    {
        flows_.groups.put(
            made({.id = id, .type = group_type::all, .select = {}, .buckets = std::move(buckets)}));
    }

    dataplane::snapshot config_;
    std::vector<std::shared_ptr<std::atomic<bool>>> links_;
    pipeline flows_;
};

TEST_F(buckets_that_watch, nothing_are_live)
{
    EXPECT_TRUE(live({}));
}

TEST_F(buckets_that_watch, a_port_are_live_while_it_is_up)
{
    EXPECT_TRUE(live(port(1)));
    links_[0]->store(false);
    EXPECT_FALSE(live(port(1)));
    EXPECT_FALSE(live(port(3))) << "by configuration";
    EXPECT_FALSE(live(port(77))) << "there is none";
    links_[0]->store(true);
    EXPECT_TRUE(live(port(1)));
}

TEST_F(buckets_that_watch, a_port_of_another_bridge_are_not_live)
{
    EXPECT_FALSE((liveness{flows_, config_, dataplane::bridge_index{1}}(port(1))));
}

TEST_F(buckets_that_watch, a_group_are_live_while_one_of_its_buckets_is)
{
    EXPECT_FALSE(live(group(5)));
    put(5, {port(3), group(6)});
    put(6, {port(1)});
    EXPECT_TRUE(live(group(5)));
    links_[0]->store(false);
    EXPECT_FALSE(live(group(5)));
    put(7, {});
    EXPECT_FALSE(live(group(7)));
}

TEST_F(buckets_that_watch, groups_that_watch_one_another_end)
{
    constexpr std::uint32_t count = 32;
    for (std::uint32_t id = 1; id <= count; ++id) {
        std::vector<bucket> all;
        for (std::uint32_t other = 1; other <= count; ++other) {
            all.push_back(group(other));
        }
        put(id, std::move(all));
    }
    EXPECT_FALSE(live(group(1)));
}

} // namespace
} // namespace strait::flow
