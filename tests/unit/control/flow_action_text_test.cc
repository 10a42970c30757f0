// SPDX-License-Identifier: BSD-3-Clause
// Actions as text: what each becomes, and what is refused.
#include "control/flow_action_text.hh"

#include "control/flow_text.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace strait::control {
namespace {

using flow::field;
using flow::wide;
using testing::HasSubstr;

// The actions of a flow, "MATCH,actions=ACTIONS".
flow::action_list actions_of(std::string_view text)
{
    const auto flows = parse_flow(text, flow_command::add);
    EXPECT_TRUE(flows.has_value()) << text << "\n"
                                   << (flows.has_error() ? flows.error().message : "");
    return flows.has_value() ? flows->front().actions : flow::action_list{};
}

template <typename Action>
Action only(std::string_view text)
{
    const auto list = actions_of(text);
    EXPECT_EQ(list.size(), 1U) << text;
    const auto* a = list.empty() ? nullptr : std::get_if<Action>(&list.front().is);
    EXPECT_NE(a, nullptr) << text;
    return a == nullptr ? Action{} : *a;
}

std::string wrong(std::string_view text)
{
    const auto flows = parse_flow(text, flow_command::add);
    EXPECT_TRUE(flows.has_error()) << text;
    return flows.has_error() ? flows.error().message : "";
}

TEST(flow_actions, of_output_become_ports_and_fields)
{
    for (const auto* text :
         {"actions=2", "actions=output:2", "actions=output=2", "actions=output(port=2)"}) {
        EXPECT_EQ(only<flow::output>(text).port, 2) << text;
    }
    EXPECT_EQ(only<flow::output>("actions=Normal").port, flow::ports::normal);
    EXPECT_EQ(only<flow::output>("actions=output:in_port").port, flow::ports::in_port);
    EXPECT_EQ(only<flow::output_field>("actions=output:reg1[16..31]").port,
              (flow::subfield{field::reg1, 16, 16}));
    EXPECT_EQ(only<flow::group>("actions=group:5").id, 5U);
    EXPECT_TRUE(actions_of("actions=drop").empty());
    EXPECT_TRUE(actions_of("actions=").empty());
}

TEST(flow_actions, of_every_spelling_set_the_same_bits)
{
    const auto set = [](std::string_view text) { return only<flow::set_field>(text); };
    const flow::set_field source{field::eth_src, wide{0x0011'2233'4455}, wide::ones(48)};
    for (const auto* text :
         {"actions=mod_dl_src:00:11:22:33:44:55", "actions=set_field:00:11:22:33:44:55->eth_src",
          "actions=set_field:00:11:22:33:44:55->dl_src", "actions=load:0x001122334455->eth_src",
          "actions=load:0x001122334455->OXM_OF_ETH_SRC[]"}) {
        EXPECT_EQ(set(text), source) << text;
    }
    EXPECT_EQ(set("actions=load:1->eth_dst[40]"),
              (flow::set_field{field::eth_dst, wide{1} << 40, wide{1} << 40}));
    EXPECT_EQ(set("actions=set_field:0xff/0xf0->reg0"),
              (flow::set_field{field::reg0, wide{0xf0}, wide{0xf0}}));
    EXPECT_EQ(set("actions=set_tunnel:5"), set("actions=set_field:5->tun_id"));
    EXPECT_EQ(set("actions=write_metadata:5/7"), set("actions=set_field:5/7->metadata"));
    EXPECT_EQ(set("ip,actions=mod_nw_tos:8"), set("ip,actions=set_field:2->ip_dscp"));
    EXPECT_EQ(set("ip,actions=mod_nw_tos:8"), set("ip,actions=load:8->NXM_OF_IP_TOS[]"));
    EXPECT_EQ(set("ip,actions=mod_nw_ecn:3"), (flow::set_field{field::nw_tos, wide{3}, wide{3}}));
    EXPECT_EQ(set("udp,actions=mod_tp_dst:5"), set("udp,actions=set_field:5->udp_dst"));
    EXPECT_EQ(set("arp,actions=set_field:2->arp_op"),
              (flow::set_field{field::nw_proto, wide{2}, wide{0xff}}));
    EXPECT_EQ(set("icmp,actions=set_field:2->icmp_type"),
              (flow::set_field{field::tp_src, wide{2}, wide{0xff}}));
    EXPECT_EQ(set("actions=set_field:LOCAL->in_port"),
              (flow::set_field{field::in_port, wide{0xfffe}, wide{0xffff}}));
    EXPECT_EQ(set("actions=set_field:LOCAL->in_port_oxm"), set("actions=load:0xfffe->in_port"));
}

// A packet without a tag is given one: the bit that says that there is a tag is set too.
TEST(flow_actions, that_set_vlans_put_a_tag_where_there_is_none)
{
    const flow::set_field vlan{field::vlan_tci, wide{0x1005}, wide{0x1fff}};
    EXPECT_EQ(only<flow::set_field>("actions=mod_vlan_vid:5"), vlan);
    EXPECT_EQ(only<flow::set_field>("dl_vlan=1,actions=set_field:5->vlan_vid"), vlan);
    EXPECT_EQ(only<flow::set_field>("dl_vlan=1,actions=set_field:0x1005->vlan_vid"), vlan);
    const flow::set_field priority{field::vlan_tci, wide{0xb000}, wide{0xf000}};
    EXPECT_EQ(only<flow::set_field>("actions=mod_vlan_pcp:5"), priority);
    EXPECT_EQ(only<flow::set_field>("dl_vlan=1,actions=set_field:5->vlan_pcp"), priority);
    // Some bits of a tag that is there.
    EXPECT_EQ(only<flow::set_field>("dl_vlan=1,actions=load:5->vlan_vid[0..3]"),
              (flow::set_field{field::vlan_tci, wide{5}, wide{0xf}}));
    EXPECT_THAT(wrong("actions=set_field:5->vlan_vid"), HasSubstr("vlan_vid needs in the match a "
                                                                  "tag"));
    EXPECT_EQ(actions_of("actions=push_vlan:0x88a8,set_field:5->vlan_vid").size(), 2U);
    EXPECT_THAT(wrong("dl_vlan=1,actions=pop_vlan,set_field:5->vlan_vid"),
                HasSubstr("vlan_vid needs in the match a tag"));
}

TEST(flow_actions, that_move_set_zeros_where_the_source_has_no_bits)
{
    const auto text = [](std::string_view flow) {
        const auto f = parse_flow(flow, flow_command::add).value().front();
        return format_actions(f.actions, f.match);
    };
    EXPECT_EQ(text("actions=move:reg0[0..5]->reg1[26..31]"),
              "move:NXM_NX_REG0[0..5]->NXM_NX_REG1[26..31]");
    EXPECT_EQ(text("arp,actions=move:arp_op->reg0[0..15]"),
              "load:0->NXM_NX_REG0[8..15],move:NXM_OF_ARP_OP[0..7]->NXM_NX_REG0[0..7]");
    EXPECT_EQ(text("arp,actions=move:reg0[0..15]->arp_op"),
              "move:NXM_NX_REG0[0..7]->NXM_OF_ARP_OP[0..7]");
    EXPECT_EQ(text("ip,actions=move:nw_tos->reg0[0..7]"),
              "load:0->NXM_NX_REG0[0..1],move:NXM_OF_IP_TOS[2..7]->NXM_NX_REG0[2..7]");
    EXPECT_EQ(text("ip,actions=move:nw_tos[0..1]->reg0[0..1]"), "load:0->NXM_NX_REG0[0..1]");
    EXPECT_THAT(wrong("ip,actions=move:reg0[0..1]->nw_tos[0..1]"), HasSubstr("moves no bit"));
    EXPECT_THAT(wrong("actions=move:reg0[0..5]->reg1[0..6]"),
                HasSubstr("\"reg0[0..5]\" has 6 bits and \"reg1[0..6]\" has 7"));
}

TEST(flow_actions, of_control_become_what_they_say)
{
    EXPECT_EQ(only<flow::resubmit>("actions=resubmit(1,2)"),
              (flow::resubmit{flow::port_number{1}, flow::table_id{2}}));
    EXPECT_EQ(only<flow::resubmit>("actions=resubmit(,0)"),
              (flow::resubmit{std::nullopt, flow::table_id{0}}));
    EXPECT_EQ(only<flow::resubmit>("actions=resubmit:7"),
              (flow::resubmit{flow::port_number{7}, std::nullopt}));
    EXPECT_EQ(only<flow::conjunction>("actions=conjunction(7, 2/3)"), (flow::conjunction{7, 1, 3}));
    EXPECT_EQ(only<flow::check_pkt_larger>("actions=check_pkt_larger(1500)->reg0[3]"),
              (flow::check_pkt_larger{1500, {field::reg0, 3, 1}}));
    EXPECT_EQ(only<flow::push_vlan>("actions=push_vlan:0x88a8").tpid, 0x88a8);
    EXPECT_EQ(only<flow::meter>("actions=meter:9").id, 9U);
    EXPECT_EQ(only<flow::note>("actions=note:0a.1B").bytes,
              (std::vector<std::uint8_t>{0x0a, 0x1b, 0, 0, 0, 0}));
    EXPECT_EQ(only<flow::note>("actions=note:00.00.00.00.00.00.00").bytes.size(), 14U);
    EXPECT_EQ(only<flow::goto_table>("table=3,actions=goto_table:4").table, 4);
    EXPECT_EQ(only<flow::clone>("actions=clone(1,2)").actions.size(), 2U);
    EXPECT_EQ(only<flow::write_actions>("actions=write_actions(1)").actions.size(), 1U);
    EXPECT_TRUE(actions_of("actions=write_actions()").empty());
}

TEST(flow_actions, of_ct_have_all_of_its_arguments)
{
    const auto a = only<flow::ct>(
        "tcp,actions=ct(commit,force,zone=7,table=9,alg=ftp,nat(dst=10.0.0.1-10.0.0.9:80-90,"
        "random,persistent),exec(set_field:1/3->ct_mark,move:reg0->ct_label[0..31]))");
    EXPECT_TRUE(a.commit);
    EXPECT_TRUE(a.force);
    EXPECT_EQ(std::get<std::uint16_t>(a.zone), 7);
    EXPECT_EQ(a.table, 9);
    EXPECT_EQ(a.alg, flow::ct::helper::ftp);
    EXPECT_EQ(a.exec.size(), 2U);
    ASSERT_TRUE(a.translation.has_value());
    EXPECT_EQ(a.translation->which, flow::nat::side::destination);
    EXPECT_EQ(a.translation->first, wide{0x0a00'0001});
    EXPECT_EQ(a.translation->last, wide{0x0a00'0009});
    EXPECT_EQ(a.translation->first_port, 80);
    EXPECT_EQ(a.translation->last_port, 90);
    EXPECT_TRUE(a.translation->random);
    EXPECT_TRUE(a.translation->persistent);
    EXPECT_EQ(std::get<flow::subfield>(only<flow::ct>("ip,actions=ct(zone=reg0[0..15])").zone),
              (flow::subfield{field::reg0, 0, 16}));
    EXPECT_EQ(only<flow::ct>("ip,actions=ct(nat)").translation->which, flow::nat::side::restore);
    EXPECT_FALSE(only<flow::ct>("ip,actions=ct").commit);
}

TEST(flow_actions, that_are_wrong_are_refused)
{
    for (const auto& [text, why] : std::initializer_list<std::pair<const char*, const char*>>{
             {"actions=1,drop", "column 11: drop stands alone; there may be no other action"},
             {"actions=drop,1", "column 14: drop stands alone"},
             {"actions=write_actions(),drop", "drop stands alone"},
             {"actions=output(port=1,max_len=13)",
              "column 31: max_len must be 14 at least, an Ethernet header"},
             {"actions=output(port=1,max_len=4294967296)", "from 0 to 4294967295"},
             {"actions=output(port=1,max_len=20,max_len=20)",
              "output takes port=PORT and max_len=BYTES in parentheses, each once"},
             {"actions=output(max_len=20)", "output needs a port beside max_len"},
             {"actions=output(port=normal,max_len=20)", "\"normal\" takes whole packets"},
             {"actions=output(port=flood,max_len=20)", "\"flood\" takes whole packets"},
             {"actions=output(port=controller,max_len=20)", "\"controller\" takes whole packets"},
             {"actions=output(port=none,max_len=20)", "\"none\" takes whole packets"},
             {"actions=output(port=reg0[],max_len=20)", "there is no port \"reg0[]\""},
             {"actions=write_actions(output(port=1,max_len=20))",
              "output cannot be in an action set"},
             {"actions=output(port=1,port=2)",
              "output takes port=PORT and max_len=BYTES in parentheses, each once"},
             {"actions=output:none", "\"none\" is no port that a packet can go to"},
             {"actions=output:controller", "there is no OpenFlow controller"},
             {"actions=output:", "a port is missing here"},
             {"actions=normal:5", "normal takes nothing behind it"},
             {"actions=exit()->x", "\"exit\" has nothing behind an arrow"},
             {"actions=group:4294967041", "it must be a number from 0 to 4294967040"},
             {"actions=meter:0", "meters are counted from 1"},
             {"actions=1,meter:1", "column 11: \"meter:1\" must stand before \"1\""},
             {"actions=goto_table:5,1", "\"1\" must stand before \"goto_table:5\""},
             {"actions=goto_table:5,goto_table:6", "goto_table may be there once"},
             {"table=5,actions=goto_table:5", "table 5 does not come after table 5"},
             {"actions=goto_table:0", "goto_table goes to later tables alone"},
             {"actions=goto_table:255", "goes to a table from 1 to 254"},
             {"actions=clone(goto_table:5)", "goto_table stands in a flow itself"},
             {"actions=goto_table:x", "\"x\" is no table; it must be a number from 0 to 254"},
             {"actions=goto_table:256", "\"256\" is no table"},
             {"actions=resubmit(,2x)", "\"2x\" is no table"},
             {"actions=conjunction(1,x/2)", "conjunction must be like"},
             {"actions=conjunction(1,1/x)", "conjunction must be like"},
             {"ip,actions=ct:commit", "ct must be like ct(commit,zone=1)"},
             {"arp,actions=mod_nw_tos:4", "mod_nw_tos needs in the match ip or ipv6"},
             {"ipv6,actions=ct(commit,nat(src=[fe80::1]x80))", "column "},
             {"actions=clone(conjunction(1,1/2))", "conjunction stands in a flow itself"},
             {"actions=write_actions(exit)", "exit cannot be in an action set"},
             {"actions=write_actions(output:reg0)", "output cannot be in an action set"},
             {"actions=conjunction(1,1/2),2", "beside conjunction there may be notes"},
             {"actions=conjunction(1,3/2)", "dimensions are counted from 1 to their number, 2"},
             {"actions=conjunction(1,0/2)", "dimensions are counted from 1"},
             {"actions=conjunction(1,1/65)", "a conjunction has from 2 to 64 dimensions"},
             {"actions=conjunction(1,1/1)", "a conjunction has from 2 to 64 dimensions"},
             {"actions=conjunction(1)", "conjunction must be like"},
             {"actions=resubmit(,)", "resubmit needs a port, a table or both"},
             {"actions=resubmit:in_port", "resubmit needs a port, a table or both"},
             {"actions=resubmit(,2,ct)", "ct needs in the match a valid connection"},
             {"actions=resubmit(1,2,3)", "resubmit takes a port, a table and ct, and nothing more"},
             {"actions=push_vlan:0x9100", "push_vlan pushes a tag of 0x8100 or 0x88a8"},
             {"actions=note:a", "a note has bytes of two hexadecimal digits"},
             {"actions=note:0g", "a note has bytes of two hexadecimal digits"},
             {"actions=dec_ttl(1)", "dec_ttl names no controllers"},
             {"arp,actions=dec_ttl", "dec_ttl needs in the match ip or ipv6"},
             {"ip,actions=dec_ttl(1,icmp=10.0.0.1)", "dec_ttl names no controllers"},
             {"ip,actions=dec_ttl(icmp)", "icmp needs one address that packets may come from"},
             {"ip,actions=dec_ttl(icmp=10.0.0)", "icmp needs one address"},
             {"ip,actions=dec_ttl(icmp=10.0.0.1/24)", "icmp needs one address"},
             {"ip,actions=dec_ttl(icmp=224.0.0.1)", "icmp needs one address"},
             {"ip,actions=dec_ttl(icmp=10.0.0.1,icmp=10.0.0.2)", "icmp needs one address"},
             {"ip,actions=dec_ttl(icmp=fd00::1)", "needs in the match ipv6 (dl_type=0x86dd)"},
             {"ipv6,actions=dec_ttl(icmp=10.0.0.1)", "needs in the match ip (dl_type=0x0800)"},
             {"actions=dec_ttl(icmp=10.0.0.1)", "needs in the match ip (dl_type=0x0800)"},
             {"arp,actions=mod_nw_src:1.2.3.4", "mod_nw_src needs in the match ip"},
             {"icmp,actions=mod_tp_src:1", "mod_tp_src needs in the match a protocol that has "
                                           "ports"},
             {"actions=mod_nw_ttl:1", "mod_nw_ttl needs in the match ip or ipv6"},
             {"ip,actions=mod_nw_src:1.2.3.4/8", "mod_nw_src sets an address and takes no mask"},
             {"ip,actions=mod_nw_tos:3", "takes a multiple of 4"},
             {"udp,actions=set_field:5->tp_dst", "tp_dst needs in the match tcp"},
             {"actions=set_field:5->eth_type", "eth_type can be matched, not set"},
             {"actions=set_field:5->ct_mark", "ct_mark is a connection's"},
             {"actions=set_field:5->dl_vlan", "no action has dl_vlan; write vlan_vid"},
             {"actions=set_field:5->reg0[0..3]", "load sets some of its bits"},
             {"actions=set_field:5->NXM_NX_REG0", "set_field takes a field by its name, reg0"},
             {"actions=set_field:5/0->reg0", "sets no bit"},
             {"actions=set_field:*->reg0", "sets no bit"},
             {"actions=set_field:5", "set_field must be like set_field:value->field"},
             {"ip,actions=set_field:5/1->nw_ttl", "nw_ttl takes no mask"},
             {"ip,actions=set_field:5->nw_tos", "nw_tos has DSCP alone"},
             {"arp,actions=set_field:256->arp_op", "of which 8 bits are used"},
             {"actions=load:16->reg0[0..3]", "\"16\" does not fit into 4 bits"},
             {"actions=load:a->reg0", "\"a\" is no number"},
             {"ip,actions=load:1->nw_tos[0..1]", "must be a multiple of 4"},
             {"ip,actions=push:nw_tos", "nw_tos has zeros in its lowest two bits"},
             {"actions=push:in_port_oxm", "in_port_oxm cannot be copied"},
             {"actions=pop:ct_state", "ct_state can be matched, not set"},
             {"actions=check_pkt_larger(1)->reg0", "check_pkt_larger sets one bit"},
             {"actions=check_pkt_larger(1)", "must be like check_pkt_larger(1500)->reg0[0]"},
             {"actions=check_pkt_larger(65536)->reg0[0]", "from 0 to 65535"},
             {"actions=write_metadata:5/0", "sets no bit"},
             {"actions=ct(commit)", "ct needs in the match ip or ipv6"},
             {"ip,actions=ct(force)", "force is for ct(commit,...) alone"},
             {"ip,actions=ct(exec(set_field:1->ct_mark))", "exec is for ct(commit,...) alone"},
             {"ip,actions=ct(nat(src=1.2.3.4))", "nat with src or dst is for ct(commit,...)"},
             {"ip,actions=ct(commit,exec(1))", "exec sets ct_mark and ct_label"},
             {"ip,actions=ct(commit,exec(set_field:1->reg0))", "exec sets ct_mark and ct_label"},
             {"ip,actions=ct(zone=65536)", "zones are numbers from 0 to 65535"},
             {"ip,actions=ct(zone=reg0)", "a zone is taken from 16 bits"},
             {"ip,actions=ct(table=255)", "ct goes on in a table from 0 to 254"},
             {"ip,actions=ct(alg=ftp)", "alg=ftp needs in the match tcp"},
             {"tcp,actions=ct(alg=sip)", "there is no helper \"sip\""},
             {"ip,actions=ct(comit)", "ct has no \"comit\"; did you mean commit?"},
             {"ip,actions=ct(nat,nat)", "nat may be there once"},
             {"ip,ct_state=+inv+trk,actions=ct(commit)", "is not committed"},
             {"ipv6,actions=ct(commit,nat(src=1.2.3.4))", "needs in the match ip ("},
             {"actions=oputput:1", "did you mean output?"},
         }) {
        EXPECT_THAT(wrong(text), HasSubstr(why)) << text;
    }
}

// A bucket is met by packets of any kind: what they have is seen when they come.
TEST(flow_actions, of_buckets_need_no_match)
{
    const auto again = [](std::string_view text) {
        const auto list = parse_bucket_list(text);
        return list.has_error() ? list.error().message : format_actions(*list, {});
    };
    EXPECT_EQ(again("ct(commit,table=5,nat(dst=10.0.0.2:80),exec(load:0x1->NXM_NX_CT_MARK[1]))"),
              "ct(commit,table=5,nat(dst=10.0.0.2:80),exec(load:0x1->NXM_NX_CT_MARK[1]))");
    EXPECT_EQ(again("set_field:10.0.0.2->ip_dst,set_field:80->udp_dst,mod_dl_dst:0:0:0:0:0:1,2"),
              "mod_nw_dst:10.0.0.2,mod_tp_dst:80,mod_dl_dst:00:00:00:00:00:01,output:2");
    EXPECT_EQ(again("set_field:5->vlan_vid,push_vlan:0x8100,resubmit(,3),dec_ttl,group:5"),
              "mod_vlan_vid:5,push_vlan:0x8100,resubmit(,3),dec_ttl,group:5");
    EXPECT_EQ(again(""), "drop");
    EXPECT_EQ(again("1,set_field:2->arp_op"),
              "column 16: packets of any kind meet a bucket: arp_op cannot be told from another "
              "field there");
    EXPECT_THAT(again("set_field:2->icmp_type"), HasSubstr("icmp_type cannot be told"));
    EXPECT_THAT(again("move:nd_target->xxreg0"), HasSubstr("nd_target cannot be told"));
    EXPECT_EQ(again("exit"), "column 1: exit cannot be in an action set");
    EXPECT_THAT(again("goto_table:5"), HasSubstr("goto_table stands in a flow itself"));
    EXPECT_THAT(again("meter:5"), HasSubstr("meter stands in a flow itself"));
}

TEST(flow_actions, of_dec_ttl_may_tell_the_sender)
{
    const auto again = [](std::string_view text) {
        const auto f = parse_flow(text, flow_command::add).value().front();
        return format_actions(f.actions, f.match);
    };
    EXPECT_FALSE(only<flow::dec_ttl>("ip,actions=dec_ttl").icmp_from.is_set());
    EXPECT_FALSE(only<flow::dec_ttl>("ip,actions=dec_ttl()").icmp_from.is_set());
    EXPECT_EQ(only<flow::dec_ttl>("ip,actions=dec_ttl( icmp=10.0.0.1 )").icmp_from,
              endpoint::ip_address::v4(0x0a00'0001));
    EXPECT_EQ(again("tcp,actions=dec_ttl(icmp=10.0.0.1),2"), "dec_ttl(icmp=10.0.0.1),output:2");
    EXPECT_EQ(again("ipv6,actions=dec_ttl(icmp=FD00:0::1)"), "dec_ttl(icmp=fd00::1)");
    EXPECT_EQ(again("ip,actions=write_actions(dec_ttl(icmp=10.0.0.1),output:2)"),
              "write_actions(dec_ttl(icmp=10.0.0.1),output:2)");
    EXPECT_EQ(format_actions(*parse_bucket_list("dec_ttl(icmp=fd00::1),2"), {}),
              "dec_ttl(icmp=fd00::1),output:2");
}

TEST(flow_actions, within_actions_have_an_end)
{
    const auto nested = [](unsigned levels) {
        std::string out = "actions=";
        for (unsigned i = 0; i < levels; ++i) {
            out += "clone(";
        }
        return out + "1" + std::string(levels, ')');
    };
    EXPECT_EQ(actions_of(nested(deepest_actions - 1)).size(), 1U);
    EXPECT_THAT(wrong(nested(deepest_actions)),
                HasSubstr("actions are within actions more than 16 times"));
    EXPECT_THAT(wrong(nested(100'000)), HasSubstr("more than 16 times"));
}

TEST(flow_actions, are_not_more_than_there_may_be)
{
    const auto many = [](unsigned count, std::string_view before, std::string_view behind) {
        std::string out = "actions=" + std::string{before};
        for (unsigned i = 0; i < count; ++i) {
            out += i == 0 ? "dec_ttl" : ",dec_ttl";
        }
        return out + std::string{behind};
    };
    EXPECT_EQ(actions_of("ip," + many(most_actions, "", "")).size(), most_actions);
    EXPECT_THAT(wrong("ip," + many(most_actions + 1, "", "")),
                HasSubstr("a flow has 4096 actions at the most, and this is one more"));
    // Those within others are among them.
    EXPECT_EQ(actions_of("ip," + many(most_actions - 2, "1,clone(", ")")).size(), 2U);
    EXPECT_THAT(wrong("ip," + many(most_actions - 1, "1,clone(", ")")), HasSubstr("4096 actions"));
    EXPECT_THAT(wrong("ip," + many(most_actions - 1, "clone(1),write_actions(", ")")),
                HasSubstr("4096 actions"));
    // Nor in all the flows that ranges are.
    EXPECT_THAT(wrong("tcp,tp_src=1-65534," + many(4000, "", "")),
                HasSubstr("the ranges make 30 flows of 4000 actions each"));
    EXPECT_THAT(wrong("tcp,tp_src=1-65534," + many(4000, "clone(", ")")),
                HasSubstr("flows of 4001 actions each"));
}

TEST(flow_actions, of_ports_of_the_bridge_may_be_names)
{
    port_names names;
    names.add(5, "drop");
    names.add(6, "reg0");
    const auto text = [&names](std::string_view flow) {
        const auto f = parse_flow(flow, flow_command::add, names).value().front();
        return format_flow(f);
    };
    EXPECT_EQ(text("actions=\"drop\""), "actions=output:5");
    EXPECT_EQ(text("actions=drop"), "actions=drop");
    EXPECT_EQ(text("actions=output:reg0"), "actions=output:6");
    EXPECT_EQ(text("actions=output:reg0[]"), "actions=output:NXM_NX_REG0[]");
    EXPECT_EQ(text("actions=reg0"), "actions=output:6");
}

} // namespace
} // namespace strait::control
