// SPDX-License-Identifier: BSD-3-Clause
// What happens to the switch, as the method `events` tells it.
#include "control/events_client.hh"
#include "control/print.hh"
#include "service_fixture.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using dataplane::mac_table;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;

class events_of_a_switch : public testing_support::methods_of_the_service {
protected:
    // What came since the last call, each "event bridge port" and its details.
    std::vector<std::string> news()
    {
        const auto found = ask("events", R"({"after":)" + std::to_string(seen_) + "}");
        seen_ = found.at("last").to_number<std::int64_t>();
        std::vector<std::string> out;
        for (const auto& e : found.at("events").as_array()) {
            std::string line;
            for (const auto& [name, value] : e.as_object()) {
                if (name != "sequence" && name != "time") {
                    line += (line.empty() ? "" : " ") + (value.is_string()
                                                             ? std::string{value.as_string()}
                                                             : json::serialize(value));
                }
            }
            out.push_back(std::move(line));
        }
        return out;
    }
    // As the daemon does, so much later.
    void look(std::chrono::milliseconds later = std::chrono::milliseconds{500})
    {
        now_ += later;
        switch_.look_at_links(now_);
        switch_.look_at_changes(now_);
    }
    // 02:00:00:00:00:NUMBER
    void learn(std::uint64_t number, const char* port)
    {
        (void)switch_.bridges().at("br0").config->macs->learn(
            mac_table::key{dataplane::mac_address{0x02 | (number << 40U)}, dataplane::vlan_id{5}},
            switch_.ports().at(port).config->index, switch_.engine().now());
    }

    std::int64_t seen_{0};
    std::chrono::steady_clock::time_point now_{std::chrono::steady_clock::now()};
};

TEST_F(events_of_a_switch, tell_of_bridges_and_ports)
{
    EXPECT_THAT(news(), IsEmpty());
    add_two_ports();
    EXPECT_THAT(news(), ElementsAre("bridge_added br0 null", "port_added br0 a nic 1",
                                    "port_added br0 b vhost-user 77"));
    fakes_.fail_start = "it will not";
    ask("port.add", R"({"name":"c","bridge":"br0","type":"host"})");
    fakes_.fail_start.clear();
    EXPECT_THAT(news(), IsEmpty()) << "what was refused has not happened";
    ask("port.del", R"({"name":"a"})");
    ask("bridge.del", R"({"name":"br0","with_ports":true})");
    EXPECT_THAT(news(),
                ElementsAre("port_removed br0 a", "port_removed br0 b", "bridge_removed br0 null"));
}

TEST_F(events_of_a_switch, tell_of_ports_that_the_operator_stops)
{
    add_two_ports();
    (void)news();
    ask("port.set", R"({"name":"a","admin":"down"})");
    ask("port.set", R"({"name":"a","admin":"down"})");
    ask("port.set", R"({"name":"a","mtu":1400})");
    ask("port.set", R"({"name":"a","admin":"up"})");
    EXPECT_THAT(news(), ElementsAre("port_disabled br0 a", "port_enabled br0 a"));
}

TEST_F(events_of_a_switch, tell_of_links_and_guests)
{
    add_two_ports();
    (void)news();
    look();
    EXPECT_THAT(news(), IsEmpty());
    fakes_.links["b"] = true;
    fakes_.guests["b"] = {.came = 1, .there = true};
    look();
    look();
    EXPECT_THAT(news(), ElementsAre("guest_attached br0 b", "link_up br0 b"));
    fakes_.guests["b"] = {.came = 2, .there = true};
    look();
    EXPECT_THAT(news(), ElementsAre("guest_left br0 b", "guest_attached br0 b"))
        << "another between two looks";
    fakes_.links["b"] = false;
    fakes_.guests["b"] = {.came = 2, .there = false};
    look();
    EXPECT_THAT(news(), ElementsAre("guest_left br0 b", "link_down br0 b"));
    fakes_.guests["b"] = {.came = 3, .there = false};
    look();
    EXPECT_THAT(news(), ElementsAre("guest_attached br0 b", "guest_left br0 b"));
    fakes_.guests["b"] = {.came = 4, .there = true, .taken_over = true};
    look();
    EXPECT_THAT(news(), ElementsAre("guest_attached br0 b true"));
}

TEST_F(events_of_a_switch, of_a_guest_that_comes_and_goes_all_the_time_are_counted)
{
    add_two_ports();
    (void)news();
    for (unsigned i = 1; i <= 50; ++i) {
        fakes_.links["b"] = i % 2 != 0;
        fakes_.guests["b"] = {.came = (i + 1) / 2, .there = i % 2 != 0};
        look(std::chrono::milliseconds{100});
    }
    EXPECT_EQ(news().size(), virtual_switch::most_told);
    fakes_.links["a"] = true;
    look(std::chrono::milliseconds{100});
    EXPECT_THAT(news(), ElementsAre("link_up br0 a")) << "another's are told";
    look(virtual_switch::told_window);
    EXPECT_THAT(news(), ElementsAre("port_flapping br0 b 80 down none"));
    fakes_.links["b"] = true;
    look();
    look(virtual_switch::told_window);
    EXPECT_THAT(news(), ElementsAre("link_up br0 b"));
}

TEST_F(events_of_a_switch, tell_of_macs_that_move)
{
    add_two_ports();
    (void)news();
    learn(1, "a");
    learn(1, "a");
    look();
    EXPECT_THAT(news(), IsEmpty());
    learn(1, "b");
    look();
    look();
    EXPECT_THAT(news(), ElementsAre("mac_moved br0 b 02:00:00:00:00:01 5 a"));
    for (int i = 0; i < 100; ++i) {
        learn(1, i % 2 == 0 ? "a" : "b");
    }
    look();
    EXPECT_THAT(news(), ElementsAre("mac_flapping br0 b 02:00:00:00:00:01 5 a 100"));
    learn(1, "a");
    learn(1, "b");
    look();
    EXPECT_THAT(news(), ElementsAre("mac_moved br0 b 02:00:00:00:00:01 5 a 2"));
    // Whoever gets the port's index next is not named for what was its.
    learn(1, "a");
    ask("port.del", R"({"name":"a"})");
    EXPECT_THAT(news(), ElementsAre("mac_moved br0 a 02:00:00:00:00:01 5 b", "port_removed br0 a"));
    look();
    EXPECT_THAT(news(), IsEmpty());
}

TEST_F(events_of_a_switch, tell_of_a_mac_that_is_held)
{
    add_two_ports();
    ask("bridge.set", R"({"name":"br0","loop_guard":"damp","loop_hold":60})");
    (void)news();
    for (int i = 0; i < 100; ++i) {
        learn(1, i % 2 == 0 ? "a" : "b");
    }
    look();
    EXPECT_THAT(news(), ElementsAre("mac_held br0 a 02:00:00:00:00:01 5 b 4 60"));
    const auto found = ask("mac.list", "{}");
    const auto& entry = found.at("entries").as_array().front().as_object();
    EXPECT_EQ(entry.at("port"), "a");
    EXPECT_GE(entry.at("held").to_number<int>(), 55);
    // Without, it is one that moves.
    ask("bridge.set", R"({"name":"br0","loop_guard":"off"})");
    for (int i = 0; i < 100; ++i) {
        learn(1, i % 2 == 0 ? "a" : "b");
    }
    look();
    EXPECT_THAT(news(), ElementsAre("mac_moved br0 b 02:00:00:00:00:01 5 a 99"));
}

TEST_F(events_of_a_switch, of_macs_that_are_too_many_are_counted)
{
    add_two_ports();
    (void)news();
    constexpr std::uint64_t macs = 100;
    const auto all_move = [this] {
        for (std::uint64_t i = 0; i < macs; ++i) {
            learn(i, "a");
            learn(i, "b");
        }
    };
    all_move();
    look();
    auto first = news();
    ASSERT_EQ(first.size(), mac_table::most_moves + 1);
    EXPECT_EQ(first.front(), "mac_moved br0 b 02:00:00:00:00:00 5 a");
    EXPECT_EQ(first.back(), "macs_moved br0 null 92");
    constexpr int looks = 10;
    for (int i = 0; i < looks; ++i) {
        all_move();
        look();
    }
    EXPECT_EQ(news().size(), virtual_switch::most_told - mac_table::most_moves);
    look(virtual_switch::told_window);
    EXPECT_THAT(news(), ElementsAre("macs_moved br0 null " +
                                    std::to_string(2 * (looks * macs - virtual_switch::most_told +
                                                        mac_table::most_moves))))
        << "each that was told of moved twice";
}

TEST_F(events_of_a_switch, tell_of_flows_and_whole_configurations)
{
    add_two_ports();
    look();
    (void)news();
    ask("flow.add", R"({"bridge":"br0","flows":"priority=5,in_port=1,actions=drop"})");
    ask("flow.add", R"({"bridge":"br0","flows":"priority=6,in_port=1,actions=drop"})");
    ask("flow.mod", R"({"bridge":"br0","flows":"in_port=1,actions=normal"})");
    look();
    look();
    EXPECT_THAT(news(), ElementsAre("flows_changed br0 null 2 2"));
    for (int i = 0; i < 50; ++i) {
        ask("flow.add", R"({"bridge":"br0","flows":"priority=7,in_port=1,actions=drop"})");
        ask("flow.del", R"({"bridge":"br0","flows":"in_port=1"})");
        look(std::chrono::milliseconds{100});
    }
    EXPECT_THAT(news(), IsEmpty());
    look(virtual_switch::told_window);
    EXPECT_THAT(news(), ElementsAre("flows_changed br0 null 50 52"));
    const json::object applied{{"file", "host.json"},
                               {"document", R"({"version":1,"bridges":[{"name":"br0"}]})"}};
    ask("config.apply", json::serialize(applied));
    EXPECT_THAT(news(), ElementsAre("port_removed br0 b", "port_removed br0 a",
                                    "config_applied null null host.json 2 0"));
}

TEST_F(events_of_a_switch, tell_of_ports_that_are_lost_and_found)
{
    add_two_ports();
    (void)news();
    fakes_.lost["a"] = "its device is gone";
    fakes_.fail_start = "there is no such device";
    auto now = std::chrono::steady_clock::now();
    service_.configuration().look(now);
    EXPECT_THAT(news(), ElementsAre("port_lost br0 a its device is gone", "port_removed br0 a"));
    fakes_.lost.clear();
    fakes_.fail_start.clear();
    now += std::chrono::seconds{10};
    service_.configuration().look(now);
    const auto found = news();
    EXPECT_THAT(found, testing::Contains("port_added br0 a nic 1"));
    EXPECT_EQ(found.back(), "port_found br0 a");
}

TEST_F(events_of_a_switch, are_chosen_by_port_and_bridge)
{
    add_two_ports();
    EXPECT_EQ(ask("events", R"({"port":"b"})").at("events").as_array().size(), 1U);
    EXPECT_EQ(ask("events", R"({"bridge":"br0"})").at("events").as_array().size(), 3U);
    EXPECT_EQ(ask("events", R"({"bridge":"br1"})").at("events").as_array().size(), 0U);
    EXPECT_EQ(
        why("events", R"({"after":4})"),
        "there is no event 4 yet, the last is 3: numbers begin with 1 when the daemon starts");
}

TEST_F(events_of_a_switch, are_a_line_each)
{
    add_two_ports();
    auto found = ask("events", R"({"after":1})");
    const method& m = *find_method(methods(), "events");
    const std::string time = "20[0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-9:]+\\.[0-9]+Z";
    EXPECT_THAT(to_text(m, found),
                MatchesRegex(time + " port_added br0 a type nic, number 1\n" + time +
                             " port_added br0 b type vhost-user, number 77\n"));
    found.as_object()["missed"] = 1234;
    EXPECT_THAT(to_text(m, found),
                testing::StartsWith("1,234 events before these came and went unseen\n20"));
    EXPECT_THAT(event_lines(found),
                testing::StartsWith("{\"missed\":1234}\n{\"sequence\":2,\"time\":\"20"));
    EXPECT_THAT(event_lines(found),
                testing::EndsWith("\"event\":\"port_added\",\"bridge\":\"br0\",\"port\":\"b\","
                                  "\"type\":\"vhost-user\",\"number\":77}\n"));
}

} // namespace
} // namespace strait::control
