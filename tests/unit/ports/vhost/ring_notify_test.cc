// SPDX-License-Identifier: BSD-3-Clause
// Who is told when: interrupts as the driver asks for them, by flag and by event index, exactly; at
// most one a burst; and that the driver is asked to kick only by a worker that is about to sleep.
#include "test_ring.hh"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace strait::vhost::test {
namespace {

constexpr std::uint64_t plain = feature_bits({feature::version_1});
constexpr std::uint64_t with_events = plain | feature_bits({feature::event_index});

// One ring in either direction, in which `packets` chains of `slots` descriptors are made and used
// in one burst.
struct link {
    link(bool packed, std::uint16_t size, std::uint64_t features, bool to_guest, ring_index start)
        : to_guest_{to_guest},
          ram_{std::size_t{1} << 20},
          guest{make_driver(ram_,
                            {.packed = packed, .size = size, .features = features, .start = start})}
    {
        if (to_guest_) {
            in_ = make_sink(guest->setup());
        } else {
            out_ = make_source(guest->setup());
        }
        place_ = ram_.allocate(1024);
    }
    [[nodiscard]] const ring& engine() const
    {
        return to_guest_ ? static_cast<const ring&>(*in_) : *out_;
    }
    // False when the ring has no room for that many.
    bool pass(std::size_t packets, std::size_t slots)
    {
        for (std::size_t i = 0; i < packets; ++i) {
            std::vector<buffer> list(slots, buffer{place_, 200, to_guest_});
            if (!guest->add(list, token_++)) {
                return false;
            }
        }
        guest->publish();
        if (!to_guest_) {
            return take() == packets;
        }
        const bytes frame(60);
        std::vector<std::unique_ptr<test_packet>> burst;
        std::vector<dataplane::packet*> list;
        for (std::size_t i = 0; i < packets; ++i) {
            burst.push_back(std::make_unique<test_packet>(frame));
            list.push_back(burst.back()->get());
        }
        worker_.send(*in_, list);
        return true;
    }

    // From the guest: shows a chain, and takes what is there.
    void offer(bool writable = false)
    {
        ASSERT_TRUE(guest->add({{place_, 200, writable}}, token_++));
        guest->publish();
    }
    std::size_t take() { return worker_.take(*out_).size(); }
    [[nodiscard]] source& from_guest() { return *out_; }
    [[nodiscard]] bool kicked() const
    {
        pollfd p{.fd = out_->waker(), .events = POLLIN, .revents = 0};
        return ::poll(&p, 1, 0) == 1;
    }

private:
    bool to_guest_;
    guest_ram ram_;

public:
    std::unique_ptr<driver> guest;

private:
    std::unique_ptr<source> out_;
    std::unique_ptr<sink> in_;
    worker_side worker_;
    std::uint64_t place_{0};
    std::size_t token_{0};
};

class ring_notify : public testing::TestWithParam<std::tuple<bool, bool>> {
protected:
    [[nodiscard]] static link make(std::uint64_t features, std::uint16_t size = 256,
                                   ring_index start = {})
    {
        return {std::get<0>(GetParam()), size, features, std::get<1>(GetParam()), start};
    }
};

INSTANTIATE_TEST_SUITE_P(kinds, ring_notify, testing::Combine(testing::Bool(), testing::Bool()),
                         [](const testing::TestParamInfo<std::tuple<bool, bool>>& param) {
                             return std::string{std::get<0>(param.param) ? "packed_" : "split_"} +
                                    (std::get<1>(param.param) ? "sink" : "source");
                         });

TEST_P(ring_notify, one_kick_a_burst)
{
    link l = make(plain);
    l.guest->want_interrupts(true);
    for (std::uint64_t round = 1; round <= 20; ++round) {
        ASSERT_TRUE(l.pass(round * 3, 1));
        EXPECT_EQ(l.guest->interrupts(), 1U);
        EXPECT_EQ(l.engine().kicks(), round);
        EXPECT_EQ(l.guest->collect().size(), round * 3);
    }
}

TEST_P(ring_notify, none_when_none_is_wanted)
{
    for (const std::uint64_t features : {plain, with_events}) {
        link l = make(features);
        if (features == plain) {
            l.guest->want_interrupts(false);
        } else {
            l.guest->want_interrupt_at(100);
        }
        ASSERT_TRUE(l.pass(50, 1));
        EXPECT_EQ(l.guest->interrupts(), 0U);
        EXPECT_EQ(l.engine().kicks(), 0U);
        EXPECT_EQ(l.guest->collect().size(), 50U);
        l.guest->want_interrupts(true);
        if (features == with_events) {
            l.guest->want_interrupt_at(0);
        }
        ASSERT_TRUE(l.pass(1, 1));
        EXPECT_EQ(l.guest->interrupts(), 1U);
    }
}

TEST_P(ring_notify, by_event_index_exactly)
{
    std::mt19937_64 random{20262};
    constexpr std::uint16_t sizes[] = {1, 2, 4, 8, 64, 256, 1024, 3, 5, 100};
    for (const std::uint16_t size : sizes) {
        const bool packed = std::get<0>(GetParam());
        if (!packed && (size & (size - 1)) != 0) {
            continue;
        }
        SCOPED_TRACE(size);
        // Near the end of the free-running counter, so that it wraps within the test.
        link l = make(with_events, size, packed ? ring_index{} : ring_index{65'000, true});
        std::size_t event = SIZE_MAX; // in used entries or descriptors since the start
        std::uint64_t wanted = 0;
        std::uint64_t got = 0;
        for (int round = 0; round < 2000; ++round) {
            if (pick(random, 0, 2) != 0) {
                // What lies farther ahead than the ring is long cannot be said on a packed ring.
                const std::size_t distance = pick(random, 0, std::min<std::size_t>(size - 1U, 80));
                event = l.guest->progress() + distance;
                l.guest->want_interrupt_at(distance);
            } else if (event < l.guest->progress()) {
                // Long past on a packed ring is no longer told from far ahead.
                if (packed && l.guest->progress() - event > size / 2U) {
                    event = l.guest->progress();
                    l.guest->want_interrupt_at(0);
                }
            }
            if (event == SIZE_MAX) {
                continue;
            }
            const std::size_t slots =
                size >= 4 ? pick(random, 1, std::min<std::size_t>(size / 2U, 3)) : 1;
            const std::size_t packets = pick(random, 1, std::min<std::size_t>(size / slots, 64));
            const std::size_t before = l.guest->progress();
            ASSERT_TRUE(l.pass(packets, slots));
            ASSERT_EQ(l.guest->collect().size(), packets);
            const std::size_t after = l.guest->progress();
            const bool expected = event >= before && event < after;
            const std::uint64_t interrupts = l.guest->interrupts();
            ASSERT_EQ(interrupts, expected ? 1U : 0U)
                << "event " << event << ", from " << before << " to " << after;
            wanted += expected ? 1 : 0;
            got += interrupts;
        }
        EXPECT_GT(wanted, 100U);
        EXPECT_EQ(l.engine().kicks(), got);
    }
}

TEST_P(ring_notify, packed_flags_with_event_indices)
{
    if (!std::get<0>(GetParam())) {
        GTEST_SKIP() << "split rings have no such flags";
    }
    link l = make(with_events);
    l.guest->want_interrupts(true);
    ASSERT_TRUE(l.pass(3, 1));
    EXPECT_EQ(l.guest->interrupts(), 1U);
    l.guest->want_interrupts(false);
    ASSERT_TRUE(l.pass(3, 1));
    EXPECT_EQ(l.guest->interrupts(), 0U);
}

TEST_P(ring_notify, a_driver_need_not_kick)
{
    for (const std::uint64_t features : {plain, with_events}) {
        link l = make(features);
        for (int i = 0; i < 300; ++i) {
            ASSERT_TRUE(l.pass(60, 1));
            l.guest->collect();
        }
        EXPECT_EQ(l.guest->kicks(), 0U);
    }
}

class ring_sleep : public testing::TestWithParam<std::tuple<bool, bool>> {
protected:
    [[nodiscard]] static link make(std::uint16_t size = 256)
    {
        return {std::get<0>(GetParam()),
                size,
                std::get<1>(GetParam()) ? with_events : plain,
                false,
                {}};
    }
};

INSTANTIATE_TEST_SUITE_P(kinds, ring_sleep, testing::Combine(testing::Bool(), testing::Bool()),
                         [](const testing::TestParamInfo<std::tuple<bool, bool>>& param) {
                             return std::string{std::get<0>(param.param) ? "packed" : "split"} +
                                    (std::get<1>(param.param) ? "_events" : "");
                         });

TEST_P(ring_sleep, a_driver_that_is_asked_kicks_and_no_more_once_it_is_polled_again)
{
    link l = make(8); // indices come round
    for (std::size_t round = 1; round <= 100; ++round) {
        ASSERT_FALSE(l.from_guest().waits());
        ASSERT_TRUE(l.from_guest().ask_to_wake(false));
        ASSERT_FALSE(l.kicked());
        l.offer();
        ASSERT_EQ(l.guest->kicks(), round);
        ASSERT_TRUE(l.kicked());
        ASSERT_EQ(l.take(), 1U);
        for (int i = 0; i < 5; ++i) {
            l.offer();
            ASSERT_EQ(l.take(), 1U);
        }
        ASSERT_EQ(l.guest->kicks(), round);
        l.guest->collect();
        ASSERT_TRUE(l.from_guest().ask_to_wake(true));
        ASSERT_FALSE(l.kicked()) << "what it told before is forgotten";
        ASSERT_EQ(l.take(), 0U);
    }
}

TEST_P(ring_sleep, what_came_before_it_was_asked_is_not_overlooked)
{
    link l = make();
    l.offer();
    EXPECT_TRUE(l.from_guest().waits());
    EXPECT_FALSE(l.from_guest().ask_to_wake(false));
    EXPECT_EQ(l.guest->kicks(), 0U);
    EXPECT_EQ(l.take(), 1U);
    EXPECT_FALSE(l.from_guest().waits());
    EXPECT_TRUE(l.from_guest().ask_to_wake(false));
}

TEST_P(ring_sleep, nobody_waits_for_kicks_that_the_guest_has_taken_itself)
{
    link l = make();
    const int fd = l.from_guest().waker();
    ASSERT_EQ(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
    EXPECT_TRUE(l.from_guest().ask_to_wake(true)); // nothing to forget, and it may block
}

TEST_P(ring_sleep, a_broken_ring_keeps_nobody_awake)
{
    link l = make();
    l.offer(true); // a buffer to be written: none that a guest may send
    EXPECT_TRUE(l.from_guest().waits());
    EXPECT_EQ(l.take(), 0U);
    ASSERT_NE(l.from_guest().fault(), nullptr);
    l.offer();
    EXPECT_FALSE(l.from_guest().waits());
    EXPECT_TRUE(l.from_guest().ask_to_wake(false));
    l.offer();
    EXPECT_FALSE(l.kicked());
}

TEST_P(ring_notify, a_full_counter_does_not_block)
{
    link l = make(plain);
    l.guest->want_interrupts(true);
    constexpr std::uint64_t full = UINT64_MAX - 1;
    ASSERT_EQ(::write(l.guest->call_fd(), &full, sizeof full), 8);
    ASSERT_TRUE(l.pass(3, 1));
    EXPECT_EQ(l.guest->interrupts(), full);
    EXPECT_EQ(l.guest->collect().size(), 3U);
}

} // namespace
} // namespace strait::vhost::test
