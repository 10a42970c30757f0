// SPDX-License-Identifier: BSD-3-Clause
// docs/flows.md against the code, and against Open vSwitch's manuals where they are installed
// (Debian 12: openvswitch-common).
#include "control/flow_action_text.hh"
#include "control/flow_fields.hh"
#include "control/flow_match_text.hh"
#include "control/flow_shorthands.hh"
#include "control/flow_text.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

namespace strait::control {
namespace {

using names = std::set<std::string>;

// The words in the first column of the tables under a heading, with the rest of their rows.
std::map<std::string, std::string> table_under(std::string_view heading)
{
    std::ifstream page{std::string{STRAIT_DOCS} + "/flows.md"};
    std::map<std::string, std::string> out;
    bool inside = false;
    for (std::string line; std::getline(page, line);) {
        if (line.starts_with('#')) {
            inside = line == heading;
        }
        if (!inside || !line.starts_with("| `")) {
            continue;
        }
        const std::size_t end = line.find(" |", 2);
        const std::string first = line.substr(0, end);
        for (std::size_t at = 0; (at = first.find('`', at)) != std::string::npos;) {
            const std::size_t close = first.find('`', at + 1);
            out.emplace(first.substr(at + 1, close - at - 1), line.substr(end));
            at = close + 1;
        }
    }
    EXPECT_FALSE(out.empty()) << heading;
    return out;
}

names words_of(const std::map<std::string, std::string>& table)
{
    names out;
    for (const auto& [word, rest] : table) {
        out.insert(word);
    }
    return out;
}

// reg0 stands for all registers of its kind, and so does tun_metadata0.
bool is_one_of_many(std::string_view name)
{
    return (name.find("reg") != std::string_view::npos && !name.ends_with("reg0")) ||
           (name.starts_with("tun_metadata") && name != "tun_metadata0");
}

TEST(flows_page, has_just_the_fields_that_there_are)
{
    names there;
    for (const auto& f : flow_fields()) {
        for (const auto name : {f.name, f.alias}) {
            if (!name.empty() && !is_one_of_many(name)) {
                there.emplace(name);
            }
        }
    }
    EXPECT_EQ(words_of(table_under("## Fields")), there);
}

TEST(flows_page, says_of_fields_whether_they_take_masks_and_can_be_set)
{
    for (const auto& [word, rest] : table_under("## Fields")) {
        const flow_field* f = find_field(word);
        ASSERT_NE(f, nullptr) << word;
        const bool has_values_of_its_own = rest.find("not_later") != std::string::npos;
        EXPECT_EQ(f->maskable, !rest.starts_with(" | no |")) << word << rest;
        const std::size_t set = rest.find(" | ", 3);
        EXPECT_EQ(f->writable, !rest.substr(set).starts_with(" | no")) << word << rest;
        EXPECT_EQ(f->form == value_form::fragment, has_values_of_its_own) << word;
    }
}

TEST(flows_page, has_the_shorthands_that_there_are)
{
    names there;
    for (const auto& s : shorthands()) {
        there.emplace(s.name);
    }
    EXPECT_EQ(words_of(table_under("## What packets are")), there);
}

TEST(flows_page, says_of_what_there_is_not_what_it_is)
{
    for (const auto& [word, rest] : table_under("### Fields that there are not")) {
        EXPECT_EQ(find_field(word), nullptr) << word;
        const auto wrong = parse_match(word + "=1");
        ASSERT_TRUE(wrong.has_error()) << word;
        const std::string_view what = unsupported_field(word);
        ASSERT_FALSE(what.empty()) << word;
        EXPECT_THAT(rest, testing::HasSubstr(std::string{what})) << word;
        EXPECT_THAT(wrong.error().message, testing::HasSubstr(std::string{what})) << word;
    }
}

TEST(flows_page, has_just_the_actions_that_there_are)
{
    const auto words = action_words();
    EXPECT_EQ(words_of(table_under("## Actions")), names(words.begin(), words.end()));
}

TEST(flows_page, says_of_actions_that_there_are_not_why)
{
    const auto table = table_under("### Actions that there are not");
    names there;
    for (const auto& u : unsupported_actions()) {
        there.emplace(u.name);
        EXPECT_THAT(table.at(std::string{u.name}), testing::HasSubstr(std::string{u.why}));
        const auto wrong = parse_flow("actions=" + std::string{u.name}, flow_command::add);
        ASSERT_TRUE(wrong.has_error()) << u.name;
        EXPECT_EQ(wrong.error().message,
                  "column 9: " + std::string{u.name} + " is not supported: " + std::string{u.why});
    }
    EXPECT_EQ(words_of(table), there);
}

// Words that a manual has in bold in the lines that begin so.
names words_in_manual(std::string_view manual, std::string_view beginning)
{
    names out;
    const std::unique_ptr<FILE, int (*)(FILE*)> page{
        ::popen(("zcat /usr/share/man/man7/" + std::string{manual} + ".7.gz 2>/dev/null").c_str(),
                "r"),
        ::pclose};
    std::array<char, 4096> some{};
    while (page != nullptr && std::fgets(some.data(), some.size(), page.get()) != nullptr) {
        const std::string_view line{some.data()};
        if (!line.starts_with(beginning)) {
            continue;
        }
        for (std::size_t at = 0; (at = line.find("\\fB", at)) != std::string_view::npos;) {
            const std::size_t end = line.find('\\', at + 3);
            out.emplace(line.substr(at + 3, end - at - 3));
            at = end;
        }
    }
    return out;
}

// Those that this repository keeps of them: "field" or "action", and the word.
names kept_words(std::string_view kind)
{
    std::ifstream file{std::string{STRAIT_FLOWS} + "/words.txt"};
    names out;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(kind)) {
            out.insert(line.substr(kind.size()));
        }
    }
    return out;
}

TEST(flows_page, has_every_word_that_is_kept_of_the_manuals)
{
    const names fields = kept_words("field ");
    const names actions = kept_words("action ");
    EXPECT_GT(fields.size(), 100U);
    EXPECT_GT(actions.size(), 40U);
    names known_fields = words_of(table_under("## Fields"));
    known_fields.merge(words_of(table_under("### Fields that there are not")));
    names known_actions = words_of(table_under("## Actions"));
    known_actions.merge(words_of(table_under("### Actions that there are not")));
    for (const auto& word : fields) {
        EXPECT_TRUE(known_fields.contains(word)) << word;
    }
    for (const auto& word : actions) {
        EXPECT_TRUE(known_actions.contains(word)) << word;
    }
}

TEST(flows_page, is_compared_with_all_words_of_the_manuals)
{
    const names fields = words_in_manual("ovs-fields", "Name:");
    const names actions = words_in_manual("ovs-actions", ".SS The ");
    if (fields.empty() || actions.empty()) {
        GTEST_SKIP() << "ovs-fields(7) is not installed (Debian 12: apt-get install "
                        "openvswitch-common)";
    }
    EXPECT_EQ(kept_words("field "), fields);
    EXPECT_EQ(kept_words("action "), actions);
}

TEST(flows_page, has_no_word_of_the_manuals_that_is_not_known)
{
    for (const auto& word : kept_words("action ")) {
        const auto wrong = parse_flow("actions=" + word, flow_command::add);
        if (wrong.has_error()) {
            EXPECT_THAT(wrong.error().message, testing::Not(testing::HasSubstr("is no action")));
        }
    }
    for (const auto& word : kept_words("field ")) {
        const auto wrong = parse_flow(word + "=1,actions=drop", flow_command::add);
        if (wrong.has_error()) {
            EXPECT_THAT(wrong.error().message,
                        testing::Not(testing::HasSubstr("is no word of a flow")));
        }
    }
}

} // namespace
} // namespace strait::control
