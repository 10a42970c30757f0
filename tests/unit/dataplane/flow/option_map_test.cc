// SPDX-License-Identifier: BSD-3-Clause
// Options of Geneve by their names and on the wire, and the words of keys that are theirs.
#include "dataplane/flow/option_map.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

namespace strait::flow {
namespace {

option make(std::uint8_t index, std::uint8_t length)
{
    return {.option_class = 0x102, .type = index, .length = length, .index = index};
}

TEST(option_map, finds_options_by_name_and_on_the_wire)
{
    option_map map;
    ASSERT_TRUE(map.add(make(5, 4)));
    ASSERT_TRUE(map.add(make(0, 20)));
    ASSERT_EQ(map.all().size(), 2U);
    EXPECT_EQ(map.all()[0].index, 0);
    EXPECT_EQ(map.at(5)->length, 4);
    EXPECT_EQ(map.at(4), nullptr);
    EXPECT_EQ(map.find(0x102, 0)->index, 0);
    EXPECT_EQ(map.find(0x102, 4), nullptr);
    EXPECT_EQ(map.find(0x103, 5), nullptr);
    EXPECT_EQ(map.at(0)->bits(), 160U);
    EXPECT_EQ(map.at(0)->word_count(), 3U);
    EXPECT_EQ(map.at(0)->bits_at(1), 64U);
    EXPECT_EQ(map.at(0)->bits_at(2), 32U);
    EXPECT_EQ(map.at(5)->bits_at(0), 32U);
    EXPECT_EQ(map.at(5)->present_bit(), wide{1}) << "of its word, which was the first";
    EXPECT_EQ(map.at(0)->present_bit(), wide{2});
}

TEST(option_map, has_room_for_so_many_bytes_wherever_they_are)
{
    option_map map;
    EXPECT_EQ(map.room(), longest_option_data);
    EXPECT_FALSE(map.add(make(0, longest_option_data + 4)));
    EXPECT_TRUE(map.empty());
    for (std::uint8_t i = 0; i < option_words; ++i) {
        EXPECT_TRUE(map.add(make(i, 4))) << "each has a word of its own";
    }
    EXPECT_EQ(map.room(), 0U);
    EXPECT_FALSE(map.add(make(60, 4)));
    map.remove(1);
    map.remove(6);
    map.remove(7);
    EXPECT_EQ(map.room(), 24U);
    EXPECT_FALSE(map.add(make(60, 28)));
    EXPECT_TRUE(map.add(make(60, 20)));
    EXPECT_EQ(map.room(), 0U);
}

// Whatever comes and goes, no word is two options', and each finds its owner.
TEST(option_map, gives_each_word_to_one_option)
{
    std::mt19937 random{7};
    option_map map;
    for (int step = 0; step < 2000; ++step) {
        const auto index = static_cast<std::uint8_t>(random() % option_name_count);
        if (map.at(index) != nullptr) {
            map.remove(index);
        } else {
            (void)map.add(make(index, static_cast<std::uint8_t>(4 + 4 * (random() % 16))));
        }
        std::set<field> taken;
        for (const option& o : map.all()) {
            for (std::size_t i = 0; i < o.word_count(); ++i) {
                ASSERT_TRUE(is_option_data(o.field_at(i)));
                ASSERT_TRUE(taken.insert(o.field_at(i)).second);
                ASSERT_EQ(map.owner_of(o.field_at(i)), &o);
            }
        }
        ASSERT_EQ(map.room(), (option_words - taken.size()) * option_word_bytes);
        ASSERT_TRUE(std::ranges::is_sorted(map.all(), {}, &option::index));
    }
}

} // namespace
} // namespace strait::flow
