// SPDX-License-Identifier: BSD-3-Clause
// Options of Geneve in flows' text: matches, actions, packets, and which option is which.
#include "control/flow_options.hh"

#include "control/flow_packet.hh"
#include "control/flow_text.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>

namespace strait::control {
namespace {

using flow::field;
using flow::wide;
using testing::HasSubstr;
using testing::StartsWith;

// Of 4, 8 and 20 bytes, 0, 1 and 5.
const flow::option_map& known()
{
    static const flow::option_map map = [] {
        flow::option_map out;
        EXPECT_TRUE(out.add({.type = 0, .length = 4, .index = 0}));
        EXPECT_TRUE(out.add({.type = 1, .length = 8, .index = 1}));
        EXPECT_TRUE(out.add({.type = 5, .length = 20, .index = 5}));
        return out;
    }();
    return map;
}
const port_names& names()
{
    static const port_names all = [] {
        port_names out;
        out.set_options(std::make_shared<const option_names>(known()));
        return out;
    }();
    return all;
}

flow_spec flow_of(std::string_view text)
{
    const auto f = parse_flow(text, flow_command::add, names());
    EXPECT_TRUE(f.has_value()) << text << "\n" << (f.has_error() ? f.error().message : "");
    return f.has_value() ? f->front() : flow_spec{};
}
std::string wrong(std::string_view text)
{
    const auto f = parse_flow(text, flow_command::add, names());
    EXPECT_TRUE(f.has_error()) << text;
    return f.has_error() ? f.error().message : "";
}
// As it is written, which is read as the same.
std::string again(std::string_view text)
{
    const flow_spec f = flow_of(text);
    std::string out = format_flow(f, &names());
    EXPECT_EQ(flow_of(out), f) << out;
    return out;
}

TEST(flow_options, are_matched_by_their_numbers_and_by_being_there)
{
    const flow::match m = flow_of("tun_metadata5=0x0102030405060708090a,actions=drop").match;
    const flow::option& o = *known().at(5);
    EXPECT_EQ(m.mask.get(field::tun_present), o.present_bit());
    EXPECT_EQ(m.value.get(o.field_at(0)), wide{0x030405060708090a});
    EXPECT_EQ(m.value.get(o.field_at(1)), wide{0x0102});
    EXPECT_EQ(m.mask.get(o.field_at(1)), wide::ones(64));
    EXPECT_EQ(m.mask.get(o.field_at(2)), wide::ones(32));
    const flow::match there = flow_of("tun_metadata0,actions=drop").match;
    EXPECT_EQ(there.value.get(field::tun_present), wide{1});
    EXPECT_TRUE(there.mask.get(known().at(0)->field_at(0)).is_zero());
    EXPECT_EQ(flow_of("tun_metadata0=*,actions=drop").match, there);
    EXPECT_EQ(flow_of("NXM_NX_TUN_METADATA0[],actions=drop").match, there);
}

// What ovs-ofctl 3.1 prints of the same flows.
TEST(flow_options, are_written_as_ovs_ofctl_writes_them)
{
    for (const std::string same :
         {"tun_metadata5=0x1234567890abcdef1234 actions=drop", "tun_metadata0 actions=drop",
          "tun_metadata0=0 actions=drop", "tun_metadata1=0x5,tun_metadata5=0x5 actions=drop",
          "tun_id=0x5,tun_flags=+oam,tun_metadata1=0x5,metadata=0x3,in_port=4 actions=drop",
          "actions=set_field:0x5->tun_metadata0,set_field:0x5/0xf->tun_metadata0,"
          "move:NXM_NX_TUN_METADATA0[0..15]->NXM_NX_REG0[0..15],"
          "move:NXM_NX_REG0[]->NXM_NX_TUN_METADATA1[0..31],push:NXM_NX_TUN_METADATA0[0..7],"
          "pop:NXM_NX_TUN_METADATA0[],delete_field:tun_metadata0,"
          "set_field:0x1234567890abcdef1234->tun_metadata5,set_field:0x5/0x5->tun_metadata1",
          "actions=set_field:0->tun_metadata0",
          "actions=set_field:0x5/0xff->tun_metadata0,output:NXM_NX_TUN_METADATA0[0..15]",
          "actions=set_field:0x10000000000000000/0xffffffffffffffff0000000000000000->"
          "tun_metadata5",
          "actions=set_field:0x1000000000000000/0x7ff000000000000000->tun_metadata5"}) {
        EXPECT_EQ(again(same), same);
    }
    EXPECT_EQ(again("actions=load:0x5->tun_metadata0[]"), "actions=set_field:0x5->tun_metadata0");
    EXPECT_EQ(again("actions=load:1->tun_metadata5[64..127]"),
              "actions=set_field:0x10000000000000000/0xffffffffffffffff0000000000000000->"
              "tun_metadata5");
    EXPECT_EQ(again("actions=load:1->tun_metadata5[60..70]"),
              "actions=set_field:0x1000000000000000/0x7ff000000000000000->tun_metadata5");
    EXPECT_EQ(again("tun_metadata1=5/0xff,actions=drop"), "tun_metadata1=0x5/0xff actions=drop");
    EXPECT_EQ(again("tun_metadata0[0..7]=5,tun_metadata0[8..15]=1,actions=drop"),
              "tun_metadata0=0x105/0xffff actions=drop");
    EXPECT_EQ(again("tun_metadata5[60..70]=0x7ff,actions=drop"),
              "tun_metadata5=0x7ff000000000000000/0x7ff000000000000000 actions=drop");
}

TEST(flow_options, are_moved_word_by_word)
{
    const auto moved = [](std::string_view text) {
        std::string out;
        for (const flow::action& a : flow_of("actions=" + std::string{text}).actions) {
            const auto& m = std::get<flow::move_field>(a.is);
            out += std::to_string(m.from.first) + "+" + std::to_string(m.from.bits) + ">" +
                   std::to_string(m.to.first) + " ";
        }
        return out;
    };
    EXPECT_EQ(moved("move:xxreg0[]->tun_metadata5[0..127]"), "0+64>0 64+64>0 ");
    EXPECT_EQ(moved("move:tun_metadata5[32..159]->xxreg0"), "32+32>0 0+64>32 0+32>96 ");
    EXPECT_EQ(moved("move:tun_metadata1->tun_metadata5[48..111]"), "0+16>48 16+48>0 ");
    // Upwards within one option from its top, so that nothing is read that was written before.
    EXPECT_EQ(moved("move:tun_metadata5[0..99]->tun_metadata5[60..159]"),
              "4+32>0 0+4>60 4+60>0 0+4>60 ");
}

// A move of bits is what moving them one by one is, all of them read first.
TEST(flow_options, are_moved_as_if_at_once)
{
    std::mt19937 random{11};
    const flow::option& o = *known().at(5);
    const auto bit_of = [&o](const flow::key& k, unsigned at) {
        return k.number(o.field_at(at / 64)) >> (at % 64) & 1;
    };
    for (int round = 0; round < 2000; ++round) {
        const unsigned bits = 1 + static_cast<unsigned>(random() % 120);
        const auto from = static_cast<unsigned>(random() % (160 - bits + 1));
        const auto to = static_cast<unsigned>(random() % (160 - bits + 1));
        const auto part = [bits](unsigned first) {
            return "tun_metadata5[" + std::to_string(first) + ".." +
                   std::to_string(first + bits - 1) + "]";
        };
        flow::key before;
        for (std::size_t i = 0; i < 3; ++i) {
            before.set(o.field_at(i), std::uint64_t{random()} << 32 | random(),
                       wide::ones(o.bits_at(i)));
        }
        flow::key k = before;
        for (const flow::action& a :
             flow_of("actions=move:" + part(from) + "->" + part(to)).actions) {
            const auto& m = std::get<flow::move_field>(a.is);
            m.to.write(k, m.from.read(k));
        }
        for (unsigned at = 0; at < 160; ++at) {
            const bool is_moved = at >= to && at < to + bits;
            ASSERT_EQ(bit_of(k, at), bit_of(before, is_moved ? at - to + from : at));
        }
    }
}

TEST(flow_options, that_are_not_known_or_do_not_fit_are_refused)
{
    EXPECT_EQ(wrong("tun_metadata2=5,actions=drop"),
              "column 1: tun_metadata2 is no option of Geneve that the bridge knows; say which it "
              "is: tlv-map add {class=0x102,type=0x80,len=4}->tun_metadata2");
    EXPECT_THAT(wrong("actions=set_field:5->tun_metadata2"),
                StartsWith("column 22: tun_metadata2 is no option"));
    EXPECT_THAT(wrong("actions=load:5->tun_metadata63[]"), HasSubstr("is no option of Geneve"));
    EXPECT_THAT(wrong("actions=delete_field:tun_metadata2"), HasSubstr("is no option of Geneve"));
    EXPECT_THAT(wrong("tun_metadata64=5,actions=drop"), HasSubstr("is no word of a flow"));
    EXPECT_THAT(wrong("actions=delete_field:reg0"),
                HasSubstr("delete_field takes an option of Geneve out, like "
                          "delete_field:tun_metadata0; other fields stay"));
    EXPECT_EQ(wrong("tun_metadata0=0x100000000,actions=drop"),
              "column 15: \"0x100000000\" is too large for tun_metadata0, which has 32 bits");
    EXPECT_THAT(wrong("tun_metadata5=0x1" + std::string(40, '0') + ",actions=drop"),
                HasSubstr("which has 160 bits"));
    EXPECT_THAT(wrong("tun_metadata5=0x1" + std::string(200, '0') + ",actions=drop"),
                HasSubstr("which has 160 bits"));
    EXPECT_THAT(wrong("tun_metadata0=0x,actions=drop"), HasSubstr("is no value of tun_metadata0"));
    EXPECT_THAT(wrong("tun_metadata0=5x,actions=drop"), HasSubstr("is no value of tun_metadata0"));
    EXPECT_THAT(wrong("tun_metadata5=0x" + std::string(20, '0') + "g,actions=drop"),
                HasSubstr("is no value of tun_metadata5"));
    EXPECT_THAT(wrong("tun_metadata0[32]=1,actions=drop"), HasSubstr("has no bit 32"));
    EXPECT_THAT(wrong("tun_metadata0=1,tun_metadata0=2,actions=drop"), HasSubstr("contradicts"));
    EXPECT_THAT(wrong("actions=set_field:5/0->tun_metadata0"), HasSubstr("sets no bit"));
    EXPECT_EQ(wrong("actions=push:tun_metadata5[]"),
              "column 14: this takes up to 64 bits of tun_metadata5 that lie together, like "
              "tun_metadata5[0..63] or tun_metadata5[64..95]");
    EXPECT_THAT(wrong("tcp,actions=ct(commit,exec(set_field:5->tun_metadata0))"),
                HasSubstr("exec sets ct_mark and ct_label alone"));
    EXPECT_THAT(wrong("tcp,actions=ct(commit,exec(delete_field:tun_metadata0))"),
                HasSubstr("exec sets ct_mark and ct_label alone"));
}

TEST(flow_options, are_words_of_packets)
{
    const auto key = parse_packet("tun_metadata0,tun_metadata5=0x1020000000000000003", names());
    ASSERT_TRUE(key.has_value()) << key.error().message;
    EXPECT_EQ(key->get(field::tun_present),
              known().at(0)->present_bit() | known().at(5)->present_bit());
    EXPECT_EQ(key->get(known().at(5)->field_at(1)), wide{0x102});
    const std::string words = format_key(*key, &names());
    EXPECT_THAT(words, HasSubstr("tun_metadata0=0,tun_metadata5=0x1020000000000000003,"));
    EXPECT_EQ(parse_packet(words, names()).value(), *key);
    EXPECT_THAT(parse_packet("tun_metadata0=1/1", names()).error().message,
                HasSubstr("is not one value, which a packet has of tun_metadata0"));
}

std::string read_map(std::string_view text, bool to_remove = false)
{
    const auto options = parse_options(text, to_remove);
    if (options.has_error()) {
        return options.error().message;
    }
    std::string out;
    for (const flow::option& o : *options) {
        out += format_option(o) + " ";
    }
    return out;
}

TEST(option_maps, are_ovs_ofctls)
{
    EXPECT_EQ(read_map("{class=0xffff,type=0,len=4}->tun_metadata0"),
              "{class=0xffff,type=0,len=4}->tun_metadata0 ");
    EXPECT_EQ(read_map(" { class=258, type=128, len=124 } -> tun_metadata63 ,"
                       "{len=8,class=1,type=0x1}->NXM_NX_TUN_METADATA7"),
              "{class=0x102,type=0x80,len=124}->tun_metadata63 "
              "{class=0x1,type=0x1,len=8}->tun_metadata7 ");
    EXPECT_EQ(parse_options("tun_metadata3,tun_metadata4", true).value().size(), 2U);
    EXPECT_EQ(parse_options("tun_metadata3", true).value().front().length, 0);
}

TEST(option_maps, that_are_wrong_name_the_word)
{
    EXPECT_THAT(read_map(""), HasSubstr("is no option; it must be like {class="));
    EXPECT_EQ(read_map("tun_metadata3"),
              "column 1: \"tun_metadata3\" is no option; it must be like "
              "{class=0x102,type=0x80,len=4}->tun_metadata0");
    EXPECT_EQ(read_map("{class=0x10000,type=0,len=4}->tun_metadata0"),
              "column 8: \"0x10000\" is no class; it must be a number from 0 to 65535");
    EXPECT_THAT(read_map("{class=1,type=256,len=4}->tun_metadata0"), StartsWith("column 15: "));
    for (const auto* length : {"0", "3", "6", "126", "128"}) {
        EXPECT_THAT(read_map("{class=1,type=2,len=" + std::string{length} + "}->tun_metadata0"),
                    HasSubstr("a multiple of 4, from 4 to 124"))
            << length;
    }
    EXPECT_THAT(read_map("{class=1,type=2}->tun_metadata0"),
                HasSubstr("an option has class, type and len"));
    EXPECT_THAT(read_map("{class=1,class=1,type=2,len=4}->tun_metadata0"),
                HasSubstr("class may be given once"));
    EXPECT_THAT(read_map("{class=1,kind=2,len=4}->tun_metadata0"),
                HasSubstr("\"kind\" is nothing"));
    EXPECT_THAT(read_map("{class=1,type=2,len=4"), HasSubstr("} is missing here"));
    EXPECT_THAT(read_map("{class=1,type=2,len=4}"), HasSubstr("there must be ->tun_metadata"));
    EXPECT_THAT(read_map("{class=1,type=2,len=4}->tun_metadata64"),
                HasSubstr("it must be tun_metadata0 to tun_metadata63"));
    EXPECT_THAT(read_map("{class=1,type=2,len=4}->reg0"), HasSubstr("\"reg0\" is no name"));
}

} // namespace
} // namespace strait::control
