// SPDX-License-Identifier: BSD-3-Clause
#include "control/completion.hh"

#include "control/vm_commands.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::control {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

// Where a name may stand, it is the placeholder's, and of the run folder.
completion of(std::vector<std::string> words)
{
    return complete(straitctl_program(), words,
                    [](const std::string& run_dir, const method& /*m*/, const parameter& p) {
                        std::vector<std::string> names;
                        if (p.kind == value_kind::name) {
                            names = {std::string{p.placeholder} + "-of-" + run_dir};
                        }
                        return names;
                    });
}

TEST(completion, of_every_command_is_what_the_parser_takes)
{
    for (const method& m : *straitctl_program().commands) {
        const std::string name{m.name};
        const auto dot = name.find('.');
        std::vector<std::string> words;
        EXPECT_THAT(of({""}).words, Contains(name.substr(0, dot)));
        words.push_back(name.substr(0, dot));
        if (dot != std::string::npos) {
            words.emplace_back();
            EXPECT_THAT(of(words).words, Contains(name.substr(dot + 1)));
            words.back() = name.substr(dot + 1);
        }
        words.emplace_back("-");
        for (const parameter& p : m.parameters) {
            const std::string option = label(p, wording::command_line);
            EXPECT_EQ(std::ranges::count(of(words).words, option), p.positional ? 0 : 1)
                << name << " " << option;
        }
    }
}

TEST(completion, of_values_is_by_their_kind)
{
    EXPECT_THAT(of({"port", "set", ""}).words, ElementsAre("PORT-of-/run/strait"));
    EXPECT_THAT(of({"--run-dir", "/x", "port", "set", "P"}).words, ElementsAre("PORT-of-/x"));
    EXPECT_THAT(of({"port", "set", "x"}).words, IsEmpty());
    EXPECT_THAT(of({"port", "set", "a", ""}).words, IsEmpty()); // it has one name
    EXPECT_THAT(of({"port", "add", ""}).words, IsEmpty());
    EXPECT_THAT(of({"port", "add", "a", "--bridge", ""}).words,
                ElementsAre("BRIDGE-of-/run/strait"));
    EXPECT_THAT(of({"port", "set", "a", "--admin", ""}).words, ElementsAre("down", "up"));
    EXPECT_THAT(of({"port", "set", "a", "--admin", "=", "u"}).words, ElementsAre("up"));
    EXPECT_THAT(of({"port", "set", "a", "--admin", "="}).words, ElementsAre("down", "up"));
    EXPECT_THAT(of({"port", "set", "a", "--admin=up", "--adm"}).words, Not(Contains("--mtu")));
    EXPECT_TRUE(of({"port", "add", "a", "--socket", ""}).files);
    EXPECT_TRUE(of({"config", "apply", ""}).files);
    EXPECT_TRUE(of({"--run-dir", ""}).files);
    EXPECT_FALSE(of({"port", "set", ""}).files);
    EXPECT_THAT(of({"completion", ""}).words, ElementsAre("bash"));
}

TEST(completion, of_nonsense_is_nothing)
{
    EXPECT_THAT(of({"prt", ""}).words, IsEmpty());
    EXPECT_THAT(of({"port", "nothing", ""}).words, IsEmpty());
    EXPECT_THAT(of({"port", "set", "a", "--no-such"}).words, IsEmpty());
    EXPECT_THAT(of({"port", "set", "a", "--mtu", ""}).words, IsEmpty());
    EXPECT_FALSE(of({}).words.empty());
}

} // namespace
} // namespace strait::control
