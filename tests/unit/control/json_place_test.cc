// SPDX-License-Identifier: BSD-3-Clause
// Finding the line of a part of a document.
#include "control/json_place.hh"

#include <gtest/gtest.h>

namespace strait::control {
namespace {

constexpr std::string_view document = R"({
  "version": 1, "no": [[], {}, "a]},[{\"", -1.5e3],
  "ports": [
    {"name": "a", "trunk": [1, "2-3"]},
    {"name": "b",
     "tr\u0075nk": [
       5,
       "x" ] }
  ],
  "last": null
})";

std::string at(const json_path& path)
{
    return line_and_column(document, find_place(document, path));
}

TEST(place_in_json, is_that_of_the_value)
{
    EXPECT_EQ(at({}), "1:1");
    EXPECT_EQ(at({"version"}), "2:14");
    EXPECT_EQ(at({"no", std::size_t{2}}), "2:32");
    EXPECT_EQ(at({"no", std::size_t{3}}), "2:44");
    EXPECT_EQ(at({"ports", std::size_t{1}}), "5:5");
    EXPECT_EQ(at({"ports", std::size_t{0}, "trunk", std::size_t{1}}), "4:32");
    EXPECT_EQ(at({"ports", std::size_t{1}, "trunk", std::size_t{1}}), "8:8");
    EXPECT_EQ(at({"last"}), "10:11");
}

TEST(place_in_json, is_that_of_what_is_around_where_there_is_none)
{
    EXPECT_EQ(at({"ports", std::size_t{1}, "mtu"}), "5:5");
    EXPECT_EQ(at({"ports", std::size_t{2}}), "3:12");
    EXPECT_EQ(at({"ports", "name"}), "3:12");
    EXPECT_EQ(at({"other", std::size_t{7}}), "1:1");
    EXPECT_EQ(at({"no", std::size_t{0}, std::size_t{0}}), "2:24");
    EXPECT_EQ(line_and_column("", find_place("", {"a"})), "1:1");
    EXPECT_EQ(find_place("[1", {std::size_t{3}}), 0U);
}

TEST(place_in_json, reads_as_people_write_it)
{
    EXPECT_EQ(to_text({"ports", std::size_t{2}, "vlan"}), "ports[2].vlan");
    EXPECT_EQ(to_text({}), "");
}

} // namespace
} // namespace strait::control
