// SPDX-License-Identifier: BSD-3-Clause
// Numbered frames: what was lost, came twice and came late is counted exactly, flow by flow.
#include "bench/generator/sequence.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace strait::bench {
namespace {

// Sends `count` frames of flow 0 and has `order` of them arrive.
sequence_summary after(std::uint32_t count, const std::vector<std::uint32_t>& order)
{
    departures sent{1};
    arrivals came{1};
    came.begin(sent.next());
    for (std::uint32_t i = 0; i < count; ++i) {
        EXPECT_EQ(sent.take(0), i);
    }
    for (const std::uint32_t number : order) {
        came.take(0, number);
    }
    return came.summary(sent.next());
}

TEST(sequence, is_whole_when_all_arrive_in_order)
{
    const auto s = after(5, {0, 1, 2, 3, 4});
    EXPECT_EQ(s.lost + s.duplicated + s.reordered + s.stale + s.flows_with_loss, 0U);
}

TEST(sequence, a_frame_taken_back_is_not_lost)
{
    departures sent{2};
    arrivals came{2};
    came.begin(sent.next());
    came.take(1, sent.take(1));
    (void)sent.take(1);
    (void)sent.take(1);
    sent.take_back(1);
    sent.take_back(1);
    EXPECT_EQ(sent.take(1), 1U);
    came.take(1, 1);
    const auto s = came.summary(sent.next());
    EXPECT_EQ(s.lost + s.duplicated + s.reordered + s.stale + s.flows_with_loss, 0U);
}

TEST(sequence, finds_frames_lost_at_the_beginning_within_and_at_the_end)
{
    const auto s = after(8, {1, 2, 5, 6});
    EXPECT_EQ(s.lost, 4U);
    EXPECT_EQ(s.flows_with_loss, 1U);
    EXPECT_EQ(s.duplicated + s.reordered + s.stale, 0U);
    EXPECT_EQ(after(3, {}).lost, 3U);
}

TEST(sequence, tells_a_late_frame_from_one_that_comes_twice)
{
    const auto s = after(6, {0, 2, 1, 1, 3, 3, 5, 4});
    EXPECT_EQ(s.lost, 0U);
    EXPECT_EQ(s.reordered, 2U);
    EXPECT_EQ(s.duplicated, 2U);
    EXPECT_EQ(s.flows_with_loss, 0U);
}

TEST(sequence, tells_apart_what_is_less_than_a_window_behind)
{
    constexpr std::uint32_t window = arrivals::window;
    const auto within = after(window, {window - 1, 0, 0});
    EXPECT_EQ(within.reordered, 1U);
    EXPECT_EQ(within.duplicated, 1U);
    EXPECT_EQ(within.lost, window - 2);
    const auto beyond = after(window + 1, {window, 0});
    EXPECT_EQ(beyond.stale, 1U);
    EXPECT_EQ(beyond.reordered, 0U);
    EXPECT_EQ(beyond.lost, window);
}

TEST(sequence, goes_on_where_numbers_begin_anew)
{
    arrivals came{1};
    const std::vector<std::uint32_t> last = {0xffff'fffe};
    came.begin(last);
    for (const std::uint32_t number : {0xffff'fffeU, 0U, 0xffff'ffffU, 2U}) {
        came.take(0, number);
    }
    const std::vector<std::uint32_t> next = {3};
    const auto s = came.summary(next);
    EXPECT_EQ(s.lost, 1U);
    EXPECT_EQ(s.reordered, 1U);
}

TEST(sequence, forgets_what_was_before_its_beginning)
{
    departures sent{1};
    arrivals came{1};
    (void)sent.take(0);
    came.begin(sent.next());
    (void)sent.take(0);
    came.take(0, 1);
    came.take(0, 0); // of before: neither lost nor late now
    const auto s = came.summary(sent.next());
    EXPECT_EQ(s.lost + s.reordered, 0U);
    EXPECT_EQ(s.duplicated, 1U);
}

TEST(sequence, counts_known_faults_of_many_flows_exactly)
{
    constexpr std::uint32_t flows = 100;
    constexpr std::uint32_t each = 500;
    std::mt19937 random{7};
    departures sent{flows};
    arrivals came{flows};
    came.begin(sent.next());
    std::uint64_t lost = 0;
    std::uint64_t twice = 0;
    std::uint64_t late = 0;
    std::uint64_t with_loss = 0;
    for (std::uint32_t flow = 0; flow < flows; ++flow) {
        std::vector<std::uint32_t> order;
        bool loses = false;
        for (std::uint32_t i = 0; i < each; ++i) {
            const std::uint32_t number = sent.take(flow);
            switch (random() % 20) {
            case 0:
                ++lost;
                loses = true;
                break;
            case 1:
                order.insert(order.end(), 2, number);
                ++twice;
                break;
            default:
                order.push_back(number);
            }
        }
        // Neighbours that are exchanged: the first one of them is late then.
        for (std::size_t i = 0; i + 1 < order.size(); i += 2) {
            if (random() % 10 == 0 && order[i] != order[i + 1] &&
                (i + 2 == order.size() || order[i + 2] != order[i + 1]) &&
                (i == 0 || order[i - 1] != order[i])) {
                std::swap(order[i], order[i + 1]);
                ++late;
            }
        }
        for (const std::uint32_t number : order) {
            came.take(flow, number);
        }
        with_loss += loses ? 1 : 0;
    }
    const auto s = came.summary(sent.next());
    EXPECT_EQ(s.lost, lost);
    EXPECT_EQ(s.duplicated, twice);
    EXPECT_EQ(s.reordered, late);
    EXPECT_EQ(s.flows_with_loss, with_loss);
    EXPECT_EQ(s.stale, 0U);
    EXPECT_GT(lost, 1000U);
    EXPECT_GT(late, 100U);
}

TEST(sequence, tells_groups_of_flows_apart)
{
    constexpr std::uint32_t flows = 6;
    departures sent{flows};
    arrivals came{flows, 3};
    came.begin(sent.next());
    for (std::uint32_t flow = 0; flow < flows; ++flow) {
        for (int frame = 0; frame < 100; ++frame) {
            (void)sent.take(flow);
        }
    }
    // Of group 0 (flows 0 and 3) frames are lost, of 1 they come twice, of 2 late and too late.
    for (std::uint32_t number = 10; number < 100; ++number) {
        came.take(0, number);
        came.take(3, number);
    }
    for (std::uint32_t number = 0; number < 100; ++number) {
        came.take(1, number);
        came.take(4, number);
        came.take(4, number);
        came.take(2, number % 2 == 0 ? number + 1 : number - 1);
    }
    for (std::uint32_t number = 1; number < 100; ++number) {
        came.take(5, number);
    }
    came.take(5, 0);
    const auto of = [&](std::size_t group) { return came.summary(sent.next(), group, 3); };
    EXPECT_EQ(of(0).lost, 20U);
    EXPECT_EQ(of(0).flows_with_loss, 2U);
    EXPECT_EQ(of(0).duplicated + of(0).reordered + of(0).stale, 0U);
    EXPECT_EQ(of(1).duplicated, 100U);
    EXPECT_EQ(of(1).lost + of(1).reordered + of(1).stale, 0U);
    EXPECT_EQ(of(2).reordered, 50U);
    EXPECT_EQ(of(2).stale, 1U);
    EXPECT_EQ(of(2).lost, 1U);
    EXPECT_EQ(of(2).duplicated, 0U);
    const auto all = came.summary(sent.next());
    EXPECT_EQ(all.lost, 21U);
    EXPECT_EQ(all.flows_with_loss, 3U);
    EXPECT_EQ(all.duplicated, 100U);
    EXPECT_EQ(all.reordered, 50U);
    EXPECT_EQ(all.stale, 1U);
    came.begin(sent.next());
    EXPECT_EQ(of(1).duplicated + of(2).reordered + of(0).lost, 0U);
}

} // namespace
} // namespace strait::bench
