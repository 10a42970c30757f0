// SPDX-License-Identifier: BSD-3-Clause
// A device's thread: what it runs, in which order, and how it ends.
#include "vmm/device_thread.hh"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include <pthread.h>

namespace strait::vmm {
namespace {

TEST(device_thread, begins_with_its_hook_and_keeps_the_order)
{
    std::vector<int> order;
    std::array<char, 32> name{};
    std::promise<void> done;
    thread_begin begin{[&] {
        order.push_back(0);
        ::pthread_getname_np(::pthread_self(), name.data(), name.size());
        return ports::result<void>{};
    }};
    device_thread t{"device-thread-test", &begin};
    for (int i = 1; i < 100; ++i) {
        t.post([&order, i] { order.push_back(i); });
    }
    t.post([&] { done.set_value(); });
    done.get_future().wait();
    ASSERT_EQ(order.size(), 100U);
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
    }
    EXPECT_STREQ(name.data(), "device-thread-t");
    EXPECT_TRUE(begin.wait().has_value());
}

// Of several, one cannot: it does nothing, and whoever waits for them learns why.
TEST(device_thread, does_nothing_when_it_cannot_begin)
{
    std::atomic<int> begun{0};
    std::atomic<int> ran{0};
    thread_begin begin{[&]() -> ports::result<void> {
        if (++begun == 2) {
            return ports::error{"no filter"};
        }
        return {};
    }};
    {
        device_thread one{"one", &begin};
        device_thread two{"two", &begin};
        device_thread three{"three", &begin};
        std::array<device_thread*, 3> all{&one, &two, &three};
        for (device_thread* t : all) {
            t->post([&ran] { ++ran; });
        }
        const auto could = begin.wait();
        ASSERT_TRUE(could.has_error());
        EXPECT_EQ(could.error().message, "no filter");
        EXPECT_TRUE(begin.wait().has_value()); // of those since then
        while (ran < 2) {
            std::this_thread::yield();
        }
    }
    EXPECT_EQ(ran, 2);
}

TEST(device_thread, leaves_what_it_had_not_begun)
{
    std::atomic<int> ran{0};
    std::promise<void> begun;
    std::promise<void> go;
    {
        device_thread t{"test"};
        t.post([&] {
            begun.set_value();
            go.get_future().wait();
            ++ran;
        });
        t.post([&] { ++ran; });
        begun.get_future().wait();
        t.context().stop(); // as stop() does first
        go.set_value();
        t.stop();
        EXPECT_EQ(ran, 1);
        t.stop();
    }
    EXPECT_EQ(ran, 1);
}

} // namespace
} // namespace strait::vmm
