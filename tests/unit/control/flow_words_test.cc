// SPDX-License-Identifier: BSD-3-Clause
// Cutting flows' text into words.
#include "control/flow_words.hh"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace strait::control {
namespace {

// "key mark value > target" of each word, or the fault's place and message.
std::string cut(std::string_view text)
{
    flow_words words{text};
    std::string out;
    for (;;) {
        const auto word = words.next();
        if (word.has_error()) {
            return out + at_column(text, word.error());
        }
        if (!*word) {
            return out;
        }
        const flow_word& w = **word;
        out += std::string{w.key} + (w.mark == 0 ? "" : std::string{' ', w.mark, ' '}) +
               std::string{w.value} + (w.target.empty() ? "" : " > " + std::string{w.target}) + ";";
    }
}

TEST(flow_words, are_separated_by_commas_and_blanks)
{
    EXPECT_EQ(cut(""), "");
    EXPECT_EQ(cut(" ,, \t\r\n"), "");
    EXPECT_EQ(cut("ip,tp_dst=80 a:5,,b\n"), "ip;tp_dst = 80;a : 5;b;");
    EXPECT_EQ(cut("a=,b"), "a = ;b;");
    EXPECT_EQ(cut("a=b=c:d"), "a = b=c:d;");
}

TEST(flow_words, keep_parentheses_together)
{
    EXPECT_EQ(cut("ct(commit,nat(src=1),zone=2),3"), "ct ( commit,nat(src=1),zone=2;3;");
    EXPECT_EQ(cut("x=f(1,2),y"), "x = f(1,2);y;");
    EXPECT_EQ(cut("check(5)->reg0[0],1"), "check ( 5 > reg0[0];1;");
    EXPECT_EQ(cut("f()"), "f ( ;");
    EXPECT_EQ(cut("f(a"), "column 2: the parenthesis that opens here is not closed");
    EXPECT_EQ(cut("f(a,g(b)"), "column 2: the parenthesis that opens here is not closed");
    EXPECT_EQ(cut("x=f(1"), "column 4: the parenthesis that opens here is not closed");
    EXPECT_EQ(cut("f(1)g,2"), "column 5: there must be a comma or a blank before \"g\"");
    EXPECT_EQ(cut("f(1))"), "column 5: there must be a comma or a blank before \")\"");
}

TEST(flow_words, keep_quotations_together)
{
    EXPECT_EQ(cut("in_port=\"a,b)\",1"), "in_port = \"a,b)\";1;");
    EXPECT_EQ(cut("\"a b\",\"c\\\"d\""), "\"a b\";\"c\\\"d\";");
    EXPECT_EQ(cut("f(\")\")"), "f ( \")\";");
    EXPECT_EQ(cut("1,\"a"), "1;column 3: the quotation that begins here has no end");
    EXPECT_EQ(cut("\"a\\\""), "column 1: the quotation that begins here has no end");
}

TEST(flow_words, are_shown_in_messages_on_one_line_and_short)
{
    EXPECT_EQ(shown("a\nb\x01\xff"), "\"a?b??\"");
    EXPECT_EQ(shown(std::string(100, 'x')), "\"" + std::string(60, 'x') + "...\"");
    EXPECT_EQ(suggestion("tp_dts", {"tp_src", "tp_dst"}, "; no"), "; did you mean tp_dst?");
    EXPECT_EQ(suggestion("xyzzy", {"tp_src", "tp_dst"}, "; no"), "; no");
}

TEST(flow_words, have_columns_that_begin_with_one)
{
    const std::string_view text = "abc";
    EXPECT_EQ(column_of(text, {text.substr(2), ""}), 3U);
    EXPECT_EQ(column_of(text, {text.substr(3), ""}), 4U);
    EXPECT_EQ(column_of(text, {"elsewhere", ""}), 1U);
    EXPECT_EQ(trimmed("  a b\t"), "a b");
    EXPECT_EQ(trimmed(" "), "");
}

} // namespace
} // namespace strait::control
