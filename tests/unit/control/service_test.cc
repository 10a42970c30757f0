// SPDX-License-Identifier: BSD-3-Clause
// The methods end to end: messages in, answers out, over a real engine with fake ports.
#include "control/method_table.hh"
#include "control/seen_stations.hh"
#include "dataplane/guard/seen_addresses.hh"
#include "service_fixture.hh"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <rte_cycles.h>
#include <rte_log.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing_support::methods_of_the_service;

TEST_F(methods_of_the_service, show_what_was_added)
{
    add_two_ports();
    const auto list = ask("port.list");
    ASSERT_EQ(list.as_array().size(), 2U);
    const auto& a = list.at(0);
    EXPECT_EQ(a.at("name"), "a");
    EXPECT_EQ(a.at("number"), 1);
    EXPECT_EQ(a.at("mtu"), 1500);
    EXPECT_EQ(a.at("admin"), "up");
    EXPECT_EQ(a.at("link"), "down");
    EXPECT_EQ(a.at("vlan"), nullptr);
    EXPECT_EQ(a.at("trunk"), nullptr);
    EXPECT_EQ(a.at("options"), json::parse(R"({"device":"d0","ring_size":1024,"queues":1})"));
    EXPECT_EQ(a.at("details"),
              json::parse(R"({"driver":"fake","connected":true,"rings":3,"features":["a","b"]})"));
    const auto b = ask("port.show", R"({"name":"b"})");
    EXPECT_EQ(b.at("trunk"), json::parse("[10,11,12,20]"));
    EXPECT_EQ(b.at("native"), 1);
    EXPECT_EQ(b.at("number"), 77);
    EXPECT_EQ(b.at("options").at("mode"), "server");
    EXPECT_EQ(b.at("admin"), "down");
    EXPECT_EQ(ask("bridge.list").at(0).at("ports"), json::parse(R"(["a","b"])"));
}

TEST_F(methods_of_the_service, leave_time_for_spanning_tree)
{
    const auto due = switch_.keep_trees({}); // of no time: none is made to pass
    std::this_thread::sleep_until(due);
    EXPECT_EQ(switch_.keep_trees({}), due) << "by itself no second passes here";
    ask("bridge.list");
    EXPECT_GT(switch_.keep_trees({}), due);
}

TEST_F(methods_of_the_service, answer_with_what_the_table_promises)
{
    add_two_ports();
    const std::map<std::string_view, std::string_view> parameters = {
        {"bridge.add", R"({"name":"br5"})"},
        {"bridge.set", R"({"name":"br0"})"},
        {"bridge.del", R"({"name":"br5"})"},
        {"port.add", R"({"name":"c","bridge":"br0","type":"host"})"},
        {"port.set", R"({"name":"a"})"},
        {"port.show", R"({"name":"a"})"},
        {"port.rename", R"({"name":"c","to":"d"})"},
        {"port.del", R"({"name":"d"})"},
        {"mac.add", R"({"mac":"02:00:00:00:00:01","port":"a"})"},
        {"mac.del", R"({"mac":"02:00:00:00:00:01","bridge":"br0"})"},
        {"queue.pin", R"({"port":"a","queue":0,"worker":1})"},
        {"queue.unpin", R"({"port":"a","queue":0})"},
    };
    for (const auto* name :
         {"bridge.add", "bridge.set", "bridge.list", "bridge.del", "port.add",    "port.set",
          "port.show",  "port.list",  "port.rename", "port.del",   "mac.add",     "mac.list",
          "mac.del",    "mac.flush",  "queue.list",  "queue.pin",  "queue.unpin", "worker.list",
          "stats",      "drops",      "events",      "log.level",  "version",     "schema"}) {
        const method& m = *find_method(methods(), name);
        const auto found = parameters.find(m.name);
        const auto answer = ask(m.name, found != parameters.end() ? found->second : "{}");
        const json::value& one = m.result_is_list ? answer.at(0) : answer;
        for (const auto& member : m.result) {
            ASSERT_TRUE(one.as_object().contains(member.name))
                << m.name << " lacks " << member.name << ": " << json::serialize(answer);
            const auto& value = one.at(member.name);
            const bool right =
                (member.nullable && value.is_null()) ||
                (member.type == "string" && value.is_string()) ||
                (member.type == "integer" && (value.is_int64() || value.is_uint64())) ||
                (member.type == "boolean" && value.is_bool()) ||
                (member.type == "array" && value.is_array()) ||
                (member.type == "object" && value.is_object());
            EXPECT_TRUE(right) << m.name << " " << member.name;
        }
    }
}

TEST_F(methods_of_the_service, change_vlans_back_and_forth)
{
    add_two_ports();
    EXPECT_EQ(ask("port.set", R"({"name":"a","vlan":10})").at("vlan"), 10);
    EXPECT_EQ(ask("port.set", R"({"name":"a","trunk":[10],"native":1})").at("vlan"), nullptr);
    EXPECT_EQ(ask("port.set", R"({"name":"a","native":2})").at("native"), 2);
    EXPECT_EQ(ask("port.set", R"({"name":"a","trunk":[11]})").at("native"), nullptr);
    EXPECT_EQ(ask("port.set", R"({"name":"a","mtu":2000})").at("trunk"), json::parse("[11]"));
    EXPECT_EQ(ask("port.set", R"({"name":"a","no_vlan":true})").at("trunk"), nullptr);
    EXPECT_THAT(why("port.set", R"({"name":"a","vlan":1,"trunk":[2]})"),
                HasSubstr("(--vlan), a customer's (--qinq) or a trunk (--trunk); give one of"));
    EXPECT_THAT(why("port.set", R"({"name":"a","vlan":1,"no_vlan":true})"),
                HasSubstr("none of them (--no-vlan); give one of them"));
    EXPECT_THAT(why("port.set", R"({"name":"a","vlan":1,"native":2})"), HasSubstr("with --trunk"));
    EXPECT_THAT(why("port.set", R"({"name":"a","native":2})"), HasSubstr("no trunk"));
    EXPECT_THAT(why("port.add", R"({"name":"c","bridge":"br0","type":"host","native":2})"),
                HasSubstr("with --trunk"));
}

TEST_F(methods_of_the_service, change_service_vlans)
{
    add_two_ports();
    EXPECT_EQ(ask("port.set", R"({"name":"a","qinq":100})").at("qinq"), 100);
    EXPECT_EQ(ask("port.set", R"({"name":"a","mtu":2000})").at("qinq"), 100);
    EXPECT_EQ(ask("port.set", R"({"name":"a","vlan":5})").at("qinq"), nullptr);
    EXPECT_THAT(why("port.set", R"({"name":"a","qinq":1,"vlan":2})"),
                HasSubstr("give one of them"));
    EXPECT_THAT(why("port.set", R"({"name":"a","qinq":1,"native":2})"), HasSubstr("with --trunk"));
    EXPECT_THAT(why("port.set", R"({"name":"a","qinq":1,"tag_type":"802.1ad"})"),
                HasSubstr("give it with --trunk"));
    EXPECT_THAT(why("port.set", R"({"name":"a","tag_type":"802.1ad"})"), HasSubstr("is no trunk"));
    EXPECT_EQ(ask("port.set", R"({"name":"a","trunk":[9],"tag_type":"802.1ad"})").at("tag_type"),
              "802.1ad");
    EXPECT_EQ(ask("port.set", R"({"name":"a","tag_type":"802.1q"})").at("tag_type"), "802.1q");
    EXPECT_EQ(ask("port.set", R"({"name":"a","tag_type":"802.1ad"})").at("tag_type"), "802.1ad");
    EXPECT_EQ(ask("port.set", R"({"name":"a","trunk":[9]})").at("tag_type"), "802.1q");
    EXPECT_THAT(why("port.set", R"({"name":"a","tag_type":"x"})"), HasSubstr("802.1q"));
}

TEST_F(methods_of_the_service, warn_of_mtus_that_do_not_go_together)
{
    const auto warnings = [this](const char* method, const std::string& parameters) {
        return json::value_to<std::vector<std::string>>(ask(method, parameters).at("warnings"));
    };
    const auto add = [&warnings](const char* name, const std::string& more) {
        const std::string quoted = '"' + std::string{name} + '"';
        return warnings("port.add", R"({"bridge":"br0","type":"nic","device":)" + quoted +
                                        R"(,"name":)" + quoted + more + "}");
    };
    using testing::ElementsAre;
    using testing::IsEmpty;
    ask("bridge.add", R"({"name":"br0"})");
    ask("bridge.add", R"({"name":"br1"})");
    EXPECT_THAT(add("a", ""), IsEmpty());
    EXPECT_THAT(add("b", R"(,"mtu":9000)"),
                ElementsAre("on bridge br0 port b sends packets of up to 9000 bytes, and port a "
                            "takes 1500: straitctl port set a --mtu 9000, or port set b --mtu "
                            "1500; guests' own MTU as well"));
    // One between the two: it loses, and it sends what is lost.
    EXPECT_THAT(add("c", R"(,"mtu":4000)"),
                ElementsAre(HasSubstr("port b sends packets of up to 9000 bytes, and port c takes "
                                      "4000: straitctl port set c --mtu 9000"),
                            HasSubstr("port c sends packets of up to 4000 bytes, and port a takes "
                                      "1500: straitctl port set a --mtu 4000")));
    EXPECT_THAT(warnings("port.set", R"({"name":"b","mtu":9000})"),
                ElementsAre(HasSubstr("port a takes 1500; 1 other takes less than 9000, too: "
                                      "straitctl port set b --mtu 1500; guests'")));
    EXPECT_EQ(ask("port.show", R"({"name":"b"})").as_object().if_contains("warnings"), nullptr);
    // Only who says something of it hears of it.
    EXPECT_THAT(warnings("port.set", R"({"name":"b","admin":"up"})"), IsEmpty());
    // Nor is anything sent between isolated ports.
    EXPECT_THAT(warnings("port.set", R"({"name":"a","isolated":true})"), testing::SizeIs(1));
    EXPECT_THAT(warnings("port.set", R"({"name":"b","isolated":true})"),
                ElementsAre(HasSubstr("and port c takes 4000")));
    EXPECT_THAT(warnings("port.set", R"({"name":"b","isolated":false})"),
                ElementsAre(HasSubstr("and port a takes 1500; 1 other")));
    // Who shares no VLAN sends the other nothing.
    EXPECT_EQ(warnings("port.set", R"({"name":"b","vlan":10})").size(), 1U);
    EXPECT_THAT(warnings("port.set", R"({"name":"a","vlan":20})"),
                ElementsAre(HasSubstr("port c sends packets of up to 4000")));
    EXPECT_THAT(warnings("port.set", R"({"name":"c","trunk":[11,"30-40"]})"), IsEmpty());
    EXPECT_THAT(warnings("port.set", R"({"name":"c","trunk":[11],"native":10})"),
                ElementsAre(HasSubstr("port b sends packets of up to 9000")));
    EXPECT_THAT(warnings("port.set", R"({"name":"c","qinq":20})"),
                ElementsAre(HasSubstr("and port a takes 1500")));
    EXPECT_THAT(warnings("port.set", R"({"name":"c","mtu":1500})"), IsEmpty());
    EXPECT_THAT(warnings("port.add", R"({"bridge":"br1","type":"nic","device":"d","name":"d",
                                         "mtu":4000})"),
                IsEmpty());
    EXPECT_THAT(warnings("port.add", R"({"bridge":"br1","type":"nic","device":"e","name":"e"})"),
                ElementsAre(HasSubstr("port d sends packets of up to 4000")));
    // What comes from where a mirror's copies go is dropped.
    ask("mirror.add", R"({"name":"m","bridge":"br1","select_src_port":"e","output_port":"d"})");
    EXPECT_THAT(warnings("port.set", R"({"name":"d","mtu":4000})"), IsEmpty());
}

TEST_F(methods_of_the_service, may_be_repeated_where_that_is_asked_for)
{
    add_two_ports();
    const std::string same =
        R"({"name":"a","bridge":"br0","type":"nic","device":"d0","may_exist":true,"mtu":3000})";
    EXPECT_EQ(ask("port.add", same).at("mtu"), 3000);
    EXPECT_EQ(switch_.ports().size(), 2U);
    EXPECT_THAT(why("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d1",
                                    "may_exist":true})"),
                HasSubstr("exists already with --device d0"));
    EXPECT_THAT(why("port.add", R"({"name":"a","bridge":"br0","type":"host","may_exist":true})"),
                HasSubstr("exists already with --type nic"));
    EXPECT_THAT(why("port.add", R"({"name":"b","bridge":"br0","type":"vhost-user","socket":"/s",
                                    "mode":"client","may_exist":true})"),
                HasSubstr("exists already with --mode server"));
    EXPECT_THAT(why("port.add", R"({"name":"b","bridge":"br0","type":"vhost-user","socket":"/s",
                                    "socket_mode":"0600","may_exist":true})"),
                HasSubstr("exists already without --socket-mode"));
    EXPECT_THAT(why("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d0",
                                    "number":9,"may_exist":true})"),
                HasSubstr("exists already with --number 1"));
    EXPECT_EQ(ask("bridge.add", R"({"name":"br0","may_exist":true,"forward_bpdu":true})")
                  .at("forward_bpdu"),
              true);
    EXPECT_THAT(why("bridge.add", R"({"name":"br0"})"), HasSubstr("exists already"));
    EXPECT_THAT(why("bridge.add", R"({"name":"br0","may_exist":true,"mac_table_size":64})"),
                HasSubstr("room for 65536"));
    EXPECT_EQ(ask("port.del", R"({"name":"x","if_exists":true})").at("removed"), false);
    EXPECT_THAT(fakes_.events, testing::Contains("forget x"))
        << "what it left before a restart goes";
    EXPECT_EQ(ask("bridge.del", R"({"name":"x","if_exists":true})").at("removed"), false);
    EXPECT_THAT(why("port.del", R"({"name":"x"})"), HasSubstr("there is no port x"));
}

TEST_F(methods_of_the_service, end_only_an_adoption_that_there_is)
{
    ask("bridge.add", R"({"name":"br0"})");
    EXPECT_EQ(why("xen.release", R"({"bridge":"br9"})"), "there is no bridge br9");
    EXPECT_EQ(why("xen.release", R"({"bridge":"br0"})"), "bridge br0 adopts no Xen guests");
    for (const auto* bridge : {"br0", "br9"}) {
        EXPECT_EQ(
            ask("xen.release", R"({"bridge":")" + std::string{bridge} + R"(","if_exists":true})")
                .at("released"),
            false);
    }
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    EXPECT_EQ(ask("xen.release", R"({"bridge":"br0"})").at("released"), true);
    EXPECT_EQ(why("xen.release", R"({"bridge":"br0"})"), "bridge br0 adopts no Xen guests");
}

TEST_F(methods_of_the_service, take_a_burst_to_shape_to_with_a_rate_alone)
{
    add_two_ports();
    const std::string refusal = "a burst needs a rate: give --shape-rate with it";
    EXPECT_EQ(why("port.set", R"({"name":"a","shape_burst":100})"), refusal);
    EXPECT_EQ(why("port.set", R"({"name":"a","shape_rate":0,"shape_burst":100})"), refusal);
    EXPECT_EQ(why("port.add", R"({"name":"c","bridge":"br0","type":"nic","device":"d2",
                                  "shape_burst":100})"),
              refusal);
    EXPECT_THAT(why("port.show", R"({"name":"c"})"), HasSubstr("there is no port c"));
    EXPECT_TRUE(ask("port.show", R"({"name":"a"})").at("shape").is_null());
    auto shown = ask("port.set", R"({"name":"a","shape_rate":8000,"shape_burst":100})");
    EXPECT_EQ(shown.at("shape").at("burst_kbit"), 100);
    shown = ask("port.set", R"({"name":"a","shape_burst":200})");
    EXPECT_EQ(shown.at("shape").at("burst_kbit"), 200);
    EXPECT_EQ(shown.at("shape").at("kbps"), 8000);
    EXPECT_EQ(why("port.set", R"({"name":"a","shape_rate":0,"shape_burst":100})"), refusal);
    EXPECT_EQ(ask("port.show", R"({"name":"a"})").at("shape").at("kbps"), 8000);
}

TEST_F(methods_of_the_service, list_macs_with_their_ports)
{
    add_two_ports();
    EXPECT_EQ(ask("mac.add", R"({"mac":"02:00:00:00:00:01","port":"a"})").at("replaced"), false);
    EXPECT_EQ(ask("mac.add", R"({"mac":"02-00-00-00-00-02","port":"b"})").at("replaced"), false);
    EXPECT_EQ(ask("mac.add", R"({"mac":"02:00:00:00:00:03","port":"b","vlan":20})").at("replaced"),
              false);
    EXPECT_EQ(ask("mac.list").at("total"), 3);
    const auto of_b = ask("mac.list", R"({"port":"b","vlan":20})");
    ASSERT_EQ(of_b.at("entries").as_array().size(), 1U);
    EXPECT_EQ(of_b.at("entries").at(0),
              json::parse(R"({"bridge":"br0","vlan":20,"mac":"02:00:00:00:00:03","port":"b",)"
                          R"("static":true,"age":0,"held":0})"));
    EXPECT_EQ(ask("mac.list", R"({"port":"b","vlan":1})").at("total"), 1)
        << "untagged frames of the trunk are in its native VLAN";
    const auto bounded = ask("mac.list", R"({"limit":2})");
    EXPECT_EQ(bounded.at("entries").as_array().size(), 2U);
    EXPECT_EQ(bounded.at("total"), 3);
    ask("mac.flush");
    EXPECT_EQ(ask("mac.list").at("total"), 3) << "static entries stay";
    EXPECT_EQ(ask("mac.del", R"({"mac":"02:00:00:00:00:01","bridge":"br0"})").at("removed"), true);
    EXPECT_THAT(why("mac.del", R"({"mac":"02:00:00:00:00:01","bridge":"br0"})"),
                HasSubstr("does not know"));
    EXPECT_THAT(why("mac.add", R"({"mac":"02:00:00:00:00","port":"a"})"),
                HasSubstr("it must be a MAC address like"));
    ask("bridge.add", R"({"name":"br9"})");
    for (const auto* method : {"mac.list", "mac.flush"}) {
        EXPECT_EQ(why(method, R"({"bridge":"br9","port":"a"})"),
                  "port a is on bridge br0, not on br9");
    }
    EXPECT_EQ(ask("mac.list", R"({"bridge":"br0","port":"b"})").at("total"), 2);
    EXPECT_THAT(why("mac.list", R"({"bridge":"x"})"), HasSubstr("there is no bridge x"));
    EXPECT_THAT(why("mac.list", R"({"port":"x"})"), HasSubstr("there is no port x"));
}

TEST_F(methods_of_the_service, count)
{
    add_two_ports();
    const auto stats = ask("stats");
    ASSERT_EQ(stats.at("ports").as_array().size(), 2U);
    const auto& a = stats.at("ports").at(0);
    for (const auto* name :
         {"rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped"}) {
        EXPECT_EQ(a.at(name), 0) << name;
        EXPECT_EQ(stats.at("total").at(name), 0) << name;
    }
    EXPECT_EQ(a.at("drops").as_object().size(), dataplane::drop_reason_count);
    EXPECT_EQ(ask("stats", R"({"name":"b"})").at("ports").as_array().size(), 1U);
    EXPECT_THAT(why("stats", R"({"name":"x"})"), HasSubstr("there is no port x"));
    EXPECT_LE(stats.at("timestamp_us").as_int64(), ask("stats").at("timestamp_us").as_int64());
    EXPECT_EQ(ask("drops").at("reasons").as_array().size(), dataplane::drop_reason_count);

    const auto workers = ask("worker.list").at("workers");
    ASSERT_EQ(workers.as_array().size(), 2U);
    EXPECT_EQ(workers.at(0).at("queues"), json::parse(R"([{"port":"a","queue":0}])"));
    EXPECT_EQ(workers.at(1).at("queues"), json::parse(R"([{"port":"b","queue":0}])"));
    EXPECT_EQ(workers.at(0).at("cpu"), 0);
}

TEST_F(methods_of_the_service, begin_with_0_again_when_counters_are_cleared)
{
    add_two_ports();
    const auto send = [this](const char* port, std::uint64_t carried, std::uint64_t too_short) {
        const auto& p = switch_.ports().at(port);
        const auto end = switch_.totals(p).rx_packets + carried + too_short;
        fakes_.to_carry[port] = carried;
        fakes_.to_count[port] = too_short;
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
        while (switch_.totals(p).rx_packets < end && std::chrono::steady_clock::now() < until) {
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        EXPECT_EQ(switch_.totals(p).rx_packets, end);
    };
    const auto counted = [](const json::value& stats, std::size_t port) {
        const auto& p = stats.at("ports").at(port);
        return std::array{p.at("rx_packets").to_number<int>(), p.at("rx_dropped").to_number<int>(),
                          p.at("drops").at("frame_too_short").to_number<int>()};
    };
    send("a", 0, 5);
    send("b", 0, 9);
    EXPECT_EQ(counted(ask("stats", R"({"name":"a","clear":true})"), 0), (std::array{5, 5, 5}))
        << "what there was is shown";
    auto now = ask("stats");
    EXPECT_EQ(counted(now, 0), (std::array{0, 0, 0}));
    EXPECT_EQ(counted(now, 1), (std::array{9, 9, 9})) << "another's are as they were";
    EXPECT_EQ(now.at("total").at("rx_packets"), 9) << "of what is shown";
    send("a", 0, 2);
    EXPECT_EQ(counted(ask("stats"), 0), (std::array{2, 2, 2}));
    EXPECT_EQ(ask("drops").at("ports").at(0).at("drops").at("frame_too_short"), 2);
    EXPECT_EQ(switch_.totals(switch_.ports().at("a")).rx_packets, 7U) << "for metrics";
    now = ask("stats", R"({"clear":true})");
    EXPECT_EQ(counted(now, 0), (std::array{2, 2, 2}));
    EXPECT_EQ(counted(now, 1), (std::array{9, 9, 9}));
    EXPECT_EQ(ask("stats").at("total").at("rx_packets"), 0);
    EXPECT_THAT(why("stats", R"({"name":"x","clear":true})"), HasSubstr("there is no port x"));
    // One that takes its name and its place begins with its own.
    send("a", 0, 3);
    ask("stats", R"({"clear":true})");
    ask("port.del", R"({"name":"a"})");
    ask("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d0"})");
    send("a", 0, 1);
    EXPECT_EQ(counted(ask("stats"), 0), (std::array{1, 1, 1}));
}

TEST_F(methods_of_the_service, set_what_is_logged)
{
    const log_level before = current_log_level();
    for (const auto* level : {"debug", "warning", "info", "error"}) {
        EXPECT_EQ(ask("log.level", R"({"level":")" + std::string{level} + "\"}").at("level"),
                  level);
        EXPECT_EQ(ask("log.level").at("level"), level);
        EXPECT_EQ(name_of(current_log_level()), level);
        EXPECT_EQ(rte_log_can_log(RTE_LOGTYPE_EAL, RTE_LOG_INFO), level == std::string{"debug"})
            << "DPDK's lines, too";
    }
    EXPECT_THAT(why("log.level", R"({"level":"loud"})"),
                HasSubstr("error, warning, info or debug"));
    EXPECT_EQ(ask("log.level").at("level"), "error");
    set_log_level(before);
}

TEST_F(methods_of_the_service, show_who_was_seen_behind_guests_ports)
{
    add_two_ports();
    fakes_.links["b"] = true;
    switch_.look_at_links();
    const auto now = switch_.engine().now();
    auto& macs = *switch_.bridges().at("br0").config->macs;
    const auto index_of = [this](const char* port) {
        return switch_.ports().at(port).config->index;
    };
    const auto learn = [&](std::uint64_t mac, const char* port, std::uint16_t vlan) {
        (void)macs.learn({dataplane::mac_address{mac}, dataplane::vlan_id{vlan}}, index_of(port),
                         now);
    };
    const auto note = [this](const endpoint::ip_address& address, std::uint64_t mac) {
        switch_.ports().at("b").config->addresses->note(address, dataplane::vlan_id{1},
                                                        dataplane::mac_address{mac}, 0);
    };
    const auto seen = [this] { return ask("port.show", R"({"name":"b"})").at("seen"); };
    constexpr std::uint64_t first = 0x0100'0000'0002; // 02:00:00:00:00:01
    EXPECT_EQ(seen(), json::parse(R"({"macs":[],"total_macs":0,"addresses":[]})"));
    learn(first, "b", 1);
    learn(first + (1ULL << 40), "a", 1);
    ask("mac.add", R"({"mac":"02:00:00:00:00:09","port":"b","vlan":20})");
    note({0xfd00'0000'0000'0000, 1}, first);
    note(endpoint::ip_address::v4(0x0a00'0001), first);
    auto is = seen();
    ASSERT_EQ(is.at("macs").as_array().size(), 2U);
    EXPECT_EQ(is.at("total_macs"), 2);
    EXPECT_EQ(is.at("macs").at(0).at("mac"), "02:00:00:00:00:01");
    EXPECT_EQ(is.at("macs").at(0).at("vlan"), 1);
    EXPECT_EQ(is.at("macs").at(0).at("static"), false);
    EXPECT_EQ(is.at("macs").at(1).at("mac"), "02:00:00:00:00:09");
    EXPECT_EQ(is.at("macs").at(1).at("static"), true);
    ASSERT_EQ(is.at("addresses").as_array().size(), 2U);
    const auto& four = is.at("addresses").at(0);
    EXPECT_EQ(four.at("address"), "10.0.0.1");
    EXPECT_EQ(four.at("mac"), "02:00:00:00:00:01");
    EXPECT_EQ(four.at("vlan"), 1);
    EXPECT_LE(four.at("age").to_number<std::uint64_t>(), switch_.engine().now());
    EXPECT_EQ(is.at("addresses").at(1).at("address"), "fd00::1");
    // Behind a NIC there is a network.
    const auto list = ask("port.list");
    EXPECT_EQ(list.at(0).at("seen"), nullptr);
    EXPECT_EQ(list.at(1).at("seen").at("macs").as_array().size(), 2U);
    EXPECT_EQ(list.at(1).at("seen").at("addresses").as_array().size(), 2U);
    // What was noted stays when the port is changed, not when its guest goes, or another comes.
    ask("port.set", R"({"name":"b","mtu":1500})");
    EXPECT_EQ(seen().at("addresses").as_array().size(), 2U);
    fakes_.guests["b"] = {.came = 1, .there = true};
    switch_.look_at_links();
    EXPECT_EQ(seen().at("addresses").as_array().size(), 2U) << "nobody has left";
    fakes_.guests["b"] = {.came = 2, .there = true};
    switch_.look_at_links();
    EXPECT_TRUE(seen().at("addresses").as_array().empty());
    // Nor what one said that came and went between two looks.
    for (const ports::port::guests unseen :
         {ports::port::guests{.came = 3, .there = false}, {.came = 4, .there = false}}) {
        note(endpoint::ip_address::v4(0x0a00'0002), first);
        EXPECT_EQ(seen().at("addresses").as_array().size(), 1U);
        fakes_.guests["b"] = unseen;
        switch_.look_at_links();
        EXPECT_TRUE(seen().at("addresses").as_array().empty()) << unseen.came;
    }
    note(endpoint::ip_address::v4(0x0a00'0002), first);
    EXPECT_EQ(seen().at("addresses").as_array().size(), 1U);
    fakes_.links["b"] = false;
    switch_.look_at_links();
    is = seen();
    EXPECT_TRUE(is.at("addresses").as_array().empty());
    EXPECT_EQ(is.at("total_macs"), 1) << "but for what an operator said";
}

TEST_F(methods_of_the_service, show_no_more_macs_of_a_port_than_the_latest)
{
    add_two_ports();
    auto& macs = *switch_.bridges().at("br0").config->macs;
    const auto index = switch_.ports().at("b").config->index;
    constexpr std::uint64_t many = 2 * seen_stations::most_macs;
    const auto learn = [&](std::uint16_t vlan) {
        for (std::uint64_t i = 0; i < many / 2; ++i) {
            (void)macs.learn({dataplane::mac_address{2 | i << 40}, dataplane::vlan_id{vlan}}, index,
                             switch_.engine().now());
        }
    };
    learn(10);
    // Ages are whole seconds.
    const auto then = switch_.engine().now();
    while (switch_.engine().now() < then + 2) {
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
    learn(20);
    const auto seen = ask("port.show", R"({"name":"b"})").at("seen");
    EXPECT_EQ(seen.at("total_macs"), many);
    ASSERT_EQ(seen.at("macs").as_array().size(), seen_stations::most_macs);
    for (const auto& m : seen.at("macs").as_array()) {
        EXPECT_EQ(m.at("vlan"), 20) << json::serialize(m);
    }
}

TEST_F(methods_of_the_service, rename_a_port_with_all_that_names_it)
{
    add_two_ports();
    ask("mac.add", R"({"mac":"02:00:00:00:00:01","port":"a"})");
    ask("binding.add", R"({"port":"a","mac":"02:00:00:00:00:02","addresses":"10.0.0.5"})");
    ask("acl.set", R"({"name":"web","rules":"to allow tcp,tp_dst=80"})");
    ask("acl.attach", R"({"names":"web","port":"a"})");
    ask("mirror.add", R"({"name":"m","bridge":"br0","select_src_port":"a","output_port":"b"})");
    ask("flow.add", R"({"bridge":"br0","flows":"in_port=a,actions=output:b"})");
    auto before = ask("port.show", R"({"name":"a"})");
    before.as_object().erase("seen");
    const auto incarnation = switch_.ports().at("a").config->incarnation;
    auto after = ask("port.rename", R"({"name":"a","to":"z"})");
    EXPECT_EQ(after.at("name"), "z");
    after.at("name") = "a";
    EXPECT_EQ(after, before);
    EXPECT_EQ(switch_.ports().at("z").config->incarnation, incarnation);
    EXPECT_EQ(switch_.ports().at("z").config->name, "z");
    EXPECT_THAT(why("port.show", R"({"name":"a"})"), HasSubstr("there is no port a"));
    EXPECT_EQ(ask("mac.list").at("entries").at(0).at("port"), "z");
    EXPECT_EQ(switch_.static_macs().at(0).port, "z");
    EXPECT_NE(switch_.all_bindings().of("z"), nullptr);
    EXPECT_EQ(switch_.all_bindings().of("a"), nullptr);
    EXPECT_EQ(mirrors_.all().at("m").request.source_ports, std::vector<std::string>{"z"});
    EXPECT_THAT(json::serialize(ask("flow.list", R"({"bridge":"br0","names":true})")),
                HasSubstr("in_port=z"));
    EXPECT_THAT(why("acl.detach", R"({"names":"web","port":"z"})"), HasSubstr("done"));
    // The name is free for another.
    EXPECT_THAT(why("port.rename", R"({"name":"z","to":"b"})"),
                HasSubstr("port b exists already, on bridge br0"));
    EXPECT_THAT(why("port.rename", R"({"name":"z","to":"br0"})"), HasSubstr("a bridge's name"));
    EXPECT_THAT(why("port.rename", R"({"name":"x","to":"y"})"), HasSubstr("there is no port x"));
    EXPECT_THAT(why("port.rename", R"({"name":"z","to":"no good"})"), HasSubstr("to"));
    EXPECT_EQ(ask("port.rename", R"({"name":"z","to":"z"})").at("name"), "z");
    EXPECT_EQ(
        ask("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d9"})").at("name"),
        "a");
}

TEST_F(methods_of_the_service, list_queues)
{
    add_two_ports();
    const auto queues = ask("queue.list");
    ASSERT_EQ(queues.as_array().size(), 2U);
    const auto workers = ask("worker.list").at("workers");
    for (const auto& q : queues.as_array()) {
        const auto& w = workers.at(q.at("worker").to_number<std::size_t>());
        EXPECT_EQ(w.at("queues").at(0).at("port"), q.at("port"));
        EXPECT_EQ(w.at("cpu"), q.at("cpu"));
        EXPECT_EQ(q.at("drops").as_object().size(), 0U);
    }
    // What a queue drops is told by reason, and begins with 0 again when its port's does.
    auto& counted = *switch_.ports().at("b").config->queues.at(0).counters;
    counted.rx_packets.add(5);
    counted.tx_packets.add(7);
    counted.drops[static_cast<std::size_t>(dataplane::drop_reason::bad_offload)].add(2);
    counted.drops[static_cast<std::size_t>(dataplane::drop_reason::receiver_full)].add(3);
    const auto of_b = ask("queue.list", R"({"name":"b"})").at(0);
    EXPECT_EQ(json::serialize(of_b.at("drops")), R"({"bad_offload":2,"receiver_full":3})");
    EXPECT_EQ(of_b.at("rx_packets"), 5);
    EXPECT_EQ(of_b.at("rx_dropped"), 2);
    EXPECT_EQ(of_b.at("tx_packets"), 7);
    EXPECT_EQ(of_b.at("tx_dropped"), 3);
    ask("stats", R"({"name":"b","clear":true})");
    EXPECT_EQ(ask("queue.list", R"({"name":"b"})").at(0).at("rx_packets"), 0);
    counted.rx_packets.add(1);
    EXPECT_EQ(ask("queue.list", R"({"name":"b"})").at(0).at("rx_packets"), 1);
    EXPECT_EQ(ask("queue.list", R"({"name":"b"})").at(0).at("port"), "b");
    EXPECT_EQ(ask("queue.list", R"({"name":"b"})").as_array().size(), 1U);
    EXPECT_THAT(why("queue.list", R"({"name":"x"})"), HasSubstr("there is no port x"));
}

TEST_F(methods_of_the_service, pin_queues_to_workers)
{
    add_two_ports();
    const auto of_a = [this] { return ask("queue.list", R"({"name":"a"})").at(0); };
    EXPECT_EQ(of_a().at("worker"), 0);
    EXPECT_EQ(of_a().at("pinned"), false);
    EXPECT_EQ(ask("queue.pin", R"({"port":"a","queue":0,"worker":1})").at("worker"), 0);
    EXPECT_EQ(of_a().at("worker"), 1);
    EXPECT_EQ(of_a().at("cpu"), 1);
    EXPECT_EQ(of_a().at("pinned"), true);
    EXPECT_EQ(ask("worker.list").at("workers").at(1).at("queues").as_array().size(), 2U);
    EXPECT_EQ(ask("queue.pin", R"({"port":"a","queue":0,"worker":1})").at("worker"), 1);
    EXPECT_EQ(switch_.queue_moves(), 1U) << "it was there already";
    EXPECT_EQ(ask("queue.unpin", R"({"port":"a","queue":0})").at("removed"), true);
    EXPECT_EQ(ask("queue.unpin", R"({"port":"a","queue":0})").at("removed"), false);
    EXPECT_EQ(of_a().at("worker"), 1) << "it stays until there is a reason to move it";

    EXPECT_EQ(why("queue.pin", R"({"port":"a","queue":0,"worker":2})"),
              "there is no worker 2; there are workers 0 to 1");
    EXPECT_EQ(why("queue.pin", R"({"port":"a","queue":1,"worker":0})"),
              "port a has no queue 1; it has queue 0 alone");
    EXPECT_THAT(why("queue.pin", R"({"port":"x","queue":0,"worker":0})"),
                HasSubstr("there is no port x"));
    EXPECT_THAT(why("queue.unpin", R"({"port":"x","queue":0})"), HasSubstr("there is no port x"));
    EXPECT_THAT(why("queue.pin", R"({"port":"a","queue":0,"worker":64})"), HasSubstr("0 to 63"));
    EXPECT_EQ(of_a().at("pinned"), false);
}

TEST_F(methods_of_the_service, balance_what_queues_take)
{
    add_two_ports();
    ask("port.add", R"({"name":"c","bridge":"br0","type":"host"})");
    const auto place = [this](const char* port) {
        return dataplane::to_index(switch_.ports().at(port).config->queues.at(0).worker);
    };
    ask("queue.pin", R"({"port":"a","queue":0,"worker":0})");
    ask("queue.pin", R"({"port":"b","queue":0,"worker":0})");
    ask("queue.pin", R"({"port":"c","queue":0,"worker":0})");
    ask("queue.unpin", R"({"port":"a","queue":0})");
    ask("queue.unpin", R"({"port":"b","queue":0})");
    auto now = std::chrono::steady_clock::time_point{std::chrono::hours{1}};
    std::uint64_t measured = 0;
    // Of the time that passes until the switch looks: parts of it, in percent.
    const auto work = [&](unsigned a, unsigned b, unsigned c) {
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
        const std::uint64_t passed = rte_rdtsc() - measured;
        const auto add = [&](const char* port, unsigned percent) {
            switch_.ports().at(port).config->queues.at(0).counters->cycles.add(passed * percent /
                                                                               100);
        };
        add("a", a);
        add("b", b);
        add("c", c);
        now += std::chrono::seconds{6};
        measured = rte_rdtsc();
        switch_.look_at_queues(now);
    };
    work(0, 0, 0);
    EXPECT_TRUE(ask("queue.list").at(0).at("load").is_null()) << "since when?";
    EXPECT_THAT(why("queue.balance", "{}"), HasSubstr("was not yet: try again"));
    work(30, 10, 10);
    EXPECT_NEAR(ask("queue.list", R"({"name":"a"})").at(0).at("load").as_double(), 30, 10);
    work(30, 10, 10);
    EXPECT_EQ(place("a"), 0U) << "nobody waits";
    work(40, 30, 20);
    EXPECT_EQ(place("a"), 0U) << "once may be by chance";
    work(10, 10, 0);
    work(40, 30, 20);
    EXPECT_EQ(place("a"), 0U) << "and so may twice with a break";
    switch_.set_balancing(false);
    work(40, 30, 20);
    work(40, 30, 20);
    EXPECT_EQ(place("a"), 0U);
    switch_.set_balancing(true);
    work(40, 30, 20);
    work(40, 30, 20);
    EXPECT_EQ(place("a"), 1U);
    EXPECT_EQ(place("b"), 0U);
    EXPECT_EQ(place("c"), 0U);
    const auto moved = ask("events").at("events").as_array().back();
    EXPECT_EQ(moved.at("event"), "queue_moved") << json::serialize(moved);
    EXPECT_EQ(moved.at("port"), "a");
    work(40, 0, 30);
    work(40, 0, 30);
    EXPECT_EQ(place("a"), 1U) << "it is right as it is";
    // By hand less is enough.
    work(10, 20, 20);
    EXPECT_EQ(json::serialize(ask("queue.balance").at("moved")),
              R"([{"port":"b","queue":0,"from":0,"to":1}])");
}

} // namespace
} // namespace strait::control
