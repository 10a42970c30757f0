// SPDX-License-Identifier: BSD-3-Clause
// Groups as text: what is read, what is written, what is refused.
#include "control/flow_group_text.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace strait::control {
namespace {

using flow::field;
using flow::group_type;
using flow::selection;
using flow::wide;
using testing::HasSubstr;
using testing::StartsWith;

group_change read(std::string_view text, group_command command = group_command::add)
{
    auto out = parse_group(text, command);
    EXPECT_TRUE(out.has_value()) << text << ": " << out.error().message;
    return out.has_value() ? *out : group_change{};
}
std::string refused(std::string_view text, group_command command = group_command::add)
{
    const auto out = parse_group(text, command);
    EXPECT_TRUE(out.has_error()) << text;
    return out.has_error() ? out.error().message : "";
}

TEST(group_text, says_all_of_a_group)
{
    const auto g = read("group_id=1,type=select,selection_method=hash,"
                        "selection_method_param=7,fields(ip_src,tcp_src=0xff),"
                        "bucket=weight:10,bucket_id:5,watch_port:2,actions=output:1,"
                        "bucket=watch_group:9,mod_vlan_vid:5,output:2")
                       .group;
    EXPECT_EQ(g.id, 1U);
    EXPECT_EQ(g.type, group_type::select);
    EXPECT_EQ(g.select.by, selection::method::hash);
    EXPECT_EQ(g.select.parameter, 7U);
    EXPECT_EQ(g.select.fields, (std::vector<selection::part>{{field::nw_src, wide::ones(32)},
                                                             {field::tp_src, wide{0xff}}}));
    ASSERT_EQ(g.buckets.size(), 2U);
    EXPECT_EQ(g.buckets[0].id, 5U);
    EXPECT_EQ(g.buckets[0].weight, 10);
    EXPECT_EQ(g.buckets[0].watch_port, 2);
    EXPECT_EQ(g.buckets[0].actions.size(), 1U);
    EXPECT_EQ(g.buckets[1].id, any_bucket);
    EXPECT_EQ(g.buckets[1].watch_group, 9U);
    EXPECT_EQ(g.buckets[1].actions.size(), 2U);
}

TEST(group_text, words_of_a_bucket_may_stand_between_its_actions)
{
    const auto g = read("group_id=1 type=select bucket=output:1,weight=3,set_field:5->reg0,"
                        "bucket=actions=set_field:1->reg1,bucket_id=9,actions=output:2");
    ASSERT_EQ(g.group.buckets.size(), 2U);
    EXPECT_EQ(g.group.buckets[0].weight, 3);
    EXPECT_EQ(g.group.buckets[0].actions.size(), 2U);
}

TEST(group_text, is_written_as_it_is_read)
{
    for (const std::string text : {
             "group_id=1,type=all",
             "group_id=4294967040,type=all,bucket=bucket_id:0,actions=drop",
             "group_id=1,type=indirect,bucket=actions=mod_vlan_vid:7,output:3",
             "group_id=1,type=ff,bucket=watch_port:1,actions=output:1,bucket=watch_group:3,actions="
             "group:3",
             "group_id=1,type=select,bucket=weight:0,actions=output:1,bucket=actions=NORMAL",
             "group_id=1,type=select,selection_method=dp_hash,selection_method_param=4294967297,"
             "bucket=actions=output:1",
             "group_id=1,type=select,selection_method=hash,fields(ip_src=255.0.0.0,reg0=0xff,eth_"
             "src=01:00:00:00:00:00,vlan_vid,"
             "tcp_flags=0x2,in_port=3),bucket=actions="
             "output:1",
         }) {
        const auto g = read(text);
        EXPECT_EQ(read(format_group(g.group)).group, g.group) << format_group(g.group);
    }
    EXPECT_EQ(format_group(read("group_id=1,type=fast_failover,bucket=watch_port=2,weight=1,1,"
                                "bucket_id=3")
                               .group),
              "group_id=1,type=ff,bucket=bucket_id:3,watch_port:2,actions=output:1");
}

TEST(group_text, numbers_buckets_that_have_no_number)
{
    auto g = read("group_id=1,type=all,bucket=output:1,bucket=bucket_id:7,output:2,bucket=output:3")
                 .group;
    number_buckets(g);
    EXPECT_EQ(g.buckets[0].id, 8U);
    EXPECT_EQ(g.buckets[1].id, 7U);
    EXPECT_EQ(g.buckets[2].id, 9U);
    auto other = read("group_id=1,type=all,bucket=output:1,bucket=output:2").group;
    number_buckets(other);
    EXPECT_EQ(other.buckets[0].id, 0U);
    EXPECT_EQ(other.buckets[1].id, 1U);
    auto last = read("group_id=1,type=all,bucket=1,bucket=bucket_id:4294967040,2,bucket=bucket_id:0"
                     ",3,bucket=4")
                    .group;
    number_buckets(last);
    EXPECT_EQ(last.buckets[0].id, 1U);
    EXPECT_EQ(last.buckets[3].id, 2U);
}

TEST(group_text, says_where_buckets_go)
{
    using place = group_change::place;
    const auto where = [](std::string_view id, group_command c) {
        return read("group_id=1,command_bucket_id=" + std::string{id} +
                        (c == group_command::insert_buckets ? ",bucket=output:1" : ""),
                    c)
            .where;
    };
    const auto at = [](auto p) { return decltype(group_change::where){p}; };
    EXPECT_EQ(where("first", group_command::insert_buckets), at(place::first));
    EXPECT_EQ(where("last", group_command::insert_buckets), at(place::last));
    EXPECT_EQ(where("3", group_command::insert_buckets), at(std::uint32_t{3}));
    EXPECT_EQ(where("all", group_command::remove_buckets), at(place::all));
    EXPECT_THAT(refused("group_id=1,command_bucket_id=all,bucket=1", group_command::insert_buckets),
                HasSubstr("it must be first, last or a bucket_id"));
    EXPECT_THAT(refused("group_id=1,bucket=output:1", group_command::insert_buckets),
                HasSubstr("which bucket"));
    EXPECT_THAT(refused("group_id=1,command_bucket_id=first", group_command::insert_buckets),
                HasSubstr("nothing to insert"));
    EXPECT_THAT(refused("group_id=1,command_bucket_id=1,bucket=1", group_command::remove_buckets),
                HasSubstr("takes no buckets of its own"));
    EXPECT_THAT(refused("group_id=1,command_bucket_id=first,type=all,bucket=1",
                        group_command::insert_buckets),
                HasSubstr("type is not for insert_bucket"));
}

TEST(group_text, removes_one_or_all)
{
    EXPECT_TRUE(read("group_id=all", group_command::remove).every);
    EXPECT_EQ(read("group_id=7", group_command::remove).group.id, 7U);
    EXPECT_THAT(refused("group_id=all,type=all"), HasSubstr("group_id"));
    EXPECT_THAT(refused("group_id=1,bucket=1", group_command::remove), HasSubstr("no buckets"));
}

TEST(group_text, that_cannot_be_is_refused_where_it_is_wrong)
{
    EXPECT_EQ(refused("type=all,bucket=1"), "column 18: the group's number is missing: group_id=1");
    EXPECT_EQ(refused("group_id=1,bucket=1"),
              "column 20: the group's type is missing: type=all, select, indirect or ff");
    EXPECT_EQ(refused("group_id=1,typo=all"),
              "column 12: \"typo\" is no word of a group; did you mean type?");
    EXPECT_THAT(refused("group_id=1,type=any"), StartsWith("column 17: \"any\" is no type"));
    EXPECT_THAT(refused("group_id=4294967041,type=all"), StartsWith("column 10: "));
    EXPECT_EQ(refused("group_id=1,type=all,bucket=bucket_id:1,outputt:3"),
              "column 40: \"outputt\" is no action; did you mean output?");
    EXPECT_THAT(refused("group_id=1,type=all,bucket=set_queue:8"), StartsWith("column 38: "));
    EXPECT_THAT(refused("group_id=1,type=all,bucket=pop_queue"), StartsWith("column 28: "));
    EXPECT_THAT(refused("group_id=1,type=all,bucket=set_field:1->icmp_type"),
                StartsWith("column "));
    EXPECT_THAT(refused("group_id=1,type=all,bucket=meter:1"), StartsWith("column 28: "));
    EXPECT_THAT(refused("group_id=1,type=all,bucket=output:1,bucket_id:1,bucket_id:1"),
                HasSubstr("bucket_id may be given once"));
    EXPECT_THAT(refused("group_id=1,type=all,type=all"), HasSubstr("type may be given once"));
    EXPECT_THAT(refused("group_id=1,type=indirect"), HasSubstr("has one bucket, not 0"));
    EXPECT_THAT(refused("group_id=1,type=indirect,bucket=1,bucket=2"), HasSubstr("not 2"));
    EXPECT_THAT(refused("group_id=1,type=ff,bucket=1"), HasSubstr("a watch_port or a watch_group"));
    EXPECT_THAT(refused("group_id=1,type=all,bucket=watch_port:1,2"),
                HasSubstr("for types ff and select"));
    EXPECT_THAT(refused("group_id=1,type=all,bucket=weight:5,2"), HasSubstr("weight is for type"));
    EXPECT_THAT(refused("group_id=1,type=select,bucket=weight:65536,2"), HasSubstr("column 38"));
    EXPECT_THAT(refused("group_id=1,type=all,bucket=bucket_id:3,1,bucket=bucket_id:3,2"),
                HasSubstr("two buckets have the bucket_id 3"));
    EXPECT_THAT(refused("group_id=1,type=all,selection_method=hash,bucket=1"),
                HasSubstr("selection_method is for type=select"));
    EXPECT_THAT(refused("group_id=1,type=select,selection_method=crc,bucket=1"),
                HasSubstr("it must be hash or dp_hash"));
    EXPECT_THAT(refused("group_id=1,type=select,fields(ip_src),bucket=1"),
                HasSubstr("fields need selection_method=hash"));
    EXPECT_THAT(refused("group_id=1,type=select,selection_method=dp_hash,fields(ip_src),bucket=1"),
                HasSubstr("fields need selection_method=hash"));
    EXPECT_THAT(refused("group_id=1,type=select,selection_method_param=1,bucket=1"),
                HasSubstr("needs a selection_method"));
    EXPECT_THAT(refused("group_id=1,type=select,selection_method=hash,fields(ip_sr),bucket=1"),
                HasSubstr("ip_src"));
    EXPECT_THAT(refused("group_id=1,type=select,selection_method=hash,fields(reg0=0),bucket=1"),
                HasSubstr("leaves nothing"));
    EXPECT_THAT(refused("group_id=1,type=all,command_bucket_id=1,bucket=1"),
                HasSubstr("command_bucket_id is not for add"));
    std::string many = "group_id=1,type=all";
    for (std::size_t i = 0; i <= flow::most_buckets; ++i) {
        many += ",bucket=1";
    }
    EXPECT_THAT(refused(many), HasSubstr("256 buckets at most, not 257"));
}

TEST(group_text, of_a_file_has_a_group_a_line)
{
    std::vector<group_change> got;
    const auto take = [&got](group_change&& c) -> ports::result<void> {
        got.push_back(std::move(c));
        return {};
    };
    const auto from = [&](std::string_view text) {
        got.clear();
        return read_groups({.text = text, .file = "g"}, group_command::add, {}, take);
    };
    ASSERT_TRUE(from("# two\n\ngroup_id=1,type=all\n  add group_id=2,type=all # here\n"
                     "delete group_id=1\nadd_or_mod group_id=3,type=all\nmodify "
                     "group_id=3,type=all\ninsert_bucket group_id=3,command_bucket_id=last,bucket=1"
                     "\nremove_bucket group_id=3,command_bucket_id=first")
                    .has_value());
    std::vector<group_command> commands;
    for (const auto& c : got) {
        commands.push_back(c.command);
    }
    EXPECT_EQ(commands, (std::vector<group_command>{
                            group_command::add, group_command::add, group_command::remove,
                            group_command::add_or_modify, group_command::modify,
                            group_command::insert_buckets, group_command::remove_buckets}));
    EXPECT_EQ(from("\ngroup_id=1,type=al\n").error().message.substr(0, 9), "g:2:17: \"");
    EXPECT_EQ(from("add group_id=1,type=all,bucket=nosuch:1").error().message.substr(0, 8),
              "g:1:32: ");
}

} // namespace
} // namespace strait::control
