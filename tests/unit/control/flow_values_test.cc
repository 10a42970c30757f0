// SPDX-License-Identifier: BSD-3-Clause
// Values of fields as text.
#include "control/flow_values.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace strait::control {
namespace {

using flow::wide;
using testing::HasSubstr;

constexpr std::uint64_t all = ~std::uint64_t{0};

// Read and written again; or why not.
std::string again(value_form form, unsigned bits, std::string_view text)
{
    const auto value = parse_value(form, bits, "f", text, {});
    if (value.has_error()) {
        return value.error().message;
    }
    EXPECT_TRUE((value->value & ~value->mask).is_zero());
    std::string out;
    append_value(out, form, bits, *value, nullptr);
    return out;
}

TEST(flow_numbers, are_decimal_octal_or_hexadecimal)
{
    EXPECT_EQ(parse_integer("18446744073709551615"), wide{all});
    EXPECT_EQ(parse_integer("0x10"), wide{16});
    EXPECT_EQ(parse_integer("0Xaf"), wide{0xaf});
    EXPECT_EQ(parse_integer("010"), wide{8});
    EXPECT_EQ(parse_integer("0"), wide{});
    EXPECT_EQ(parse_integer("0xffffffffffffffffffffffffffffffff"), (wide{all, all}));
    EXPECT_EQ(parse_integer("0x123456789abcdef0fedcba9876543210"),
              (wide{0x1234'5678'9abc'def0, 0xfedc'ba98'7654'3210}));
    for (const auto* wrong :
         {"", "0x", "x", "1 ", " 1", "-1", "+1", "1.0", "08", "0xg", "1_0", "18446744073709551616",
          "0x100000000000000000000000000000000", "02000000000000000000000"}) {
        EXPECT_EQ(parse_integer(wrong), std::nullopt) << wrong;
    }
    EXPECT_EQ(parse_number("65535", 65535, "n").value(), 65535U);
    EXPECT_EQ(parse_number("65536", 65535, "n").error().message,
              "\"65536\" is no n; it must be a number from 0 to 65535");
    EXPECT_TRUE(parse_number("0x10000000000000000", all, "n").has_error());
}

TEST(flow_numbers, are_written_short)
{
    std::string out;
    append_hexadecimal(out, wide{});
    out += ' ';
    append_hexadecimal(out, wide{0x1f});
    out += ' ';
    append_hexadecimal(out, wide{1, 2});
    out += ' ';
    append_padded(out, 0x1f, 4);
    out += ' ';
    append_padded(out, 0x12345, 4);
    EXPECT_EQ(out, "0 0x1f 0x10000000000000002 001f 12345");
}

TEST(flow_addresses, are_read_in_their_forms_alone)
{
    EXPECT_EQ(parse_ethernet_address("00:11:22:33:44:55"), 0x0011'2233'4455U);
    EXPECT_EQ(parse_ethernet_address("0:1:2:3:4:F"), 0x0001'0203'040fU);
    for (const auto* wrong : {"", "00:11:22:33:44", "00:11:22:33:44:55:66", "00-11-22-33-44-55",
                              "001122334455", "000:11:22:33:44:55", "00:11:22:33:44:",
                              "00:11:22:33::55", "00:11:22:33:44:5g", "00:11:22:33:44:555"}) {
        EXPECT_EQ(parse_ethernet_address(wrong), std::nullopt) << wrong;
    }
    EXPECT_EQ(parse_ipv4_address("10.0.255.1"), 0x0a00'ff01U);
    for (const auto* wrong : {"", "10.0.0", "10.0.0.", "10.0.0.256", "10.0.0.1.2", "10.0.0.1 ",
                              "10..0.1", "-1.0.0.1", "10.0.0.0001", "a.0.0.1"}) {
        EXPECT_EQ(parse_ipv4_address(wrong), std::nullopt) << wrong;
    }
    EXPECT_EQ(parse_ipv6_address("fe80::1"), (wide{0xfe80'0000'0000'0000, 1}));
    EXPECT_EQ(parse_ipv6_address("::ffff:1.2.3.4"), (wide{0, 0xffff'0102'0304}));
    for (const std::string_view wrong :
         {"", "fe80", "fe80::1::2", "fe80::1%eth0", "1:2:3:4:5:6:7:8:9",
          "g::", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"}) {
        EXPECT_EQ(parse_ipv6_address(wrong), std::nullopt) << wrong;
    }
    EXPECT_EQ(parse_ipv6_address(std::string_view{"::1\0x", 5}), std::nullopt);
}

TEST(flow_values, are_written_as_they_are_read)
{
    EXPECT_EQ(again(value_form::decimal, 16, "0x50"), "80");
    EXPECT_EQ(again(value_form::decimal, 16, "0x57/0xf0"), "0x50/0xf0");
    EXPECT_EQ(again(value_form::decimal, 16, "7/0xf0"), "0x0/0xf0");
    EXPECT_EQ(again(value_form::decimal, 16, "7/0xffff"), "7");
    EXPECT_EQ(again(value_form::hexadecimal, 32, "0"), "0");
    EXPECT_EQ(again(value_form::hexadecimal, 128, "0x10000000000000000/0xf0000000000000000"),
              "0x10000000000000000/0xf0000000000000000");
    EXPECT_EQ(again(value_form::ethernet, 48, "1:2:3:4:5:6/ff:ff:0:0:0:0"),
              "01:02:00:00:00:00/ff:ff:00:00:00:00");
    EXPECT_EQ(again(value_form::ipv4, 32, "10.1.2.3/8"), "10.0.0.0/8");
    EXPECT_EQ(again(value_form::ipv4, 32, "10.1.2.3/255.0.0.255"), "10.0.0.3/255.0.0.255");
    EXPECT_EQ(again(value_form::ipv4, 32, "10.1.2.3/32"), "10.1.2.3");
    EXPECT_EQ(again(value_form::ipv6, 128, "fe80::1/ffff::"), "fe80::/16");
    EXPECT_EQ(again(value_form::ipv6, 128, "fe80::1/::ffff"), "::1/::ffff");
    EXPECT_EQ(again(value_form::ipv6, 128, "fe80::1/127"), "fe80::/127");
    EXPECT_EQ(again(value_form::port, 16, "local"), "LOCAL");
    EXPECT_EQ(again(value_form::port_32, 32, "0xfffffffe"), "LOCAL");
    const auto any = parse_value(value_form::ipv4, 32, "f", "*", {});
    EXPECT_TRUE(any.value().mask.is_zero());
    EXPECT_TRUE(parse_value(value_form::ipv4, 32, "f", "10.0.0.1/0", {}).value().mask.is_zero());
}

TEST(flow_values, that_a_field_cannot_have_are_refused)
{
    EXPECT_EQ(again(value_form::decimal, 8, "256"),
              "\"256\" is too large for f, which has 8 bits: 0xff at most");
    EXPECT_EQ(again(value_form::hexadecimal, 1, "2"),
              "\"2\" is too large for f, which has 1 bit: 0x1 at most");
    EXPECT_THAT(again(value_form::decimal, 8, "1/256"), HasSubstr("too large for f"));
    EXPECT_THAT(again(value_form::decimal, 8, "1/x"), HasSubstr("\"x\" is no value of f"));
    EXPECT_THAT(again(value_form::decimal, 8, ""), HasSubstr("f has no value"));
    EXPECT_THAT(again(value_form::ipv4, 32, "10.0.0.1/33"),
                HasSubstr("a prefix of 33 bits is longer than the 32 of f"));
    EXPECT_THAT(again(value_form::ipv6, 128, "::1/129"), HasSubstr("longer than the 128"));
    EXPECT_THAT(again(value_form::ipv4, 32, "10.0.0.1/"), HasSubstr("it must be an IPv4 address"));
    EXPECT_THAT(again(value_form::ipv6, 128, "10.0.0.1"), HasSubstr("it must be an IPv6 address"));
    EXPECT_THAT(again(value_form::ethernet, 48, "1:2:3:4:5:6/8"),
                HasSubstr("it must be an Ethernet address"));
}

TEST(flow_ranges, are_covered_once_by_masks)
{
    EXPECT_EQ(cover_range(0, 65535), (std::vector<masked_value>{{wide{}, wide{}}}));
    EXPECT_EQ(cover_range(80, 80), (std::vector<masked_value>{{wide{80}, wide{0xffff}}}));
    EXPECT_EQ(cover_range(1, 65534).size(), 30U);
    using range = std::pair<std::uint16_t, std::uint16_t>;
    for (const auto& r : std::initializer_list<range>{{0, 0},
                                                      {65535, 65535},
                                                      {1000, 1999},
                                                      {1, 65535},
                                                      {0, 65534},
                                                      {32767, 32768},
                                                      {5, 4000}}) {
        const unsigned first = r.first;
        const unsigned last = r.second;
        const auto masks = cover_range(r.first, r.second);
        for (unsigned n = 0; n <= 0xffff; ++n) {
            unsigned hits = 0;
            for (const auto& m : masks) {
                hits += (n & m.mask.low) == m.value.low ? 1U : 0U;
            }
            ASSERT_EQ(hits, n >= first && n <= last ? 1U : 0U) << n << ' ' << first << ' ' << last;
        }
    }
}

TEST(flow_masks, that_are_one_run_of_bits_are_told)
{
    const auto run = [](wide mask) {
        const auto r = run_of(mask);
        return r ? std::to_string(r->first) + '+' + std::to_string(r->bits) : "none";
    };
    EXPECT_EQ(run(wide{}), "none");
    EXPECT_EQ(run(wide{1}), "0+1");
    EXPECT_EQ(run(wide{0xf0}), "4+4");
    EXPECT_EQ(run(wide{5}), "none");
    EXPECT_EQ(run(wide{all}), "0+64");
    EXPECT_EQ(run(wide{all, 0}), "64+64");
    EXPECT_EQ(run(wide{1, std::uint64_t{1} << 63}), "63+2");
    EXPECT_EQ(run(wide{all, all}), "0+128");
    EXPECT_EQ(run(wide{1, 1}), "none");
}

} // namespace
} // namespace strait::control
