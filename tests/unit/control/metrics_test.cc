// SPDX-License-Identifier: BSD-3-Clause
// What the metrics say, against what the control service says; and their documentation.
#include "control/metrics.hh"
#include "service_fixture.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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

TEST_F(metrics_of_a_switch, tell_of_spanning_tree_where_it_runs)
{
    add_two_ports();
    ask("bridge.add", R"({"name":"br1","rstp":true})");
    ask("port.add", R"({"name":"t","bridge":"br1","type":"nic","device":"d1"})");
    ask("port.add", R"({"name":"u","bridge":"br1","type":"nic","device":"d2"})");
    ask("port.add", R"({"name":"v","bridge":"br1","type":"vhost-user","socket":"/v"})");
    fakes_.links["t"] = true;
    switch_.look_at_links();
    auto all = samples();
    const std::string changed =
        R"(strait_bridge_rstp_last_topology_change_timestamp_seconds{bridge="br1"})";
    EXPECT_EQ(all.at(R"(strait_bridge_rstp_root{bridge="br1"})"), 1);
    EXPECT_EQ(all.at(R"(strait_bridge_rstp_root_path_cost{bridge="br1"})"), 0);
    EXPECT_FALSE(all.contains(changed));

    // A better bridge is heard of, and what nobody can read.
    auto& tree = *switch_.bridges().at("br1").tree;
    const auto number = switch_.ports().at("t").tree_number;
    const stp::bpdu better{.priority = {stp::bridge_id{1}, 7, stp::bridge_id{2}, 0x8001}};
    tree.receive(number, better);
    tree.receive(number, better);
    for (int i = 0; i < 3; ++i) {
        tree.count_refused(number);
    }
    const auto before = static_cast<double>(std::time(nullptr));
    switch_.look_at_trees();
    all = samples();
    const auto told = ask("rstp.show", R"({"bridge":"br1"})").at(0);
    EXPECT_EQ(all.at(R"(strait_bridge_rstp_root{bridge="br1"})"), 0);
    EXPECT_EQ(all.at(R"(strait_bridge_rstp_root_path_cost{bridge="br1"})"), 20'007);
    EXPECT_EQ(all.at(R"(strait_bridge_rstp_topology_changes_total{bridge="br1"})"), 1);
    EXPECT_GE(all.at(changed), before);
    EXPECT_LE(all.at(changed), before + 10);
    EXPECT_EQ(told.at("topology_changes"), 1);
    const auto of = [&all](const std::string& metric, const std::string& port,
                           const std::string& more = "") {
        return all.at("strait_port_rstp_" + metric + "{port=\"" + port + "\"" + more + "}");
    };
    for (const std::string role : {"root", "designated", "alternate", "backup", "disabled"}) {
        const std::string is = ",role=\"" + role + "\"";
        EXPECT_EQ(of("role", "t", is), role == "root" ? 1 : 0) << role;
        EXPECT_EQ(of("role", "u", is), role == "disabled" ? 1 : 0) << role;
    }
    for (const std::string state : {"discarding", "learning", "forwarding"}) {
        const std::string is = ",state=\"" + state + "\"";
        EXPECT_EQ(of("state", "t", is), state == "forwarding" ? 1 : 0) << state;
        EXPECT_EQ(of("state", "u", is), state == "discarding" ? 1 : 0) << state;
    }
    const auto sent = told.at("ports").at(0).at("tx_bpdus").to_number<double>();
    EXPECT_GT(sent, 0);
    EXPECT_EQ(of("receive_bpdus_total", "t"), 2);
    EXPECT_EQ(of("transmit_bpdus_total", "t"), sent);
    EXPECT_EQ(of("refused_bpdus_total", "t"), 3);
    EXPECT_EQ(of("forward_transitions_total", "t"), 1);
    EXPECT_EQ(of("forward_transitions_total", "u"), 0);

    // Elsewhere there is nothing to tell of, and no longer where it ends.
    const auto told_of = [&all](const std::string& label) {
        return std::ranges::count_if(all, [&label](const auto& sample) {
            return sample.first.find("_rstp_") != std::string::npos &&
                   sample.first.find(label) != std::string::npos;
        });
    };
    EXPECT_EQ(told_of(R"(bridge="br1")"), 4);
    EXPECT_EQ(told_of(R"(port="u")"), 12);
    for (const char* label : {R"(bridge="br0")", R"(port="a")", R"(port="v")"}) {
        EXPECT_EQ(told_of(label), 0) << label;
    }
    ask("bridge.set", R"({"name":"br1","rstp":false})");
    all = samples();
    EXPECT_EQ(told_of("{"), 0);
    ask("bridge.set", R"({"name":"br1","rstp":true})");
    all = samples();
    EXPECT_FALSE(all.contains(changed));
    EXPECT_EQ(all.at(R"(strait_bridge_rstp_topology_changes_total{bridge="br1"})"), 0);
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
