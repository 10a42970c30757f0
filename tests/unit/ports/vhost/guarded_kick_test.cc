// SPDX-License-Identifier: BSD-3-Clause
// Threads that kick by descriptors which somebody else has made to block, and keeps full.
#include "ports/vhost/guarded_kick.hh"

#include "dataplane/file_descriptor.hh"
#include "ports/vhost/connection.hh"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace strait::vhost {
namespace {

using dataplane::file_descriptor;
using namespace std::chrono_literals;

constexpr std::uint64_t most = 0xffff'ffff'ffff'fffe;

template <typename Condition>
bool soon(Condition condition)
{
    for (int i = 0; i < 5000; ++i) {
        if (condition()) {
            return true;
        }
        std::this_thread::sleep_for(1ms);
    }
    return false;
}

bool sleeps(pid_t thread)
{
    std::ifstream stat{"/proc/self/task/" + std::to_string(thread) + "/stat"};
    std::string text;
    std::getline(stat, text);
    const auto name_end = text.rfind(')');
    return name_end != std::string::npos && text.compare(name_end + 2, 1, "S") == 0;
}

class guarded_kick_by : public testing::Test {
protected:
    // Full, and blocks.
    file_descriptor call_{::eventfd(0, EFD_CLOEXEC)};
    guarded_kick_by() { EXPECT_EQ(::eventfd_write(call_.get(), most), 0); }

    [[nodiscard]] bool is_full() const
    {
        eventfd_t count = 0;
        return ::eventfd_read(call_.get(), &count) == 0 && count == most;
    }
};

TEST_F(guarded_kick_by, a_full_descriptor_that_blocks_is_sent_on_however_full_it_stays)
{
    std::atomic<bool> back{false};
    std::atomic<bool> stop{false};
    std::thread worker{[&] {
        guarded_kick(call_.get());
        back = true;
        soon([&] { return stop.load(); });
    }};
    std::this_thread::sleep_for(100ms);
    EXPECT_FALSE(back) << "it waits";
    ::fcntl(call_.get(), F_SETFL, O_NONBLOCK); // which helps nobody who waits already
    EXPECT_FALSE(had_to_wait(call_.get(), false)) << "this sends nobody on";
    EXPECT_FALSE(had_to_wait(call_.get() + 1, true)) << "nor does another descriptor";
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(back);
    bool waited = false;
    EXPECT_TRUE(soon([&] {
        waited = had_to_wait(call_.get(), true) || waited;
        return waited;
    }));
    EXPECT_TRUE(soon([&] { return back.load(); }));
    stop = true;
    worker.join();
    EXPECT_TRUE(is_full()) << "nobody made room for it";
    EXPECT_FALSE(had_to_wait(call_.get(), false)) << "it was told of once";
}

TEST_F(guarded_kick_by, a_descriptor_that_does_not_block_never_waits)
{
    ::fcntl(call_.get(), F_SETFL, O_NONBLOCK);
    std::atomic<bool> stop{false};
    std::thread worker{[&] {
        while (!stop) {
            guarded_kick(call_.get());
        }
    }};
    for (int i = 0; i < 1000; ++i) {
        EXPECT_FALSE(had_to_wait(call_.get(), true));
    }
    stop = true;
    worker.join();
    EXPECT_FALSE(had_to_wait(call_.get(), false));
}

TEST_F(guarded_kick_by, a_descriptor_that_was_made_to_block_behind_our_back_is_found_out)
{
    const int shared = call_.get();
    call_guard guard;
    std::atomic<bool> stop{false};
    std::atomic<bool> back{false};
    std::atomic<pid_t> id{0};
    std::thread worker{[&, shared] {
        id = ::gettid();
        guarded_kick(shared);
        back = true;
        soon([&] { return stop.load(); });
    }};
    ASSERT_TRUE(soon([&] { return id != 0 && sleeps(id); }));
    ::fcntl(shared, F_SETFL, O_NONBLOCK);
    guard.set(0, std::move(call_));
    EXPECT_EQ(guard.look(), call_guard::state::full);
    EXPECT_TRUE(soon([&] { return back.load(); })) << "it is sent on, and nobody made room";
    EXPECT_EQ(guard.look(), call_guard::state::tampered);
    stop = true;
    worker.join();
}

TEST_F(guarded_kick_by, a_descriptor_that_is_only_full_is_no_attack)
{
    ::fcntl(call_.get(), F_SETFL, O_NONBLOCK);
    call_guard guard;
    guard.set(1, std::move(call_));
    EXPECT_EQ(guard.look(), call_guard::state::full);
    EXPECT_EQ(guard.look(), call_guard::state::full);
    EXPECT_EQ(guard.look(), call_guard::state::right) << "it was emptied";
}

} // namespace
} // namespace strait::vhost
