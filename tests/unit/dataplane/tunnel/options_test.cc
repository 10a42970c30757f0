// SPDX-License-Identifier: BSD-3-Clause
// Options of Geneve headers against a reader and a writer that know bytes alone, and each way in
// which they may not be what is known of them.
#include "dataplane/tunnel/options.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace strait::tunnel {
namespace {

using bytes = std::vector<std::byte>;
using flow::wide;

flow::option make(std::uint8_t index, std::uint8_t type, std::uint8_t length)
{
    return {.option_class = 0x102, .type = type, .length = length, .index = index};
}

void append(bytes& to, std::uint16_t option_class, std::uint8_t type, const bytes& data)
{
    to.push_back(static_cast<std::byte>(option_class >> 8));
    to.push_back(static_cast<std::byte>(option_class));
    to.push_back(static_cast<std::byte>(type));
    to.push_back(static_cast<std::byte>(data.size() / 4));
    to.insert(to.end(), data.begin(), data.end());
}

bytes counting(std::size_t size, unsigned from = 1)
{
    bytes out(size);
    for (std::size_t i = 0; i < size; ++i) {
        out[i] = static_cast<std::byte>(from + i);
    }
    return out;
}

fault read(const bytes& options, const flow::option_map* known, notes::option_values& out,
           bool critical = false)
{
    contents c;
    c.header.options = options;
    c.critical = critical;
    return read_options(c, known, out);
}

bytes written(const notes::option_values& values, const flow::option_map& known)
{
    std::array<std::byte, most_set_options> out;
    const std::size_t size = write_options(values, known, out);
    return {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size)};
}

std::uint64_t word(const notes::option_values& values, const flow::option& o, std::size_t i)
{
    return values.data[o.words[i]];
}

TEST(options, are_numbers_whose_first_byte_is_the_highest)
{
    flow::option_map known;
    ASSERT_TRUE(known.add(make(0, 0, 4)));
    ASSERT_TRUE(known.add(make(7, 1, 8)));
    ASSERT_TRUE(known.add(make(63, 2, 20)));
    bytes options;
    append(options, 0x102, 2, counting(20));
    append(options, 0x102, 0, counting(4));
    append(options, 0x103, 0, counting(12)); // another's
    append(options, 0x102, 1, counting(8));
    notes::option_values out;
    ASSERT_EQ(read(options, &known, out), fault::none);
    EXPECT_EQ(wide{out.present}, known.at(0)->present_bit() | known.at(7)->present_bit() |
                                     known.at(63)->present_bit());
    EXPECT_EQ(word(out, *known.at(0), 0), 0x01020304U);
    EXPECT_EQ(word(out, *known.at(7), 0), 0x0102030405060708U);
    EXPECT_EQ(word(out, *known.at(63), 0), 0x0d0e0f1011121314U);
    EXPECT_EQ(word(out, *known.at(63), 1), 0x05060708090a0b0cU);
    EXPECT_EQ(word(out, *known.at(63), 2), 0x01020304U);
    bytes expected; // in the order of their names
    append(expected, 0x102, 0, counting(4));
    append(expected, 0x102, 1, counting(8));
    append(expected, 0x102, 2, counting(20));
    EXPECT_EQ(written(out, known), expected);
}

TEST(options, that_are_not_known_are_passed_over)
{
    bytes options;
    append(options, 0x102, 0, counting(4));
    notes::option_values out;
    out.present = 0xff;
    out.data.fill(~std::uint64_t{0});
    EXPECT_EQ(read(options, nullptr, out), fault::none);
    EXPECT_EQ(out, notes::option_values{});
    EXPECT_EQ(read({}, nullptr, out), fault::none);
}

TEST(options, that_are_there_twice_are_the_last)
{
    flow::option_map known;
    ASSERT_TRUE(known.add(make(0, 0, 4)));
    bytes options;
    append(options, 0x102, 0, counting(4, 0x11));
    append(options, 0x102, 0, counting(4, 0x21));
    notes::option_values out;
    ASSERT_EQ(read(options, &known, out), fault::none);
    EXPECT_EQ(word(out, *known.at(0), 0), 0x21222324U);
}

TEST(options, that_must_be_understood_are_known_or_the_packet_is_not_taken)
{
    flow::option_map known;
    ASSERT_TRUE(known.add(make(0, 0x80, 4)));
    bytes mine;
    append(mine, 0x102, 0x80, counting(4));
    bytes others;
    append(others, 0x102, 0x81, counting(4));
    bytes both = mine;
    both.insert(both.end(), others.begin(), others.end());
    notes::option_values out;
    EXPECT_EQ(read(mine, &known, out), fault::none);
    EXPECT_EQ(read(mine, &known, out, true), fault::none);
    EXPECT_EQ(read(mine, nullptr, out), fault::critical_option);
    EXPECT_EQ(read(others, &known, out), fault::critical_option);
    EXPECT_EQ(read(both, &known, out, true), fault::critical_option);
    // The header says that there is one, and it is not seen.
    EXPECT_EQ(read({}, &known, out, true), fault::critical_option);
    EXPECT_EQ(read({}, nullptr, out, true), fault::critical_option);
}

TEST(options, of_another_length_than_is_known_are_not_taken)
{
    flow::option_map known;
    ASSERT_TRUE(known.add(make(0, 0, 8)));
    notes::option_values out;
    for (const std::size_t size : {0U, 4U, 12U, 124U}) {
        bytes options;
        append(options, 0x102, 0, counting(size));
        EXPECT_EQ(read(options, &known, out), fault::option_length) << size;
    }
}

// Any that are known, in any order, are what bytes say, and are written as they were.
TEST(options, come_out_as_they_went_in)
{
    std::mt19937 random{3};
    for (int round = 0; round < 3000; ++round) {
        flow::option_map known;
        for (std::uint8_t i = 0; i < 8; ++i) {
            (void)known.add(make(static_cast<std::uint8_t>(random() % 8 * 8 + i),
                                 static_cast<std::uint8_t>(random() % 16 * 16 + i),
                                 static_cast<std::uint8_t>(4 + random() % 16 * 4)));
        }
        std::vector<flow::option> there{known.all().begin(), known.all().end()};
        std::ranges::shuffle(there, random);
        there.resize(random() % (there.size() + 1));
        std::map<std::uint8_t, bytes> data;
        bytes options;
        for (const flow::option& o : there) {
            data[o.index] = counting(o.length, static_cast<unsigned>(random()));
            append(options, o.option_class, o.type, data[o.index]);
            append(options, 0x999, static_cast<std::uint8_t>(random() % 128), counting(4));
        }
        notes::option_values out;
        ASSERT_EQ(read(options, &known, out), fault::none);
        bytes expected;
        for (const auto& [index, of] : data) {
            const flow::option& o = *known.at(index);
            append(expected, o.option_class, o.type, of);
            for (std::size_t i = 0; i < of.size(); ++i) { // from the last byte
                const auto byte = std::to_integer<std::uint64_t>(of[of.size() - 1 - i]);
                ASSERT_EQ(word(out, o, i / 8) >> (8 * (i % 8)) & 0xff, byte);
            }
        }
        ASSERT_LE(expected.size(), most_set_options);
        ASSERT_EQ(written(out, known), expected);
    }
}

TEST(notes, have_options_only_of_packets_that_have_some)
{
    notes all;
    notes::words w{};
    w[0] = 5;
    const std::uint16_t plain = all.add(w);
    EXPECT_FALSE(all.has_options(plain));
    notes::option_values o{};
    o.present = 1;
    o.data[0] = 77;
    const std::uint16_t with = all.add(w, o);
    flow::key k;
    all.read(with, k);
    EXPECT_EQ(k.number(flow::field::tun_id), 5U);
    EXPECT_EQ(k.number(flow::field::tun_present), 1U);
    EXPECT_EQ(k.number(flow::field::tun_data0), 77U);
    k.set(flow::field::pkt_mark, 9);
    all.read(plain, k); // of the next packet
    EXPECT_EQ(k.number(flow::field::tun_present), 0U);
    EXPECT_EQ(k.number(flow::field::tun_data0), 0U);
    EXPECT_EQ(k.number(flow::field::pkt_mark), 9U) << "no tunnel's";
    const std::uint16_t copy = all.add_copy(with);
    all.change(copy, flow::place_of(flow::field::tun_data0).word, 0x100, 0xff00);
    all.change(copy, flow::place_of(flow::field::tun_id).word, 6, ~std::uint64_t{0});
    EXPECT_EQ(all.options_of(copy).data[0], 0x14dU);
    EXPECT_EQ(all.at(copy)[0], 6U);
    EXPECT_EQ(all.options_of(with), o);
    EXPECT_EQ(all.at(with)[0], 5U);
    // What an earlier packet had in its place is not this one's.
    all.clear();
    const std::uint16_t reused = all.add_copy(notes::none);
    all.change(reused, flow::place_of(flow::field::tun_data0).word + std::size_t{1}, 2, 2);
    EXPECT_EQ(all.options_of(reused), (notes::option_values{0, {0, 2}}));
    all.read(notes::none, k);
    EXPECT_EQ(k.number(flow::field::tun_id), 0U);
}

} // namespace
} // namespace strait::tunnel
