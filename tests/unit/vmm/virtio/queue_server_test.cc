// SPDX-License-Identifier: BSD-3-Clause
// A queue at work on its device's thread: kicks wake it, turns end, and a guest that resets or
// breaks the protocol is done with.
#include "vmm/virtio/queue_server.hh"

#include "test_device.hh"

#include <atomic>
#include <semaphore>

#include <poll.h>
#include <sys/eventfd.h>

namespace strait::vmm::virtio::test {
namespace {

namespace feature = vhost::feature;

class queue_server_of : public testing::TestWithParam<bool> {
protected:
    explicit queue_server_of(std::uint64_t features = feature_bits({feature::version_1,
                                                                    feature::event_index}))
        : m{{.packed = GetParam(), .size = 256, .features = features}}, place{m.ram.allocate(64)}
    {}

    void start(queue_server& s)
    {
        s.attach(m.transport);
        s.start(m.guest->options().all_features(), setup_of(*m.guest));
    }
    static void stop(queue_server& s)
    {
        std::promise<void> done;
        auto stopped = done.get_future();
        s.stop([&done] { done.set_value(); });
        ASSERT_EQ(stopped.wait_for(patience), std::future_status::ready);
    }
    void offer(std::size_t token)
    {
        ASSERT_TRUE(m.guest->add({{place, 64, true}}, token));
        m.guest->publish();
    }

    guest_machine m;
    std::uint64_t place;
};

INSTANTIATE_TEST_SUITE_P(kinds, queue_server_of, testing::Bool(), vhost::test::kind_name);

TEST_P(queue_server_of, answers_what_is_there_and_what_comes)
{
    queue_server s{m.ram.memory(), "test", {}, [](chain& c) {
                       return queue_server::outcome{.written = c.writable_bytes()};
                   }};
    offer(0); // before the driver is ready
    start(s);
    EXPECT_EQ(m.collect(1), (std::vector<returned>{{0, 64}}));
    std::size_t kicks = 0;
    for (std::size_t i = 1; i < 2000; ++i) {
        offer(i);
        if (i % 7 == 0) { // it has fallen asleep, or has not
            ASSERT_EQ(m.collect(7).size(), 7U);
            kicks = m.guest->kicks();
        }
    }
    EXPECT_GT(kicks, 0U);
    // It has taken the kicks, and rests.
    pollfd kick{.fd = m.guest->kick_fd(), .events = POLLIN, .revents = 0};
    const auto end = std::chrono::steady_clock::now() + patience;
    while (::poll(&kick, 1, 0) != 0 && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    EXPECT_EQ(::poll(&kick, 1, 0), 0);
    stop(s);
    start(s);
    stop(s);
}

TEST_P(queue_server_of, its_thread_has_a_name_and_a_beginning)
{
    std::promise<std::string> name;
    thread_begin begin{[&] {
        std::array<char, 32> text{};
        ::pthread_getname_np(::pthread_self(), text.data(), text.size());
        name.set_value(text.data());
        return ports::result<void>{};
    }};
    queue_server s{m.ram.memory(), "a device's thread", &begin,
                   [](chain&) { return queue_server::outcome{}; }};
    EXPECT_EQ(name.get_future().get(), "a device's thre");
}

TEST_P(queue_server_of, stops_between_turns)
{
    for (const bool by_bytes : {false, true}) {
        guest_machine g{{.packed = GetParam(), .size = 256}};
        std::atomic<unsigned> answered{0};
        std::binary_semaphore first{0};
        std::binary_semaphore go{0};
        queue_server s{g.ram.memory(), "test", {}, [&](chain&) {
                           if (++answered == 1) {
                               first.release();
                               go.acquire();
                           }
                           return queue_server::outcome{.moved = by_bytes ? queue_server::turn_bytes
                                                                          : 0};
                       }};
        for (std::size_t i = 0; i < 200; ++i) {
            ASSERT_TRUE(g.guest->add({{g.ram.memory().regions()[0].guest_address, 1}}, i));
        }
        g.guest->publish();
        s.attach(g.transport);
        s.start(g.guest->options().all_features(), setup_of(*g.guest));
        first.acquire();
        std::promise<void> done;
        s.stop([&done] { done.set_value(); });
        go.release();
        ASSERT_EQ(done.get_future().wait_for(patience), std::future_status::ready);
        EXPECT_EQ(answered, by_bytes ? 1U : queue_server::turn_chains);
        EXPECT_EQ(g.guest->collect().size(), by_bytes ? 1U : queue_server::turn_chains);
        // Nothing is left of it: what comes now is another's.
        offer(1000);
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
        EXPECT_EQ(answered, by_bytes ? 1U : queue_server::turn_chains);
    }
}

TEST_P(queue_server_of, tells_once_how_the_guest_broke_the_protocol)
{
    queue_server s{m.ram.memory(), "test", {}, [](chain&) {
                       return queue_server::outcome{.fault = "it makes no sense"};
                   }};
    start(s);
    offer(1);
    EXPECT_EQ(m.transport.wait_for_fault(), "it makes no sense");
    offer(2);
    ::eventfd_write(m.guest->kick_fd(), 1);
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    EXPECT_EQ(m.transport.faults().size(), 1U);
    EXPECT_TRUE(m.guest->collect().empty());
    stop(s);
}

TEST_P(queue_server_of, tells_of_rings_and_kicks_that_are_not_there)
{
    const auto answer = [](chain&) { return queue_server::outcome{}; };
    {
        queue_server s{m.ram.memory(), "test", {}, answer};
        s.attach(m.transport);
        queue_setup setup = setup_of(*m.guest);
        setup.device = 0;
        s.start(m.guest->options().all_features(), setup);
        EXPECT_EQ(m.transport.wait_for_fault(), "a ring lies outside the memory");
        stop(s);
        setup.enabled = false;
        s.start(m.guest->options().all_features(), setup);
        stop(s);
        EXPECT_EQ(m.transport.faults().size(), 1U);
    }
    guest_machine g{{.packed = GetParam(), .size = 256}};
    queue_server s{g.ram.memory(), "test", {}, answer};
    s.attach(g.transport);
    queue_setup setup = setup_of(*g.guest);
    setup.kick = 1 << 20;
    s.start(g.guest->options().all_features(), setup);
    EXPECT_EQ(g.transport.wait_for_fault(), "its kicks cannot be waited for");
    stop(s);
}

TEST_P(queue_server_of, may_go_while_it_works)
{
    for (int i = 0; i < 50; ++i) {
        guest_machine g{{.packed = GetParam(), .size = 256}};
        const std::uint64_t buffer = g.ram.allocate(64);
        queue_server s{g.ram.memory(), "test", {}, [](chain&) { return queue_server::outcome{}; }};
        s.attach(g.transport);
        s.start(g.guest->options().all_features(), setup_of(*g.guest));
        for (std::size_t t = 0; t < 200; ++t) {
            ASSERT_TRUE(g.guest->add({{buffer, 64}}, t));
        }
        g.guest->publish();
    }
}

} // namespace
} // namespace strait::vmm::virtio::test
