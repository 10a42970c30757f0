// SPDX-License-Identifier: BSD-3-Clause
// Programs that tables come to, and what of a packet they hang on.
#include "dataplane/flow/translate.hh"

#include "dataplane/flow/ct_operation.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace strait::flow {
namespace {

using dataplane::drop_reason;
using dataplane::port_index;

constexpr std::uint64_t ipv4 = 0x0800;

// Tables of rules, and the port of number n at index n.
class translation_of : public ::testing::Test {
protected:
    translation_of()
    {
        auto numbers = std::make_shared<port_numbers>();
        for (port_number n = 1; n <= 9; ++n) {
            numbers->add(n, port_index{n});
        }
        flows_.ports = numbers;
        packet_.set(field::in_port, 1);
        packet_.set(field::eth_type, ipv4);
        packet_.set(field::nw_ttl, 64);
        packet_.set(field::packet_length, 100);
    }

    void rule_in(table_id table, priority_t priority, const match& m, action_list actions)
    {
        flows_.tables.own(table).insert(
            rule::make({.priority = priority, .table = table}, m,
                       std::make_shared<const action_list>(std::move(actions))));
    }
    void always(table_id table, action_list actions) { rule_in(table, 1, {}, std::move(actions)); }

    // Ports of the outputs of the program, in order; operations in between are not told.
    std::vector<std::uint32_t> outputs()
    {
        translate(flows_, packet_, made_);
        std::vector<std::uint32_t> out;
        for (const operation& o : operations()) {
            if (o.code == operation_code::output) {
                out.push_back(o.b);
            }
        }
        return out;
    }
    std::vector<operation> operations() const
    {
        std::vector<operation> out;
        const auto words = made_.words();
        for (std::size_t i = 0; i < words.size();) {
            out.push_back(operation::of(words[i++]));
            i += words_of(out.back());
        }
        return out;
    }
    std::vector<operation_code> codes() const
    {
        std::vector<operation_code> out;
        for (const operation& o : operations()) {
            out.push_back(o.code);
        }
        return out;
    }
    void group_of(std::uint32_t id, group_type type, std::vector<bucket> buckets)
    {
        flows_.groups.put(group_ptr{
            new bucket_group{{.id = id, .type = type, .select = {}, .buckets = std::move(buckets)},
                             {},
                             1,
                             nullptr}});
    }
    drop_reason why()
    {
        translate(flows_, packet_, made_);
        EXPECT_TRUE(made_.words().empty());
        return made_.reason;
    }

    pipeline flows_;
    key packet_;
    translation made_;
};

using ports_out = std::vector<std::uint32_t>;
using codes_t = std::vector<operation_code>;

action out(port_number port)
{
    return {output{port}};
}
action go(table_id table)
{
    return {resubmit{std::nullopt, table}};
}
action set(field f, wide value)
{
    return {set_field{f, value, wide::ones(width_of(f))}};
}

TEST_F(translation_of, an_empty_table_drops)
{
    EXPECT_EQ(why(), drop_reason::flow_miss);
}

TEST_F(translation_of, a_rule_without_actions_drops)
{
    always(0, {});
    EXPECT_EQ(why(), drop_reason::flow_drop);
    EXPECT_EQ(made_.rule_count, 1U);
}

TEST_F(translation_of, outputs_are_in_their_order)
{
    always(0, {out(3), out(2), out(3)});
    EXPECT_EQ(outputs(), (ports_out{3, 2, 3}));
}

bucket doing(action_list actions, std::optional<port_number> watch = std::nullopt)
{
    bucket b;
    b.actions = std::move(actions);
    b.watch_port = watch;
    return b;
}

TEST_F(translation_of, a_group_of_all_does_each_bucket_to_the_packet_as_it_came)
{
    group_of(1, group_type::all, {doing({set(field::nw_dst, 1), out(2)}), doing({out(3)})});
    always(0, {{group{1}}, out(4)});
    EXPECT_EQ(outputs(), (ports_out{2, 3, 4}));
    EXPECT_EQ(codes(),
              (codes_t{operation_code::count_group, operation_code::clone, operation_code::set,
                       operation_code::output, operation_code::output, operation_code::output}))
        << "what changes nothing needs no copy";
}

TEST_F(translation_of, a_group_without_buckets_counts_and_drops)
{
    group_of(1, group_type::all, {});
    always(0, {{group{1}}});
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_EQ(codes(), codes_t{operation_code::count_group});
}

TEST_F(translation_of, a_group_that_chooses_has_all_its_ways)
{
    group_of(1, group_type::fast_failover,
             {doing({out(2), set(field::nw_dst, 1)}, port_number{2}),
              doing({set(field::nw_dst, 1), out(3)}, port_number{3})});
    always(0, {{group{1}}, out(4)});
    EXPECT_EQ(outputs(), (ports_out{2, 3, 4}));
    EXPECT_EQ(codes(),
              (codes_t{operation_code::choose, operation_code::alternative, operation_code::set,
                       operation_code::output, operation_code::alternative, operation_code::set,
                       operation_code::output, operation_code::output}));
    EXPECT_EQ(most_exits(made_.words()), 2U) << "of the ways, one";
}

TEST_F(translation_of, a_bucket_of_a_selecting_group_without_a_weight_is_no_way)
{
    auto heavy = doing({out(2)});
    auto light = doing({out(3)});
    light.weight = 0;
    group_of(1, group_type::select, {heavy, light});
    always(0, {{group{1}}});
    EXPECT_EQ(outputs(), ports_out{2});
}

TEST_F(translation_of, rules_met_on_one_of_several_ways_are_counted_there)
{
    group_of(1, group_type::fast_failover,
             {doing({go(1)}, port_number{2}), doing({out(3)}, port_number{3})});
    always(0, {{group{1}}});
    always(1, {out(2)});
    EXPECT_EQ(outputs(), (ports_out{2, 3}));
    EXPECT_EQ(made_.rule_count, 1U);
    EXPECT_EQ(codes(), (codes_t{operation_code::choose, operation_code::alternative,
                                operation_code::count_rule, operation_code::output,
                                operation_code::alternative, operation_code::output}));
}

TEST_F(translation_of, of_a_set_a_group_then_an_output_then_a_resubmit_is_done)
{
    group_of(1, group_type::indirect, {doing({out(4)})});
    always(1, {out(5)});
    always(0, {{write_actions{{go(1), out(2), {group{1}}}}}});
    EXPECT_EQ(outputs(), ports_out{4});
    rule_in(0, 2, {}, {{write_actions{{go(1), out(2)}}}});
    EXPECT_EQ(outputs(), ports_out{2});
    rule_in(0, 3, {}, {{write_actions{{go(1)}}}});
    EXPECT_EQ(outputs(), ports_out{5});
}

TEST_F(translation_of, groups_that_tables_lead_back_into_end)
{
    group_of(1, group_type::indirect, {doing({go(0)})});
    always(0, {{group{1}}});
    EXPECT_EQ(why(), drop_reason::flow_too_complex);
}

TEST_F(translation_of, a_meter_is_asked_before_what_follows_even_if_that_is_nothing)
{
    flows_.meters.put(
        meter_ptr{new packet_meter{{.id = 7, .bands = {{.rate = 1}}}, {}, 1, {1, 1'000'000}}});
    always(0, {{meter{7}}, out(2)});
    EXPECT_EQ(outputs(), ports_out{2});
    EXPECT_EQ(codes(), (codes_t{operation_code::meter, operation_code::output}));
    rule_in(0, 2, {}, {{meter{7}}});
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_EQ(codes(), codes_t{operation_code::meter});
}

TEST_F(translation_of, no_packet_goes_back_unless_it_is_said)
{
    always(0, {out(1), out(2), out(ports::in_port)});
    EXPECT_EQ(outputs(), (ports_out{2, 1}));
}

TEST_F(translation_of, ports_that_there_are_not_get_nothing)
{
    always(0, {out(77), out(2)});
    EXPECT_EQ(outputs(), (ports_out{2}));
}

TEST_F(translation_of, the_local_port_is_one_like_others_if_there_is_one)
{
    always(0, {out(ports::local), out(2)});
    EXPECT_EQ(outputs(), (ports_out{2}));
    auto numbers = std::make_shared<port_numbers>(*flows_.ports);
    numbers->add(ports::local, port_index{70});
    EXPECT_EQ(numbers->index(9), port_index{9});
    EXPECT_EQ(numbers->index(10), dataplane::no_port);
    EXPECT_EQ(numbers->index(0xffff'fffe), dataplane::no_port);
    flows_.ports = numbers;
    EXPECT_EQ(outputs(), (ports_out{70, 2}));
    packet_.set(field::in_port, ports::local); // and nothing goes back there
    EXPECT_EQ(outputs(), (ports_out{2}));
}

TEST_F(translation_of, frames_may_leave_in_part)
{
    always(0, {{output{3, 100}},
               {output{1, 100}},
               {output{ports::in_port, 0xffff}},
               {output{2, 0x10000}},
               {output{2}}});
    EXPECT_EQ(outputs(), (ports_out{2, 2})) << "no frame is longer";
    const auto all = operations();
    ASSERT_EQ(all.size(), 4U);
    EXPECT_EQ(all[0].code, operation_code::output_cut);
    EXPECT_EQ(all[0].a, 100);
    EXPECT_EQ(all[0].b, 3U);
    EXPECT_EQ(all[1].code, operation_code::output_cut);
    EXPECT_EQ(all[1].a, 0xffff);
    EXPECT_EQ(all[1].b, 1U);
    EXPECT_TRUE(leaves_more_than_once(made_.words().first(2)));
    EXPECT_FALSE(leaves_more_than_once(made_.words().first(1)));
}

TEST_F(translation_of, more_actions_than_a_packet_may_take_drop_it)
{
    action_list many(64, set(field::reg0, 1));
    many.push_back(out(2));
    always(1, many);
    const auto times = [this](std::size_t count) {
        action_list all;
        for (std::size_t i = 0; i < count; ++i) {
            all.push_back(go(1));
        }
        always(0, all);
    };
    times(max_actions / 66);
    EXPECT_EQ(outputs().size(), max_actions / 66);
    times(max_actions / 66 + 1);
    EXPECT_EQ(why(), drop_reason::flow_too_complex);
}

TEST_F(translation_of, a_table_is_come_back_from)
{
    always(0, {go(5), out(2)});
    always(5, {out(3)});
    EXPECT_EQ(outputs(), (ports_out{3, 2}));
    EXPECT_EQ(made_.rule_count, 2U);
}

TEST_F(translation_of, what_one_table_writes_another_matches)
{
    match seven;
    seven.require(field::reg3, 7);
    always(0, {set(field::reg3, 7), go(5)});
    rule_in(5, 10, seven, {out(4)});
    always(5, {out(3)});
    EXPECT_EQ(outputs(), (ports_out{4}));
    EXPECT_TRUE(made_.tests.empty());
}

TEST_F(translation_of, a_resubmitted_packet_keeps_its_port)
{
    match from_six;
    from_six.require(field::in_port, 6);
    always(0, {action{resubmit{port_number{6}, table_id{1}}}, out(6)});
    rule_in(1, 1, from_six, {out(1), out(ports::in_port), out(6)});
    EXPECT_EQ(outputs(), (ports_out{1, 6, 6}));
}

TEST_F(translation_of, a_loop_of_tables_ends)
{
    always(0, {go(1)});
    always(1, {out(2), go(0)});
    EXPECT_EQ(why(), drop_reason::flow_too_complex);
}

TEST_F(translation_of, tables_that_multiply_end)
{
    for (table_id t = 0; t < 20; ++t) {
        always(t, {go(static_cast<table_id>(t + 1)), go(static_cast<table_id>(t + 1)), out(2)});
    }
    EXPECT_EQ(why(), drop_reason::flow_too_complex);
}

TEST_F(translation_of, a_program_without_end_is_refused)
{
    action_list many;
    for (std::size_t i = 0; i <= max_program; ++i) {
        many.push_back(out(2));
    }
    always(0, many);
    EXPECT_EQ(why(), drop_reason::flow_too_complex);
}

TEST_F(translation_of, changes_after_the_last_output_are_left_out)
{
    always(0, {out(2), set(field::eth_dst, 1), action{push_vlan{0x8100}}});
    EXPECT_EQ(outputs(), (ports_out{2}));
    EXPECT_EQ(made_.program_words, 1U);
}

TEST_F(translation_of, changes_behind_one_another_are_one)
{
    always(0, {set(field::eth_dst, 1), set(field::eth_src, 2), set(field::nw_src, 3), out(2)});
    (void)outputs();
    const auto all = operations();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].code, operation_code::set);
    EXPECT_EQ(all[0].count, 3U);
}

TEST_F(translation_of, registers_are_no_change_of_the_frame)
{
    always(0, {set(field::reg0, 1), set(field::metadata, 2), out(2)});
    (void)outputs();
    EXPECT_EQ(made_.program_words, 1U);
}

TEST_F(translation_of, what_happens_in_a_clone_stays_there)
{
    match marked;
    marked.require(field::reg0, 1);
    always(0, {action{clone{{set(field::reg0, 1), set(field::eth_dst, 1), go(5)}}}, go(5)});
    rule_in(5, 10, marked, {out(3)});
    always(5, {out(4)});
    translate(flows_, packet_, made_);
    const auto all = operations();
    ASSERT_EQ(all.size(), 4U);
    EXPECT_EQ(all[0].code, operation_code::clone);
    EXPECT_EQ(all[1].code, operation_code::set);
    EXPECT_EQ(all[2].b, 3U);
    EXPECT_EQ(all[0].b, 1 + words_per_change + 1);
    EXPECT_EQ(all[3].b, 4U);
}

TEST_F(translation_of, a_clone_that_sends_nothing_is_nothing)
{
    always(0, {action{clone{{set(field::eth_dst, 1)}}}, out(4)});
    EXPECT_EQ(outputs(), (ports_out{4}));
    EXPECT_EQ(made_.program_words, 1U);
}

TEST_F(translation_of, exit_ends_all_but_what_is_outside_of_a_clone)
{
    always(0, {action{clone{{action{exit_processing{}}, out(5)}}}, go(1), out(2)});
    always(1, {out(3), action{exit_processing{}}, out(4)});
    EXPECT_EQ(outputs(), (ports_out{3}));
}

TEST_F(translation_of, a_packet_that_no_table_takes_further_does_its_action_set)
{
    always(0, {action{write_actions{{out(2), set(field::reg0, 1)}}}, action{goto_table{4}}});
    always(4, {out(6), action{write_actions{{out(5)}}}});
    EXPECT_EQ(outputs(), (ports_out{6, 5}));
}

TEST_F(translation_of, a_clone_does_the_action_set_as_it_is_at_its_end)
{
    always(0, {action{write_actions{{out(2)}}}, action{goto_table{4}}});
    always(4, {action{clone{{out(6), go(5)}}}, out(7)});
    always(5, {action{write_actions{{out(3)}}}});
    EXPECT_EQ(outputs(), (ports_out{6, 3, 7, 2}));
}

TEST_F(translation_of, an_action_set_ends_where_the_ttl_does)
{
    packet_.set(field::eth_type, 0x0800);
    packet_.set(field::nw_ttl, 1);
    always(0, {action{write_actions{{out(2), action{dec_ttl{}}}}}});
    EXPECT_EQ(outputs(), (ports_out{}));
    packet_.set(field::nw_ttl, 2);
    EXPECT_EQ(outputs(), (ports_out{2}));
}

TEST_F(translation_of, a_clone_in_the_action_set_does_not_do_it_again)
{
    always(0, {action{write_actions{{action{clone{{out(3)}}}, out(2)}}}});
    EXPECT_EQ(outputs(), (ports_out{3, 2}));
}

TEST_F(translation_of, an_action_set_that_was_cleared_is_empty)
{
    always(0, {action{write_actions{{out(2)}}}, action{goto_table{4}}});
    always(4, {action{clear_actions{}}});
    EXPECT_EQ(why(), drop_reason::flow_drop);
}

TEST_F(translation_of, a_stack_gives_back_what_was_pushed)
{
    match nine;
    nine.require(field::reg1, 9);
    always(0, {set(field::reg0, 9), action{stack_push{subfield::whole(field::reg0)}},
               set(field::reg0, 0), action{stack_pop{subfield::whole(field::reg1)}},
               action{stack_pop{subfield::whole(field::reg1)}}, go(2)});
    rule_in(2, 1, nine, {out(7)});
    EXPECT_EQ(outputs(), (ports_out{7}));
}

TEST_F(translation_of, a_port_may_be_a_fields)
{
    always(0, {set(field::reg0, 0x50003), action{output_field{{field::reg0, 0, 16}}},
               action{output_field{{field::reg0, 0, 32}}}});
    EXPECT_EQ(outputs(), (ports_out{3}));
}

TEST_F(translation_of, an_entry_with_flags_is_for_these_flags)
{
    match syn;
    syn.require(field::nw_proto, 6);
    syn.require(field::tcp_flags, 2, 0x12);
    packet_.set(field::nw_proto, 6);
    packet_.set(field::tcp_flags, 2);
    rule_in(0, 10, syn, {out(2)});
    always(0, {out(3)});
    EXPECT_EQ(outputs(), (ports_out{2}));
    const auto varying = [this](std::uint64_t flags) {
        key k = packet_;
        k.set(field::tcp_flags, flags);
        return k.words[varying_word];
    };
    EXPECT_TRUE(made_.tests.hold(varying(0x2), 100));
    EXPECT_TRUE(made_.tests.hold(varying(0x6), 100));
    EXPECT_FALSE(made_.tests.hold(varying(0x12), 100));
}

TEST_F(translation_of, an_entry_that_decrements_is_for_every_ttl_that_is_left)
{
    always(0, {action{dec_ttl{}}, action{dec_ttl{}}, out(2)});
    EXPECT_EQ(outputs(), (ports_out{2}));
    const auto with = [this](std::uint64_t ttl) {
        key k = packet_;
        k.set(field::nw_ttl, ttl);
        return made_.tests.hold(k.words[varying_word], 100);
    };
    EXPECT_TRUE(with(3));
    EXPECT_TRUE(with(255));
    EXPECT_FALSE(with(2));
}

TEST_F(translation_of, a_ttl_that_is_used_up_ends_its_list_alone)
{
    packet_.set(field::nw_ttl, 2);
    always(0, {go(1), out(3)});
    always(1, {action{dec_ttl{}}, out(2), action{dec_ttl{}}, out(4)});
    EXPECT_EQ(outputs(), (ports_out{2, 3}));
    key k = packet_;
    EXPECT_TRUE(made_.tests.hold(k.words[varying_word], 100));
    k.set(field::nw_ttl, 3);
    EXPECT_FALSE(made_.tests.hold(k.words[varying_word], 100));
    k.set(field::nw_ttl, 1);
    EXPECT_FALSE(made_.tests.hold(k.words[varying_word], 100));
}

TEST_F(translation_of, a_ttl_that_a_rule_sets_is_no_more_the_packets)
{
    always(0, {set(field::nw_ttl, 1), action{dec_ttl{}}, out(2)});
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_TRUE(made_.tests.empty());
}

constexpr endpoint::ip_address router = endpoint::ip_address::v4(0x0a00'00fe);

TEST_F(translation_of, a_sender_is_told_of_its_packet_as_it_came)
{
    always(0, {set(field::eth_dst, 5), action{dec_ttl{router}}, out(2)});
    packet_.set(field::nw_ttl, 1);
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_EQ(codes(), (codes_t{operation_code::keep_head, operation_code::set,
                                operation_code::time_exceeded}));
    const auto from = made_.words().last(2);
    EXPECT_EQ((endpoint::ip_address{from[0], from[1]}), router);
    EXPECT_EQ(made_.reason, drop_reason::flow_drop);
    key k = packet_;
    k.set(field::nw_ttl, 0);
    EXPECT_TRUE(made_.tests.hold(k.words[varying_word], 100));
    k.set(field::nw_ttl, 2);
    EXPECT_FALSE(made_.tests.hold(k.words[varying_word], 100));
    // Others' programs know nothing of it.
    packet_.set(field::nw_ttl, 2);
    EXPECT_EQ(outputs(), ports_out{2});
    EXPECT_EQ(codes(), (codes_t{operation_code::set, operation_code::decrement_ttl,
                                operation_code::output}));
}

TEST_F(translation_of, a_sender_is_told_of_a_ttl_that_a_rule_set)
{
    always(0, {set(field::nw_ttl, 1), action{dec_ttl{router}}, out(2)});
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_EQ(codes(), (codes_t{operation_code::keep_head, operation_code::set,
                                operation_code::time_exceeded}));
    EXPECT_TRUE(made_.tests.empty());
}

TEST_F(translation_of, a_sender_is_told_after_what_its_packet_did_before)
{
    packet_.set(field::nw_ttl, 1);
    always(0, {set(field::eth_dst, 5), out(3), action{clone{{action{dec_ttl{router}}, out(4)}}},
               out(5)});
    EXPECT_EQ(outputs(), (ports_out{3, 5}));
    EXPECT_EQ(codes(),
              (codes_t{operation_code::keep_head, operation_code::set, operation_code::output,
                       operation_code::time_exceeded, operation_code::output}));
}

TEST_F(translation_of, a_sender_is_told_if_the_way_that_its_packet_takes_says_so)
{
    packet_.set(field::nw_ttl, 1);
    group_of(5, group_type::select,
             {doing({action{dec_ttl{router}}, out(2)}), doing({action{dec_ttl{}}, out(3)})});
    always(0, {action{group{5}}});
    EXPECT_EQ(outputs(), ports_out{});
    const auto words = made_.words();
    ASSERT_EQ(codes(), (codes_t{operation_code::keep_head, operation_code::choose,
                                operation_code::alternative, operation_code::time_exceeded,
                                operation_code::alternative}));
    EXPECT_EQ(operation::of(words[1]).b, 5U); // words behind it
    EXPECT_EQ(operation::of(words[4]).b, 3U);
}

TEST_F(translation_of, nobody_is_told_by_an_address_of_the_other_version)
{
    packet_.set(field::eth_type, 0x86dd);
    packet_.set(field::nw_ttl, 1);
    always(0, {action{dec_ttl{router}}, out(2)});
    EXPECT_EQ(why(), drop_reason::flow_drop);
    rule_in(0, 2, {}, {action{dec_ttl{{0xfd00'0000'0000'0000, 1}}}, out(2)});
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_EQ(codes(), (codes_t{operation_code::keep_head, operation_code::time_exceeded}));
}

TEST_F(translation_of, a_length_is_asked_for_as_a_range)
{
    match larger;
    larger.require(field::reg0, 1);
    always(0, {action{check_pkt_larger{150, {field::reg0, 0, 1}}}, go(1)});
    rule_in(1, 2, larger, {out(2)});
    always(1, {out(3)});
    EXPECT_EQ(outputs(), (ports_out{3}));
    EXPECT_TRUE(made_.tests.hold(packet_.words[varying_word], 150));
    EXPECT_FALSE(made_.tests.hold(packet_.words[varying_word], 151));
    packet_.set(field::packet_length, 151);
    EXPECT_EQ(outputs(), (ports_out{2}));
    EXPECT_FALSE(made_.tests.hold(packet_.words[varying_word], 150));
}

TEST_F(translation_of, setting_a_tag_pushes_one_where_there_is_none)
{
    always(0, {action{set_field{field::vlan_tci, 0x1005, 0x1fff}}, out(2)});
    (void)outputs();
    auto all = operations();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].code, operation_code::push_vlan);
    packet_.set(field::vlan_tci, 0x1007);
    (void)outputs();
    all = operations();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].code, operation_code::set);
}

TEST_F(translation_of, what_comes_up_under_a_tag_is_matched)
{
    match five;
    five.require(field::vlan_tci, 0x1005, 0x1fff);
    packet_.set(field::vlan_tci, 0x1009);
    packet_.set(field::inner_vlan_tci, 0x1005);
    always(0, {action{pop_vlan{}}, go(1)});
    rule_in(1, 1, five, {out(2)});
    EXPECT_EQ(outputs(), (ports_out{2}));
}

TEST_F(translation_of, no_fragment_has_ports)
{
    match http;
    http.require(field::tp_dst, 80);
    match none;
    none.require(field::tp_dst, 0);
    packet_.set(field::tp_dst, 80);
    rule_in(0, 10, http, {out(2)});
    rule_in(0, 9, none, {out(3)});
    EXPECT_EQ(outputs(), (ports_out{2}));
    packet_.set(field::nw_frag, frag_any);
    EXPECT_EQ(outputs(), (ports_out{3}));
}

class tracking_of : public translation_of {
protected:
    // The program's first operation.
    ct_operation first() const
    {
        const auto words = made_.words();
        const operation o = operation::of(words.front());
        EXPECT_EQ(o.code, operation_code::ct);
        return {o, words.data() + 1};
    }
    static action track(ct what, std::optional<table_id> table)
    {
        what.table = table;
        return {std::move(what)};
    }
};

// What comes behind it is run on its own, and what was kept before is not there then.
TEST_F(tracking_of, a_sender_is_told_of_its_packet_as_it_goes_on)
{
    packet_.set(field::nw_ttl, 1);
    always(0, {track({}, std::nullopt), action{dec_ttl{router}}, out(2)});
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_EQ(codes(), (codes_t{operation_code::ct, operation_code::keep_head,
                                operation_code::time_exceeded, operation_code::drop}));
}

TEST_F(tracking_of, a_sender_is_told_of_its_packet_as_it_came_out_of_the_action)
{
    packet_.set(field::nw_ttl, 1);
    const action tells{dec_ttl{router}};
    const std::vector behind{operation_code::ct, operation_code::keep_head, operation_code::set,
                             operation_code::time_exceeded, operation_code::drop};
    always(0, {track({}, std::nullopt), set(field::eth_src, 5), set(field::eth_dst, 6), tells});
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_EQ(codes(), behind);
    // What was done before it, and what a copy was asked for, does not count.
    always(0, {set(field::eth_src, 4), action{clone{{track({}, std::nullopt)}}},
               set(field::eth_dst, 6), tells});
    EXPECT_EQ(outputs(), ports_out{});
    EXPECT_EQ(codes().front(), operation_code::keep_head);
    EXPECT_EQ(std::ranges::count(codes(), operation_code::keep_head), 1);
    // Those whose TTL is left keep nothing.
    always(0, {track({}, std::nullopt), set(field::eth_dst, 6), tells, out(2)});
    packet_.set(field::nw_ttl, 9);
    EXPECT_EQ(outputs(), ports_out{2});
    EXPECT_EQ(std::ranges::count(codes(), operation_code::keep_head), 0);
}

TEST_F(tracking_of, a_packet_carries_what_the_action_says)
{
    ct what;
    what.zone = subfield{field::reg2, 8, 16};
    what.commit = what.force = true;
    what.alg = ct::helper::ftp;
    what.translation = nat{};
    what.exec = {{set_field{field::ct_mark, 0xab, 0xff}},
                 {move_field{{field::ct_mark, 4, 4}, {field::ct_label, 64, 4}}}};
    always(0, {set(field::reg2, 0x123400), track(what, std::nullopt), out(2)});
    EXPECT_EQ(outputs(), (ports_out{2}));
    const ct_operation made = first();
    conntrack::parameters asked;
    made.write_to(asked);
    EXPECT_EQ(asked.zone, 0x1234);
    EXPECT_TRUE(asked.commit);
    EXPECT_TRUE(asked.force);
    EXPECT_EQ(asked.alg, ct::helper::ftp);
    ASSERT_NE(asked.translation, nullptr);
    EXPECT_EQ(*asked.translation, nat{});
    EXPECT_EQ(asked.mark, 0xabU);
    EXPECT_EQ(asked.mark_mask, 0xffU);
    EXPECT_EQ(asked.label, (wide{0xa, 0}));
    EXPECT_EQ(asked.label_mask, (wide{0xf, 0}));
    EXPECT_FALSE(made.goes_on);
}

TEST_F(tracking_of, who_goes_on_has_what_rules_changed)
{
    always(0, {set(field::reg1, 7), action{stack_push{{field::eth_type, 0, 16}}},
               action{write_actions{{out(3)}}}, go(1)});
    always(1, {track({}, table_id{9})});
    (void)outputs();
    const ct_operation made = first();
    EXPECT_TRUE(made.goes_on);
    EXPECT_EQ(made.table, 9);
    const auto register_word = place_of(field::reg1).word;
    EXPECT_NE(made.state.changed >> register_word & 1, 0U);
    EXPECT_EQ(made.changes[0], 7U) << "the first of them";
    EXPECT_EQ(made.changes[1], 0xffffffffU);
    EXPECT_EQ(made.state.stack, 1);
    EXPECT_EQ(made.state.actions, 1);
    ASSERT_EQ(made.behind.size(), 3U);
    EXPECT_EQ(made.behind[1], ipv4);
    EXPECT_EQ(*std::bit_cast<const action*>(made.behind[2]), out(3));
}

TEST_F(tracking_of, a_packet_is_not_tracked_behind_the_action)
{
    match tracked;
    tracked.require(field::ct_state, 0x20, 0x20);
    rule_in(1, 2, tracked, {out(3)});
    always(1, {out(4)});
    packet_.set(field::ct_state, 0x22);
    always(0, {go(1), track({}, std::nullopt), go(1)});
    EXPECT_EQ(outputs(), (ports_out{3, 4}));
    always(0, {go(1), action{ct_clear{}}, go(1)});
    EXPECT_EQ(outputs(), (ports_out{3, 4}));
    always(0, {action{clone{{action{ct_clear{}}}}}, go(1)});
    EXPECT_EQ(outputs(), (ports_out{3})) << "what a copy does is its own";
}

TEST_F(tracking_of, a_packet_begins_with_the_stack_and_the_set_it_had)
{
    always(7,
           {action{stack_pop{{field::reg0, 0, 16}}}, action{output_field{{field::reg0, 0, 16}}}});
    const action five = out(5);
    const std::array<std::uint64_t, 2> stack{0, 6};
    const std::array<std::uint64_t, 1> written{std::bit_cast<std::uint64_t>(&five)};
    translate(flows_, packet_, made_, nullptr, {7, stack, written});
    ASSERT_EQ(operations().size(), 2U);
    EXPECT_EQ(operations()[0].b, 6U);
    EXPECT_EQ(operations()[1].b, 5U);
}

TEST_F(tracking_of, one_last_action_of_a_set_is_done)
{
    always(1, {out(7)});
    always(0, {action{write_actions{{track({}, table_id{1}), go(1), out(4)}}}});
    EXPECT_EQ(outputs(), (ports_out{4}));
    ASSERT_EQ(operations().size(), 1U);
    always(0, {action{write_actions{{track({}, table_id{1}), go(1)}}}});
    EXPECT_EQ(outputs(), (ports_out{7}));
    ASSERT_EQ(operations().size(), 1U);
}

TEST_F(tracking_of, a_packet_is_looked_up_by_its_connection)
{
    packet_.set(field::nw_src, 1);
    packet_.set(field::nw_dst, 2);
    packet_.set(field::ct_nw_src, 8);
    packet_.set(field::ct_nw_dst, 9);
    match of_connection;
    of_connection.require(field::nw_dst, 9);
    of_connection.require(field::ct_nw_src, 1);
    rule_in(1, 2, of_connection, {out(3), go(2)});
    match as_it_is;
    as_it_is.require(field::nw_dst, 2);
    rule_in(2, 2, as_it_is, {out(4)});
    always(0, {action{resubmit{std::nullopt, table_id{1}, true}}, out(2)});
    EXPECT_EQ(outputs(), (ports_out{2})) << "it has no connection";
    packet_.set(field::ct_nw_proto, 6);
    EXPECT_EQ(outputs(), (ports_out{3, 4, 2}));
}

TEST_F(tracking_of, what_is_tracked_and_goes_nowhere_is_dropped)
{
    ct what;
    what.commit = true;
    always(0, {track(what, std::nullopt)});
    (void)outputs();
    const auto all = operations();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[1].code, operation_code::drop);
    EXPECT_EQ(static_cast<drop_reason>(all[1].a), drop_reason::flow_drop);
}

// What a program makes of a packet's options, and what the walk knows of them then.
class options_of_a_packet : public translation_of {
protected:
    options_of_a_packet()
    {
        auto known = std::make_shared<option_map>();
        EXPECT_TRUE(known->add({.option_class = 1, .type = 0, .length = 4, .index = 3}));
        EXPECT_TRUE(known->add({.option_class = 1, .type = 1, .length = 12, .index = 60}));
        short_ = *known->at(3);
        long_ = *known->at(60);
        flows_.options = known;
    }
    // The packet's words when it leaves.
    key after(action_list actions)
    {
        flows_.tables = {};
        actions.push_back(out(2));
        always(0, std::move(actions));
        translate(flows_, packet_, made_);
        key k = packet_;
        const auto words = made_.words();
        for (std::size_t i = 0; i < words.size();) {
            const operation o = operation::of(words[i++]);
            for (std::size_t c = 0; o.code == operation_code::set_tunnel && c < o.count; ++c) {
                const std::uint64_t* const change = &words[i + c * words_per_change];
                k.words[change[0]] = (k.words[change[0]] & ~change[2]) | change[1];
            }
            i += words_of(o);
        }
        return k;
    }
    static action taken_out(const option& o)
    {
        return {set_field{field::tun_present, {}, o.present_bit()}};
    }

    option short_;
    option long_;
};

TEST_F(options_of_a_packet, are_there_as_soon_as_a_part_of_them_is_set)
{
    const key k = after({{set_field{long_.field_at(1), 5, 0xff}}});
    EXPECT_EQ(k.get(field::tun_present), long_.present_bit());
    EXPECT_EQ(k.get(long_.field_at(1)), wide{5});
    EXPECT_EQ(after({{move_field{subfield::whole(field::in_port), {short_.field_at(0), 0, 32}}}})
                  .get(field::tun_present),
              short_.present_bit());
    EXPECT_EQ(after({{stack_push{subfield::whole(field::in_port)}},
                     {stack_pop{{short_.field_at(0), 0, 32}}}})
                  .get(short_.field_at(0)),
              wide{1});
}

TEST_F(options_of_a_packet, have_nothing_when_they_are_taken_out)
{
    packet_.set(field::tun_present, short_.present_bit() | long_.present_bit());
    packet_.set(short_.field_at(0), 7);
    packet_.set(long_.field_at(0), 8);
    packet_.set(long_.field_at(1), 9);
    const key k = after({taken_out(long_)});
    EXPECT_EQ(k.get(field::tun_present), short_.present_bit());
    EXPECT_EQ(k.get(short_.field_at(0)), wide{7});
    EXPECT_TRUE((k.get(long_.field_at(0)) | k.get(long_.field_at(1))).is_zero());
    const key again = after({taken_out(long_), {set_field{long_.field_at(0), 3, 0xf}}});
    EXPECT_EQ(again.get(field::tun_present), short_.present_bit() | long_.present_bit());
    EXPECT_EQ(again.get(long_.field_at(0)), wide{3});
    EXPECT_TRUE(again.get(long_.field_at(1)).is_zero());
}

// A program is of all packets that are alike in what rules ask for, and these ask for nothing.
TEST_F(options_of_a_packet, are_set_in_packets_that_have_them_and_in_others)
{
    for (const bool there : {false, true}) {
        packet_.set(field::tun_present, there ? long_.present_bit() : wide{});
        const action_list both{{set_field{long_.field_at(0), 1, 1}},
                               {set_field{long_.field_at(1), 1, 1}}};
        (void)after(both);
        std::size_t changes = 0;
        for (const operation& o : operations()) {
            changes += o.code == operation_code::set_tunnel ? o.count : 0U;
        }
        EXPECT_EQ(changes, 3U) << "two words, and once that it is there";
    }
}

TEST_F(options_of_a_packet, are_as_they_were_behind_a_clone)
{
    (void)after({{clone{{{set_field{short_.field_at(0), 1, 1}}, out(3)}}}});
    EXPECT_EQ(codes(), (codes_t{operation_code::clone, operation_code::set_tunnel,
                                operation_code::output, operation_code::output}));
    flows_.tables = {};
    match m;
    m.require(field::tun_present, short_.present_bit(), short_.present_bit());
    rule_in(1, 1, m, {out(4)});
    always(0, {{clone{{{set_field{short_.field_at(0), 1, 1}}, go(1)}}}, go(1), out(5)});
    EXPECT_EQ(outputs(), (ports_out{4, 5}));
}

TEST(layout, of_a_later_pass_has_registers_and_connections)
{
    key matched;
    matched.set(field::reg0, 0xff);
    matched.set(field::ct_state, 0x20);
    EXPECT_EQ(make_layout(matched, {}).count, 1U);
    const key_layout made = make_later_layout(matched, {});
    ASSERT_EQ(made.count, 3U);
    EXPECT_EQ(made.words[1], place_of(field::reg0).word);
    EXPECT_EQ(made.words[2], place_of(field::ct_state).word);
}

TEST(layout, of_a_later_pass_says_whether_a_connection_or_its_state_tells_packets)
{
    key state;
    state.set(field::eth_type, ~wide{});
    state.set(field::nw_proto, ~wide{});
    state.set(field::ct_state, 0x20);
    state.set(field::reg0, ~wide{});
    EXPECT_TRUE(make_later_layout(state, {}).told_by_state);
    EXPECT_TRUE(make_later_layout(state, {}).told_by_connection);
    key more;
    more.set(field::tp_dst, ~wide{});
    EXPECT_FALSE(make_later_layout(state, more).told_by_state);
    EXPECT_TRUE(make_later_layout(state, more).told_by_connection);
    more.set(field::eth_dst, ~wide{});
    EXPECT_FALSE(make_later_layout(state, more).told_by_state);
    EXPECT_FALSE(make_later_layout(state, more).told_by_connection);
}

TEST(layout, has_the_port_and_what_rules_ask_for)
{
    key matched;
    matched.set(field::nw_dst, 0xffffff00, wide::ones(32));
    matched.set(field::nw_ttl, 0xff);
    matched.set(field::reg0, 0xff);
    key read;
    read.set(field::eth_src, ~wide{});
    const key_layout made = make_layout(matched, read);
    ASSERT_EQ(made.count, 3U);
    EXPECT_EQ(made.words[0], place_of(field::in_port).word);
    EXPECT_EQ(made.words[1], place_of(field::eth_src).word);
    EXPECT_EQ(made.words[2], place_of(field::nw_dst).word);
    EXPECT_EQ(made.masks[2], 0xffffff00U);
}

TEST(layout, knows_fragments_where_rules_ask_for_ports)
{
    key matched;
    matched.set(field::tp_dst, 0xffff);
    const key_layout made = make_layout(matched, {});
    ASSERT_EQ(made.count, 3U);
    EXPECT_EQ(made.words[1], place_of(field::nw_frag).word);
}

} // namespace
} // namespace strait::flow
