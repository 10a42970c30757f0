// SPDX-License-Identifier: BSD-3-Clause
// What is UTF-8 and what only looks like it.
#include "control/utf8.hh"

#include <gtest/gtest.h>

namespace strait::control {
namespace {

TEST(utf8, is_what_json_may_hold)
{
    for (const std::string_view text :
         {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
          "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "/tmp/ü-€-𐍈.sock"}) {
        EXPECT_TRUE(is_utf8(text)) << text;
        EXPECT_EQ(as_utf8(text), text);
    }
    EXPECT_TRUE(is_utf8(std::string_view{"\0", 1}));
}

TEST(utf8, has_no_stray_bytes_no_second_forms_and_no_surrogates)
{
    const struct {
        std::string_view text;
        std::string_view shown;
    } cases[] = {
        {"\xff", "?"},
        {"a\x80z", "a?z"},
        {"\xc0\xaf", "??"}, // '/' in two bytes
        {"\xc1\xbf", "??"},
        {"\xe0\x9f\xbf", "???"}, // in three what takes two
        {"\xed\xa0\x80", "???"}, // a surrogate
        {"\xf0\x8f\xbf\xbf", "????"},
        {"\xf4\x90\x80\x80", "????"}, // beyond U+10FFFF
        {"\xf5\x80\x80\x80", "????"},
        {"\xe2\x82", "??"}, // cut off
        {"\xe2\x82z", "??z"},
        {"\xc3", "?"},
        {"\xc3(", "?("},
        {"\xf0\x90\x80"
         "a",
         "???a"},
        {"ok \xfe\xe2\x82\xac", "ok ?€"},
    };
    for (const auto& c : cases) {
        EXPECT_FALSE(is_utf8(c.text)) << c.shown;
        EXPECT_EQ(as_utf8(c.text), c.shown);
    }
}

} // namespace
} // namespace strait::control
