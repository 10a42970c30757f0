// SPDX-License-Identifier: BSD-3-Clause
// Flows as text, against ovs-ofctl: what it prints of a flow is what is written here, and what it
// refuses is refused. Where it is installed (Debian 12: openvswitch-common).
#include "control/flow_text.hh"

#include "tests/unit/control/random_flows.hh"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {
namespace {

using lines = std::vector<std::string>;

lines lines_of(const std::string& command)
{
    lines out;
    const std::unique_ptr<FILE, int (*)(FILE*)> said{::popen((command + " 2>&1").c_str(), "r"),
                                                     ::pclose};
    std::array<char, 4096> some{};
    std::string line;
    while (said != nullptr && std::fgets(some.data(), some.size(), said.get()) != nullptr) {
        line += some.data();
        if (line.ends_with('\n')) {
            line.pop_back();
            out.push_back(line);
            line.clear();
        }
    }
    return out;
}

// Of a file that is beside this one.
lines flows_in(const std::string& name)
{
    std::ifstream file{std::string{STRAIT_FLOWS} + "/" + name};
    lines out;
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with('#')) {
            out.push_back(line);
        }
    }
    EXPECT_GT(out.size(), 5U) << name;
    return out;
}

class ovs_test : public testing::Test {
protected:
    void SetUp() override
    {
        const auto version = lines_of("ovs-ofctl --version");
        if (version.empty() || version.front().find("Open vSwitch") == std::string::npos) {
            GTEST_SKIP()
                << "ovs-ofctl is not installed (Debian 12: apt-get install openvswitch-common)";
        }
        folder_ = testing::TempDir() + "flow_ovs_test.XXXXXX";
        ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
    }
    void TearDown() override
    {
        if (!folder_.empty()) {
            std::filesystem::remove_all(folder_);
        }
    }

    // What it prints of flows, a line each, in an OpenFlow version's words; it ends at the first
    // that it refuses.
    lines parse(const lines& flows, std::string_view version)
    {
        const std::string path = folder_ + "/flows";
        std::ofstream file{path};
        for (const auto& f : flows) {
            file << f << '\n';
        }
        file.close();
        lines out;
        refusal_.clear();
        for (auto& line :
             lines_of("ovs-ofctl -O OpenFlow" + std::string{version} + " parse-flows " + path)) {
            if (line.find("decode error") != std::string::npos ||
                line.find("ovs-ofctl:") != std::string::npos) {
                refusal_ = line;
            } else if (line.find("FLOW_MOD (") != std::string::npos) {
                out.push_back(std::move(line));
            }
        }
        return out;
    }

    // OpenFlow 1.0 has no instructions, and passes over some; 1.3 has fewer of actions' fields.
    bool takes(const std::string& flow)
    {
        const bool has_instructions = flow.find("write_") != std::string::npos ||
                                      flow.find("goto_table") != std::string::npos;
        return (!has_instructions && parse({flow}, "10").size() == 1) ||
               parse({flow}, "13").size() == 1;
    }

    // As ovs-ofctl prints one that is to be added: the properties stand behind the match.
    static std::string as_message(const flow_spec& f)
    {
        std::string out = f.table == 0 ? "" : "table:" + std::to_string(f.table) + " ";
        out += f.priority == default_priority ? "" : "priority=" + std::to_string(f.priority);
        const std::string match = format_match(f.match);
        out += match.empty() || f.priority == default_priority ? match : "," + match;
        out += out.empty() || out.ends_with(' ') ? "" : " ";
        if (f.cookie.value_or(0) != 0) {
            std::array<char, 32> cookie{};
            std::snprintf(cookie.data(), cookie.size(), "cookie:0x%llx ",
                          static_cast<unsigned long long>(*f.cookie));
            out += cookie.data();
        }
        out += f.idle_timeout == 0 ? "" : "idle:" + std::to_string(f.idle_timeout) + " ";
        out += f.hard_timeout == 0 ? "" : "hard:" + std::to_string(f.hard_timeout) + " ";
        out += f.flags.send_flow_rem ? "send_flow_rem " : "";
        out += f.flags.check_overlap ? "check_overlap " : "";
        return out + "actions=" + format_actions(f.actions, f.match);
    }

    // Each of these flows is written here as ovs-ofctl prints it.
    void expect_same(const lines& flows, std::string_view version)
    {
        const lines theirs = parse(flows, version);
        ASSERT_EQ(theirs.size(), flows.size()) << refusal_ << "\n" << refused_of(flows);
        for (std::size_t i = 0; i < flows.size(); ++i) {
            const auto ours = parse_flow(flows[i], flow_command::add);
            ASSERT_TRUE(ours.has_value()) << flows[i] << "\n" << ours.error().message;
            ASSERT_EQ(ours->size(), 1U) << flows[i];
            std::string message = theirs[i];
            const std::size_t begin = message.find("ADD ");
            ASSERT_NE(begin, std::string::npos) << flows[i] << "\n" << message;
            message.erase(0, begin + 4);
            // Of one for which no table was said, in some versions.
            if (message.starts_with("table:255 ")) {
                message.erase(0, 10);
            }
            EXPECT_EQ(as_message(ours->front()), message) << flows[i];
        }
    }

    // The one whose line the refusal names: "ovs-ofctl: FILE:LINE: why".
    [[nodiscard]] std::string refused_of(const lines& flows) const
    {
        const std::size_t at = refusal_.find("/flows:");
        const std::size_t line = at == std::string::npos ? 0 : std::stoul(refusal_.substr(at + 7));
        return line == 0 || line > flows.size() ? "" : flows[line - 1];
    }

    std::string folder_;
    std::string refusal_;
};

TEST_F(ovs_test, prints_flows_as_they_are_written_here)
{
    expect_same(flows_in("same_1_0.txt"), "10");
    expect_same(flows_in("same_1_3.txt"), "13");
    expect_same(flows_in("same_1_5.txt"), "15");
}

TEST_F(ovs_test, refuses_nothing_that_is_taken_here)
{
    for (const auto& flow : flows_in("refused.txt")) {
        EXPECT_FALSE(takes(flow)) << flow;
        EXPECT_TRUE(parse_flow(flow, flow_command::add).has_error()) << flow;
    }
}

// Where more is refused here, docs/flows.md says so.
TEST_F(ovs_test, takes_some_flows_that_are_refused_here)
{
    for (const auto& flow : flows_in("refused_here.txt")) {
        EXPECT_TRUE(takes(flow)) << flow;
        EXPECT_TRUE(parse_flow(flow, flow_command::add).has_error()) << flow;
    }
}

TEST_F(ovs_test, prints_random_flows_as_they_are_written_here)
{
    test::random_flows random{1, test::random_flows::words::common};
    lines flows;
    constexpr std::size_t count = 5000;
    while (flows.size() < count) {
        flows.push_back(random.next());
    }
    expect_same(flows, "10");
}

} // namespace
} // namespace strait::control
