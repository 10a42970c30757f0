// SPDX-License-Identifier: BSD-3-Clause
// Translations of addresses as text.
#include "control/flow_nat_text.hh"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace strait::control {
namespace {

std::string again(std::string_view text)
{
    flow_words words{text};
    const auto nat = parse_nat(*words.next().value());
    if (nat.has_error()) {
        return nat.error().message;
    }
    std::string out;
    append_nat(out, *nat);
    return out;
}

TEST(flow_nat, is_written_as_it_is_read)
{
    for (const auto* text :
         {"nat", "nat(src)", "nat(dst=10.0.0.1)", "nat(src=10.0.0.1-10.0.0.9)",
          "nat(src=10.0.0.1:80)", "nat(src=10.0.0.1-10.0.0.9:80-90,persistent,random)",
          "nat(dst=fe80::1,hash)", "nat(dst=fe80::1-fe80::9)", "nat(dst=[fe80::1]:80)",
          "nat(dst=[fe80::1]-[fe80::9]:80-90)", "nat(src=0.0.0.0-255.255.255.255)",
          "nat(src=::-ffff::)"}) {
        EXPECT_EQ(again(text), text);
    }
    EXPECT_EQ(again("nat()"), "nat");
    EXPECT_EQ(again("nat(src=0.0.0.0)"), "nat(src)");
    EXPECT_EQ(again("nat(src=::)"), "nat(src)");
    EXPECT_EQ(again("nat(src=10.0.0.1-10.0.0.1:5-5)"), "nat(src=10.0.0.1:5)");
    EXPECT_EQ(again("nat(random,src=[fe80::1])"), "nat(src=fe80::1,random)");
}

TEST(flow_nat, that_is_wrong_is_refused)
{
    const std::string right = "; it must be like 10.0.0.1, 10.0.0.1-10.0.0.9, 10.0.0.1:80 or "
                              "[fe80::1]-[fe80::9]:80-90";
    for (const std::string range :
         {"x", "10.0.0", "10.0.0.1-", "-10.0.0.1", "10.0.0.1-fe80::1", "10.0.0.1:", "10.0.0.1:a",
          "10.0.0.1:1-", "10.0.0.1:2-1", "10.0.0.1:65536", "10.0.0.1:1x", "[fe80::1", "[fe80::1]x",
          "[10.0.0.1]", ":80", "10.0.0.1-10.0.0.9-10.0.0.10"}) {
        EXPECT_EQ(again("nat(src=" + range + ")"),
                  "\"" + range + "\" is no range of addresses" + right);
    }
    EXPECT_EQ(again("nat(src=10.0.0.9-10.0.0.1)"),
              "\"10.0.0.9-10.0.0.1\" ends before it begins" + right);
    EXPECT_EQ(again("nat(src=10.0.0.1:0)"),
              "ports are counted from 1, and stand behind an address" + right);
    EXPECT_EQ(again("nat(src=0.0.0.0:80)"),
              "ports are counted from 1, and stand behind an address" + right);
    EXPECT_EQ(again("nat(src,dst)"), "nat takes src or dst, once");
    EXPECT_EQ(again("nat(random)"), "random, hash and persistent are for nat with src or dst");
    EXPECT_EQ(again("nat(src,random,hash)"),
              "a port is chosen at random or by a hash, not by both");
    EXPECT_EQ(again("nat(srcs=10.0.0.1)"), "nat has no \"srcs\"; did you mean src?");
    EXPECT_EQ(again("nat(src=10.0.0.1,random=1)"), "random takes no value");
}

} // namespace
} // namespace strait::control
