// SPDX-License-Identifier: BSD-3-Clause
// Blocks as the format's draft has them, byte for byte where it matters.
#include "control/pcapng.hh"

#include "pcapng_blocks.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace strait::control {
namespace {

using namespace std::string_literals;
using testing_support::number_at;
using testing_support::read_pcapng;

std::span<const std::byte> bytes(std::string_view text)
{
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

TEST(pcapng, begins_with_a_section_of_version_1)
{
    std::string out;
    pcapng::append_section(out, "strait");
    EXPECT_EQ(out, "\x0a\x0d\x0d\x0a"
                   "\x2c\0\0\0"
                   "\x4d\x3c\x2b\x1a"
                   "\x01\0\0\0"
                   "\xff\xff\xff\xff\xff\xff\xff\xff"
                   "\x04\0\x06\0strait\0\0"
                   "\0\0\0\0"
                   "\x2c\0\0\0"s);
}

TEST(pcapng, names_interfaces_and_counts_nanoseconds)
{
    std::string out;
    pcapng::append_interface(out, "vm1", 96);
    const auto b = read_pcapng(out).at(0);
    EXPECT_EQ(b.kind, 1U);
    EXPECT_EQ(b.word(0), 1U); // Ethernet
    EXPECT_EQ(b.word(1), 96U);
    EXPECT_EQ(b.options.at(2), "vm1");
    EXPECT_EQ(b.options.at(9), "\x09"s);
}

TEST(pcapng, packets_have_time_lengths_direction_and_a_comment_if_there_is_one)
{
    for (std::size_t size = 0; size < 9; ++size) {
        const std::string data(size, 'x');
        std::string out;
        pcapng::append_packet(out, {.interface = 7,
                                    .time = 0x1122334455667788,
                                    .bytes = bytes(data),
                                    .length = 1500,
                                    .way = pcapng::direction::outbound});
        pcapng::append_packet(out, {.bytes = bytes(data), .comment = "why"});
        const auto blocks = read_pcapng(out);
        ASSERT_EQ(blocks.size(), 2U) << size;
        EXPECT_EQ(blocks[0].kind, 6U);
        EXPECT_EQ(blocks[0].word(0), 7U);
        EXPECT_EQ(blocks[0].word(1), 0x11223344U);
        EXPECT_EQ(blocks[0].word(2), 0x55667788U);
        EXPECT_EQ(blocks[0].word(3), size);
        EXPECT_EQ(blocks[0].word(4), 1500U);
        EXPECT_EQ(blocks[0].body.substr(20, size), data);
        EXPECT_EQ(blocks[0].options.at(2), "\x02\0\0\0"s);
        EXPECT_FALSE(blocks[0].options.contains(1));
        EXPECT_EQ(blocks[1].options.at(1), "why");
    }
}

TEST(pcapng, statistics_tell_what_came_and_what_was_lost)
{
    std::string out;
    pcapng::append_statistics(
        out,
        {.interface = 3, .begin = 5, .end = std::uint64_t{9} << 32, .received = 12, .dropped = 2});
    const auto b = read_pcapng(out).at(0);
    EXPECT_EQ(b.kind, 5U);
    EXPECT_EQ(b.word(0), 3U);
    EXPECT_EQ(b.word(1), 9U);
    EXPECT_EQ(number_at<std::uint64_t>(b.options.at(4), 0), 12U);
    EXPECT_EQ(number_at<std::uint64_t>(b.options.at(5), 0), 2U);
}

} // namespace
} // namespace strait::control
