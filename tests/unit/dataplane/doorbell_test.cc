// SPDX-License-Identifier: BSD-3-Clause
// A doorbell: who rings while nobody sleeps makes no system call, and nobody is overlooked.
#include "dataplane/doorbell.hh"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include <poll.h>

namespace strait::test {
namespace {

bool readable(const dataplane::doorbell& bell, int milliseconds = 0)
{
    pollfd p{.fd = bell.descriptor(), .events = POLLIN, .revents = 0};
    return ::poll(&p, 1, milliseconds) == 1;
}

TEST(doorbell, is_heard_only_by_who_listens)
{
    dataplane::doorbell bell;
    bell.open();
    bell.ring();
    EXPECT_FALSE(readable(bell));
    bell.listen();
    EXPECT_FALSE(readable(bell));
    EXPECT_FALSE(bell.unheard());
    bell.ring();
    EXPECT_TRUE(readable(bell));
    EXPECT_TRUE(bell.unheard());
    bell.stop_listening();
    EXPECT_FALSE(readable(bell));
    EXPECT_FALSE(bell.unheard());
    bell.ring();
    EXPECT_FALSE(readable(bell));
}

TEST(doorbell, that_was_never_opened_may_be_rung)
{
    dataplane::doorbell bell;
    bell.ring();
    EXPECT_EQ(bell.descriptor(), -1);
}

// What was written before a ring is seen, either when the sleeper looks last or after it was woken.
TEST(doorbell, loses_nobody)
{
    dataplane::doorbell bell;
    bell.open();
    constexpr int rounds = 20'000;
    std::atomic<int> written{0}; // in its order by the bell alone
    std::atomic<int> seen{0};
    std::atomic<bool> overlooked{false};
    std::thread sleeper{[&] {
        for (int expected = 1; expected <= rounds; ++expected) {
            for (;;) {
                bell.listen();
                if (written.load(std::memory_order_relaxed) >= expected) {
                    break;
                }
                if (!readable(bell, 10'000)) {
                    overlooked.store(true);
                    return;
                }
                bell.stop_listening();
            }
            bell.stop_listening();
            seen.store(expected);
        }
    }};
    for (int i = 1; i <= rounds && !overlooked.load(); ++i) {
        written.store(i, std::memory_order_relaxed);
        bell.ring();
        while (seen.load() < i && !overlooked.load()) {
            std::this_thread::yield();
        }
    }
    sleeper.join();
    EXPECT_EQ(seen.load(), rounds);
}

} // namespace
} // namespace strait::test
