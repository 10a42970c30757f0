// SPDX-License-Identifier: BSD-3-Clause
// When hellos are sent again, and when not.
#include "control/hello_repeater.hh"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>

namespace strait::control {
namespace {

using namespace std::chrono_literals;
using clock = hello_repeater::clock;
using dataplane::bridge_index;
using dataplane::worker_index;

class repeated_hellos : public testing::Test {
protected:
    // Two of a bridge's, one of them by each of two workers.
    static hello_repeater::hellos two(clock::duration every, clock::duration lasts)
    {
        return {.all = {{.worker = worker_index{0}, .frame = {}},
                        {.worker = worker_index{1}, .frame = {}}},
                .every = every,
                .lasts = lasts};
    }
    // Until so many were sent by either worker.
    [[nodiscard]] bool wait_for(int count) const
    {
        for (int i = 0; i < 1000 && (sent_[0] < count || sent_[1] < count); ++i) {
            std::this_thread::sleep_for(5ms);
        }
        return sent_[0] >= count && sent_[1] >= count;
    }
    [[nodiscard]] int sent() const { return sent_[0] + sent_[1]; }

    std::array<std::atomic<int>, 2> sent_{};
    hello_repeater repeater_{
        [this](const hello_repeater::hello& h) { ++sent_[dataplane::to_index(h.worker)]; }};
};

TEST_F(repeated_hellos, begin_when_they_are_not_renewed_and_come_to_an_end)
{
    const auto begin = clock::now();
    repeater_.renew(bridge_index{0}, two(20ms, 2s), begin);
    EXPECT_TRUE(wait_for(3));
    std::this_thread::sleep_until(begin + 2100ms);
    const int all = sent();
    std::this_thread::sleep_for(200ms);
    EXPECT_EQ(sent(), all);
    repeater_.renew(bridge_index{0}, two(20ms, 1h), clock::now());
    EXPECT_TRUE(wait_for(all + 3)) << "the control thread was there, and is held again";
}

TEST_F(repeated_hellos, are_not_sent_while_they_are_renewed)
{
    repeater_.renew(bridge_index{0}, two(20ms, 1h), clock::now());
    ASSERT_TRUE(wait_for(1));
    repeater_.renew(bridge_index{0}, two(20ms, 1h), clock::now() + 1h);
    const int before = sent(); // none is under way once it has returned
    std::this_thread::sleep_for(200ms);
    EXPECT_EQ(sent(), before);
}

TEST_F(repeated_hellos, of_one_bridge_do_not_wait_for_anothers)
{
    repeater_.renew(bridge_index{0}, two(1h, 2h), clock::now());
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(sent(), 0);
    repeater_.renew(bridge_index{1}, two(20ms, 1h), clock::now());
    EXPECT_TRUE(wait_for(2));
    repeater_.renew(bridge_index{1}, {}, clock::now());
    const int all = sent();
    std::this_thread::sleep_for(200ms);
    EXPECT_EQ(sent(), all) << "that bridge has none any more";
}

} // namespace
} // namespace strait::control
