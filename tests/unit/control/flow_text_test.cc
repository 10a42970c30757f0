// SPDX-License-Identifier: BSD-3-Clause
// Flows as text: what is read, what is written, what is refused and how.
#include "control/flow_text.hh"

#include "tests/soak.hh"
#include "tests/unit/control/random_flows.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <variant>

namespace strait::control {
namespace {

using flow::field;
using flow::wide;
using testing::HasSubstr;

port_names two_ports()
{
    port_names names;
    names.add(1, "vm1");
    names.add(2, "up-link 0");
    return names;
}

flow_spec one(std::string_view text, flow_command command = flow_command::add)
{
    const auto flows = parse_flow(text, command, two_ports());
    EXPECT_TRUE(flows.has_value()) << text << "\n"
                                   << (flows.has_error() ? flows.error().message : "");
    if (flows.has_error()) {
        return {};
    }
    EXPECT_EQ(flows->size(), 1U) << text;
    return flows->front();
}

std::string wrong(std::string_view text, flow_command command = flow_command::add)
{
    const auto flows = parse_flow(text, command, two_ports());
    EXPECT_TRUE(flows.has_error()) << text;
    return flows.has_error() ? flows.error().message : "";
}

// What is written of what was read.
std::string again(std::string_view text)
{
    return format_flow(one(text));
}

TEST(flow_text, of_a_match_becomes_values_under_masks)
{
    const flow_spec f = one("priority=7,table=3,cookie=0x12,idle_timeout=5,hard_timeout=9,"
                            "importance=2,tcp,in_port=vm1,nw_dst=10.1.0.0/16,tp_dst=80,"
                            "dl_vlan=5,actions=drop");
    EXPECT_EQ(f.table, 3);
    EXPECT_EQ(f.priority, 7);
    EXPECT_EQ(f.cookie, 0x12U);
    EXPECT_EQ(f.idle_timeout, 5);
    EXPECT_EQ(f.hard_timeout, 9);
    EXPECT_EQ(f.importance, 2);
    EXPECT_TRUE(f.actions.empty());

    flow::match m;
    m.require(field::eth_type, wide{0x0800});
    m.require(field::nw_proto, wide{6});
    m.require(field::in_port, wide{1});
    m.require(field::nw_dst, wide{0x0a01'0000}, wide{0xffff'0000});
    m.require(field::tp_dst, wide{80});
    m.require(field::vlan_tci, wide{0x1005}, wide{0x1fff});
    EXPECT_TRUE(f.match == m);
}

TEST(flow_text, without_properties_has_defaults)
{
    const flow_spec f = one("actions=drop");
    EXPECT_EQ(f.table, 0);
    EXPECT_EQ(f.priority, 32768);
    EXPECT_FALSE(f.cookie.has_value());
    EXPECT_TRUE(f.match == flow::match{});
    EXPECT_EQ(one("tcp", flow_command::remove).table, flow::all_tables);
    EXPECT_EQ(one("table=255,actions=drop").table, 0);
}

TEST(flow_text, is_written_as_it_is_listed)
{
    EXPECT_EQ(again("actions=normal"), "actions=NORMAL");
    EXPECT_EQ(again("table=3 cookie=18,idle_timeout=5,send_flow_rem,check_overlap,importance=3,"
                    "ip actions=2"),
              "cookie=0x12, table=3, idle_timeout=5, send_flow_rem check_overlap importance=3, "
              "ip actions=output:2");
    EXPECT_EQ(again("priority=0 actions=drop"), "priority=0 actions=drop");
    EXPECT_EQ(again("actions=drop,"), "actions=drop");
    EXPECT_EQ(again("ip4 actions=drop"), "ip actions=drop");
}

TEST(flow_text, may_change_a_tag_that_an_action_before_made)
{
    EXPECT_TRUE(parse_flow("actions=load:0x9064->NXM_OF_VLAN_TCI[],set_field:0x1064->vlan_vid",
                           flow_command::add)
                    .has_value());
    EXPECT_THAT(wrong("dl_vlan=5,actions=load:0->NXM_OF_VLAN_TCI[],set_field:0x1064->vlan_vid"),
                HasSubstr("vlan_vid needs in the match a tag"));
}

TEST(flow_text, may_set_zeros_where_there_is_nothing_else)
{
    EXPECT_EQ(again("arp,actions=load:0->NXM_OF_ARP_OP[9],output:2"), "arp actions=output:2");
    EXPECT_THAT(wrong("arp,actions=load:1->NXM_OF_ARP_OP[9],output:2"), HasSubstr("too large"));
}

TEST(flow_text, names_ports_where_it_is_asked_to)
{
    const auto names = two_ports();
    const flow_spec f = one("in_port=1,actions=\"up-link 0\",output:vm1,resubmit(vm1,3),7,LOCAL");
    EXPECT_EQ(format_flow(f), "in_port=1 actions=output:2,output:1,resubmit(1,3),output:7,LOCAL");
    const std::string named = format_flow(f, &names);
    EXPECT_EQ(named, "in_port=vm1 actions=output:\"up-link 0\",output:vm1,resubmit(vm1,3),"
                     "output:7,LOCAL");
    EXPECT_TRUE(one(named) == f);
}

TEST(flow_text, with_a_range_of_ports_becomes_flows_with_masks)
{
    const auto flows = parse_flow("tcp,tp_dst=1000-1999,actions=drop", flow_command::add);
    ASSERT_TRUE(flows.has_value());
    std::string all;
    for (const auto& f : *flows) {
        all += format_match(f.match) + ' ';
    }
    EXPECT_EQ(all, "tcp,tp_dst=0x3e8/0xfff8 tcp,tp_dst=0x3f0/0xfff0 tcp,tp_dst=0x400/0xfe00 "
                   "tcp,tp_dst=0x600/0xff00 tcp,tp_dst=0x700/0xff80 tcp,tp_dst=0x780/0xffc0 "
                   "tcp,tp_dst=0x7c0/0xfff0 ");
    EXPECT_EQ(parse_flow("tcp,tp_src=1-65534,tp_dst=1-65534,actions=drop", flow_command::add)
                  .value()
                  .size(),
              900U);
    EXPECT_EQ(format_match(one("tcp,tp_dst=0-65535,actions=drop").match), "tcp");
    EXPECT_THAT(wrong("packet_length=1-65534,tcp,tp_src=1-65534,tp_dst=1-65534,actions=drop"),
                HasSubstr("27000 flows with masks; there may be 1024"));
    EXPECT_THAT(wrong("tcp,tp_dst=9-8,actions=drop"), HasSubstr("\"9-8\" ends before it begins"));
}

TEST(flow_text, of_removal_may_name_cookies_and_outputs)
{
    const flow_spec f =
        one("cookie=0x5/-1,out_port=vm1,out_group=3,table=4,ip", flow_command::remove);
    EXPECT_EQ(f.cookie_wanted, 5U);
    EXPECT_EQ(f.cookie_mask, ~std::uint64_t{0});
    EXPECT_EQ(f.out_port, 1);
    EXPECT_EQ(f.out_group, 3U);
    EXPECT_EQ(f.table, 4);
    const flow_spec changed = one("cookie=1/-1,cookie=2,actions=drop", flow_command::modify);
    EXPECT_EQ(changed.cookie_wanted, 1U);
    EXPECT_EQ(changed.cookie, 2U);
    EXPECT_EQ(one("cookie=0,actions=drop", flow_command::modify).cookie, 0U);
    EXPECT_FALSE(one("cookie=0,actions=drop").cookie.has_value());
}

TEST(flow_text, has_words_that_are_not_for_all_commands)
{
    EXPECT_THAT(wrong("ip", flow_command::add), HasSubstr("the actions are missing"));
    EXPECT_THAT(wrong("ip,actions=drop", flow_command::remove),
                HasSubstr("delete takes a match and no actions"));
    EXPECT_THAT(wrong("priority=5,ip", flow_command::remove),
                HasSubstr("priority is for add, modify and *_strict"));
    EXPECT_EQ(one("priority=5,ip", flow_command::remove_strict).priority, 5);
    EXPECT_THAT(wrong("cookie=5,ip", flow_command::list), HasSubstr("cookie=5/-1"));
    EXPECT_THAT(wrong("cookie=5/7,actions=drop"), HasSubstr("a cookie without a mask"));
    EXPECT_THAT(wrong("out_port=5,actions=drop"), HasSubstr("out_port is not for add"));
    EXPECT_THAT(wrong("idle_timeout=5", flow_command::list),
                HasSubstr("idle_timeout is not for list"));
    EXPECT_THAT(wrong("send_flow_rem", flow_command::list),
                HasSubstr("send_flow_rem is not for list"));
}

TEST(flow_text, that_is_wrong_is_refused_with_its_column)
{
    EXPECT_EQ(wrong("tcp,tp_dts=80,actions=drop"),
              "column 5: \"tp_dts\" is no word of a flow; did you mean tp_dst?");
    EXPECT_EQ(wrong("ip,actions=outptu:1"),
              "column 12: \"outptu\" is no action; did you mean output?");
    EXPECT_EQ(wrong("tp_dst=80,actions=drop"),
              "column 1: \"tp_dst=80\" needs in the match a protocol that has ports: tcp, udp, "
              "sctp, tcp6, udp6 or sctp6, and no later fragments");
    EXPECT_EQ(wrong("ip,arp,actions=drop"),
              "column 4: \"arp\" contradicts \"ip\"; a field may be matched once");
    EXPECT_EQ(wrong("in_port=vm2,actions=drop"),
              "column 9: there is no port \"vm2\"; did you mean vm1?");
    EXPECT_EQ(wrong("ip,actions=ct(commit,zone=5"),
              "column 14: the parenthesis that opens here is not closed");
    EXPECT_EQ(wrong("actions=learn(table=1)"),
              "column 9: learn is not supported: no packet adds rules; NORMAL learns addresses");
}

TEST(flow_text, of_a_file_is_read_line_by_line)
{
    const auto changes = parse_flow_file("# rules\n"
                                         "\n"
                                         "ip,actions=1 # the first\r\n"
                                         "  add table=1,actions=2\n"
                                         "modify tcp,actions=drop\n"
                                         "modify_strict priority=3,tcp,actions=drop\n"
                                         "delete\n"
                                         "delete_strict priority=3,ip\n"
                                         "tcp,tp_dst=2-4,actions=1",
                                         "rules");
    ASSERT_TRUE(changes.has_value()) << changes.error().message;
    std::string all;
    for (const auto& c : *changes) {
        all += std::to_string(c.line) + ' ' + std::to_string(static_cast<int>(c.command)) + ' ' +
               format_match(c.flow.match) + '\n';
    }
    EXPECT_EQ(all, "3 0 ip\n4 0 \n5 1 tcp\n6 2 tcp\n7 3 \n8 4 ip\n"
                   "9 0 tcp,tp_dst=0x2/0xfffe\n9 0 tcp,tp_dst=4\n");
}

TEST(flow_text, of_a_file_that_is_wrong_names_line_and_word)
{
    const auto place = [](std::string_view text) {
        const auto changes = parse_flow_file(text, "rules");
        return changes.has_error() ? changes.error().message : "";
    };
    EXPECT_EQ(place("ip,actions=1\n\n  add tcpp,actions=2\n"),
              "rules:3:7: \"tcpp\" is no word of a flow; did you mean tcp?");
    EXPECT_EQ(place("delete ip actions=drop"), "rules:1:19: delete takes a match and no actions");
    EXPECT_EQ(place("ip\n"), "rules:1:3: the actions are missing: actions=output:1, or "
                             "actions=drop");
    const auto refused = read_flows({"actions=1\nactions=2\n", "rules"}, {},
                                    [](flow_change&& c) -> ports::result<void> {
                                        if (c.line == 2) {
                                            return ports::error{"no more"};
                                        }
                                        return {};
                                    });
    ASSERT_TRUE(refused.has_error());
    EXPECT_EQ(refused.error().message, "rules:2: no more");
}

TEST(flow_text, of_a_list_of_flows_is_read_as_it_is)
{
    const flow_spec f = one(" cookie=0x12, duration=0.199s, table=3, n_packets=4, n_bytes=200, "
                            "idle_timeout=5, idle_age=0, priority=7,ip actions=output:2");
    EXPECT_EQ(format_flow(f), "cookie=0x12, table=3, idle_timeout=5, priority=7,ip "
                              "actions=output:2");
}

// What is written of a flow is read as the same flow, with the ports' names and without.
TEST(flow_text, of_random_flows_is_read_as_what_was_written)
{
    const auto names = two_ports();
    test::random_flows random{7, test::random_flows::words::all};
    const int count = test::short_or_soak(5'000, 20'000);
    for (int i = 0; i < count; ++i) {
        const std::string text = random.next();
        const auto flows = parse_flow(text, flow_command::add, names);
        ASSERT_TRUE(flows.has_value()) << text << "\n" << flows.error().message;
        for (const auto& f : *flows) {
            for (const port_names* named : {static_cast<const port_names*>(nullptr), &names}) {
                const std::string written = format_flow(f, named);
                const auto read = parse_flow(written, flow_command::add, names);
                ASSERT_TRUE(read.has_value()) << text << "\n"
                                              << written << "\n"
                                              << read.error().message;
                ASSERT_EQ(read->size(), 1U) << written;
                ASSERT_TRUE(read->front() == f) << text << "\n" << written;
                ASSERT_EQ(format_flow(read->front(), named), written);
            }
        }
    }
}

} // namespace
} // namespace strait::control
