// SPDX-License-Identifier: BSD-3-Clause
// strait-xen-simulator as a program: what it says, and how it ends.
#include "lab.hh"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::simulated::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class the_simulator : public testing::Test {
protected:
    the_simulator()
    {
        std::string pattern = testing::TempDir() + "xen_XXXXXX";
        folder = ::mkdtemp(pattern.data());
        socket = folder + "/xen.sock";
    }
    ~the_simulator() override { std::filesystem::remove_all(folder); }

    [[nodiscard]] std::string file(const std::string& text) const
    {
        std::ofstream{folder + "/faults.json"} << text;
        return folder + "/faults.json";
    }
    // What it says when it refuses to start.
    static std::string refusal(std::vector<std::string> words)
    {
        child program{STRAIT_XEN_SIMULATOR, std::move(words)};
        const std::string why = program.line();
        EXPECT_EQ(program.line(), "") << "one sentence";
        EXPECT_EQ(program.end(0), 1);
        return why;
    }

    std::string folder;
    std::string socket;
};

TEST_F(the_simulator, serves_until_it_is_told_to_end)
{
    for (const int signal : {SIGTERM, SIGINT}) {
        child program{STRAIT_XEN_SIMULATOR, {"--socket", socket}};
        ASSERT_EQ(program.line(), "listening on " + socket);
        const auto guest = simulated_guest::connect(socket, domain_id{1}, small_domain).value();
        const auto h = simulated_hypervisor::connect(socket, domain_id{0}).value();
        const auto r = guest->grant(domain_id{0}, guest->allocate().value()).value();
        EXPECT_TRUE(h->map(domain_id{1}, {&r, 1}).has_value());
        EXPECT_EQ(program.end(signal), 0);
        EXPECT_FALSE(std::filesystem::exists(socket));
        EXPECT_FALSE(guest->alive());
    }
}

TEST_F(the_simulator, takes_the_place_of_one_that_was_killed)
{
    child program{STRAIT_XEN_SIMULATOR, {"--socket", socket}};
    ASSERT_EQ(program.line(), "listening on " + socket);
    EXPECT_THAT(refusal({"--socket", socket}), HasSubstr(socket));
    program.kill();
    ASSERT_TRUE(std::filesystem::exists(socket));
    child next{STRAIT_XEN_SIMULATOR, {"--socket", socket}};
    EXPECT_EQ(next.line(), "listening on " + socket);
}

TEST_F(the_simulator, takes_faults_from_a_file)
{
    child program{
        STRAIT_XEN_SIMULATOR,
        {"--socket", socket, "--faults", file(R"({"rules": [{"on": "map", "count": 1}]})")}};
    ASSERT_EQ(program.line(), "listening on " + socket);
    const auto guest = simulated_guest::connect(socket, domain_id{1}, small_domain).value();
    const auto h = simulated_hypervisor::connect(socket, domain_id{0}).value();
    const auto r = guest->grant(domain_id{0}, guest->allocate().value()).value();
    EXPECT_TRUE(h->map(domain_id{1}, {&r, 1}).has_error());
    EXPECT_TRUE(h->map(domain_id{1}, {&r, 1}).has_value());
}

TEST_F(the_simulator, says_in_a_sentence_what_is_wrong)
{
    EXPECT_THAT(refusal({}), HasSubstr("--socket is missing"));
    EXPECT_THAT(refusal({"--socket"}), HasSubstr("--socket takes a path"));
    EXPECT_THAT(refusal({"--port", "1"}), HasSubstr("no option --port"));
    EXPECT_THAT(refusal({"--socket", "/nowhere/at/all"}), HasSubstr("/nowhere/at/all"));
    EXPECT_THAT(refusal({"--socket", socket, "--faults", "/nowhere"}),
                HasSubstr("/nowhere cannot be read"));
    EXPECT_THAT(refusal({"--socket", socket, "--faults", folder}), HasSubstr(folder));
    EXPECT_THAT(refusal({"--socket", socket, "--faults", file(R"({"sead": 1})")}),
                AllOf(HasSubstr("faults.json"), HasSubstr("\"sead\"")));
}

TEST_F(the_simulator, explains_itself)
{
    child program{STRAIT_XEN_SIMULATOR, {"--help"}};
    EXPECT_THAT(program.line(), HasSubstr("Usage: strait-xen-simulator"));
    std::string rest;
    for (auto line = program.line(); !line.empty() || rest.empty(); line = program.line()) {
        rest += line + "\n";
    }
    EXPECT_EQ(program.end(0), 0);
}

} // namespace
} // namespace strait::xen::simulated::test
