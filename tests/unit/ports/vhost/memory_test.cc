// SPDX-License-Identifier: BSD-3-Clause
// Guest memory tables: what is refused when one is built, and addresses at every edge.
#include "ports/vhost/memory.hh"

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::vhost {
namespace {

using testing::HasSubstr;

class guest_memory_test : public testing::Test {
protected:
    guest_memory::mapping at(std::uint64_t address, std::uint64_t size)
    {
        const std::size_t offset = used_;
        used_ += size;
        return {.guest_address = address,
                .size = size,
                .base = backing_.data() + offset,
                .map_base = backing_.data(),
                .map_size = backing_.size(),
                .inode = 7};
    }
    static std::string refusal(const std::vector<guest_memory::mapping>& mappings)
    {
        const auto made = guest_memory::make(mappings);
        return made ? "accepted" : made.error().message;
    }

    std::vector<std::byte> backing_{1 << 16};
    std::size_t used_{0};
};

TEST_F(guest_memory_test, translates_to_the_byte)
{
    auto low = at(0x1000, 0x100);
    auto high = at(0x10'0000, 0x1000);
    const auto memory = guest_memory::make(std::vector{low, high}).value();
    dataplane::guest_span span;
    ASSERT_TRUE(memory->translate(0x1010, 0x20, span));
    EXPECT_EQ(span.size(), 0x20U);
    const std::uint32_t mark = 0x1234'5678;
    span.copy_in(&mark, 4, sizeof(mark));
    std::uint32_t found = 0;
    std::memcpy(&found, backing_.data() + 0x14, sizeof(found));
    EXPECT_EQ(found, mark);

    ASSERT_TRUE(memory->translate(0x10'0ffc, 4, span));
    span.copy_in(&mark, 0, sizeof(mark));
    std::memcpy(&found, backing_.data() + 0x100 + 0xffc, sizeof(found));
    EXPECT_EQ(found, mark);
}

TEST_F(guest_memory_test, refuses_what_leaves_a_region)
{
    // Two regions that touch: still two.
    const auto memory =
        guest_memory::make(std::vector{at(0x1000, 0x1000), at(0x2000, 0x1000), at(0x9000, 0x800)})
            .value();
    dataplane::guest_span span;
    constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
    EXPECT_TRUE(memory->translate(0x1000, 0x1000, span));
    EXPECT_TRUE(memory->translate(0x97ff, 1, span));
    EXPECT_FALSE(memory->translate(0xfff, 1, span));
    EXPECT_FALSE(memory->translate(0x1000, 0x1001, span));
    EXPECT_FALSE(memory->translate(0x1fff, 2, span)) << "across two regions that touch";
    EXPECT_FALSE(memory->translate(0x3000, 1, span)) << "in the hole";
    EXPECT_FALSE(memory->translate(0x9800, 1, span));
    EXPECT_FALSE(memory->translate(0, 1, span));
    EXPECT_FALSE(memory->translate(top, 1, span));
    EXPECT_FALSE(memory->translate(top, 2, span));
    EXPECT_FALSE(memory->translate(0x1800, top, span)) << "a length that wraps";
    EXPECT_FALSE(memory->translate(0x1800, top - 0x17ff, span));
    EXPECT_FALSE(memory->translate(top - 0xf, 0x1020, span)) << "from the top into a region";
}

TEST_F(guest_memory_test, agrees_with_a_search_of_all_regions)
{
    std::vector<guest_memory::mapping> mappings;
    for (std::uint64_t i = 0; i < guest_memory::max_regions; ++i) {
        mappings.push_back(at(0x1'0000 * (i + 1), 0x100 * (i + 1)));
    }
    const auto memory = guest_memory::make(mappings).value();
    EXPECT_EQ(memory->regions().front().size, 0x800U) << "the largest is tried first";
    std::mt19937_64 random{1}; // NOLINT: the same numbers each time
    for (int i = 0; i < 200'000; ++i) {
        const std::uint64_t address = random() % 0xa'0000;
        const std::uint64_t size = random() % 0x400;
        bool expected = false;
        for (const auto& m : mappings) {
            expected =
                expected || (address >= m.guest_address && address < m.guest_address + m.size &&
                             address + size <= m.guest_address + m.size);
        }
        dataplane::guest_span span;
        ASSERT_EQ(memory->translate(address, size, span), expected) << address << " " << size;
    }
}

TEST_F(guest_memory_test, a_host_pointer_is_accepted_where_its_region_reaches)
{
    const auto memory =
        guest_memory::make(std::vector{at(0x1000, 0x100), at(0x5000, 0x100)}).value();
    dataplane::guest_span span;
    EXPECT_TRUE(memory->from_host(backing_.data(), 0x100, span));
    EXPECT_FALSE(memory->from_host(backing_.data(), 0x101, span)) << "into the next region";
    EXPECT_TRUE(memory->from_host(backing_.data() + 0x1ff, 1, span));
    EXPECT_FALSE(memory->from_host(backing_.data() + 0x200, 1, span));
    EXPECT_FALSE(memory->from_host(nullptr, 1, span));
    EXPECT_EQ(memory->guest_address_of(backing_.data() + 0x110), 0x5010U);
}

TEST_F(guest_memory_test, refuses_tables_that_make_no_sense)
{
    EXPECT_THAT(refusal({}), HasSubstr("shares no memory"));
    EXPECT_THAT(refusal({at(0, 0)}), HasSubstr("is empty"));
    EXPECT_THAT(refusal(std::vector(9, at(0, 1))), HasSubstr("9 memory regions"));
    EXPECT_THAT(refusal({at(0x1000, 0x100), at(0x10ff, 0x100)}), HasSubstr("overlaps"));
    EXPECT_THAT(refusal({at(std::numeric_limits<std::uint64_t>::max() - 0xff, 0x200)}),
                HasSubstr("end of the address space"));
    auto beyond = at(0x1000, 0x100);
    beyond.size = backing_.size();
    EXPECT_THAT(refusal({beyond}), HasSubstr("larger than what was mapped"));
    EXPECT_EQ(refusal({at(0x1000, 0x100), at(0x1100, 0x100)}), "accepted");
}

TEST_F(guest_memory_test, identity_follows_what_backs_it)
{
    auto mapping = at(0x1000, 0x100);
    const auto first = guest_memory::make(std::vector{mapping}).value()->identity();
    EXPECT_EQ(guest_memory::make(std::vector{mapping}).value()->identity(), first);
    auto elsewhere = mapping;
    elsewhere.base = backing_.data() + 0x100;
    EXPECT_EQ(guest_memory::make(std::vector{elsewhere}).value()->identity(), first)
        << "where it is mapped is no part of it";
    mapping.inode = 8;
    EXPECT_NE(guest_memory::make(std::vector{mapping}).value()->identity(), first);
    EXPECT_NE(first, 0U);
}

} // namespace
} // namespace strait::vhost
