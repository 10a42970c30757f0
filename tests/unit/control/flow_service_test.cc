// SPDX-License-Identifier: BSD-3-Clause
// Flows through the control service: bundles, what is listed, traces.
#include "service_fixture.hh"

#include "control/bridge_flows.hh"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::StartsWith;

class flows_of_the_service : public testing_support::methods_of_the_service {
protected:
    flows_of_the_service()
    {
        ask("bridge.add", R"({"name":"br0"})");
        for (const char* const name : {"a", "b", "c"}) {
            ask("port.add", R"({"name":")" + std::string{name} +
                                R"(","bridge":"br0","type":"nic","device":"d)" + name + R"("})");
        }
    }

    json::value give(std::string_view method, std::string_view flows, std::string_view more = "")
    {
        return ask(method,
                   R"({"flows":)" + json::serialize(json::value(flows)) + std::string{more} + "}");
    }
    std::string refusal(std::string_view method, std::string_view flows, std::string_view more = "")
    {
        const auto answer = give(method, flows, more);
        const auto* const why = answer.as_object().if_contains("message");
        return why == nullptr ? "done" : std::string{std::string_view{why->as_string()}};
    }
    std::vector<std::string> listed(std::string_view filter = "")
    {
        std::vector<std::string> out;
        const auto answer = ask(
            "flow.list", filter.empty() ? "{}" : R"({"filter":")" + std::string{filter} + R"("})");
        for (const auto& f : answer.at("flows").as_array()) {
            out.push_back(std::to_string(f.at("table").to_number<int>()) + " " +
                          std::to_string(f.at("priority").to_number<int>()) + " " +
                          std::string{std::string_view{f.at("match").as_string()}} + " " +
                          std::string{std::string_view{f.at("actions").as_string()}});
        }
        return out;
    }
    json::object trace(std::string_view port, std::string_view packet,
                       std::string_view ct_next = "")
    {
        const std::string found =
            ct_next.empty() ? "" : R"(,"ct_next":")" + std::string{ct_next} + '"';
        return ask("trace", R"({"port":")" + std::string{port} + R"(","packet":")" +
                                std::string{packet} + '"' + found + '}')
            .as_object();
    }
    static std::vector<std::string> outputs(const json::object& traced)
    {
        std::vector<std::string> out;
        for (const auto& o : traced.at("outputs").as_array()) {
            out.emplace_back(std::string_view{o.at("port").as_string()});
        }
        return out;
    }
    const flow::pipeline* live()
    {
        return switch_.bridges().at("br0").flows->live()->current.load();
    }

    using names = std::vector<std::string>;
    static constexpr std::string_view normal = "0 0  NORMAL";
};

TEST_F(flows_of_the_service, begin_with_one_that_switches)
{
    EXPECT_EQ(listed(), names{std::string{normal}});
    EXPECT_EQ(live(), nullptr) << "packets take the way without flows";
    EXPECT_EQ(ask("flow.del").at("removed"), 1);
    EXPECT_EQ(listed(), names{});
    EXPECT_NE(live(), nullptr) << "now all are dropped";
    give("flow.add", "priority=0,actions=NORMAL");
    EXPECT_EQ(live(), nullptr);
}

TEST_F(flows_of_the_service, are_listed_from_the_highest_priority)
{
    const auto done = give("flow.add", "priority=5,tcp,actions=2\npriority=9,in_port=a,actions=b\n"
                                       "table=3,actions=drop\n");
    EXPECT_EQ(done.at("added"), 3);
    EXPECT_EQ(listed(), (names{"0 9 in_port=1 output:2", "0 5 tcp output:2", std::string{normal},
                               "3 32768  drop"}));
    EXPECT_EQ(listed("tcp"), names{"0 5 tcp output:2"});
    EXPECT_EQ(listed("table=3"), names{"3 32768  drop"});
    EXPECT_EQ(ask("flow.list", R"({"limit":1})").at("flows").as_array().size(), 1U);
    EXPECT_EQ(ask("flow.list", R"({"limit":1})").at("total"), 4);
    EXPECT_THAT(
        std::string{std::string_view{ask("flow.list", R"({"filter":"in_port=a","names":true})")
                                         .at("flows")
                                         .at(0)
                                         .at("match")
                                         .as_string()}},
        HasSubstr("in_port=a"));
}

TEST_F(flows_of_the_service, take_the_place_of_what_matches_the_same)
{
    give("flow.add", "priority=5,tcp,actions=1");
    EXPECT_EQ(give("flow.add", "priority=5,tcp,actions=2").at("added"), 1);
    EXPECT_EQ(listed("tcp"), names{"0 5 tcp output:2"});
}

TEST_F(flows_of_the_service, are_all_added_or_none)
{
    const auto before = listed();
    EXPECT_THAT(refusal("flow.add", "priority=1,actions=1\n\npriority=2,nosuch=3,actions=1\n",
                        R"(,"file":"rules.txt")"),
                StartsWith("rules.txt:3:12: "));
    EXPECT_EQ(listed(), before);
    EXPECT_EQ(live(), nullptr);
}

TEST_F(flows_of_the_service, that_overlap_are_refused_if_that_is_asked_for)
{
    give("flow.add", "priority=7,tcp,actions=1");
    EXPECT_THAT(refusal("flow.add", "check_overlap,priority=7,ip,actions=2"),
                HasSubstr("same priority"));
    EXPECT_EQ(give("flow.add", "check_overlap,priority=8,ip,actions=2").at("added"), 1);
}

TEST_F(flows_of_the_service, change_their_actions_and_keep_what_they_counted)
{
    give("flow.add", "priority=5,cookie=7,tcp,actions=1\npriority=6,tcp,tp_dst=80,actions=1\n");
    for (const auto& [name, b] : switch_.bridges()) {
        b.flows->for_each(flow_spec{},
                          [](const flow::rule& r) { r.count(3, 300, r.settings().created); });
    }
    EXPECT_EQ(give("flow.mod", "tcp,actions=2").at("modified"), 2);
    const auto all = ask("flow.list", R"({"filter":"tcp"})").at("flows");
    ASSERT_EQ(all.as_array().size(), 2U);
    for (const auto& f : all.as_array()) {
        EXPECT_EQ(f.at("packets"), 3);
        EXPECT_EQ(f.at("bytes"), 300);
        EXPECT_EQ(f.at("actions"), "output:2");
    }
    EXPECT_EQ(all.at(1).at("cookie"), 7);
    EXPECT_EQ(give("flow.mod", "priority=5,tcp,actions=3", R"(,"strict":true)").at("modified"), 1);
    EXPECT_EQ(listed("tcp"), (names{"0 6 tcp,tp_dst=80 output:2", "0 5 tcp output:3"}));
    EXPECT_EQ(give("flow.mod", "udp,actions=3").at("added"), 1) << "where there is none";
    const auto before = listed();
    for (const auto* const strict : {"", R"(,"strict":true)"}) {
        EXPECT_EQ(give("flow.mod", "cookie=9/-1,sctp,actions=3", strict).at("added"), 0)
            << "where none has the cookie that is looked for";
    }
    EXPECT_EQ(listed(), before);
}

TEST_F(flows_of_the_service, are_removed_by_match_and_by_more)
{
    const auto fill = [this] {
        give("flow.replace", "priority=5,tcp,actions=1\npriority=6,tcp,tp_dst=80,actions=2\n"
                             "priority=7,udp,cookie=0x12,actions=2\n");
    };
    fill();
    EXPECT_EQ(give("flow.del", "tcp").at("removed"), 2);
    fill();
    EXPECT_EQ(give("flow.del", "priority=5,tcp", R"(,"strict":true)").at("removed"), 1);
    fill();
    EXPECT_EQ(give("flow.del", "out_port=2").at("removed"), 2);
    fill();
    EXPECT_EQ(give("flow.del", "cookie=0x10/0xf0").at("removed"), 1);
    EXPECT_EQ(give("flow.del", "cookie=0x10/0xf0").at("removed"), 0);
}

TEST_F(flows_of_the_service, that_stay_in_a_replacement_are_the_same_ones)
{
    give("flow.add", "priority=5,tcp,actions=1\npriority=6,udp,actions=1\n");
    flow_spec all;
    const flow::rule* tcp = nullptr;
    const auto look = [&](const flow::rule& r) { tcp = r.priority() == 5 ? &r : tcp; };
    switch_.bridges().at("br0").flows->for_each(all, look);
    const flow::rule* const before = tcp;
    const std::string next = "priority=5,tcp,actions=1\npriority=6,udp,actions=2\n";
    const auto differs = give("flow.diff", next);
    EXPECT_EQ(differs.at("only_here"),
              json::parse(R"(["priority=0 actions=NORMAL","priority=6,udp actions=output:1"])"));
    EXPECT_EQ(differs.at("only_there"), json::parse(R"(["priority=6,udp actions=output:2"])"));
    const auto done = give("flow.replace", next);
    EXPECT_EQ(done.at("removed"), 2);
    EXPECT_EQ(done.at("added"), 1);
    switch_.bridges().at("br0").flows->for_each(all, look);
    EXPECT_EQ(before, tcp);
    EXPECT_EQ(give("flow.diff", next).at("only_here").as_array().size(), 0U);
}

TEST_F(flows_of_the_service, come_in_several_requests_and_become_visible_at_once)
{
    const auto id = json::serialize(ask("flow.begin").at("bundle"));
    const std::string in = R"(,"bundle":)" + id;
    give("flow.put", "priority=5,tcp,actions=1\n", in);
    give("flow.put", "udp,actions=2\n", in + R"(,"command":"add","first_line":2)");
    give("flow.put", "priority=0\n", in + R"(,"command":"delete_strict")");
    EXPECT_EQ(listed(), names{std::string{normal}});
    EXPECT_EQ(ask("flow.commit", R"({"bundle":)" + id + "}").at("added"), 2);
    EXPECT_EQ(listed(), (names{"0 32768 udp output:2", "0 5 tcp output:1"}));
    EXPECT_THAT(why("flow.commit", R"({"bundle":)" + id + "}"), HasSubstr("no such bundle"));
}

TEST_F(flows_of_the_service, of_a_bundle_that_is_wrong_are_none)
{
    const auto id = json::serialize(ask("flow.begin").at("bundle"));
    const std::string in = R"(,"bundle":)" + id;
    give("flow.put", "priority=5,tcp,actions=1\n", in);
    EXPECT_THAT(
        refusal("flow.put", "\ntcp,actions=nosuch\n", in + R"(,"first_line":1001,"file":"rules")"),
        StartsWith("rules:1002:"));
    EXPECT_THAT(why("flow.commit", R"({"bundle":)" + id + "}"), HasSubstr("no such bundle"));
    EXPECT_EQ(listed(), names{std::string{normal}});
}

TEST_F(flows_of_the_service, that_somebody_else_changed_meanwhile_are_not_overwritten)
{
    const auto id = json::serialize(ask("flow.begin", R"({"replace":true})").at("bundle"));
    give("flow.put", "priority=5,tcp,actions=1\n", R"(,"bundle":)" + id);
    give("flow.add", "udp,actions=2");
    EXPECT_THAT(why("flow.commit", R"({"bundle":)" + id + "}"), HasSubstr("somebody else"));
    EXPECT_EQ(listed("udp").size(), 1U);
}

TEST_F(flows_of_the_service, have_only_so_many_bundles_under_way)
{
    for (int i = 0; i < 8; ++i) {
        EXPECT_TRUE(ask("flow.begin").as_object().contains("bundle"));
    }
    EXPECT_THAT(why("flow.begin", "{}"), HasSubstr("bundles under way"));
    service_.rpc().left(rpc::nobody); // who asks here has no connection
    EXPECT_TRUE(ask("flow.begin").as_object().contains("bundle"));
}

TEST_F(flows_of_the_service, of_a_bundle_that_failed_make_room_for_others)
{
    for (int i = 0; i < 20; ++i) {
        const auto id = json::serialize(ask("flow.begin").at("bundle"));
        EXPECT_THAT(refusal("flow.put", "nosuch", R"(,"bundle":)" + id), HasSubstr("nosuch"));
    }
}

TEST_F(flows_of_the_service, of_a_bundle_are_its_connection_s_alone)
{
    const auto ask_as = [this](client_id who, std::string_view method, const std::string& p) {
        return service_.rpc().answer(R"({"jsonrpc":"2.0","id":1,"method":")" + std::string{method} +
                                         R"(","params":)" + p + "}",
                                     who);
    };
    const auto id =
        json::serialize(json::parse(ask_as(7, "flow.begin", "{}")).at("result").at("bundle"));
    const std::string put = R"({"flows":"tcp,actions=1","bundle":)" + id + "}";
    const std::string commit = R"({"bundle":)" + id + "}";
    EXPECT_THAT(ask_as(8, "flow.put", put), HasSubstr("this connection has no such bundle"));
    EXPECT_THAT(ask_as(8, "flow.commit", commit), HasSubstr("this connection has no such bundle"));
    EXPECT_THAT(ask_as(7, "flow.put", put), HasSubstr("\"put\":true"));
    service_.rpc().left(8);
    EXPECT_THAT(ask_as(7, "flow.commit", commit), HasSubstr("\"added\":1"));
    const auto next =
        json::serialize(json::parse(ask_as(7, "flow.begin", "{}")).at("result").at("bundle"));
    service_.rpc().left(7);
    EXPECT_THAT(ask_as(7, "flow.commit", R"({"bundle":)" + next + "}"),
                HasSubstr("no such bundle"));
}

TEST_F(flows_of_the_service, are_no_more_than_the_bridge_s_limit)
{
    EXPECT_EQ(ask("bridge.list").at(0).at("flow_limit"), 4'000'000);
    EXPECT_EQ(ask("bridge.set", R"({"name":"br0","flow_limit":3})").at("flow_limit"), 3);
    EXPECT_EQ(give("flow.add", "tcp,actions=1\nudp,actions=1\n").at("added"), 2);
    EXPECT_EQ(ask("bridge.list").at(0).at("flows"), 3);
    EXPECT_EQ(refusal("flow.add", "tcp,actions=2\n\narp,actions=1\n", R"(,"file":"rules.txt")"),
              "rules.txt:3: this would be more than 3 flows, the bridge's flow limit (bridge set "
              "--flow-limit)");
    EXPECT_EQ(listed("tcp"), names{"0 32768 tcp output:1"}) << "nothing of it is done";
    EXPECT_EQ(give("flow.add", "tcp,actions=2").at("added"), 1) << "in another's place";
    EXPECT_EQ(give("flow.mod", "tcp,actions=3").at("modified"), 1);
    EXPECT_THAT(refusal("flow.mod", "icmp,actions=3"), HasSubstr("more than 3 flows"));
    // A range is as many flows as it has masks.
    EXPECT_THAT(refusal("flow.replace", "tcp,tp_dst=1-1000,actions=2\n"),
                HasSubstr("flows:1: this would be more than 3 flows"));
    EXPECT_EQ(give("flow.replace", "tcp,actions=1\nudp,actions=1\narp,actions=1\n").at("added"), 2);
    EXPECT_EQ(give("flow.del", "arp").at("removed"), 1);
    EXPECT_EQ(give("flow.add", "arp,actions=1").at("added"), 1);
    // Those that are there stay when it is less.
    ask("bridge.set", R"({"name":"br0","flow_limit":1})");
    EXPECT_EQ(listed().size(), 3U);
    EXPECT_THAT(refusal("flow.add", "icmp,actions=3"), HasSubstr("more than 1 flows"));
}

TEST_F(flows_of_the_service, are_not_added_when_memory_is_low)
{
    bool low = false;
    std::size_t looks = 0;
    switch_.bridges().at("br0").flows->set_memory_check([&] {
        ++looks;
        return low;
    });
    std::string many;
    for (int i = 0; i < 1000; ++i) {
        many += "tcp,tp_dst=" + std::to_string(i) + ",actions=1\n";
    }
    EXPECT_EQ(give("flow.add", many).at("added"), 1000);
    EXPECT_EQ(looks, 4U);
    low = true;
    EXPECT_EQ(refusal("flow.add", "\nudp,actions=1"),
              "flows:2: there is too little memory left for more flows");
    EXPECT_EQ(refusal("flow.mod", "tcp,actions=2"),
              "flows:1: there is too little memory left for more flows");
    EXPECT_EQ(listed("tcp").size(), 1000U);
    EXPECT_EQ(give("flow.del", "tcp").at("removed"), 1000) << "which makes room";
}

// Bits that actions use widen keys for as long as these actions are there.
TEST_F(flows_of_the_service, have_keys_as_narrow_as_their_actions_let_them)
{
    give("flow.add", "priority=9,tcp,actions=1");
    const auto words = [this] { return live()->layout.count; };
    const std::size_t narrow = words();
    const std::string wide = "priority=8,ip,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],"
                             "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],2";
    give("flow.add", wide);
    EXPECT_GT(words(), narrow);
    give("flow.del", "tcp");
    EXPECT_GT(words(), narrow) << "the other one is there still";
    give("flow.add", "priority=9,tcp,actions=1");
    give("flow.del", "priority=8,ip", R"(,"strict":true)");
    EXPECT_EQ(words(), narrow);
    give("flow.add", wide);
    EXPECT_GT(words(), narrow);
    give("flow.mod", "ip,actions=2");
    EXPECT_EQ(words(), narrow);
    give("flow.add", wide);
    EXPECT_GT(words(), narrow);
    give("flow.add", "priority=8,ip,actions=2");
    EXPECT_EQ(words(), narrow);
    give("flow.add", wide);
    give("flow.replace", "priority=9,tcp,actions=1\npriority=0,actions=NORMAL\n");
    EXPECT_EQ(words(), narrow);
    give("flow.add", "hard_timeout=1," + wide);
    EXPECT_GT(words(), narrow);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (listed().size() > 2 && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
        switch_.look_at_flows();
    }
    EXPECT_EQ(words(), narrow);
}

// To look through many flows for the sake of one that went takes too long.
TEST_F(flows_of_the_service, are_looked_through_for_narrow_keys_when_many_of_them_went)
{
    std::string many;
    for (int i = 0; i < 10'000; ++i) {
        many += "tcp,tp_dst=" + std::to_string(i) + ",actions=1\n";
    }
    give("flow.add", many);
    const std::size_t narrow = live()->layout.count;
    std::string wide;
    for (int i = 0; i < 1000; ++i) {
        wide += "udp,tp_dst=" + std::to_string(i) +
                ",actions=move:NXM_OF_ETH_SRC[]->"
                "NXM_OF_ETH_DST[],2\n";
    }
    give("flow.add", wide);
    give("flow.del", "udp,tp_dst=0/0xff00");
    EXPECT_GT(live()->layout.count, narrow);
    give("flow.del", "udp,tp_dst=256/0xff00");
    EXPECT_GT(live()->layout.count, narrow);
    give("flow.del", "udp");
    EXPECT_EQ(live()->layout.count, narrow);
}

TEST_F(flows_of_the_service, that_carry_most_are_told)
{
    give("flow.add", "priority=9,tcp,actions=1\npriority=8,udp,actions=1\npriority=7,arp,"
                     "actions=1\n");
    const auto count = [this](flow::priority_t of, std::uint64_t packets, std::uint64_t bytes) {
        switch_.bridges().at("br0").flows->for_each_in_no_order([&](const flow::rule& r) {
            if (r.priority() == of) {
                r.count(packets, bytes, r.settings().created);
            }
        });
    };
    using priorities = std::vector<std::int64_t>;
    const auto top = [this](std::string_view parameters = "{}") {
        priorities out;
        const auto answer = ask("flow.top", parameters);
        for (const auto& f : answer.at("flows").as_array()) {
            out.push_back(f.at("priority").to_number<std::int64_t>());
        }
        return out;
    };
    count(9, 1000, 1000);
    const auto first = ask("flow.top");
    EXPECT_EQ(first.at("interval_us"), 0);
    EXPECT_EQ(first.at("flows").as_array().size(), 0U);
    count(9, 10, 9000);
    count(8, 30, 5000);
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
    const auto second = ask("flow.top");
    const auto interval = second.at("interval_us").to_number<double>() / 1e6;
    EXPECT_GE(interval, 0.01);
    EXPECT_EQ(second.at("total"), 2);
    ASSERT_EQ(second.at("flows").as_array().size(), 2U);
    EXPECT_EQ(second.at("flows").at(0).at("match"), "udp");
    EXPECT_DOUBLE_EQ(second.at("flows").at(0).at("packets_per_second").as_double(), 30 / interval);
    EXPECT_DOUBLE_EQ(second.at("flows").at(1).at("bytes_per_second").as_double(), 9000 / interval);
    EXPECT_EQ(second.at("flows").at(1).at("packets"), 1010) << "of all time";
    EXPECT_EQ(top(), priorities{});
    count(9, 10, 9000);
    count(8, 30, 5000);
    EXPECT_EQ(top(R"({"by":"bytes"})"), (priorities{9, 8}));
    count(9, 1, 1);
    count(8, 2, 2);
    count(7, 3, 3);
    EXPECT_EQ(top(R"({"count":2})"), (priorities{7, 8}));
    EXPECT_EQ(top(), priorities{}) << "the third was not shown, but is known";
    // What a changed one carried before is not counted, what a new one carried is.
    std::this_thread::sleep_for(std::chrono::milliseconds{1100}); // another second of its age
    (void)top();
    give("flow.mod", "tcp,actions=2");
    EXPECT_EQ(top(), priorities{});
    count(9, 1, 1);
    EXPECT_EQ(top(), priorities{9});
    give("flow.add", "priority=6,icmp,actions=1");
    count(6, 5, 5);
    EXPECT_EQ(top(), priorities{6});
    give("flow.del", "tcp");
    count(8, 1, 1);
    EXPECT_EQ(top(), priorities{8});
}

TEST_F(flows_of_the_service, that_carry_most_are_told_to_so_many_connections)
{
    const auto ask_as = [this](client_id who) {
        return service_.rpc().answer(R"({"jsonrpc":"2.0","id":1,"method":"flow.top"})", who);
    };
    for (client_id who = 1; who <= 8; ++who) {
        EXPECT_THAT(ask_as(who), HasSubstr("interval_us"));
    }
    EXPECT_THAT(ask_as(9), HasSubstr("no more may"));
    EXPECT_THAT(ask_as(8), HasSubstr("interval_us"));
    service_.rpc().left(3);
    EXPECT_THAT(ask_as(9), HasSubstr("\"interval_us\":0"));
    EXPECT_THAT(ask_as(9), testing::Not(HasSubstr("\"interval_us\":0")));
}

TEST_F(flows_of_the_service, are_the_only_bridges_or_a_named_ones)
{
    ask("bridge.add", R"({"name":"br1"})");
    EXPECT_THAT(refusal("flow.add", "actions=1"), HasSubstr("say which with --bridge"));
    EXPECT_EQ(give("flow.add", "actions=1", R"(,"bridge":"br1")").at("added"), 1);
    EXPECT_THAT(refusal("flow.add", "actions=1", R"(,"bridge":"no")"), HasSubstr("no bridge no"));
}

TEST_F(flows_of_the_service, end_when_their_time_is_up)
{
    give("flow.add", "hard_timeout=1,tcp,actions=1\nidle_timeout=1,udp,actions=1\n"
                     "hard_timeout=100,arp,actions=1\n");
    switch_.look_at_flows();
    EXPECT_EQ(listed().size(), 4U);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (listed().size() > 2 && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
        switch_.look_at_flows();
    }
    EXPECT_EQ(listed(), (names{"0 32768 arp output:1", std::string{normal}}));
}

TEST_F(flows_of_the_service, do_not_end_while_they_are_used)
{
    give("flow.add", "idle_timeout=1,udp,actions=1");
    flow_spec all;
    all.table = flow::all_tables;
    for (int i = 0; i < 50; ++i) { // over two seconds' ends
        const flow::instant then = std::chrono::seconds{switch_.engine().now()};
        std::this_thread::sleep_for(std::chrono::milliseconds{50}); // until it is brought home
        switch_.bridges().at("br0").flows->for_each(
            all, [&](const flow::rule& r) { r.count(1, 60, then); });
        switch_.look_at_flows();
        ASSERT_EQ(listed().size(), 2U) << "after " << i << " packets";
    }
}

TEST_F(flows_of_the_service, of_a_bundle_do_not_come_to_another_bridge_of_the_same_name)
{
    give("flow.add", "tcp,actions=1");
    const auto id = json::serialize(ask("flow.begin").at("bundle"));
    ask("bridge.del", R"({"name":"br0","with_ports":true})");
    ask("bridge.add", R"({"name":"br0"})");
    give("flow.add", "udp,actions=drop");
    EXPECT_THAT(why("flow.commit", R"({"bundle":)" + id + "}"), HasSubstr("somebody else"));
    EXPECT_EQ(listed(), (names{"0 32768 udp drop", std::string{normal}}));
}

TEST_F(flows_of_the_service, are_traced_to_their_outputs)
{
    give("flow.add", "priority=9,tcp,tp_dst=80,actions=mod_dl_dst:02:00:00:00:00:09,resubmit(,3)\n"
                     "table=3,priority=1,actions=output:b,push_vlan:0x8100,output:c\n");
    const auto traced =
        trace("a", "tcp,dl_src=02:00:00:00:00:01,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=80");
    EXPECT_EQ(outputs(traced), (names{"b", "c"}));
    EXPECT_EQ(traced.at("drops").as_array().size(), 0U);
    const auto& steps = traced.at("steps").as_array();
    EXPECT_EQ(steps.at(0).at("table"), 0);
    EXPECT_THAT(std::string{std::string_view{steps.at(0).at("rule").as_string()}},
                HasSubstr("tp_dst=80"));
    EXPECT_THAT(std::string{std::string_view{traced.at("outputs").at(1).at("flow").as_string()}},
                HasSubstr("dl_dst=02:00:00:00:00:09"));
    EXPECT_THAT(std::string{std::string_view{traced.at("outputs").at(0).at("frame").as_string()}},
                StartsWith("020000000009020000000001"
                           "0800"));
    EXPECT_THAT(std::string{std::string_view{traced.at("outputs").at(1).at("frame").as_string()}},
                StartsWith("020000000009020000000001"
                           "81000000"));
}

TEST_F(flows_of_the_service, are_traced_to_the_reason_of_a_drop)
{
    give("flow.add", "priority=9,tcp,actions=drop");
    EXPECT_EQ(trace("a", "tcp").at("drops").at(0).at("reason"), "flow_drop");
    ask("flow.del");
    const auto traced = trace("a", "udp");
    EXPECT_EQ(traced.at("drops").at(0).at("reason"), "flow_miss");
    EXPECT_EQ(traced.at("steps").at(0).at("rule"), nullptr);
}

TEST_F(flows_of_the_service, are_traced_through_the_states_of_connections)
{
    give("flow.add", "priority=9,ip,actions=set_field:7->reg0,ct(table=1,zone=5),output:c\n"
                     "table=1,ip,ct_state=+trk+new,ct_zone=5,reg0=7,actions=ct(commit,table=2)\n"
                     "table=1,ct_state=+est,actions=output:b\n"
                     "table=2,ct_state=+inv,actions=drop\n"
                     "table=2,priority=1,ct_state=+trk,actions=output:b,output:c\n");
    EXPECT_EQ(outputs(trace("a", "tcp", "est|rpl")), (names{"b", "c"}));
    EXPECT_THAT(outputs(trace("a", "tcp")), testing::UnorderedElementsAre("b", "c", "c"));
    const auto traced = trace("a", "tcp", "new,inv");
    EXPECT_EQ(outputs(traced), names{"c"});
    EXPECT_EQ(traced.at("drops").at(0).at("reason"), "flow_drop");
    std::vector<std::string> passes;
    for (const auto& step : traced.at("steps").as_array()) {
        if (const auto* const table = step.as_object().if_contains("goes_on")) {
            passes.push_back(std::to_string(table->to_number<int>()) + " " +
                             std::string{std::string_view{step.at("flow").as_string()}});
        }
    }
    ASSERT_EQ(passes.size(), 2U);
    EXPECT_THAT(passes[0], StartsWith("1 "));
    EXPECT_THAT(passes[0], HasSubstr("ct_state=new|trk,ct_zone=5"));
    EXPECT_THAT(passes[0], HasSubstr("reg0=0x7"));
    EXPECT_THAT(passes[1], StartsWith("2 "));
    EXPECT_THAT(passes[1], HasSubstr("ct_state=inv|trk"));
    EXPECT_THAT(why("trace", R"({"port":"a","packet":"tcp","ct_next":"est,old"})"),
                HasSubstr("ct_state has no flag \"old\""));
}

TEST_F(flows_of_the_service, are_traced_without_learning_or_counting)
{
    ask("mac.add", R"({"mac":"02:00:00:00:00:0b","port":"b"})");
    EXPECT_EQ(outputs(trace("a", "tcp,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:0b")),
              names{"b"});
    EXPECT_EQ(outputs(trace("a", "arp,dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff")),
              (names{"b", "c"}));
    EXPECT_EQ(ask("mac.list").at("total"), 1);
    EXPECT_EQ(ask("flow.list").at("flows").at(0).at("packets"), 0);
}

// Packets do not meet the only rule of a bridge: it is the ports that count them.
TEST_F(flows_of_the_service, that_only_switch_have_carried_what_the_ports_sent)
{
    const auto carried = [this](const char* what) {
        return ask("flow.list", R"({"bridge":"br0"})").at("flows").at(0).at(what);
    };
    const auto send = [this](const char* port, std::uint64_t packets) {
        const auto before = switch_.totals(switch_.ports().at(port)).rx_packets;
        fakes_.to_carry[port] = packets;
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
        while (switch_.totals(switch_.ports().at(port)).rx_packets < before + packets &&
               std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
    };
    EXPECT_EQ(carried("packets"), 0);
    send("a", 7);
    send("b", 3);
    EXPECT_EQ(carried("packets"), 10);
    EXPECT_EQ(carried("bytes"), 1000);
    // One that goes takes nothing along, and another bridge's port is none of this one's.
    send("c", 5);
    ask("port.del", R"({"name":"c"})");
    ask("bridge.add", R"({"name":"br1"})");
    ask("port.add", R"({"name":"c","bridge":"br1","type":"nic","device":"dc"})");
    send("c", 100);
    EXPECT_EQ(carried("packets"), 15);
    // What no rule would have met is not counted.
    fakes_.to_count["a"] = 1000;
    ask("port.set", R"({"name":"b","admin":"down"})");
    send("b", 50);
    EXPECT_EQ(carried("packets"), 15);
    ask("port.set", R"({"name":"b","admin":"up"})");
    send("b", 1);
    EXPECT_EQ(carried("packets"), 16);
    // Nor while there are other rules, which packets do meet.
    ask("flow.add", R"({"flows":"priority=5,tcp,actions=1","bridge":"br0"})");
    send("a", 1000);
    ask("flow.del", R"({"flows":"tcp","bridge":"br0"})");
    EXPECT_EQ(live(), nullptr);
    send("a", 2);
    EXPECT_EQ(carried("packets"), 18);
    // Its successor inherits them, or begins anew.
    send("a", 2);
    ask("flow.mod", R"({"flows":"cookie=9,actions=NORMAL","bridge":"br0"})");
    send("a", 1);
    switch_.look_at_flows();
    EXPECT_EQ(carried("packets"), 21);
    EXPECT_EQ(carried("cookie"), 9);
    ask("flow.add", R"({"flows":"priority=0,actions=NORMAL","bridge":"br0"})");
    send("a", 4);
    EXPECT_EQ(carried("packets"), 4);
}

TEST_F(flows_of_the_service, are_traced_to_the_end_but_not_shown_without_one)
{
    std::string many = "table=1,actions=1";
    for (int i = 0; i < 999; ++i) {
        many += ",1";
    }
    many += "\npriority=9,actions=resubmit(,1)";
    for (int i = 0; i < 99; ++i) {
        many += ",resubmit(,1)";
    }
    give("flow.add", many);
    const auto traced = trace("a", "udp");
    const auto& steps = traced.at("steps").as_array();
    EXPECT_LT(steps.size(), 20'010U);
    EXPECT_THAT(std::string{std::string_view{steps.back().at("note").as_string()}},
                HasSubstr("too long to be shown"));
}

TEST_F(flows_of_the_service, are_not_traced_with_what_is_no_frame)
{
    EXPECT_THAT(why("trace", R"({"port":"x","packet":"tcp"})"), HasSubstr("no port x"));
    EXPECT_THAT(why("trace", R"({"port":"a","packet":"0102"})"), HasSubstr("14 bytes or more"));
    EXPECT_THAT(why("trace", R"({"port":"a","packet":"nosuch"})"), HasSubstr("nosuch"));
}

TEST_F(flows_of_the_service, may_name_a_local_port_that_there_is_not)
{
    give("flow.add", "priority=9,tcp,actions=LOCAL\npriority=9,in_port=LOCAL,udp,actions=a\n");
    EXPECT_EQ(listed("tcp"), names{"0 9 tcp LOCAL"});
    EXPECT_EQ(listed("udp"), names{"0 9 udp,in_port=LOCAL output:1"});
    const auto traced = trace("a", "tcp");
    EXPECT_EQ(outputs(traced), names{});
    EXPECT_EQ(traced.at("drops").at(0).at("reason"), "flow_drop");
    EXPECT_THAT(json::serialize(traced.at("steps")),
                HasSubstr("this bridge has no LOCAL port; nothing goes there"));
}

TEST_F(flows_of_the_service, do_not_go_to_a_port_that_went)
{
    give("flow.add", "priority=9,tcp,actions=output:b,output:c");
    ask("port.del", R"({"name":"b"})");
    EXPECT_EQ(outputs(trace("a", "tcp")), names{"c"});
    ask("port.add", R"({"name":"b2","bridge":"br0","type":"nic","device":"db","number":2})");
    EXPECT_EQ(outputs(trace("a", "tcp")), (names{"b2", "c"})) << "the number is the port";
}

TEST_F(flows_of_the_service, have_caches_that_tell_of_themselves)
{
    const auto stats = ask("cache.stats");
    ASSERT_EQ(stats.at("workers").as_array().size(), switch_.engine().worker_count());
    for (const char* const member : {"entries", "hits", "misses", "stale", "evictions"}) {
        EXPECT_TRUE(stats.at("workers").at(0).as_object().contains(member)) << member;
    }
}

} // namespace
} // namespace strait::control
