// SPDX-License-Identifier: BSD-3-Clause
// Flags and fragments as words.
#include "control/flow_flags.hh"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace strait::control {
namespace {

using flow::wide;

struct kind {
    value_form form;
    unsigned bits;
};
constexpr kind tcp{value_form::tcp_flags, 12};
constexpr kind ct{value_form::ct_flags, 32};
constexpr kind tunnel{value_form::tunnel_flags, 1};

std::string again(kind k, std::string_view text)
{
    const auto value = parse_flags(k.form, k.bits, "f", text);
    if (value.has_error()) {
        return value.error().message;
    }
    std::string out;
    append_flags(out, k.form, k.bits, *value);
    return out;
}

TEST(flow_flags, are_written_from_the_lowest_bit)
{
    EXPECT_EQ(again(tcp, "+ack-fin+syn"), "-fin+syn+ack");
    EXPECT_EQ(again(tcp, "ack|syn"), "syn|ack");
    EXPECT_EQ(again(tcp, "+[800]-[200]"), "-[200]+[800]");
    EXPECT_EQ(again(tcp, "0x12/0x13"), "-fin+syn+ack");
    EXPECT_EQ(again(tcp, "0x12"), "syn|ack");
    EXPECT_EQ(again(tcp, "0"), "0");
    EXPECT_EQ(again(tcp, "0/0xfff"), "0");
    EXPECT_EQ(again(ct, "-new+trk"), "-new+trk");
    EXPECT_EQ(again(ct, "0x21"), "new|trk");
    EXPECT_EQ(again(ct, "dnat"), "dnat");
    EXPECT_EQ(again(tunnel, "oam"), "+oam");
    EXPECT_EQ(again(tunnel, "0"), "-oam");
}

TEST(flow_flags, that_there_are_not_are_refused)
{
    const std::string has = "; it has fin, syn, rst, psh, ack, urg, ece, cwr, ns, [200], [400], "
                            "[800]";
    EXPECT_EQ(again(tcp, "+foo"), "f has no flag \"foo\"" + has);
    EXPECT_EQ(again(tcp, "+"), "f has no flag \"\"" + has);
    EXPECT_EQ(again(tcp, "syn|"), "f has no flag \"\"" + has);
    EXPECT_EQ(again(tcp, "syn+ack"), "f has no flag \"syn+ack\"" + has);
    EXPECT_EQ(again(tcp, "0x1000"), "f has no flag \"0x1000\"" + has);
    EXPECT_EQ(again(tcp, "0x1000/0x1000"), "f has no flag \"0x1000/0x1000\"" + has);
    EXPECT_EQ(again(tcp, "0/0x1000"), "f has no flag \"0/0x1000\"" + has);
    EXPECT_EQ(again(tcp, "+syn-syn"), "\"syn\" is there twice; each flag may be once");
    EXPECT_EQ(again(tcp, "1/x"), "\"1/x\" is no value of f; a mask must be a number");
    EXPECT_EQ(again(tunnel, "2"), "f has no flag \"2\"; it has oam");
    EXPECT_EQ(again(ct, "0x100"),
              "f has no flag \"0x100\"; it has new, est, rel, rpl, inv, trk, snat, dnat");
}

TEST(flow_fragments, are_words)
{
    for (const auto* word : {"no", "yes", "first", "later", "not_later"}) {
        std::string out;
        append_fragment(out, parse_fragment(word).value());
        EXPECT_EQ(out, word);
    }
    EXPECT_EQ(parse_fragment("first").value(), (masked_value{wide{1}, wide{3}}));
    EXPECT_EQ(parse_fragment("later").value(), (masked_value{wide{2}, wide{2}}));
    EXPECT_TRUE(parse_fragment("1").has_error());
    std::string out;
    append_fragment(out, {wide{3}, wide{3}});
    EXPECT_EQ(out, "later");
}

} // namespace
} // namespace strait::control
