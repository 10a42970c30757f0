// SPDX-License-Identifier: BSD-3-Clause
// What a filter may never say, and what it should seldom say.
#include "dataplane/flow/hash_filter.hh"

#include <gtest/gtest.h>

#include <random>

namespace strait::flow {
namespace {

constexpr std::uint64_t all_bits = (std::uint64_t{1} << 48) - 1;

TEST(hash_filter, may_have_anything_at_first)
{
    const hash_filter filter;
    EXPECT_TRUE(filter.may_have(0));
    EXPECT_TRUE(filter.may_have(all_bits));
    EXPECT_FALSE(filter.has_room());
}

TEST(hash_filter, has_all_that_was_added_and_hardly_anything_else)
{
    for (const std::size_t count : {std::size_t{1}, std::size_t{300}, hash_filter::most / 2}) {
        std::mt19937_64 random{count};
        hash_filter filter{count};
        std::vector<std::uint64_t> added;
        for (std::size_t i = 0; i < count; ++i) {
            ASSERT_TRUE(filter.has_room());
            added.push_back(random() & all_bits);
            filter.add(added.back());
        }
        for (const std::uint64_t hash : added) {
            ASSERT_TRUE(filter.may_have(hash));
        }
        unsigned wrong = 0;
        for (unsigned i = 0; i < 10000; ++i) {
            wrong += static_cast<unsigned>(filter.may_have(random() & all_bits));
        }
        EXPECT_LT(wrong, 700U) << count;
        std::size_t more = 0;
        while (filter.has_room()) {
            filter.add(random() & all_bits);
            ++more;
        }
        EXPECT_GE(more, count / 2) << "not to be made anew all the time";
    }
}

TEST(hash_filter, leaves_copies_as_they_were)
{
    hash_filter filter{100};
    const hash_filter empty = filter;
    filter.add(12345678901234);
    EXPECT_TRUE(filter.may_have(12345678901234));
    EXPECT_FALSE(empty.may_have(12345678901234));
}

} // namespace
} // namespace strait::flow
