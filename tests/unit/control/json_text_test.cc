// SPDX-License-Identifier: BSD-3-Clause
// JSON is read as Boost.JSON reads it, but for names that an object has twice.
#include "control/json_text.hh"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace strait::control {
namespace {

namespace json = boost::json;

constexpr std::size_t levels = 8;

json_fault fault(std::string_view text)
{
    const auto parsed = parse_json(text, levels);
    return parsed.has_error() ? parsed.error() : json_fault{"accepted"};
}

TEST(json_text, is_its_value)
{
    const std::string long_text(100'000, 'x');
    for (const std::string& text :
         {std::string{"null"}, std::string{" [true,false,null] "}, std::string{"\"a\\u00fc\\n€\""},
          std::string{"[-1,0,9223372036854775807,18446744073709551615,1e999,-0.5,1E3]"},
          std::string{R"({"a":{"b":[{},[],""]},"b":{"a":1},"":2,"A":3})"},
          std::string{R"([{"a":1},{"a":1}])"}, std::string{R"({"a\u0000":1,"a":2})"},
          "{\"" + long_text + "\":\"" + long_text + "\",\"" + long_text + "y\":[1]}"}) {
        const auto parsed = parse_json(text, levels);
        ASSERT_FALSE(parsed.has_error()) << text << parsed.error().message;
        EXPECT_TRUE(*parsed == json::parse(text)) << text;
    }
}

TEST(json_text, has_no_name_twice_in_an_object)
{
    const json_fault f = fault("{\"cpus\": 2,\n \"cpus\": 2}");
    EXPECT_EQ(f.message, "an object has \"cpus\" twice; once is right");
    EXPECT_EQ(f.at, 18U) << "where the second ends";
    for (const std::string_view text :
         {R"({"a":1,"b":2,"a":1})", R"([[{"a":{"a":1,"a":[]}}]])", R"({"\u0061":1,"a":2})",
          R"({"a":{"b":1},"a":{}})", R"({"b":{"c":1},"a":1,"a":1})", R"({"":1,"":1})"}) {
        EXPECT_TRUE(fault(text).message.ends_with(" twice; once is right")) << text;
    }
    const std::string name = "x\\n" + std::string(100'000, 'y');
    EXPECT_EQ(fault("{\"" + name + "\":1,\"" + name + "\":1}").message,
              "an object has \"x\\n" + std::string(78, 'y') + "\"… twice; once is right");
}

TEST(json_text, that_is_none_is_told_where)
{
    EXPECT_EQ(fault("").at, 0U);
    EXPECT_EQ(fault("{").at, 1U);
    EXPECT_EQ(fault("[1,]").at, 3U);
    EXPECT_EQ(fault("[] []").at, 3U);
    EXPECT_EQ(fault("[1] x").at, 4U);
    EXPECT_TRUE(fault("[1] x").message.starts_with("this is not JSON: "));
    EXPECT_EQ(fault("[\"\xff\"]").message, "this is not UTF-8, as JSON and all text in it must be");
    EXPECT_EQ(fault(std::string(levels, '[') + std::string(levels, ']')).message, "accepted");
    EXPECT_EQ(fault(std::string(levels + 1, '[') + std::string(levels + 1, ']')).message,
              "this is JSON of more than 8 levels");
}

} // namespace
} // namespace strait::control
