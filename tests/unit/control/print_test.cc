// SPDX-License-Identifier: BSD-3-Clause
// Tables for people, and rates between two looks.
#include "control/print.hh"

#include "control/methods.hh"

#include <boost/json/parse.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

TEST(tables, are_aligned_and_numbers_are_grouped)
{
    const auto result = json::parse(R"({"timestamp_us":1,"ports":[
        {"name":"a","link":"up","rx_packets":1234567,"rx_bytes":1,"rx_dropped":0,
         "tx_packets":12,"tx_bytes":999,"tx_dropped":1000}],"total":{}})");
    EXPECT_EQ(to_text(*find_method(methods(), "stats"), result),
              "PORT  LINK  RX PACKETS  RX BYTES  RX DROPPED  TX PACKETS  TX BYTES  TX DROPPED\n"
              "a     up     1,234,567         1           0          12       999       1,000\n");
}

TEST(tables, show_vlans_as_they_are_typed)
{
    const auto result = json::parse(R"([
        {"name":"a","vlan":10,"trunk":null,"native":null},
        {"name":"b","vlan":null,"trunk":[1,2,3,7],"native":1},
        {"name":"c","vlan":null,"trunk":null,"native":null},
        {"name":"d","vlan":null,"qinq":9,"trunk":null,"native":null,"tag_type":"802.1q"},
        {"name":"e","vlan":null,"qinq":null,"trunk":[5],"native":null,"tag_type":"802.1ad"}])");
    const std::string text = to_text(*find_method(methods(), "port.list"), result);
    EXPECT_THAT(text, HasSubstr(" 10\n"));
    EXPECT_THAT(text, HasSubstr("trunk 1-3,7 native 1\n"));
}

TEST(tables, let_no_control_character_through)
{
    const auto result = json::parse(R"({"name":"a","details":{"driver":"x\u001b[2Jy"}})");
    const std::string text = to_text(*find_method(methods(), "port.show"), result);
    EXPECT_EQ(text.find('\033'), std::string::npos);
    EXPECT_THAT(text, HasSubstr("x?[2Jy"));
}

TEST(tables, of_a_port_show_who_was_seen_behind_it)
{
    const auto result = json::parse(R"({"name":"a","seen":{
        "macs":[{"mac":"02:00:00:00:00:01","vlan":0,"static":false,"age":3},
                {"mac":"02:00:00:00:00:02","vlan":7,"static":true,"age":0}],
        "total_macs":5,
        "addresses":[{"address":"10.0.0.1","vlan":0,"mac":"02:00:00:00:00:01","age":1200},
                     {"address":"fd00::1","vlan":7,"mac":"02:00:00:00:00:01","age":0}]}})");
    const std::string text = to_text(*find_method(methods(), "port.show"), result);
    EXPECT_THAT(text, HasSubstr("\nseen mac      02:00:00:00:00:01, 3 s ago\n"
                                "seen mac      02:00:00:00:00:02, VLAN 7, static\n"
                                "seen mac      3 more: mac list --port a\n"
                                "seen address  10.0.0.1 of 02:00:00:00:00:01, 1,200 s ago\n"
                                "seen address  fd00::1 of 02:00:00:00:00:01, VLAN 7, 0 s ago\n"));
    EXPECT_EQ(
        to_text(*find_method(methods(), "port.show"), json::parse(R"({"name":"a","seen":null})"))
            .find("seen"),
        std::string::npos);
}

TEST(tables, of_drops_leave_out_what_did_not_happen)
{
    const auto result = json::parse(R"({"ports":[{"name":"a","drops":{"x":0,"y":3}}],
        "reasons":[{"name":"x","direction":"rx","explanation":"never"},
                   {"name":"y","direction":"tx","explanation":"because"}]})");
    const std::string text = to_text(*find_method(methods(), "drops"), result);
    EXPECT_THAT(text, HasSubstr("because"));
    EXPECT_EQ(text.find("never"), std::string::npos);
}

TEST(tables, of_flows_that_carry_most_have_their_rates)
{
    const auto result = json::parse(R"({"total":3,"flows":[
        {"table":0,"priority":9,"match":"tcp","actions":"output:1","packets":12345,
         "packets_per_second":1499.6,"bytes_per_second":100000.0},
        {"table":3,"priority":10,"match":"","actions":"drop","packets":1,
         "packets_per_second":0.1,"bytes_per_second":6.0}]})");
    EXPECT_EQ(to_text(*find_method(methods(), "flow.top"), result),
              "PACKETS/S  BYTES/S  PACKETS  TABLE  PRIORITY  FLOW\n"
              "    1,500  100,000   12,345      0         9  tcp actions=output:1\n"
              "        0        6        1      3        10  actions=drop\n"
              "1 more\n");
}

TEST(traces, of_captures_have_the_packet_s_number_and_say_what_is_missing)
{
    const auto text = [](const char* result) {
        return to_text(*find_method(methods(), "trace"), json::parse(result));
    };
    EXPECT_EQ(text(R"({"flow":"tcp","steps":[],"outputs":[],"drops":[],"number":3,"captured":60,
                       "length":60})"),
              "packet 3: tcp\n");
    EXPECT_EQ(text(R"({"flow":"tcp","steps":[],"outputs":[],"drops":[],"number":4,"captured":60,
                       "length":100})"),
              "packet 4: tcp\n(captured were 60 bytes of 100; zeros stand for the others)\n");
}

TEST(tables, of_mirrors_say_what_is_selected_and_why_one_has_ended)
{
    const auto result = json::parse(R"([
        {"name":"m","bridge":"br0","select":{"all":false,"src_ports":["a","b"],"dst_ports":null,
         "vlans":null,"flow":"tcp"},"output":{"port":null,"vlan":9,"file":null},"packets":1234,
         "bytes":5,"drops":6,"error":"the disk is full"}])");
    EXPECT_EQ(to_text(*find_method(methods(), "mirror.list"), result),
              "MIRROR  BRIDGE  PACKETS  BYTES  DROPS  OUTPUT  SELECTS\n"
              "m       br0       1,234      5      6  VLAN 9  from a, b; flow tcp\n"
              "mirror m has ended: the disk is full\n");
}

TEST(tables, stay_silent_for_commands_that_only_do)
{
    EXPECT_EQ(to_text(*find_method(methods(), "port.add"), json::parse(R"({"name":"a"})")), "");
}

TEST(warnings, are_lines_of_their_own)
{
    const auto answer = json::parse(R"({"name":"a","warnings":["too small","x\u001b[2Jy"]})");
    EXPECT_EQ(warnings_text(answer), "straitctl: warning: too small\n"
                                     "straitctl: warning: x?[2Jy\n");
    EXPECT_EQ(to_text(*find_method(methods(), "port.add"), answer), "");
    for (const auto* text :
         {"null", "[]", R"({"name":"a"})", R"({"warnings":[]})", R"({"warnings":7})"}) {
        EXPECT_EQ(warnings_text(json::parse(text)), "") << text;
    }
}

TEST(tables, survive_answers_of_another_shape)
{
    for (const auto& m : methods()) {
        for (const auto* text :
             {"null", "[]", "{}", "[1,\"a\",{}]", "{\"ports\":3,\"workers\":[7]}"}) {
            EXPECT_NO_THROW((void)to_text(m, json::parse(text))) << m.name << text;
        }
    }
}

TEST(rates, are_differences_by_the_daemons_clock)
{
    const auto before = json::parse(R"({"timestamp_us":1000000,"ports":[
        {"number":1,"rx_packets":100,"rx_bytes":1000,"rx_dropped":5,
         "tx_packets":1,"tx_bytes":0,"tx_dropped":0}],"total":{}})");
    auto now = json::parse(R"({"timestamp_us":3000000,"ports":[
        {"number":1,"rx_packets":300,"rx_bytes":3000,"rx_dropped":15,
         "tx_packets":1,"tx_bytes":0,"tx_dropped":0},
        {"number":2,"rx_packets":70,"rx_bytes":7,"rx_dropped":0,
         "tx_packets":0,"tx_bytes":0,"tx_dropped":0}],"total":{}})");
    add_rates(*find_method(methods(), "stats"), now, before);
    EXPECT_DOUBLE_EQ(now.at("interval_s").as_double(), 2.0);
    const auto& first = now.at("ports").at(0);
    EXPECT_DOUBLE_EQ(first.at("rx_pps").as_double(), 100.0);
    EXPECT_DOUBLE_EQ(first.at("rx_bps").as_double(), 8000.0);
    EXPECT_DOUBLE_EQ(first.at("rx_drop_pps").as_double(), 5.0);
    EXPECT_DOUBLE_EQ(first.at("tx_pps").as_double(), 0.0);
    EXPECT_DOUBLE_EQ(now.at("ports").at(1).at("rx_pps").as_double(), 0.0) << "it is new";
    EXPECT_DOUBLE_EQ(now.at("total").at("rx_pps").as_double(), 100.0);
}

TEST(rates, of_a_port_made_again_begin_at_zero)
{
    const auto before = json::parse(R"({"timestamp_us":0,"ports":[{"number":1,"rx_packets":100}],
                                        "total":{}})");
    auto now = json::parse(R"({"timestamp_us":1000000,"ports":[{"number":1,"rx_packets":10}],
                               "total":{}})");
    add_rates(*find_method(methods(), "stats"), now, before);
    EXPECT_DOUBLE_EQ(now.at("ports").at(0).at("rx_pps").as_double(), 10.0);
}

TEST(tables, of_queues_tell_which_are_polled)
{
    const std::string text = to_text(*find_method(methods(), "queue.list"), json::parse(R"([
        {"port":"vm1","queue":0,"rx":true,"tx":true,"worker":1,"pinned":true,"cpu":3,"load":12.34,
         "wakes":true,
         "rx_packets":1000,"rx_dropped":3,"tx_packets":2,"tx_dropped":12,
         "drops":{"bad_offload":3,"receiver_full":12}},
        {"port":"up0","queue":0,"rx":true,"tx":true,"worker":0,"pinned":false,"cpu":2,"load":0,
         "wakes":false,
         "rx_packets":0,"rx_dropped":0,"tx_packets":0,"tx_dropped":0,"drops":{}},
        {"port":"out","queue":1,"rx":false,"tx":true,"worker":0,"pinned":false,"cpu":2,"load":null,
         "wakes":null,
         "rx_packets":0,"rx_dropped":0,"tx_packets":0,"tx_dropped":0,"drops":{}}])"));
    EXPECT_EQ(
        text,
        "PORT  QUEUE  DIRECTION  WORKER      CPU    LOAD  WAKES       RX PACKETS  RX DROPPED  "
        "TX PACKETS  TX DROPPED  DROPS\n"
        "vm1       0  rx tx      1 (pinned)    3  12.3 %  yes              1,000           3  "
        "         2          12  bad_offload 3, receiver_full 12\n"
        "up0       0  rx tx      0             2   0.0 %  no, polled           0           0  "
        "         0           0  -\n"
        "out       1  tx         0             2       -  -                    0           0  "
        "         0           0  -\n");
}

TEST(rates, of_workers_are_their_load_between_the_looks)
{
    const auto before = json::parse(R"({"timestamp_us":0,"workers":[
        {"worker":0,"busy_cycles":1000,"idle_cycles":0,"asleep_cycles":500,"rx_packets":0}]})");
    auto now = json::parse(R"({"timestamp_us":1000000,"workers":[
        {"worker":0,"busy_cycles":1250,"idle_cycles":250,"asleep_cycles":1000,"rx_packets":5}]})");
    add_rates(*find_method(methods(), "worker.list"), now, before);
    EXPECT_DOUBLE_EQ(now.at("workers").at(0).at("utilisation").as_double(), 25.0);
    EXPECT_DOUBLE_EQ(now.at("workers").at(0).at("asleep").as_double(), 50.0);
    EXPECT_DOUBLE_EQ(now.at("workers").at(0).at("cycles_per_packet").as_double(), 50.0);
}

} // namespace
} // namespace strait::control
