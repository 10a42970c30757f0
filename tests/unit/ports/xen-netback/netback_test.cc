// SPDX-License-Identifier: BSD-3-Clause
// Xen ports in a whole switch: workers that forward between guests, what is done for those that
// take less, and a switch that ends and comes back while guests go on.
#include "ports/xen-netback/netback.hh"

#include "tests/soak.hh"
#include "tests/unit/dataplane/ip_frame.hh"
#include "tests/unit/ports/xen-netback/switch_lab.hh"
#include "tests/unit/sanitizers.hh"

#include <gmock/gmock.h>

#include <atomic>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include <rte_cycles.h>

namespace strait::xen::test {
namespace {

using dataplane::drop_reason;
using simulated::frame_extras;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using strait::test::ip_frame;
using testing::HasSubstr;

class netback_test : public testing::Test {
protected:
    lab lab_;
    std::unique_ptr<tool_stack> tools_{lab_.tools()};
    std::unique_ptr<xen_switch> switch_{std::make_unique<xen_switch>(lab_)};

    // Two guests with these options, connected; their ports are 0 and 1.
    void start(netfront_options first = {}, netfront_options second = {})
    {
        a_ = std::make_unique<live_guest>(lab_, *tools_, 1, first);
        b_ = std::make_unique<live_guest>(lab_, *tools_, 2, second);
        switch_->add(a_->vif());
        switch_->add(b_->vif());
        ASSERT_TRUE(a_->connect());
        ASSERT_TRUE(b_->connect());
    }
    // What b receives of frames that a sends, which know its address.
    std::vector<live_guest::arrival> through(const frame& f, frame_extras e, std::size_t count)
    {
        b_->pump();
        b_->received.clear();
        EXPECT_TRUE(a_->send(f, e));
        EXPECT_TRUE(eventually([&] {
            b_->pump();
            return b_->received.size() >= count;
        })) << b_->received.size()
            << " arrived; " << switch_->all_drops(1) << " were dropped on the way out";
        return b_->received;
    }

    std::unique_ptr<live_guest> a_;
    std::unique_ptr<live_guest> b_;
};

// From 00:16:3e:00:00:01 to :02.
frame addressed(frame f)
{
    const frame head = make_frame("00:16:3e:00:00:02", "00:16:3e:00:00:01", 14);
    std::copy_n(head.begin(), 12, f.begin());
    return f;
}

TEST_F(netback_test, guests_talk)
{
    start();
    EXPECT_TRUE(talk(*a_, *b_));
    EXPECT_EQ(switch_->all_drops(0) + switch_->all_drops(1), 0U);
    EXPECT_EQ(a_->driver().counts().tx_error, 0U);
    EXPECT_EQ(xen_switch::mbufs_in_use(), 0U);
}

// Each frame comes when the worker is awake, about to sleep, or asleep, and nothing comes after it.
TEST_F(netback_test, guests_are_heard_by_a_worker_that_sleeps)
{
    start();
    std::minstd_rand random{1};
    const int count = strait::test::fewer_if(strait::test::thread_sanitizer, 2000, 400);
    for (int i = 0; i < count; ++i) {
        EXPECT_TRUE(a_->send(make_frame(b_->mac(), a_->mac(), 60), {}));
        b_->received.clear();
        const auto begin = steady_clock::now();
        while (b_->received.empty()) {
            ASSERT_LT(steady_clock::now(), begin + std::chrono::seconds{10}) << i;
            std::this_thread::yield();
            b_->pump();
        }
        const auto end = steady_clock::now() + std::chrono::microseconds{random() % 300};
        while (steady_clock::now() < end) {
            std::this_thread::yield();
        }
    }
    const auto& worker = switch_->engine().counters(dataplane::worker_index{0});
    const std::uint64_t before = worker.asleep.read(rte_rdtsc);
    EXPECT_TRUE(eventually([&] { return worker.asleep.read(rte_rdtsc) > before; }));
}

TEST_F(netback_test, guests_of_every_kind_talk)
{
    start({.queues = 4, .control_ring = true}, {.split_channels = false,
                                                .scatter_gather = true,
                                                .checksum = false,
                                                .checksum_ipv6 = false,
                                                .headroom = 256});
    EXPECT_TRUE(talk(*a_, *b_));
}

TEST_F(netback_test, guests_of_different_workers_talk)
{
    switch_.reset();
    switch_ = std::make_unique<xen_switch>(lab_, 2);
    start();
    EXPECT_TRUE(talk(*a_, *b_));
    EXPECT_TRUE(eventually([] { return xen_switch::mbufs_in_use() == 0; }));
}

TEST_F(netback_test, a_flood_reaches_everybody)
{
    start();
    live_guest c{lab_, *tools_, 3};
    switch_->add(c.vif());
    ASSERT_TRUE(c.connect());
    b_->received.clear();
    const frame f = make_frame("ff:ff:ff:ff:ff:ff", a_->mac(), 5000);
    ASSERT_TRUE(a_->send(f));
    for (live_guest* const g : {b_.get(), &c}) {
        EXPECT_TRUE(eventually([&] {
            g->pump();
            return g->received.size() == 1 && g->received.front().bytes == f;
        }));
    }
    EXPECT_TRUE(eventually([] { return xen_switch::mbufs_in_use() == 0; }));
}

// ---- offloads between guests that take different things ----

TEST_F(netback_test, what_both_can_do_stays_undone)
{
    start();
    for (const bool ipv6 : {false, true}) {
        const ip_frame shape{.ipv6 = ipv6, .payload = 30'000};
        const frame f = addressed(shape.build(true));
        const auto got =
            through(f, {.checksum_blank = true, .segment_size = 1400, .segments_ipv6 = ipv6}, 1);
        ASSERT_EQ(got.size(), 1U);
        EXPECT_EQ(got.front().bytes, f);
        EXPECT_TRUE(got.front().extras.checksum_blank);
        EXPECT_EQ(got.front().extras.segment_size, 1400U);
        EXPECT_EQ(got.front().extras.segments_ipv6, ipv6);
    }
}

TEST_F(netback_test, segments_are_cut_for_a_guest_that_takes_none)
{
    start({}, {.gso_tcp_v4 = false, .gso_tcp_v6 = false});
    for (const bool ipv6 : {false, true}) {
        const ip_frame shape{.ipv6 = ipv6, .payload = 28'000};
        const auto got =
            through(addressed(shape.build(true)),
                    {.checksum_blank = true, .segment_size = 1400, .segments_ipv6 = ipv6}, 20);
        ASSERT_EQ(got.size(), 20U);
        frame payload;
        for (const auto& g : got) {
            EXPECT_EQ(g.bytes.size(), shape.header_length() + 1400);
            EXPECT_TRUE(g.extras.checksum_blank) << "it takes checksums";
            payload.insert(payload.end(),
                           g.bytes.begin() + static_cast<std::ptrdiff_t>(shape.header_length()),
                           g.bytes.end());
        }
        const frame whole = shape.build(true);
        EXPECT_TRUE(std::equal(payload.begin(), payload.end(),
                               whole.begin() + static_cast<std::ptrdiff_t>(shape.header_length()),
                               whole.end()));
    }
    EXPECT_TRUE(eventually([] { return xen_switch::mbufs_in_use() == 0; }));
}

TEST_F(netback_test, all_is_done_for_a_guest_that_takes_nothing)
{
    start({}, {.scatter_gather = false,
               .gso_tcp_v4 = false,
               .gso_tcp_v6 = false,
               .checksum = false,
               .checksum_ipv6 = false});
    for (const bool ipv6 : {false, true}) {
        const ip_frame shape{.ipv6 = ipv6, .payload = 2800};
        auto got =
            through(addressed(shape.build(true)),
                    {.checksum_blank = true, .segment_size = 1400, .segments_ipv6 = ipv6}, 2);
        ASSERT_EQ(got.size(), 2U);
        const ip_frame udp{.ipv6 = ipv6, .protocol = 17, .payload = 900};
        for (const auto& g : got) {
            EXPECT_FALSE(g.extras.checksum_blank);
            EXPECT_TRUE(shape.correct(g.bytes));
        }
        got = through(addressed(udp.build(true)), {.checksum_blank = true}, 1);
        ASSERT_EQ(got.size(), 1U);
        EXPECT_FALSE(got.front().extras.checksum_blank);
        EXPECT_TRUE(udp.correct(got.front().bytes));
    }
    EXPECT_TRUE(eventually([] { return xen_switch::mbufs_in_use() == 0; }));
}

TEST_F(netback_test, a_frame_longer_than_a_page_is_dropped_for_a_guest_without_scatter_gather)
{
    start({}, {.scatter_gather = false});
    ASSERT_TRUE(a_->send(make_frame_between(*a_, *b_, 5000)));
    EXPECT_TRUE(
        eventually([&] { return switch_->drops(1, drop_reason::receiver_buffer_too_small) == 1; }));
    ASSERT_TRUE(a_->send(make_frame_between(*a_, *b_, 4000)));
    EXPECT_TRUE(eventually([&] {
        b_->pump();
        return b_->received.size() == 1;
    }));
}

// ---- neighbours ----

TEST_F(netback_test, a_guest_that_takes_nothing_holds_nobody_up)
{
    start();
    live_guest deaf{lab_, *tools_, 3};
    const unsigned port = switch_->add(deaf.vif());
    ASSERT_TRUE(deaf.connect());
    for (int i = 0; i < 600; ++i) {
        ASSERT_TRUE(eventually([&] { return a_->send(make_frame_between(*a_, deaf, 3000)); }));
    }
    // Each was answered: what the deaf one has no buffers for is dropped, not kept.
    EXPECT_TRUE(eventually([&] {
        a_->pump();
        return a_->driver().counts().tx_okay == 600;
    }));
    EXPECT_EQ(switch_->tx_packets(port) + switch_->drops(port, drop_reason::receiver_full), 600U);
    EXPECT_EQ(switch_->tx_packets(port), netif::ring_size);
    EXPECT_TRUE(talk(*a_, *b_));
    EXPECT_EQ(xen_switch::mbufs_in_use(), 0U);
}

TEST_F(netback_test, a_guest_that_breaks_its_ring_loses_its_port_and_nobody_else_anything)
{
    start();
    live_guest bad{lab_, *tools_, 3};
    const unsigned port = switch_->add(bad.vif());
    ASSERT_TRUE(bad.connect());
    bad.driver().queue().tx().field(netif::ring_field::req_prod).store(12345);
    EXPECT_TRUE(talk(*a_, *b_));
    EXPECT_TRUE(eventually([&] { return !switch_->port(port).link_up(); }));
    EXPECT_THAT(switch_->detail(port, "last_error"), HasSubstr("producer index"));
    EXPECT_EQ(switch_->drops(port, drop_reason::malformed_descriptor), 1U);
    EXPECT_TRUE(talk(*a_, *b_));
    // Its driver may begin anew.
    ASSERT_TRUE(bad.driver().stop(patience).has_value());
    ASSERT_TRUE(bad.connect());
    EXPECT_TRUE(talk(*a_, bad));
}

TEST_F(netback_test, guests_come_and_go_under_traffic)
{
    start();
    live_guest target{lab_, *tools_, 3};
    switch_->add(target.vif());
    ASSERT_TRUE(target.connect());
    ASSERT_TRUE(talk(*a_, target));
    const std::jthread coming_and_going{[&](const std::stop_token& stop) {
        const auto tools = lab_.tools();
        for (std::uint16_t id = 10; !stop.stop_requested();
             id = static_cast<std::uint16_t>(id == 30 ? 10 : id + 1)) {
            live_guest g{lab_, *tools, id};
            // Some go in the middle of it, some amid their frames.
            (void)g.driver().connect(milliseconds{id % 3 * 10});
            for (int i = 0; i < 20 && !g.driver().queues().empty(); ++i) {
                (void)g.send(make_frame_between(g, target, 3000));
            }
            g.kill();
            (void)tools->destroy_domain(domain_id{id});
            (void)tools->forget_domain(domain_id{id});
        }
    }};
    for (std::uint16_t id = 10; id <= 30; ++id) {
        switch_->add({domain_id{id}, 0});
    }
    const auto until = steady_clock::now() + milliseconds{1500};
    while (steady_clock::now() < until) {
        ASSERT_TRUE(talk(*a_, *b_, 10));
    }
}

// ---- the port ----

TEST_F(netback_test, a_port_that_is_removed_closes_its_guests_device)
{
    start();
    switch_->remove(1);
    EXPECT_TRUE(b_->driver().wait_for_backend(xenbus_state::closed, patience).has_value());
    EXPECT_EQ(b_->driver().state(), xenbus_state::closed);
    EXPECT_TRUE(b_->driver().stop(patience).has_value());
    // Another port for it, and its driver begins anew.
    switch_->add(b_->vif());
    ASSERT_TRUE(b_->connect());
    EXPECT_TRUE(talk(*a_, *b_));
}

TEST_F(netback_test, queues_and_mtu_have_bounds)
{
    start();
    const auto make = [&](std::uint32_t queues) {
        return make_port({.name = "x", .vif = {domain_id{9}, 0}, .mtu = 1500, .queues = queues},
                         switch_->backend(), switch_->engine().rcu());
    };
    EXPECT_THAT(make(0).error().message, HasSubstr("1 to 16 queues, not 0"));
    EXPECT_THAT(make(17).error().message, HasSubstr("not 17"));
    EXPECT_TRUE(make(16).has_value());
    EXPECT_THAT(switch_->port(0).set_mtu(67).error().message, HasSubstr("68 to 65521"));
    EXPECT_TRUE(switch_->port(0).set_mtu(65'522).has_error());
    EXPECT_TRUE(switch_->port(0).set_mtu(9000).has_value());
}

// ---- restart ----

TEST_F(netback_test, guests_do_not_notice_that_the_switch_was_restarted)
{
    start({.queues = 2}, {.split_channels = false});
    ASSERT_TRUE(talk(*a_, *b_));
    const int restarts = strait::test::fewer_if(strait::test::thread_sanitizer, 5, 2);
    for (int i = 0; i < restarts; ++i) {
        switch_.reset();
        switch_ = std::make_unique<xen_switch>(lab_);
        switch_->add(a_->vif());
        switch_->add(b_->vif());
        EXPECT_TRUE(
            eventually([&] { return switch_->port(0).link_up() && switch_->port(1).link_up(); }));
        ASSERT_TRUE(talk(*a_, *b_));
        EXPECT_EQ(switch_->detail(0, "taken_over"), "yes");
    }
    EXPECT_TRUE(a_->driver().carrier());
    EXPECT_TRUE(a_->driver().follow().has_value());
    EXPECT_EQ(a_->driver().state(), xenbus_state::connected);
}

TEST_F(netback_test, what_guests_send_while_there_is_no_switch_waits_in_their_rings)
{
    start();
    ASSERT_TRUE(talk(*a_, *b_, 5));
    switch_.reset();
    for (std::uint8_t i = 0; i < 100; ++i) {
        ASSERT_TRUE(a_->send(make_frame_between(*a_, *b_, 200, i)));
    }
    EXPECT_FALSE(a_->send(frame(65'535)) && a_->send(frame(65'535)) && a_->send(frame(65'535)) &&
                 a_->send(frame(65'535)) && a_->send(frame(65'535)) && a_->send(frame(65'535)) &&
                 a_->send(frame(65'535)) && a_->send(frame(65'535)) && a_->send(frame(65'535)) &&
                 a_->send(frame(65'535)))
        << "and no more than that";
    b_->received.clear();
    switch_ = std::make_unique<xen_switch>(lab_);
    switch_->add(b_->vif());
    ASSERT_TRUE(eventually([&] { return switch_->port(0).link_up(); }));
    switch_->add(a_->vif());
    EXPECT_TRUE(eventually([&] {
        b_->pump();
        return b_->received.size() >= 100;
    }));
    for (std::uint8_t i = 0; i < 100; ++i) {
        EXPECT_EQ(b_->received.at(i).bytes, make_frame_between(*a_, *b_, 200, i));
    }
}

TEST_F(netback_test, restarts_under_traffic_lose_nothing_that_is_not_counted)
{
    start();
    ASSERT_TRUE(talk(*a_, *b_, 5));
    b_->pump();
    b_->received.clear();
    constexpr std::size_t number_at = 14; // behind the addresses and the type
    std::map<std::uint64_t, unsigned> seen;
    const auto take = [&] {
        b_->pump();
        for (const auto& g : b_->received) {
            std::uint64_t number = 0;
            std::memcpy(&number, g.bytes.data() + number_at, sizeof number);
            ++seen[number];
        }
        b_->received.clear();
    };
    std::uint64_t sent = 0;
    const auto exchange = [&] {
        take();
        frame f = make_frame_between(*a_, *b_, 60 + sent % 50 * 100);
        std::memcpy(f.data() + number_at, &sent, sizeof sent);
        sent += a_->send(f) ? 1U : 0U;
    };
    std::uint64_t dropped = 0;
    const auto stop = [&] {
        switch_->stop();
        dropped += switch_->all_drops(0) + switch_->all_drops(1);
    };
    const auto restarts = strait::test::fewer_if(strait::test::thread_sanitizer,
                                                 strait::test::short_or_soak(8U, 20U), 3U);
    for (unsigned i = 0; i < restarts; ++i) {
        const auto until = steady_clock::now() + milliseconds{20};
        while (steady_clock::now() < until) {
            exchange();
        }
        std::atomic<bool> back{false};
        std::thread restart{[&] {
            stop();
            switch_.reset();
            switch_ = std::make_unique<xen_switch>(lab_);
            switch_->add(b_->vif());
            switch_->add(a_->vif());
            back = true;
        }};
        while (!back) {
            exchange();
        }
        restart.join();
    }
    EXPECT_TRUE(eventually([&] {
        take();
        a_->pump();
        return a_->driver().queue().tx().outstanding() == 0;
    }));
    stop();
    take();
    EXPECT_EQ(seen.size() + dropped, sent);
    for (const auto& [number, times] : seen) {
        EXPECT_EQ(times, 1U) << "frame " << number;
    }
    EXPECT_GT(seen.size(), 50U * restarts) << "of " << sent << " sent";
    EXPECT_TRUE(b_->driver().violation().empty()) << b_->driver().violation();
    EXPECT_TRUE(a_->driver().violation().empty()) << a_->driver().violation();
}

} // namespace
} // namespace strait::xen::test
