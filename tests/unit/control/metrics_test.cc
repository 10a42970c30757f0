// SPDX-License-Identifier: BSD-3-Clause
// What the metrics say, against what the control service says; and their documentation.
#include "control/metrics.hh"
#include "service_fixture.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

namespace strait::control {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using testing_support::methods_of_the_service;

class metrics_of_a_switch : public methods_of_the_service {
protected:
    // By name and labels, as they stand there.
    [[nodiscard]] std::map<std::string, double> samples() const
    {
        std::map<std::string, double> out;
        std::istringstream page{metrics_source{switch_, {3, 5}}.page()};
        for (std::string line; std::getline(page, line);) {
            if (!line.starts_with('#')) {
                const auto blank = line.rfind(' ');
                EXPECT_TRUE(
                    out.emplace(line.substr(0, blank), std::stod(line.substr(blank))).second)
                    << line;
            }
        }
        return out;
    }
};

TEST_F(metrics_of_a_switch, tell_of_ports_bridges_and_workers)
{
    add_two_ports();
    ask("mac.add", R"({"mac":"02:00:00:00:00:01","port":"a"})");
    fakes_.links["a"] = true;
    auto all = samples();
    EXPECT_EQ(all.at(R"(strait_port_info{port="b",bridge="br0",type="vhost-user",number="77"})"),
              1);
    EXPECT_EQ(all.at(R"(strait_port_link_up{port="a"})"), 1);
    EXPECT_EQ(all.at(R"(strait_port_link_up{port="b"})"), 0);
    EXPECT_EQ(all.at(R"(strait_port_admin_up{port="a"})"), 1);
    EXPECT_EQ(all.at(R"(strait_port_admin_up{port="b"})"), 0);
    EXPECT_EQ(all.at(R"(strait_port_mtu_bytes{port="b"})"), 9000);
    EXPECT_EQ(all.at(R"(strait_bridge_macs{bridge="br0"})"), 1);
    EXPECT_EQ(all.at(R"(strait_bridge_mac_limit{bridge="br0"})"), 65536);
    EXPECT_EQ(all.at(R"(strait_bridge_flows{bridge="br0"})"), 1);
    EXPECT_EQ(all.at(R"(strait_worker_info{worker="1",cpu="5"})"), 1);
    EXPECT_EQ(all.at("strait_conntrack_connections"), 0);
    EXPECT_GT(all.at("strait_conntrack_connection_limit"), 1e6);
    EXPECT_GT(all.at("strait_packet_pool_buffers"), 0);
    EXPECT_GT(all.at("process_resident_memory_bytes"), 1e6);
    EXPECT_GT(all.at("process_open_fds"), 2);
    EXPECT_LE(all.at("process_open_fds"), all.at("process_max_fds"));
    const auto now = static_cast<double>(std::time(nullptr));
    EXPECT_LE(all.at("process_start_time_seconds"), now + 1);
    EXPECT_GT(all.at("process_start_time_seconds"), now - 3600);
    ask("port.del", R"({"name":"a"})");
    all = samples();
    EXPECT_FALSE(all.contains(R"(strait_port_link_up{port="a"})"));
    EXPECT_TRUE(all.contains(R"(strait_port_link_up{port="b"})"));
}

TEST_F(metrics_of_a_switch, count_what_stats_counts)
{
    add_two_ports();
    fakes_.to_carry["a"] = 7;
    fakes_.to_count["a"] = 3;
    const std::string too_short =
        R"(strait_port_receive_drops_total{port="a",reason="frame_too_short"})";
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    auto all = samples();
    while (all.at(too_short) == 0 && std::chrono::steady_clock::now() < until) {
        all = samples();
    }
    const auto stats = ask("stats", R"({"name":"a"})").at("ports").at(0);
    const auto same = [&](const std::string& metric, const char* member) {
        const auto told = stats.at(member).to_number<double>();
        EXPECT_EQ(all.at(metric + R"({port="a"})"), told) << metric;
        return told;
    };
    EXPECT_GT(same("strait_port_receive_packets_total", "rx_packets"), 0);
    EXPECT_GT(same("strait_port_receive_bytes_total", "rx_bytes"), 0);
    (void)same("strait_port_transmit_packets_total", "tx_packets");
    (void)same("strait_port_transmit_bytes_total", "tx_bytes");
    for (const auto& r : dataplane::drop_reasons()) {
        const std::string name = std::string{"strait_port_"} +
                                 (r.ingress ? "receive" : "transmit") +
                                 R"(_drops_total{port="a",reason=")" + std::string{r.name} + "\"}";
        EXPECT_EQ(all.at(name), stats.at("drops").at(r.name).to_number<double>()) << name;
    }
    EXPECT_GT(all.at(too_short), 0);
}

TEST_F(metrics_of_a_switch, the_time_of_a_worker_goes_on)
{
    const auto sum = [](const std::map<std::string, double>& all) {
        double out = 0;
        for (const auto* state : {"busy", "idle", "asleep"}) {
            out += all.at(R"(strait_worker_seconds_total{worker="0",state=")" + std::string{state} +
                          "\"}");
        }
        return out;
    };
    const auto begun = std::chrono::steady_clock::now();
    const double before = sum(samples());
    std::this_thread::sleep_for(std::chrono::milliseconds{200});
    const double after = sum(samples());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    EXPECT_GT(after - before, 0.1);
    EXPECT_LT(after - before, took.count() + 0.1);
}

// Names: letters, digits, '_'; counters end with _total, and nothing else does; units are base
// units. promtool looks further (tests/system/test_metrics.py).
TEST(metrics, have_names_as_prometheus_wants_them)
{
    std::set<std::string_view> names;
    for (const metric& m : metrics()) {
        EXPECT_TRUE(names.insert(m.name).second) << m.name;
        EXPECT_TRUE(
            std::regex_match(std::string{m.name}, std::regex{"(strait|process)_[a-z0-9_]+"}))
            << m.name;
        EXPECT_EQ(m.name.ends_with("_total"), m.type == metric_type::counter) << m.name;
        EXPECT_THAT(std::string{m.help}, testing::EndsWith(".")) << m.name;
        EXPECT_THAT(std::string{m.help}, Not(HasSubstr("\n")));
    }
}

TEST(metrics, are_in_the_documentation_in_this_order)
{
    std::ifstream page{std::string{STRAIT_DOCS} + "/metrics.md"};
    ASSERT_TRUE(page);
    std::vector<std::string> documented;
    for (std::string line; std::getline(page, line);) {
        std::smatch found;
        if (std::regex_search(line, found, std::regex{R"(^\| `([a-z0-9_]+)(\{[a-z,]*\})?` \|)"})) {
            documented.push_back(found[1]);
        }
    }
    std::vector<std::string> there;
    for (const metric& m : metrics()) {
        there.emplace_back(m.name);
    }
    EXPECT_THAT(documented, ElementsAreArray(there));
}

} // namespace
} // namespace strait::control
