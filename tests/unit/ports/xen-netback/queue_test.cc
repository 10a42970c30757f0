// SPDX-License-Identifier: BSD-3-Clause
// Many rings behind one queue: their turns on the way in, packets spread over them on the way out.
#include "tests/unit/dataplane/ip_frame.hh"
#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include <gmock/gmock.h>

namespace strait::xen::test {
namespace {

using dataplane::drop_reason;
using dataplane::offloads;
using ports::rx_queue;
using strait::test::borrowed_packet;
using strait::test::ip_frame;
using testing::ElementsAre;

frame a_frame(std::size_t size, std::uint8_t seed = 1)
{
    return make_frame("00:16:3e:00:00:01", "00:16:3e:00:00:02", size, seed);
}

// Four guests' rings put into one set: what a queue does with them does not depend on whose they
// are.
class queue_test : public testing::Test {
protected:
    static constexpr std::size_t count = 4;

    queue_test()
    {
        for (std::size_t i = 0; i < count; ++i) {
            guests_.push_back(std::make_unique<wired_guest>(lab_, *hypervisor_));
        }
        rings_.guest = std::make_unique<guest>();
        rings_.guest->hypervisor = hypervisor_.get();
        rings_.guest->features = all_features();
        for (const auto& g : guests_) {
            rings_.sources.push_back(std::move(g->rings().sources.front()));
            rings_.sinks.push_back(std::move(g->rings().sinks.front()));
        }
    }
    std::vector<frame> poll()
    {
        std::vector<frame> all;
        worker_.burst->clear();
        if (queue_.receive(*worker_.burst, worker_.context()) == rx_queue::poll::taken) {
            for (const auto& p : worker_.burst->packets()) {
                all.push_back(strait::test::bytes_of(p));
            }
            queue_.release(*worker_.burst, worker_.context());
        }
        worker_.notifications.flush();
        return all;
    }
    void transmit(const std::vector<frame>& frames)
    {
        std::vector<std::unique_ptr<borrowed_packet>> lent;
        std::vector<dataplane::packet*> list;
        for (const frame& f : frames) {
            lent.push_back(std::make_unique<borrowed_packet>(f));
            list.push_back(&lent.back()->get());
        }
        queue_.transmit(list, worker_.context());
        worker_.notifications.flush();
    }

    lab lab_;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor_{lab_.hypervisor()};
    std::vector<std::unique_ptr<wired_guest>> guests_;
    ring_set rings_;
    queue queue_;
    worker_side worker_;
};

TEST_F(queue_test, a_worker_sleeps_when_no_ring_has_anything)
{
    std::vector<pollfd> wakers;
    EXPECT_TRUE(queue_.list_wakers(wakers)) << "there is no guest";
    EXPECT_TRUE(wakers.empty());
    EXPECT_TRUE(queue_.ask_to_wake(wakers));
    queue_.publish(&rings_);
    EXPECT_FALSE(queue_.ask_to_wake(wakers)) << "there is one by now";
    EXPECT_TRUE(queue_.list_wakers(wakers));
    EXPECT_EQ(wakers.size(), count);
    guests_[2]->send(a_frame(60));
    guests_[2]->publish();
    EXPECT_FALSE(queue_.ask_to_wake(wakers)) << "it came in between";
    EXPECT_FALSE(queue_.list_wakers(wakers));
    EXPECT_EQ(poll().size(), 1U);
    wakers.clear();
    EXPECT_TRUE(queue_.list_wakers(wakers));
    EXPECT_TRUE(queue_.ask_to_wake(wakers));
}

TEST_F(queue_test, without_a_guest_there_is_nothing)
{
    EXPECT_TRUE(poll().empty());
    transmit({a_frame(60), a_frame(60)});
    EXPECT_EQ(worker_.drops(drop_reason::receiver_not_connected), 2U);
    using enum offloads;
    EXPECT_TRUE(dataplane::contains(queue_.takes(), segmentation_ipv4 | segmentation_ipv6))
        << "nothing is cut for nobody";
    EXPECT_TRUE(queue_.takes_remote());
    queue_.prefetch_ring(64, {});
}

TEST_F(queue_test, a_burst_tells_its_ring_and_how_many_are_busy)
{
    queue_.publish(&rings_);
    for (std::size_t n = 0; n < 2 * ports::busy_rings::window; ++n) {
        const std::size_t ring = n % 2 == 0 ? 3 : 1;
        guests_[ring]->send(a_frame(60));
        guests_[ring]->publish();
        ASSERT_EQ(poll().size(), 1U);
        ASSERT_EQ(worker_.burst->from.number, ring);
        guests_[ring]->reap();
    }
    EXPECT_EQ(worker_.burst->from.of, 2U);
}

TEST_F(queue_test, rings_take_turns)
{
    queue_.publish(&rings_);
    for (std::uint8_t round = 0; round < 3; ++round) {
        for (std::uint8_t i = 0; i < count; ++i) {
            guests_[i]->send(a_frame(60, i));
            guests_[i]->publish();
        }
        std::vector<int> seen(count);
        for (std::size_t i = 0; i < count; ++i) {
            const auto got = poll();
            ASSERT_EQ(got.size(), 1U);
            for (std::uint8_t g = 0; g < count; ++g) {
                seen[g] += got.front() == a_frame(60, g) ? 1 : 0;
            }
        }
        EXPECT_THAT(seen, testing::Each(1));
        EXPECT_TRUE(poll().empty());
        for (const auto& g : guests_) {
            g->reap();
        }
    }
}

TEST_F(queue_test, a_ring_that_is_always_full_does_not_starve_another)
{
    queue_.publish(&rings_);
    for (int i = 0; i < 256; ++i) {
        guests_[0]->send(a_frame(60, 1));
    }
    guests_[0]->publish();
    guests_[3]->send(a_frame(60, 3));
    guests_[3]->publish();
    bool seen = false;
    for (int i = 0; i < 2; ++i) {
        const auto got = poll();
        seen = seen || got == std::vector<frame>{a_frame(60, 3)};
    }
    EXPECT_TRUE(seen);
}

TEST_F(queue_test, a_broken_ring_leaves_the_others)
{
    queue_.publish(&rings_);
    guests_[1]->front().tx().field(netif::ring_field::req_prod).store(1000);
    guests_[2]->send(a_frame(60, 2));
    guests_[2]->publish();
    std::vector<frame> all;
    for (std::size_t i = 0; i < count; ++i) {
        for (auto& f : poll()) {
            all.push_back(std::move(f));
        }
    }
    EXPECT_EQ(all, std::vector<frame>{a_frame(60, 2)});
    EXPECT_NE(rings_.fault(), nullptr);
}

TEST_F(queue_test, flows_are_spread_and_keep_their_order)
{
    queue_.publish(&rings_);
    std::vector<frame> burst;
    for (std::uint8_t i = 0; i < 64; ++i) {
        ip_frame shape{.payload = 100, .seed = i};
        frame f = shape.build(false);
        strait::test::put16(f, shape.transport(), 1000U + i % 16); // 16 flows of 4 packets
        burst.push_back(f);
    }
    transmit(burst);
    EXPECT_EQ(worker_.counters.tx_packets.read(), 64U);
    std::size_t used = 0;
    std::size_t sum = 0;
    for (const auto& g : guests_) {
        const auto got = g->take_frames();
        used += got.empty() ? 0U : 1U;
        sum += got.size();
        // Those of one flow came in the order in which they were sent.
        auto at = burst.begin();
        for (const frame& f : got) {
            at = std::find(at, burst.end(), f);
            ASSERT_NE(at, burst.end());
        }
    }
    EXPECT_EQ(sum, 64U);
    EXPECT_GT(used, 1U);
}

TEST_F(queue_test, the_guests_own_table_is_followed)
{
    hash_config config;
    ASSERT_TRUE(config.set_types(netif::hash_type::all));
    ASSERT_TRUE(config.set_mapping_size(1));
    const std::uint32_t third[] = {2};
    ASSERT_TRUE(config.set_mapping(0, third, count));
    rings_.guest->hash = &config;
    queue_.publish(&rings_);
    std::vector<frame> burst;
    for (std::uint8_t i = 0; i < 20; ++i) {
        ip_frame shape{.payload = 100, .seed = i};
        frame f = shape.build(false);
        strait::test::put16(f, shape.transport(), 1000U + i);
        burst.push_back(f);
    }
    transmit(burst);
    EXPECT_EQ(guests_[2]->take_frames(), burst);
}

TEST_F(queue_test, what_was_taken_is_answered_even_when_the_rings_were_taken_out_since)
{
    queue_.publish(&rings_);
    guests_[0]->send(a_frame(60));
    guests_[0]->publish();
    rx_queue::poll got = rx_queue::poll::empty;
    for (std::size_t i = 0; i < count && got == rx_queue::poll::empty; ++i) {
        worker_.burst->clear();
        got = queue_.receive(*worker_.burst, worker_.context());
    }
    ASSERT_EQ(got, rx_queue::poll::taken);
    queue_.publish(nullptr);
    queue_.release(*worker_.burst, worker_.context());
    worker_.notifications.flush();
    guests_[0]->reap();
    EXPECT_EQ(guests_[0]->front().counts().tx_okay, 1U);
    EXPECT_TRUE(poll().empty());
}

TEST_F(queue_test, it_takes_what_the_guest_takes)
{
    rings_.guest->features.offloads = offloads::checksum_ipv4;
    queue_.publish(&rings_);
    EXPECT_EQ(queue_.takes(), offloads::checksum_ipv4);
}

} // namespace
} // namespace strait::xen::test
