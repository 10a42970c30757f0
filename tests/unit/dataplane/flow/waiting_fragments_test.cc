// SPDX-License-Identifier: BSD-3-Clause
// Fragments that come before the first of their datagram: they wait, go on as that does, and are no
// burden to others.
#include "tests/unit/dataplane/eal.hh"
#include "tests/unit/dataplane/flow/flows_of_a_bridge.hh"

#include "dataplane/conntrack/tracker.hh"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace strait::flow {
namespace {

using conntrack::fragments;
using dataplane::drop_reason;

plain_rule always(table_id table, action_list actions)
{
    return {table, 1, {}, std::move(actions)};
}
action out(port_number port)
{
    return {output{port}};
}
action track(table_id table)
{
    ct out;
    out.table = table;
    out.commit = true;
    return {out};
}
action set(field f, wide value)
{
    return {set_field{f, value, wide::ones(width_of(f))}};
}

// Bytes [at, at + size) of a datagram of UDP.
frame_bytes fragment(unsigned at, unsigned size, bool last, unsigned identifier = 1)
{
    std::vector<std::uint8_t> f{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0};
    const auto put = [&f](unsigned value) {
        f.push_back(static_cast<std::uint8_t>(value >> 8));
        f.push_back(static_cast<std::uint8_t>(value));
    };
    put(20 + size);
    put(identifier);
    put(at / 8 | (last ? 0 : 0x2000));
    f.insert(f.end(), {64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2});
    if (at == 0) {
        for (const unsigned word : {4000U, 53U, 8 + size, 0U}) {
            put(word);
        }
    }
    f.resize(14 + 20 + size, static_cast<std::uint8_t>(at / 8));
    const auto* const bytes = reinterpret_cast<const std::byte*>(f.data());
    return {bytes, bytes + f.size()};
}

class waiting_fragments : public flows_of_a_bridge {
protected:
    static constexpr unsigned buffers = 512;

    waiting_fragments()
    {
        test::start_eal();
        pool_ = test::make_pool(buffers);
        make_tracker(pool_.get());
        publish({always(0, {track(1)}), always(1, {out(2)})});
    }
    ~waiting_fragments() override
    {
        switcher_.set_tracking(connections_);
        send(1, {}); // what was released is free then
        tracker_.reset();
        store_.reset();
        EXPECT_EQ(rte_mempool_avail_count(pool_.get()), buffers) << "nothing is lost";
    }
    void make_tracker(rte_mempool* pool)
    {
        tracker_.reset();
        store_ = std::make_unique<conntrack::store>(conntrack::store_settings{.connections = 1000});
        tracker_ = std::make_unique<conntrack::tracker>(*store_, 0, pool);
        switcher_.set_tracking(*tracker_);
    }
    std::uint64_t dropped(drop_reason reason = drop_reason::ct_fragment) const
    {
        return counters_.drops[static_cast<std::size_t>(reason)].read();
    }
    using frames = std::vector<frame_bytes>;
    frames sent_to(std::size_t port, std::size_t from, const frames& all)
    {
        const sent what = send(from, all);
        const auto found = what.find(port);
        return found == what.end() ? frames{} : frames{found->second.begin(), found->second.end()};
    }
    // Those that have waited so long, and whose they are.
    std::vector<std::size_t> expired(conntrack::seconds_t now)
    {
        std::array<fragments::waiting_packet, 100> late;
        std::vector<std::size_t> ports;
        for (const auto& w : std::span{late}.first(tracker_->expire_fragments(late, now))) {
            ports.push_back(to_index(w.from));
            rte_pktmbuf_free(w.mbuf);
        }
        return ports;
    }

    test::pool_ptr pool_;
    std::unique_ptr<conntrack::store> store_;
    std::unique_ptr<conntrack::tracker> tracker_;
};

const frame_bytes first = fragment(0, 64, false);
const frame_bytes second = fragment(64, 64, false);
const frame_bytes third = fragment(128, 10, true);

TEST_F(waiting_fragments, go_on_behind_the_first_in_the_order_in_which_they_came)
{
    EXPECT_EQ(sent_to(2, 1, {third}), frames{});
    EXPECT_EQ(sent_to(2, 1, {second}), frames{});
    EXPECT_EQ(store_->waiting_fragments(), 2U);
    EXPECT_EQ(dropped(), 0U);
    EXPECT_EQ(sent_to(2, 1, {first}), (frames{first, third, second}));
    EXPECT_EQ(store_->waiting_fragments(), 0U);
    EXPECT_EQ(sent_to(2, 1, {fragment(0, 64, false, 2), fragment(64, 8, true, 2)}).size(), 2U);
    EXPECT_EQ(dropped(), 0U);
    EXPECT_EQ(store_->connections().size(), 1U);
}

TEST_F(waiting_fragments, may_be_in_the_burst_of_the_first)
{
    EXPECT_EQ(sent_to(2, 1, {third, second, first}), (frames{first, third, second}));
    const frame_bytes begin = fragment(0, 64, false, 2);
    EXPECT_EQ(sent_to(2, 1, {fragment(64, 8, true, 2), begin, begin}),
              (frames{begin, fragment(64, 8, true, 2)}));
    EXPECT_EQ(dropped(), 1U) << "it has come before";
}

TEST_F(waiting_fragments, get_the_firsts_verdict)
{
    store_->limits().limit(0, 1);
    ASSERT_EQ(sent_to(2, 1, {fragment(0, 64, true, 9)}).size(), 1U);
    frame_bytes other = fragment(0, 64, false);
    other[14 + 20 + 1] = std::byte{1}; // another port: another connection
    EXPECT_EQ(sent_to(2, 1, {second, other}), frames{});
    EXPECT_EQ(dropped(drop_reason::ct_zone_full), 2U);
}

TEST_F(waiting_fragments, do_what_is_left_behind_the_action_too)
{
    publish({always(0, {track(1), out(3)}), always(1, {out(2)})});
    EXPECT_EQ(sent_to(2, 1, {second}), frames{});
    EXPECT_EQ(sent_to(3, 1, {first}), (frames{first, second}));
    EXPECT_EQ(sent_[2].size(), 2U);
}

TEST_F(waiting_fragments, wait_for_one_that_the_same_becomes_of)
{
    plain_rule other{0, 2, {}, {set(field::reg1, 7), track(1)}};
    other.match.require(field::in_port, 3);
    plain_rule longer{0, 3, {}, {set(field::reg1, 8), track(1)}};
    longer.match.require(field::nw_frag, frag_any | frag_later);
    publish({always(0, {track(1)}), other, always(1, {out(2)})});
    EXPECT_EQ(sent_to(2, 1, {second}), frames{});
    EXPECT_EQ(sent_to(2, 3, {first}), frames{first}) << "that came from elsewhere";
    EXPECT_EQ(store_->waiting_fragments(), 1U);
    EXPECT_EQ(expired(3), std::vector<std::size_t>{1});
    make_tracker(pool_.get());
    publish({always(0, {track(1)}), longer, always(1, {out(2)})});
    EXPECT_EQ(sent_to(2, 1, {second}), frames{});
    EXPECT_EQ(sent_to(2, 1, {first}), frames{first}) << "that has other registers";
    EXPECT_EQ(expired(3).size(), 1U);
}

TEST_F(waiting_fragments, are_bounded_in_number_for_each_port_and_all)
{
    frames many;
    for (unsigned i = 0; i < 60; ++i) {
        many.push_back(fragment(64, 64, false, 100 + i));
    }
    EXPECT_EQ(sent_to(2, 1, many), frames{});
    EXPECT_EQ(store_->waiting_fragments(), fragments::most_of_a_port);
    EXPECT_EQ(dropped(), 60 - fragments::most_of_a_port);
    EXPECT_EQ(sent_to(2, 3, many), frames{});
    EXPECT_EQ(store_->waiting_fragments(), fragments::most_waiting);
    EXPECT_EQ(sent_to(2, 1, {fragment(0, 64, false, 100)}).size(), 2U) << "those that wait go on";
}

TEST_F(waiting_fragments, are_bounded_in_bytes)
{
    frames many;
    for (unsigned i = 0; i < 20; ++i) {
        many.push_back(fragment(64, 8000, false, 100 + i));
    }
    EXPECT_EQ(sent_to(2, 1, many), frames{});
    EXPECT_EQ(store_->waiting_fragments(), fragments::most_bytes / 8034);
}

TEST_F(waiting_fragments, wait_for_some_time_only)
{
    EXPECT_EQ(sent_to(2, 1, {second, third}), frames{});
    EXPECT_TRUE(tracker_->has_waiting_fragments(1));
    EXPECT_EQ(expired(2).size(), 0U);
    EXPECT_FALSE(tracker_->has_waiting_fragments(2)) << "looked at";
    EXPECT_EQ(expired(1 + fragments::longest_wait), (std::vector<std::size_t>{1, 1}));
    EXPECT_EQ(store_->waiting_fragments(), 0U);
    EXPECT_FALSE(tracker_->has_waiting_fragments(4));
}

TEST_F(waiting_fragments, that_overlap_do_not_all_go_on)
{
    EXPECT_EQ(sent_to(2, 1, {second, fragment(72, 64, false)}), frames{});
    EXPECT_EQ(sent_to(2, 1, {first}), (frames{first, second}));
    EXPECT_EQ(dropped(), 1U);
}

TEST_F(waiting_fragments, are_those_alone_of_which_it_is_known_what_becomes_of_them)
{
    key k;
    const auto room = std::make_unique<burst>();
    put(room->slots[0], second, *room);
    conntrack::request r;
    r.p = room->slots.data();
    r.headers = &k;
    (void)extract(*r.p, k, r.at);
    tracker_->track({&r, 1}, 1);
    EXPECT_TRUE(r.dropped && !r.waits);
    r.continuation = 1;
    tracker_->track({&r, 1}, 1);
    EXPECT_TRUE(r.dropped && r.waits);
    EXPECT_EQ(expired(3).size(), 1U);
}

TEST_F(waiting_fragments, need_a_buffer)
{
    std::vector<rte_mbuf*> taken;
    while (rte_mbuf* const m = rte_pktmbuf_alloc(pool_.get())) {
        taken.push_back(m);
    }
    EXPECT_EQ(sent_to(2, 1, {second}), frames{});
    EXPECT_EQ(dropped(), 1U);
    EXPECT_EQ(store_->waiting_fragments(), 0U);
    rte_pktmbuf_free_bulk(taken.data(), static_cast<unsigned>(taken.size()));
}

} // namespace
} // namespace strait::flow
