// SPDX-License-Identifier: BSD-3-Clause
// Publication of rings to a worker: what it finds before, between and after, and that packets it
// holds go back to the ring they came from.
#include "ports/vhost/queue.hh"
#include "test_ring.hh"

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

} // namespace
} // namespace strait::vhost::test
