// SPDX-License-Identifier: BSD-3-Clause
// Numbers of streams with texts replaced, against a stream that is written out byte by byte.
#include "dataplane/conntrack/stream_edits.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace strait::test {
namespace {

using conntrack::edit_store;
using conntrack::stream_edits;

TEST(stream_edits, without_any_numbers_are_what_they_are)
{
    const stream_edits none;
    for (const std::uint32_t n : {0U, 1U, 0x8000'0000U, 0xffff'ffffU}) {
        EXPECT_EQ(none.to_receiver(n), n);
        EXPECT_EQ(none.to_sender(n), n);
    }
}

TEST(stream_edits, what_comes_behind_a_text_is_shifted_and_what_comes_before_is_not)
{
    stream_edits e;
    ASSERT_TRUE(e.add(1000, 10, "thirteen long", {}));
    EXPECT_EQ(e.to_receiver(1000), 1000U);
    EXPECT_EQ(e.to_receiver(1010), 1013U);
    EXPECT_EQ(e.to_sender(1000), 1000U);
    EXPECT_EQ(e.to_sender(1013), 1010U);
    ASSERT_TRUE(e.add(1020, 9, "x", {}));
    EXPECT_EQ(e.to_receiver(1020), 1023U);
    EXPECT_EQ(e.to_receiver(1029), 1024U);
    EXPECT_EQ(e.to_sender(1023), 1020U);
    EXPECT_EQ(e.to_sender(1024), 1029U);
    EXPECT_EQ(e.to_receiver(999), 999U);
}

// Of random streams, all places: nobody is told to have what was not sent, whoever has all that was
// sent is told so, and order stays.
TEST(stream_edits, random_ones_share_their_texts_out)
{
    std::mt19937 random{5};
    const auto any = [&random](std::uint32_t below) {
        return static_cast<std::uint32_t>(random()) % below;
    };
    for (int round = 0; round < 300; ++round) {
        stream_edits e;
        const std::uint32_t first = any(0xffff'ffff); // some go round
        std::uint32_t at = first + 1 + any(5);
        std::uint32_t theirs = at - first;
        std::vector<std::pair<std::uint32_t, std::uint32_t>> outside; // sender's, receiver's
        for (unsigned n = 1 + any(stream_edits::most); n > 0; --n) {
            outside.emplace_back(at, first + theirs);
            const std::uint32_t old_size = 1 + any(60);
            const std::string text(1 + any(stream_edits::longest_text), 'x');
            ASSERT_TRUE(e.add(at, old_size, text, {}));
            at += old_size;
            theirs += static_cast<std::uint32_t>(text.size());
            outside.emplace_back(at, first + theirs);
            at += any(3);
            theirs += at - outside.back().first;
        }
        for (const auto& [sender, receiver] : outside) {
            EXPECT_EQ(e.to_receiver(sender), receiver);
            EXPECT_EQ(e.to_sender(receiver), sender);
        }
        std::uint32_t before = e.to_receiver(first);
        for (std::uint32_t n = first; n != at + 3; ++n) {
            const std::uint32_t there = e.to_receiver(n);
            EXPECT_GE(static_cast<std::int32_t>(there - before), 0);
            EXPECT_LE(static_cast<std::int32_t>(e.to_sender(there) - n), 0) << "was not sent yet";
            before = there;
        }
    }
}

TEST(stream_edits, the_oldest_makes_way_once_the_receiver_has_it)
{
    stream_edits e;
    std::uint32_t at = 100;
    for (std::size_t i = 0; i < stream_edits::most; ++i, at += 10) {
        ASSERT_TRUE(e.add(at, 5, "seven77", {}));
    }
    EXPECT_FALSE(e.add(at, 5, "seven77", {}));
    EXPECT_FALSE(e.add(at, 5, "seven77", 104)) << "a part of the first is on its way";
    const std::uint32_t before = e.to_receiver(at);
    EXPECT_TRUE(e.add(at, 5, "seven77", 105));
    EXPECT_EQ(e.to_receiver(at), before);
    EXPECT_EQ(e.to_receiver(at + 5), before + 7);
    EXPECT_EQ(e.to_sender(before + 7), at + 5);
}

TEST(stream_edits, numbers_may_go_round_as_often_as_they_like)
{
    stream_edits e;
    ASSERT_TRUE(e.add(100, 5, "seven77", {}));
    std::uint32_t at = 105;
    for (int i = 0; i < 20; ++i) {
        at += 0x3000'0000;
        e.settle(at);
        EXPECT_EQ(e.to_receiver(at), at + 2);
        EXPECT_EQ(e.to_sender(at + 2), at);
    }
}

TEST(edit_store, has_room_for_so_many_and_takes_them_back)
{
    edit_store store{3, true};
    std::vector<std::uint32_t> all;
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 3; ++i) {
            all.push_back(store.take());
            EXPECT_NE(all.back(), 0U);
            EXPECT_TRUE(store.at(all.back())[0].all().empty()) << "as new";
            ASSERT_TRUE(store.at(all.back())[0].add(1, 1, "x", {}));
        }
        EXPECT_EQ(store.take(), 0U);
        std::ranges::sort(all);
        EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
        for (const std::uint32_t n : all) {
            store.give_back(n);
        }
        all.clear();
    }
}

} // namespace
} // namespace strait::test
