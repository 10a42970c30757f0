// SPDX-License-Identifier: BSD-3-Clause
// Publication of rings to a worker: what it finds before, between and after, and that packets it
// holds go back to the ring they came from.
#include "ports/gather.hh"
#include "ports/vhost/queue.hh"
#include "test_ring.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::vhost::test {
namespace {

using dataplane::drop_reason;
using poll = ports::rx_queue::poll;

class vhost_queue : public testing::TestWithParam<bool> {
protected:
    vhost_queue()
    {
        const ring_options o{.packed = GetParam(), .features = feature_bits({feature::version_1})};
        transmit = make_driver(ram, o);
        receive = make_driver(ram, o);
        place = ram.allocate(4096);
        list = packet.get();
    }
    poll take()
    {
        worker.burst().clear();
        worker.pass(std::uint64_t{1} << 22);
        return q.receive(worker.burst(), worker.context());
    }
    void offer() const
    {
        ASSERT_TRUE(transmit->add({{place, 72, false}}, 1));
        transmit->publish();
    }
    void send() { q.transmit({&list, 1}, worker.context()); }

    guest_ram ram;
    std::unique_ptr<driver> transmit;
    std::unique_ptr<driver> receive;
    std::uint64_t place{0};
    worker_side worker;
    test_packet packet{bytes(60)};
    dataplane::packet* list{nullptr};
    queue q;
};

INSTANTIATE_TEST_SUITE_P(kinds, vhost_queue, testing::Bool(), kind_name);

TEST_P(vhost_queue, is_empty_and_not_connected_without_rings)
{
    EXPECT_EQ(q.published_source(), nullptr);
    EXPECT_EQ(q.published_sink(), nullptr);
    EXPECT_EQ(take(), poll::empty);
    send();
    EXPECT_EQ(worker.drops(drop_reason::receiver_not_connected), 1U);
    EXPECT_EQ(q.unpublish_source(), nullptr);
    EXPECT_EQ(q.unpublish_sink(), nullptr);
}

TEST_P(vhost_queue, works_the_rings_it_has)
{
    q.publish(make_source(transmit->setup()));
    q.publish(make_sink(receive->setup()));
    offer();
    ASSERT_EQ(take(), poll::taken);
    EXPECT_EQ(worker.burst().count, 1U);
    q.release(worker.burst(), worker.context());
    EXPECT_EQ(transmit->collect().size(), 1U);
    ASSERT_TRUE(receive->add({{place, 1526, true}}, 1));
    receive->publish();
    send();
    EXPECT_EQ(receive->collect().size(), 1U);
    EXPECT_EQ(worker.drops(), 0U);

    const auto out = q.unpublish_source();
    const auto in = q.unpublish_sink();
    ASSERT_NE(out, nullptr);
    ASSERT_NE(in, nullptr);
    EXPECT_EQ(out->position(), transmit->position());
    EXPECT_EQ(in->position(), receive->position());
    offer();
    EXPECT_EQ(take(), poll::empty);
    send();
    EXPECT_EQ(worker.drops(drop_reason::receiver_not_connected), 1U);
}

TEST_P(vhost_queue, packets_taken_go_back_after_unpublication)
{
    q.publish(make_source(transmit->setup()));
    offer();
    ASSERT_EQ(take(), poll::taken);
    const auto out = q.unpublish_source();
    EXPECT_EQ(q.published_source(), nullptr);
    q.release(worker.burst(), worker.context());
    EXPECT_EQ(transmit->collect().size(), 1U);
    EXPECT_EQ(out->position(), transmit->position());
    // Published anew where it stood, nothing is taken twice.
    ring_setup again = transmit->setup();
    again.start = out->position();
    q.publish(make_source(again));
    EXPECT_EQ(take(), poll::empty);
    offer();
    EXPECT_EQ(take(), poll::taken);
    q.release(worker.burst(), worker.context());
    EXPECT_EQ(transmit->collect().size(), 1U);
}

TEST_P(vhost_queue, wakes_its_worker_by_what_its_rings_have)
{
    std::vector<pollfd> wakers;
    EXPECT_TRUE(q.can_wake());
    EXPECT_TRUE(q.list_wakers(wakers)) << "without a ring there is nothing to wait for";
    EXPECT_TRUE(wakers.empty());
    EXPECT_TRUE(q.ask_to_wake(wakers));

    q.publish(make_source(transmit->setup()));
    EXPECT_FALSE(q.ask_to_wake(wakers)) << "a ring was published since";
    ASSERT_TRUE(q.list_wakers(wakers));
    ASSERT_EQ(wakers.size(), 1U);
    EXPECT_EQ(wakers[0].fd, transmit->kick_fd());
    EXPECT_TRUE(q.ask_to_wake(wakers));
    offer();
    EXPECT_EQ(transmit->kicks(), 1U);
    wakers.clear();
    EXPECT_FALSE(q.list_wakers(wakers)) << "something waits";
    ASSERT_EQ(take(), poll::taken);
    q.release(worker.burst(), worker.context());

    ASSERT_TRUE(q.list_wakers(wakers));
    const auto gone = q.unpublish_source();
    EXPECT_FALSE(q.ask_to_wake(wakers)) << "the ring was taken out since";
}

TEST_P(vhost_queue, keeps_its_worker_awake_for_a_driver_that_cannot_kick)
{
    ring_setup without = transmit->setup();
    without.kick_fd = -1;
    q.publish(make_source(without));
    std::vector<pollfd> wakers;
    EXPECT_FALSE(q.list_wakers(wakers));
}

// ---- several pairs ----

class several_pairs : public testing::TestWithParam<bool> {
protected:
    static constexpr std::size_t pairs = 3;

    several_pairs()
    {
        const ring_options o{.packed = GetParam(), .features = feature_bits({feature::version_1})};
        for (std::size_t i = 0; i < pairs; ++i) {
            transmit.push_back(make_driver(ram, o));
            receive.push_back(make_driver(ram, o));
        }
        place = ram.allocate(4096);
    }
    void offer(std::size_t pair)
    {
        ASSERT_TRUE(transmit[pair]->add({{place, 72, false}}, 1));
        transmit[pair]->publish();
    }
    // The pair whose frame was taken; `pairs` if none was.
    std::size_t take()
    {
        worker.burst().clear();
        worker.pass(std::uint64_t{1} << 22);
        if (q.receive(worker.burst(), worker.context()) == poll::empty) {
            return pairs;
        }
        q.release(worker.burst(), worker.context());
        for (std::size_t i = 0; i < pairs; ++i) {
            if (!transmit[i]->collect().empty()) {
                return i;
            }
        }
        return pairs;
    }
    // Sends a frame of each of some flows, all from one ring. The pair that each came by.
    std::vector<std::size_t> send_flows(dataplane::origin_ring from = {})
    {
        constexpr std::size_t flows = 20;
        std::vector<test_packet> packets;
        std::vector<dataplane::packet*> list;
        for (std::size_t i = 0; i < flows; ++i) {
            bytes frame(60 + i); // told apart by its length
            frame.at(11) = static_cast<std::byte>(i);
            packets.emplace_back(frame);
        }
        for (test_packet& p : packets) {
            list.push_back(p.get());
        }
        for (std::size_t i = 0; i < pairs; ++i) {
            for (std::size_t n = 0; n < flows; ++n) {
                (void)receive[i]->add({{place, 1526, true}}, n);
            }
            receive[i]->publish();
        }
        ports::queue_context context = worker.context();
        context.from = from;
        q.prefetch_ring(flows, from);
        q.prefetch_buffers(flows, from);
        q.transmit(list, context);
        std::vector<std::size_t> came_by(flows, pairs);
        for (std::size_t i = 0; i < pairs; ++i) {
            for (const auto& r : receive[i]->collect()) {
                came_by.at(r.length - sizeof(net_header) - 60) = i;
            }
        }
        return came_by;
    }

    guest_ram ram;
    std::vector<std::unique_ptr<driver>> transmit;
    std::vector<std::unique_ptr<driver>> receive;
    std::uint64_t place{0};
    worker_side worker;
    queue q{pairs};
};
INSTANTIATE_TEST_SUITE_P(kinds, several_pairs, testing::Bool(), kind_name);

TEST_P(several_pairs, are_looked_at_in_turn)
{
    for (std::size_t i = 0; i < pairs; ++i) {
        q.publish(make_source(transmit[i]->setup()), i);
        offer(i);
        offer(i);
    }
    const std::size_t first = take();
    ASSERT_LT(first, pairs);
    EXPECT_EQ(take(), (first + 1) % pairs) << "before the rest of the first";
    EXPECT_EQ(take(), (first + 2) % pairs);
    EXPECT_EQ(take(), pairs);

    const auto gone = q.unpublish_source((first + 1) % pairs);
    for (std::size_t i = 0; i < pairs; ++i) {
        offer(i);
    }
    EXPECT_EQ(take(), first);
    EXPECT_EQ(take(), (first + 2) % pairs);
    EXPECT_EQ(take(), pairs);
    const auto gone_too = q.unpublish_source(first);
    offer((first + 2) % pairs);
    EXPECT_EQ(take(), (first + 2) % pairs) << "the only one that is left";
}

TEST_P(several_pairs, keep_a_flow_in_its_ring_while_the_driver_uses_it)
{
    const std::size_t none = pairs;
    EXPECT_THAT(send_flows(), testing::Each(none));
    EXPECT_EQ(worker.drops(drop_reason::receiver_not_connected), 20U);

    q.publish(make_sink(receive[1]->setup()), 1);
    EXPECT_THAT(send_flows(), testing::Each(1U));
    q.publish(make_sink(receive[0]->setup()), 0);
    q.publish(make_sink(receive[2]->setup()), 2);
    const auto all = send_flows();
    EXPECT_THAT(all, testing::AllOf(testing::Contains(0U), testing::Contains(1U),
                                    testing::Contains(2U), testing::Not(testing::Contains(none))));
    EXPECT_EQ(send_flows(), all);

    const auto gone = q.unpublish_sink(1);
    const auto without = send_flows();
    for (std::size_t i = 0; i < all.size(); ++i) {
        EXPECT_TRUE(all[i] == 1 ? without[i] == 0 || without[i] == 2 : without[i] == all[i]) << i;
    }
    EXPECT_THAT(without, testing::AllOf(testing::Contains(0U), testing::Contains(2U)));
    EXPECT_EQ(worker.drops(), 20U);
}

TEST_P(several_pairs, keep_together_what_came_by_one_of_as_many_rings)
{
    for (std::uint8_t i = 0; i < pairs; ++i) {
        q.publish(make_sink(receive[i]->setup()), i);
    }
    const auto by_flow = send_flows();
    for (std::uint8_t i = 0; i < pairs; ++i) {
        EXPECT_THAT(send_flows({i, pairs}), testing::Each(i));
    }
    EXPECT_THAT(send_flows({4, 5}), testing::Each(1U)) << "more rings than here";
    EXPECT_EQ(send_flows({1, 2}), by_flow) << "fewer: some here would have nothing";

    const auto gone = q.unpublish_sink(2);
    ASSERT_TRUE(gone);
    EXPECT_THAT(send_flows({2, pairs}), testing::Each(0U));
    const auto gone_too = q.unpublish_sink(0);
    EXPECT_THAT(send_flows({0, pairs}), testing::Each(1U)) << "the only one";
    ring_setup again = receive[2]->setup();
    again.start = gone->position();
    q.publish(make_sink(again), 2);
    EXPECT_THAT(send_flows({1, pairs}), testing::Each(1U));
    EXPECT_THAT(send_flows({2, pairs}), testing::Each(2U)) << "places that are there keep theirs";
    EXPECT_THAT(send_flows({0, pairs}),
                testing::AllOf(testing::Contains(1U), testing::Contains(2U)))
        << "its place is empty";
    EXPECT_EQ(worker.drops(), 0U);
}

TEST_P(several_pairs, tell_which_of_them_a_burst_came_by_and_how_many_are_busy)
{
    // Of 16 packets so many come by the second of two pairs.
    const auto busy = [&](std::size_t by_second) {
        for (std::size_t n = 0; n < 2 * ports::busy_rings::window; ++n) {
            const std::size_t pair = n % 16 < by_second ? 2 : 1;
            offer(pair);
            EXPECT_EQ(take(), pair);
            EXPECT_EQ(worker.burst().from.number, pair);
        }
        return worker.burst().from.of;
    };
    q.publish(make_source(transmit[1]->setup()), 1);
    offer(1);
    EXPECT_EQ(take(), 1U);
    EXPECT_EQ(worker.burst().from.of, 1U) << "nothing is spread";
    q.publish(make_source(transmit[2]->setup()), 2);
    EXPECT_EQ(busy(8), 2U);
    EXPECT_EQ(busy(1), 1U);
    EXPECT_EQ(busy(3), 2U);
    EXPECT_EQ(busy(0), 1U);
}

TEST_P(several_pairs, take_together_as_much_of_the_worker_s_time_as_one_would)
{
    const std::uint64_t pace = worker.packet_cost * (ports::gatherer::leisurely + 1);
    // Whether a ring that packets come by at this pace is left alone for more of them.
    const auto gathers = [&](std::span<const std::size_t> busy) {
        poll found = poll::taken;
        for (std::size_t n = 0; n < 2 * ports::busy_rings::window; ++n) {
            worker.pass(pace);
            for (const std::size_t pair : busy) {
                offer(pair);
                worker.burst().clear();
                found = q.receive(worker.burst(), worker.context());
                if (found == poll::taken) {
                    q.release(worker.burst(), worker.context());
                }
                transmit[pair]->collect();
            }
        }
        return found == poll::empty;
    };
    q.publish(make_source(transmit[0]->setup()), 0);
    q.publish(make_source(transmit[1]->setup()), 1);
    EXPECT_FALSE(gathers(std::array{std::size_t{0}}));
    EXPECT_TRUE(gathers(std::array{std::size_t{0}, std::size_t{1}}));
    EXPECT_FALSE(gathers(std::array{std::size_t{0}}));
}

TEST_P(several_pairs, wake_their_worker_each)
{
    std::vector<pollfd> wakers;
    q.publish(make_source(transmit[0]->setup()), 0);
    q.publish(make_source(transmit[2]->setup()), 2);
    ASSERT_TRUE(q.list_wakers(wakers));
    ASSERT_EQ(wakers.size(), 2U);
    EXPECT_TRUE(q.ask_to_wake(wakers));
    offer(2);
    EXPECT_EQ(transmit[2]->kicks(), 1U);
    EXPECT_FALSE(q.ask_to_wake(wakers)) << "something came";
    EXPECT_EQ(take(), 2U);

    const auto gone = q.unpublish_source(0);
    q.publish(make_source(transmit[1]->setup()), 1);
    EXPECT_FALSE(q.ask_to_wake(wakers)) << "as many as before, but others";
    const auto gone_too = q.unpublish_source(1);
    EXPECT_FALSE(q.ask_to_wake(wakers)) << "one less";
}

TEST_P(several_pairs, are_closed_where_the_driver_uses_those_of_another_queue_only)
{
    queue second{1, &q};
    EXPECT_TRUE(q.open());
    EXPECT_TRUE(second.open()) << "nobody is there: as well here as there";
    q.publish(make_sink(receive[0]->setup()), 0);
    EXPECT_FALSE(second.open());
    second.publish(make_sink(receive[1]->setup()));
    EXPECT_TRUE(second.open());
    const auto gone = second.unpublish_sink();
    EXPECT_FALSE(second.open());
    const auto gone_too = q.unpublish_sink(0);
    EXPECT_TRUE(q.open());
}

} // namespace
} // namespace strait::vhost::test
