// SPDX-License-Identifier: BSD-3-Clause
// Groups and meters through the control service: changes, what goes with them, lists and traces.
#include "service_fixture.hh"

#include "control/bridge_flows.hh"

#include "tests/soak.hh"
#include "tests/unit/sanitizers.hh"

#include <gmock/gmock.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

class groups_of_the_service : public testing_support::methods_of_the_service {
protected:
    groups_of_the_service()
    {
        ask("bridge.add", R"({"name":"br0"})");
        for (const char* const name : {"a", "b", "c"}) {
            fakes_.links[name] = true;
            ask("port.add", R"({"name":")" + std::string{name} +
                                R"(","bridge":"br0","type":"nic","device":"d)" + name + R"("})");
        }
        switch_.look_at_links();
    }

    // Of text under the name that the method has it by.
    json::value give(std::string_view method, std::string_view text, std::string_view more = "")
    {
        const std::string name = method.starts_with("group")   ? "groups"
                                 : method.starts_with("meter") ? "meters"
                                                               : "flows";
        return ask(method, R"({")" + name + R"(":)" + json::serialize(json::value(text)) +
                               std::string{more} + "}");
    }
    std::string refusal(std::string_view method, std::string_view text, std::string_view more = "")
    {
        const auto answer = give(method, text, more);
        const auto* const why = answer.as_object().if_contains("message");
        return why == nullptr ? "done" : std::string{std::string_view{why->as_string()}};
    }
    std::vector<std::string> texts(std::string_view of)
    {
        std::vector<std::string> out;
        const std::string list = std::string{of} + "s";
        const auto answer = ask(std::string{of} + ".list");
        for (const auto& g : answer.at(list).as_array()) {
            out.emplace_back(std::string_view{g.at("text").as_string()});
        }
        return out;
    }
    std::size_t flows() { return ask("flow.list").at("flows").as_array().size(); }
    json::object trace(std::string_view port, std::string_view packet)
    {
        return ask("trace", R"({"port":")" + std::string{port} + R"(","packet":")" +
                                std::string{packet} + R"("})")
            .as_object();
    }
    std::vector<std::string> outputs(std::string_view packet = "tcp")
    {
        std::vector<std::string> out;
        const auto traced = trace("a", packet);
        for (const auto& o : traced.at("outputs").as_array()) {
            out.emplace_back(std::string_view{o.at("port").as_string()});
        }
        return out;
    }

    using names = std::vector<std::string>;
};

TEST_F(groups_of_the_service, are_added_listed_changed_and_removed)
{
    EXPECT_EQ(
        give("group.add", "group_id=7,type=all,bucket=1,bucket=2\ngroup_id=3,type=all").at("added"),
        2);
    EXPECT_EQ(texts("group"), (names{"group_id=3,type=all",
                                     "group_id=7,type=all,bucket=bucket_id:0,actions=output:1,"
                                     "bucket=bucket_id:1,actions=output:2"}));
    EXPECT_THAT(refusal("group.add", "group_id=7,type=all"),
                HasSubstr("group 7 exists already; group mod changes it"));
    EXPECT_EQ(give("group.mod", "group_id=3,type=indirect,bucket=2").at("modified"), 1);
    EXPECT_THAT(refusal("group.mod", "group_id=4,type=all"),
                HasSubstr("there is no group 4; group mod --may-create makes it"));
    EXPECT_EQ(give("group.mod", "group_id=4,type=all", R"(,"may_create":true)").at("added"), 1);
    EXPECT_EQ(give("group.mod", "group_id=4,type=all", R"(,"may_create":true)").at("modified"), 1);
    EXPECT_EQ(give("group.del", "group_id=4").at("removed"), 1);
    EXPECT_EQ(give("group.del", "group_id=4").at("removed"), 0);
    EXPECT_EQ(texts("group").size(), 2U);
    EXPECT_EQ(ask("group.list", R"({"group":3})").at("groups").as_array().size(), 1U);
    EXPECT_EQ(ask("group.del").at("removed"), 2);
    EXPECT_EQ(texts("group"), names{});
}

TEST_F(groups_of_the_service, are_changed_all_or_none)
{
    EXPECT_THAT(
        refusal("group.add", "group_id=1,type=all\n\ngroup_id=1,type=all", R"(,"file":"g.txt")"),
        HasSubstr("g.txt:3: group 1 exists already"));
    EXPECT_EQ(texts("group"), names{});
    EXPECT_THAT(refusal("group.add", "group_id=1,type=all\ngroup_id=2,type=nosuch"),
                HasSubstr("groups:2:17: "));
    EXPECT_EQ(texts("group"), names{});
}

TEST_F(groups_of_the_service, get_and_lose_buckets)
{
    give("group.add", "group_id=1,type=all,bucket=bucket_id:5,1");
    give("group.insert-buckets", "group_id=1,command_bucket_id=first,bucket=bucket_id:2,2");
    give("group.insert-buckets", "group_id=1,command_bucket_id=last,bucket=3");
    give("group.insert-buckets", "group_id=1,command_bucket_id=5,bucket=bucket_id:9,drop");
    EXPECT_EQ(texts("group").front(),
              "group_id=1,type=all,bucket=bucket_id:2,actions=output:2,bucket=bucket_id:9,"
              "actions=drop,bucket=bucket_id:5,actions=output:1,bucket=bucket_id:6,actions="
              "output:3");
    EXPECT_THAT(
        refusal("group.insert-buckets", "group_id=1,command_bucket_id=last,bucket=bucket_id:9,1"),
        HasSubstr("two buckets have the bucket_id 9"));
    EXPECT_THAT(refusal("group.insert-buckets", "group_id=1,command_bucket_id=4,bucket=1"),
                HasSubstr("group 1 has no bucket 4"));
    EXPECT_THAT(refusal("group.remove-buckets", "group_id=2,command_bucket_id=first"),
                HasSubstr("there is no group 2"));
    give("group.remove-buckets", "group_id=1,command_bucket_id=first");
    give("group.remove-buckets", "group_id=1,command_bucket_id=5");
    give("group.remove-buckets", "group_id=1,command_bucket_id=last");
    EXPECT_EQ(texts("group").front(), "group_id=1,type=all,bucket=bucket_id:9,actions=drop");
    give("group.remove-buckets", "group_id=1,command_bucket_id=all");
    EXPECT_EQ(texts("group").front(), "group_id=1,type=all");
    EXPECT_EQ(give("group.remove-buckets", "group_id=1,command_bucket_id=last").at("modified"), 1);
    give("group.add", "group_id=2,type=indirect,bucket=1");
    EXPECT_THAT(refusal("group.remove-buckets", "group_id=2,command_bucket_id=all"),
                HasSubstr("has one bucket, not 0"));
    EXPECT_THAT(
        refusal("group.insert-buckets", "group_id=2,command_bucket_id=last,bucket=weight:2,1"),
        HasSubstr("group 2: "));
}

TEST_F(groups_of_the_service, must_be_there_for_flows_that_name_them)
{
    for (const char* const actions : {"group:4", "clone(group:4)", "write_actions(group:4)"}) {
        EXPECT_THAT(refusal("flow.add", std::string{"actions="} + actions),
                    HasSubstr("there is no group 4; make it first: group add"))
            << actions;
    }
    EXPECT_THAT(refusal("flow.replace", "actions=group:4"), HasSubstr("there is no group 4"));
    give("group.add", "group_id=4,type=all");
    EXPECT_EQ(give("flow.replace", "actions=group:4").at("added"), 1);
}

TEST_F(groups_of_the_service, take_their_flows_with_them)
{
    give("group.add", "group_id=4,type=all\ngroup_id=5,type=all");
    give("flow.add", "priority=1,actions=group:4\npriority=2,actions=clone(group:4),1\n"
                     "priority=3,actions=write_actions(group:4)\npriority=4,actions=group:5\n");
    const auto listed = ask("group.list").at("groups").as_array();
    EXPECT_EQ(listed.at(0).at("references"), 3);
    EXPECT_EQ(listed.at(1).at("references"), 1);
    EXPECT_EQ(ask("flow.list", R"({"filter":"out_group=4"})").at("total"), 3);
    const auto done = give("group.del", "group_id=4");
    EXPECT_EQ(done.at("flows_removed"), 3);
    EXPECT_EQ(flows(), 2U) << "the one that switches, and that of the other group";
    EXPECT_EQ(ask("group.del").at("flows_removed"), 1);
}

TEST_F(groups_of_the_service, do_not_lead_into_themselves)
{
    EXPECT_THAT(refusal("group.add", "group_id=1,type=all,bucket=group:1"),
                HasSubstr("group 1: its buckets lead back into it"));
    EXPECT_THAT(refusal("group.add", "group_id=1,type=all,bucket=group:2"),
                HasSubstr("group 1: there is no group 2"));
    give("group.add", "group_id=1,type=all\ngroup_id=2,type=all,bucket=group:1\n"
                      "group_id=3,type=all,bucket=group:2");
    EXPECT_THAT(refusal("group.mod", "group_id=1,type=all,bucket=group:3"),
                HasSubstr("group 1: its buckets lead back into it"));
    EXPECT_THAT(refusal("group.insert-buckets", "group_id=1,command_bucket_id=last,bucket=group:2"),
                HasSubstr("lead back"));
    EXPECT_THAT(refusal("group.del", "group_id=1"),
                HasSubstr("group 2 leads into group 1; change or remove that first"));
    EXPECT_EQ(ask("group.del").at("removed"), 3) << "together they may go";
    EXPECT_EQ(refusal("group.add", "group_id=1,type=all,bucket=group:2\ngroup_id=2,type=all"),
              "done")
        << "the other comes later";
    EXPECT_THAT(refusal("group.add", "group_id=3,type=all,bucket=group:4\n"
                                     "group_id=4,type=all,bucket=group:3"),
                HasSubstr("lead back"));
}

TEST_F(groups_of_the_service, lead_into_others_so_deep_and_no_deeper)
{
    give("group.add", "group_id=1,type=all,bucket=2");
    for (int i = 2; i <= 16; ++i) {
        const std::string id = std::to_string(i);
        EXPECT_EQ(refusal("group.add",
                          "group_id=" + id + ",type=all,bucket=group:" + std::to_string(i - 1)),
                  "done");
    }
    EXPECT_THAT(refusal("group.add", "group_id=17,type=all,bucket=group:16"),
                HasSubstr("more than 16 groups"));
    give("flow.add", "priority=1,actions=group:16");
    EXPECT_EQ(outputs(), names{"b"});
}

TEST_F(groups_of_the_service, of_type_all_do_all_their_buckets_to_copies)
{
    give("group.add", "group_id=1,type=all,bucket=mod_dl_dst:00:00:00:00:00:07,2,bucket=3");
    give("flow.add", "priority=1,actions=group:1,3");
    const auto traced = trace("a", "tcp,dl_dst=00:00:00:00:00:01");
    std::vector<std::string> seen;
    for (const auto& o : traced.at("outputs").as_array()) {
        seen.push_back(std::string{std::string_view{o.at("port").as_string()}} + " " +
                       std::string{std::string_view{o.at("frame").as_string()}.substr(0, 12)});
    }
    EXPECT_THAT(
        seen, testing::UnorderedElementsAre("b 000000000007", "c 000000000001", "c 000000000001"));
    EXPECT_EQ(ask("group.list").at("groups").at(0).at("packets"), 0) << "a trace counts nothing";
}

TEST_F(groups_of_the_service, of_type_ff_follow_links_without_a_change_of_flows)
{
    give("group.add",
         "group_id=1,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:3,output:3");
    give("flow.add", "priority=1,actions=group:1");
    EXPECT_EQ(outputs(), names{"b"});
    fakes_.links["b"] = false;
    switch_.look_at_links();
    EXPECT_EQ(outputs(), names{"c"});
    const auto choice = trace("a", "tcp").at("choices").at(0);
    EXPECT_EQ(choice.at("group"), 1);
    EXPECT_EQ(choice.at("bucket"), 1);
    ask("port.set", R"({"name":"c","admin":"down"})");
    const auto traced = trace("a", "tcp");
    EXPECT_TRUE(traced.at("choices").at(0).at("bucket").is_null());
    EXPECT_EQ(traced.at("drops").at(0).at("reason"), "no_live_bucket");
    fakes_.links["b"] = true;
    switch_.look_at_links();
    EXPECT_EQ(outputs(), names{"b"});
    const auto live = ask("group.list").at("groups").at(0).at("buckets");
    EXPECT_EQ(live.at(0).at("live"), true);
    EXPECT_EQ(live.at(1).at("live"), false);
}

TEST_F(groups_of_the_service, of_type_select_spread_packets)
{
    if (test::thread_sanitizer && !test::soaking()) {
        GTEST_SKIP() << "one thread, and many traces: ThreadSanitizer has it with --soak";
    }
    give("group.add", "group_id=1,type=select,bucket=2,bucket=3");
    give("flow.add", "priority=1,tcp,actions=group:1");
    std::map<std::string, int> seen;
    for (int port = 1; port <= 64; ++port) {
        const auto out = outputs("tcp,tp_src=" + std::to_string(port));
        ASSERT_EQ(out.size(), 1U);
        ++seen[out.front()];
    }
    EXPECT_GT(seen["b"], 16);
    EXPECT_GT(seen["c"], 16);
    const auto traced = trace("a", "tcp,tp_src=1");
    EXPECT_THAT(std::string{std::string_view{traced.at("choices").at(0).at("why").as_string()}},
                HasSubstr("hash leads to slot"));
}

TEST_F(groups_of_the_service, stand_in_for_an_output_in_an_action_set)
{
    give("group.add", "group_id=1,type=indirect,bucket=3");
    give("flow.add", "priority=1,actions=write_actions(output:2,group:1)");
    EXPECT_EQ(outputs(), names{"c"});
}

TEST_F(groups_of_the_service, that_change_concern_flows_at_once)
{
    give("group.add", "group_id=1,type=indirect,bucket=3");
    give("flow.add", "priority=1,actions=group:1");
    const auto version = [this] {
        return switch_.bridges().at("br0").flows->live()->current.load()->version;
    };
    const auto before = version();
    give("group.mod", "group_id=1,type=indirect,bucket=2");
    const auto* const now = switch_.bridges().at("br0").flows->live()->current.load();
    EXPECT_NE(now->version, before);
    EXPECT_EQ(now->kept, 0U) << "what was cached does not hold any more";
    EXPECT_EQ(outputs(), names{"b"});
}

TEST_F(groups_of_the_service, and_meters_are_a_bridges_own)
{
    ask("bridge.add", R"({"name":"br1"})");
    give("group.add", "group_id=1,type=all", R"(,"bridge":"br0")");
    EXPECT_THAT(refusal("flow.add", "actions=group:1", R"(,"bridge":"br1")"),
                HasSubstr("there is no group 1"));
    EXPECT_THAT(refusal("group.add", "group_id=1,type=all"), HasSubstr("say which with --bridge"));
    EXPECT_EQ(refusal("group.add", "group_id=1,type=all", R"(,"bridge":"br1")"), "done");
}

TEST_F(groups_of_the_service, beside_meters_that_are_added_listed_changed_and_removed)
{
    EXPECT_EQ(give("meter.add", "meter=2,kbps,bands=type=drop,rate=100\n"
                                "meter=1,pktps,burst,bands=type=drop,rate=5,burst_size=2")
                  .at("added"),
              2);
    EXPECT_EQ(texts("meter"), (names{"meter=1,pktps,burst,bands=type=drop,rate=5,burst_size=2",
                                     "meter=2,kbps,bands=type=drop,rate=100"}));
    EXPECT_THAT(refusal("meter.add", "meter=2,kbps,bands=type=drop,rate=1"),
                HasSubstr("meter 2 exists already"));
    EXPECT_THAT(refusal("meter.mod", "meter=3,kbps,bands=type=drop,rate=1"),
                HasSubstr("there is no meter 3"));
    EXPECT_EQ(give("meter.mod", "meter=2,kbps,bands=type=drop,rate=1").at("modified"), 1);
    EXPECT_THAT(refusal("flow.add", "actions=meter:3,1"),
                HasSubstr("there is no meter 3; make it first: meter add"));
    give("flow.add", "priority=1,actions=meter:1,2\npriority=2,tcp,actions=meter:2,2");
    const auto listed = ask("meter.list").at("meters").as_array();
    EXPECT_EQ(listed.at(0).at("flows"), 1);
    EXPECT_EQ(listed.at(0).at("unit"), "pktps");
    EXPECT_EQ(listed.at(0).at("bands").at(0).at("burst_size"), 2);
    EXPECT_EQ(give("meter.del", "meter=1").at("flows_removed"), 1);
    EXPECT_EQ(give("meter.del", "meter=1").at("removed"), 0);
    EXPECT_EQ(flows(), 2U);
    EXPECT_EQ(ask("meter.del").at("flows_removed"), 1);
    EXPECT_EQ(texts("meter"), names{});
}

TEST_F(groups_of_the_service, beside_meters_that_a_trace_asks_and_leaves_as_they_are)
{
    give("meter.add", "meter=1,pktps,burst,bands=type=drop,rate=1,burst_size=1");
    give("flow.add", "priority=1,actions=meter:1,2");
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(outputs(), names{"b"});
    }
    const auto choice = trace("a", "tcp").at("choices").at(0);
    EXPECT_EQ(choice.at("meter"), 1);
    EXPECT_EQ(choice.at("passes"), true);
    EXPECT_EQ(ask("meter.list").at("meters").at(0).at("packets"), 0);
}

TEST_F(groups_of_the_service, beside_limits_of_ports)
{
    EXPECT_TRUE(ask("port.show", R"({"name":"a"})").at("ingress").is_null());
    auto shown = ask("port.set", R"({"name":"a","ingress_rate":1000,"egress_packet_rate":50})");
    EXPECT_EQ(shown.at("ingress").at("kbps"), 1000);
    EXPECT_EQ(shown.at("ingress").at("burst_kbit"), 525) << "room for one frame of any size";
    EXPECT_EQ(shown.at("egress").at("packets"), 50);
    EXPECT_EQ(shown.at("egress").at("kbps"), 0);
    const auto* const before = switch_.ports().at("a").config->ingress.get();
    shown = ask("port.set", R"({"name":"a","mtu":1400})");
    EXPECT_EQ(shown.at("ingress").at("kbps"), 1000);
    EXPECT_EQ(switch_.ports().at("a").config->ingress.get(), before) << "with its credit";
    shown = ask("port.set", R"({"name":"a","ingress_rate":0})");
    EXPECT_TRUE(shown.at("ingress").is_null());
    EXPECT_EQ(switch_.ports().at("a").config->ingress, nullptr) << "it costs nothing";
    shown = ask("port.add", R"({"name":"d","bridge":"br0","type":"nic","device":"dd",
                                "egress_rate":8,"egress_burst":4,"storm_multicast":9})");
    EXPECT_EQ(shown.at("egress").at("burst_kbit"), 4);
    EXPECT_EQ(shown.at("storm").at("multicast"), 9);
    EXPECT_EQ(shown.at("storm").at("broadcast"), 0);

    EXPECT_TRUE(ask("port.show", R"({"name":"a"})").at("storm").is_null());
    shown = ask("port.set", R"({"name":"a","storm_broadcast":1000})");
    const auto* const limits = switch_.ports().at("a").config->storm.get();
    shown = ask("port.set", R"({"name":"a","storm_broadcast":1000,"mtu":1500})");
    EXPECT_EQ(switch_.ports().at("a").config->storm.get(), limits) << "with its credit";
    shown = ask("port.set", R"({"name":"a","storm_broadcast":0})");
    EXPECT_TRUE(shown.at("storm").is_null());
    EXPECT_EQ(switch_.ports().at("a").config->storm, nullptr) << "it costs nothing";
}

} // namespace
} // namespace strait::control
