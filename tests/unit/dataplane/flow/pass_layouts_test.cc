// SPDX-License-Identifier: BSD-3-Clause
// Which passes a bridge has, and what their keys have of packets.
#include "dataplane/flow/pass_layouts.hh"

#include <gtest/gtest.h>

#include <memory>
#include <optional>

namespace strait::flow {
namespace {

class layouts_of_passes : public ::testing::Test {
protected:
    void rule_in(table_id table, field f, action_list actions)
    {
        flow::match m;
        m.require(f, 1);
        const auto shared = std::make_shared<const action_list>(std::move(actions));
        flows_.tables.own(table).insert(rule::make({.table = table}, m, shared));
        uses_.add(table, *shared);
    }
    const key_layout* from(table_id table)
    {
        uses_.make_layouts(flows_);
        return flows_.layout_from(table);
    }
    static bool has(const key_layout& l, field f)
    {
        const auto at = l.place_of_word(place_of(f).word);
        const std::uint64_t bits = wide::ones(width_of(f)).low << place_of(f).shift;
        return at != key_layout::absent && (l.masks[at] & bits) == bits;
    }

    pipeline flows_;
    action_uses uses_;
};

action go(table_id table)
{
    return {resubmit{std::nullopt, table}};
}
action track(table_id table)
{
    ct out;
    out.table = table;
    return {out};
}

TEST_F(layouts_of_passes, have_what_tables_ask_for_that_they_lead_to)
{
    rule_in(0, field::eth_src, {go(1), track(2)});
    rule_in(1, field::eth_dst, {});
    rule_in(2, field::reg0, {{goto_table{3}}});
    rule_in(3, field::nw_dst, {});
    rule_in(4, field::nw_src, {});
    const key_layout* const later = from(2);
    ASSERT_NE(later, nullptr);
    EXPECT_TRUE(has(flows_.layout, field::eth_src));
    EXPECT_TRUE(has(flows_.layout, field::eth_dst));
    EXPECT_FALSE(has(flows_.layout, field::nw_dst));
    EXPECT_TRUE(has(*later, field::reg0));
    EXPECT_TRUE(has(*later, field::nw_dst));
    EXPECT_FALSE(has(*later, field::eth_src));
    EXPECT_FALSE(has(*later, field::nw_src)) << "nothing leads there";
    EXPECT_FALSE(later->tables.test(4));
    EXPECT_TRUE(later->tables.test(3));
    EXPECT_EQ(from(3), nullptr) << "none begins there";
}

TEST_F(layouts_of_passes, have_what_action_sets_ask_for_wherever_they_were_written)
{
    rule_in(0, field::eth_src,
            {track(2), {write_actions{{action{output_field{{field::eth_dst, 0, 8}}}, go(5)}}}});
    rule_in(2, field::ct_state, {});
    rule_in(5, field::tp_dst, {});
    const key_layout* const later = from(2);
    ASSERT_NE(later, nullptr);
    EXPECT_EQ(later->masks[later->place_of_word(place_of(field::eth_dst).word)], 0xffU);
    EXPECT_TRUE(has(*later, field::tp_dst));
    EXPECT_TRUE(has(flows_.layout, field::tp_dst));
}

TEST_F(layouts_of_passes, have_a_connections_fields_where_they_stand_for_the_packets)
{
    rule_in(0, field::eth_src, {track(2)});
    rule_in(2, field::eth_dst, {{resubmit{std::nullopt, table_id{3}, true}}});
    rule_in(3, field::nw_dst, {});
    const key_layout* const later = from(2);
    ASSERT_NE(later, nullptr);
    EXPECT_TRUE(has(*later, field::ct_nw_dst));
    EXPECT_TRUE(has(*later, field::ct_nw_proto));
    EXPECT_TRUE(has(*later, field::eth_type));
}

TEST_F(layouts_of_passes, have_what_a_zone_is_taken_from)
{
    ct what;
    what.zone = subfield{field::eth_dst, 4, 16};
    rule_in(0, field::eth_src, {{clone{{action{what}}}}});
    (void)from(0);
    EXPECT_EQ(flows_.layout.masks[1], std::uint64_t{0xffff} << 4);
}

TEST_F(layouts_of_passes, stay_as_they_are_when_rules_go)
{
    rule_in(0, field::eth_src, {track(2)});
    ASSERT_NE(from(2), nullptr);
    flows_.tables.remove(0);
    EXPECT_NE(from(2), nullptr);
}

TEST_F(layouts_of_passes, begin_where_what_is_done_everywhere_leads_to)
{
    uses_.add_everywhere({track(9), go(4)});
    rule_in(4, field::nw_dst, {});
    ASSERT_NE(from(9), nullptr);
    EXPECT_TRUE(has(*from(9), field::nw_dst));
    EXPECT_TRUE(has(flows_.layout, field::nw_dst));
}

} // namespace
} // namespace strait::flow
