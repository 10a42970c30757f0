// SPDX-License-Identifier: BSD-3-Clause
// Options of Geneve through the control service: what may come and go, and flows that name them.
#include "service_fixture.hh"

#include <gmock/gmock.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

class options_of_the_service : public testing_support::methods_of_the_service {
protected:
    options_of_the_service()
    {
        ask("bridge.add", R"({"name":"br0"})");
        for (const char* const name : {"a", "b"}) {
            ask("port.add", R"({"name":")" + std::string{name} +
                                R"(","bridge":"br0","type":"nic","device":"d)" + name + R"("})");
        }
    }
    std::string map(std::string_view verb, std::string_view options, std::string_view more = "")
    {
        return why("tlv-map." + std::string{verb},
                   R"({"options":")" + std::string{options} + '"' + std::string{more} + "}");
    }
    std::string flows(std::string_view text)
    {
        return why("flow.add", R"({"flows":")" + std::string{text} + R"("})");
    }
    std::string list() { return json::serialize(ask("tlv-map.list").at("options")); }
    static constexpr std::string_view ovns = "{class=0x102,type=0x80,len=4}->tun_metadata0";
};

TEST_F(options_of_the_service, are_added_listed_and_removed)
{
    EXPECT_EQ(list(), "[]");
    EXPECT_EQ(map("add", std::string{ovns} + ",{class=1,type=2,len=20}->tun_metadata9"),
              R"(done: {"added":2})");
    EXPECT_EQ(list(),
              R"([{"field":"tun_metadata0","class":258,"type":128,"length":4,"references":0},)"
              R"({"field":"tun_metadata9","class":1,"type":2,"length":20,"references":0}])");
    EXPECT_EQ(ask("tlv-map.list").at("room"), 64 - 8 - 24);
    EXPECT_EQ(map("del", "tun_metadata9"), R"(done: {"removed":1})");
    EXPECT_EQ(map("del", ovns), R"(done: {"removed":1})");
    EXPECT_EQ(list(), "[]");
    map("add", std::string{ovns} + ",{class=1,type=2,len=20}->tun_metadata9");
    EXPECT_EQ(ask("tlv-map.del").at("removed"), 2);
}

TEST_F(options_of_the_service, are_each_one_thing)
{
    map("add", ovns);
    EXPECT_EQ(map("add", "{class=1,type=2,len=8}->tun_metadata1,"
                         "{class=1,type=2,len=4}->tun_metadata2"),
              "this option is known already: {class=0x1,type=0x2,len=8}->tun_metadata1");
    EXPECT_THAT(list(), Not(HasSubstr("tun_metadata1"))) << "all or none";
    EXPECT_EQ(map("add", "{class=1,type=2,len=8}->tun_metadata0"),
              "tun_metadata0 is {class=0x102,type=0x80,len=4}->tun_metadata0 already; remove that "
              "first: tlv-map del tun_metadata0");
    EXPECT_EQ(map("add", "{class=1,type=2,len=60}->tun_metadata1"),
              "{class=0x1,type=0x2,len=60}->tun_metadata1 has no room: flows have 64 bytes for all "
              "options of a bridge, 8 or a multiple of them for each, of which 56 are left");
    EXPECT_EQ(map("add", "{class=1,type=2,len=5}->tun_metadata1"),
              "column 21: \"5\" is no length of an option; it must be a multiple of 4, from 4 to "
              "124");
    EXPECT_EQ(map("del", "tun_metadata3"), "bridge br0 knows no tun_metadata3");
    EXPECT_EQ(map("del", "tun_metadata3", R"(,"if_exists":true)"), R"(done: {"removed":0})");
    EXPECT_EQ(map("del", "{class=1,type=2,len=4}->tun_metadata0"),
              "tun_metadata0 is another option, {class=0x102,type=0x80,len=4}->tun_metadata0");
    EXPECT_EQ(map("add", ovns, R"(,"bridge":"br1")"), "there is no bridge br1");
}

TEST_F(options_of_the_service, stay_as_long_as_flows_or_groups_name_them)
{
    EXPECT_THAT(flows("tun_metadata0=5,actions=drop"), HasSubstr("is no option of Geneve"));
    map("add", ovns);
    for (const auto* flow :
         {"tun_metadata0=5,actions=drop", "tun_metadata0,actions=drop",
          "actions=set_field:5->tun_metadata0,2", "actions=delete_field:tun_metadata0,2",
          "actions=clone(move:tun_metadata0[0..7]->reg0[0..7],2)", "actions=push:tun_metadata0[]",
          "actions=move:reg0[]->tun_metadata0[]", "actions=pop:tun_metadata0[]",
          "actions=write_actions(set_field:5->tun_metadata0)",
          "actions=output:tun_metadata0[0..15]",
          "actions=check_pkt_larger(100)->tun_metadata0[0],2",
          "ip,actions=ct(zone=tun_metadata0[0..15])"}) {
        EXPECT_THAT(flows(flow), HasSubstr(R"("added":1)")) << flow;
        EXPECT_EQ(map("del", "tun_metadata0"),
                  "tun_metadata0 is in 1 flow or group's bucket; remove these first")
            << flow;
        EXPECT_THAT(list(), HasSubstr(R"("references":1)")) << flow;
        ask("flow.del");
    }
    EXPECT_THAT(
        why("group.add", R"({"groups":"group_id=1,type=all,bucket=set_field:5->tun_metadata0,2"})"),
        HasSubstr(R"("added":1)"));
    EXPECT_THAT(map("del", "tun_metadata0"), HasSubstr("is in 1 flow or group's bucket"));
    EXPECT_THAT(json::serialize(ask("group.list")),
                HasSubstr("actions=set_field:0x5->tun_metadata0,output:2"));
    ask("group.del");
    EXPECT_EQ(map("del", "tun_metadata0"), R"(done: {"removed":1})");
}

TEST_F(options_of_the_service, are_not_taken_away_from_flows_that_are_on_their_way)
{
    map("add", ovns);
    const auto bundle = std::to_string(ask("flow.begin").at("bundle").as_int64());
    ask("flow.put", R"({"bundle":)" + bundle + R"(,"flows":"tun_metadata0=5,actions=drop"})");
    map("add", "{class=1,type=2,len=4}->tun_metadata1"); // is no harm
    map("del", "tun_metadata0");
    EXPECT_THAT(why("flow.commit", R"({"bundle":)" + bundle + "}"),
                HasSubstr("changed by somebody else meanwhile"));
    const auto second = std::to_string(ask("flow.begin").at("bundle").as_int64());
    ask("flow.put", R"({"bundle":)" + second + R"(,"flows":"tun_metadata1=5,actions=drop"})");
    map("add", ovns);
    EXPECT_THAT(why("flow.commit", R"({"bundle":)" + second + "}"), HasSubstr(R"("added":1)"));
}

TEST_F(options_of_the_service, are_written_in_lists_and_traces)
{
    map("add", std::string{ovns} + ",{class=1,type=2,len=20}->tun_metadata9");
    flows("table=0,in_port=a,actions=set_field:0x12->tun_metadata0,"
          "move:tun_metadata0[0..7]->tun_metadata9[128..135],resubmit(,1)\\n"
          "table=1,tun_metadata0=0x12,tun_metadata9,actions=2");
    for (const auto* named : {"{}", R"({"names":true})"}) {
        const std::string all = json::serialize(ask("flow.list", named));
        EXPECT_THAT(all, HasSubstr("set_field:0x12->tun_metadata0,"
                                   "move:NXM_NX_TUN_METADATA0[0..7]->"
                                   "NXM_NX_TUN_METADATA9[128..135]"));
        EXPECT_THAT(all, HasSubstr(R"("match":"tun_metadata0=0x12,tun_metadata9")"));
    }
    const auto traced = ask("trace", R"({"port":"a","packet":"tcp"})");
    ASSERT_EQ(traced.at("outputs").as_array().size(), 1U) << json::serialize(traced);
    EXPECT_EQ(traced.at("outputs").at(0).at("port"), "b");
    EXPECT_THAT(json::serialize(traced.at("steps")),
                HasSubstr("tun_metadata0=0x12,tun_metadata9=0x1200000000000000000000000000000000"));
    EXPECT_THAT(why("flow.del", R"({"flows":"tun_metadata0"})"), HasSubstr(R"("removed":1)"));
}

TEST_F(options_of_the_service, belong_to_their_bridge)
{
    ask("bridge.add", R"({"name":"br1"})");
    EXPECT_EQ(map("add", ovns, R"(,"bridge":"br0")"), R"(done: {"added":1})");
    EXPECT_EQ(json::serialize(ask("tlv-map.list", R"({"bridge":"br1"})").at("options")), "[]");
    EXPECT_THAT(why("flow.add", R"({"bridge":"br1","flows":"tun_metadata0=5,actions=drop"})"),
                HasSubstr("is no option of Geneve"));
    EXPECT_EQ(map("add", "{class=9,type=9,len=64}->tun_metadata0", R"(,"bridge":"br1")"),
              R"(done: {"added":1})");
    const auto& config = *switch_.bridges().at("br1").config;
    EXPECT_EQ(config.options->at(0)->option_class, 9);
    EXPECT_EQ(switch_.engine().current().bridge(config.index)->options, config.options);
}

} // namespace
} // namespace strait::control
