// SPDX-License-Identifier: BSD-3-Clause
// Which rule of a table a packet meets: against a table without structure, while rules come and go.
#include "dataplane/flow/classifier.hh"

#include "tests/unit/dataplane/flow/rule_sets.hh"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace strait::flow {
namespace {

using test::dice;
using test::linear_table;
using test::make_rule;

match tcp_to(std::uint16_t port)
{
    match out;
    out.require(field::eth_type, 0x0800);
    out.require(field::nw_proto, 6);
    out.require(field::tp_dst, port);
    return out;
}

key packet_to(std::uint16_t port)
{
    return tcp_to(port).value;
}

TEST(classifier, has_nothing_for_a_packet_at_first)
{
    const classifier table;
    key consulted;
    EXPECT_EQ(table.lookup(packet_to(80), &consulted), nullptr);
    EXPECT_EQ(consulted, key{});
    EXPECT_EQ(table.union_mask(), key{});
    EXPECT_EQ(table.size(), 0U);
}

TEST(classifier, finds_the_rule_of_the_highest_priority)
{
    classifier table;
    const rule_ptr web = make_rule(100, tcp_to(80));
    const rule_ptr all = make_rule(1, match{});
    table.insert(web);
    table.insert(all);
    EXPECT_EQ(table.lookup(packet_to(80)), web.get());
    EXPECT_EQ(table.lookup(packet_to(81)), all.get());

    const rule_ptr above = make_rule(200, match{});
    table.insert(above);
    EXPECT_EQ(table.lookup(packet_to(80)), above.get());
    EXPECT_EQ(table.erase(*above), above);
    EXPECT_EQ(table.lookup(packet_to(80)), web.get());
}

TEST(classifier, replaces_what_has_the_same_match_and_priority)
{
    classifier table;
    const rule_ptr first = make_rule(7, tcp_to(80));
    const rule_ptr second = make_rule(7, tcp_to(80));
    const rule_ptr other = make_rule(8, tcp_to(80));
    EXPECT_EQ(table.insert(first), nullptr);
    EXPECT_EQ(table.insert(other), nullptr);
    EXPECT_EQ(table.insert(second), first);
    EXPECT_EQ(table.size(), 2U);
    EXPECT_EQ(table.find_exact(tcp_to(80), 7), second.get());
    EXPECT_EQ(table.erase(tcp_to(80), 8), other);
    EXPECT_EQ(table.lookup(packet_to(80)), second.get());
    EXPECT_EQ(table.erase(tcp_to(80), 8), nullptr);
    EXPECT_EQ(table.erase(tcp_to(81), 7), nullptr);
    EXPECT_EQ(table.size(), 1U);
}

TEST(classifier, prefers_the_mask_of_more_bits_among_equal_priorities)
{
    for (const bool wide_first : {false, true}) {
        classifier table;
        match any_tcp;
        any_tcp.require(field::nw_proto, 6);
        const rule_ptr web = make_rule(5, tcp_to(80));
        const rule_ptr tcp = make_rule(5, any_tcp);
        table.insert(wide_first ? tcp : web);
        table.insert(wide_first ? web : tcp);
        EXPECT_EQ(table.lookup(packet_to(80)), web.get());
        EXPECT_EQ(table.lookup(packet_to(81)), tcp.get());
        // What else there is does not matter.
        match elsewhere = any_tcp;
        elsewhere.require(field::nw_proto, 17);
        table.insert(make_rule(900, elsewhere));
        EXPECT_EQ(table.lookup(packet_to(80)), web.get());
    }
}

std::shared_ptr<const action_list> dimension(std::uint32_t id, unsigned which, unsigned of)
{
    return std::make_shared<const action_list>(action_list{
        {conjunction{id, static_cast<std::uint8_t>(which), static_cast<std::uint8_t>(of)}}});
}

match from(std::uint32_t address)
{
    match out;
    out.require(field::nw_src, address);
    return out;
}

match of_conjunction(std::uint32_t id)
{
    match out;
    out.require(field::conj_id, id);
    return out;
}

TEST(classifier, follows_a_conjunction_all_of_whose_dimensions_are_met)
{
    classifier table;
    table.insert(make_rule(100, from(1), dimension(7, 0, 2)));
    table.insert(make_rule(100, from(2), dimension(7, 0, 2)));
    table.insert(make_rule(100, tcp_to(80), dimension(7, 1, 2)));
    const rule_ptr met = make_rule(10, of_conjunction(7));
    table.insert(met);
    key packet = packet_to(80);
    EXPECT_EQ(table.lookup(packet), nullptr) << "one dimension alone does not match";
    packet.set(field::nw_src, 2);
    EXPECT_EQ(table.lookup(packet), met.get());

    const rule_ptr as_high = make_rule(100, match{});
    table.insert(as_high);
    EXPECT_EQ(table.lookup(packet), as_high.get()) << "a conjunction has to be higher";
    table.erase(*as_high);
    const rule_ptr between = make_rule(50, match{});
    table.insert(between);
    EXPECT_EQ(table.lookup(packet), between.get()) << "the second look is one like any other";
    table.erase(*between);
    EXPECT_EQ(table.erase(*met), met);
    EXPECT_EQ(table.lookup(packet), nullptr);
}

TEST(classifier, meets_no_dimension_beyond_64)
{
    classifier table;
    table.insert(make_rule(2, from(1), dimension(7, 64, 2)));
    table.insert(make_rule(2, tcp_to(80), dimension(7, 1, 2)));
    table.insert(make_rule(1, of_conjunction(7)));
    key packet = packet_to(80);
    packet.set(field::nw_src, 1);
    EXPECT_EQ(table.lookup(packet), nullptr);

    match any_tcp;
    any_tcp.require(field::nw_proto, 6);
    table.insert(make_rule(2, any_tcp, dimension(7, 0, 2)));
    EXPECT_NE(table.lookup(packet), nullptr);
}

TEST(classifier, goes_on_where_nothing_follows_a_conjunction)
{
    classifier table;
    for (const std::uint32_t id : {5U, 6U, 7U}) {
        const auto priority = static_cast<priority_t>(100 * id);
        table.insert(make_rule(priority, from(1), dimension(id, 0, 2)));
        table.insert(make_rule(priority, tcp_to(80), dimension(id, 1, 2)));
    }
    const rule_ptr met = make_rule(10, of_conjunction(6));
    table.insert(met);
    key packet = packet_to(80);
    packet.set(field::nw_src, 1);
    EXPECT_EQ(table.lookup(packet), met.get());
}

TEST(classifier, follows_any_number_of_conjunctions)
{
    constexpr std::uint32_t count = 1000;
    classifier table;
    action_list first;
    action_list second;
    for (std::uint32_t id = 1; id <= count; ++id) {
        // In no order; the second dimension of every third one is missing.
        const std::uint32_t scattered = 1 + id * 7 % count;
        first.push_back({conjunction{scattered, 0, 2}});
        if (scattered % 3 != 0) {
            second.push_back({conjunction{scattered, 1, 2}});
        }
    }
    table.insert(make_rule(9, from(1), std::make_shared<const action_list>(first)));
    table.insert(make_rule(9, tcp_to(80), std::make_shared<const action_list>(second)));
    key packet = packet_to(80);
    packet.set(field::nw_src, 1);
    std::vector<rule_ptr> met;
    for (std::uint32_t id = count; id > 0; --id) {
        const rule_ptr r = make_rule(1, of_conjunction(id));
        table.insert(r);
        if (id % 3 != 0) {
            met.push_back(r);
        }
        ASSERT_EQ(table.lookup(packet), met.empty() ? nullptr : met.back().get());
    }
}

key consulted_by(const classifier& table, const key& packet)
{
    key out;
    static_cast<void>(table.lookup(packet, &out));
    return out;
}

TEST(classifier, consults_what_varies_inside_a_flow_only_where_the_rest_is_alike)
{
    classifier table;
    match syn = tcp_to(80);
    syn.require(field::tcp_flags, 2, 2);
    match syn_and_more = syn;
    syn_and_more.require(field::tcp_flags, 3, 3);
    const rule_ptr one = make_rule(9, syn);
    const rule_ptr other = make_rule(8, syn);
    match elsewhere = tcp_to(90);
    elsewhere.require(field::tcp_flags, 2, 2);
    for (const rule_ptr& r : {one, other, make_rule(7, syn_and_more), make_rule(9, elsewhere)}) {
        table.insert(r);
    }
    const auto consults_flags = [&](std::uint16_t port) {
        const key consulted = consulted_by(table, packet_to(port));
        EXPECT_EQ(consulted.number(field::tp_dst), 0xffffU);
        return consulted.number(field::tcp_flags) != 0;
    };
    EXPECT_TRUE(consults_flags(80));
    EXPECT_FALSE(consults_flags(81));
    table.erase(syn_and_more, 7);
    table.erase(*one);
    EXPECT_TRUE(consults_flags(80)) << "one is left";
    const classifier copy = table;
    table.erase(*other);
    table.insert(make_rule(1, match{tcp_to(81)}));
    EXPECT_FALSE(consults_flags(80)) << "none is left";
    EXPECT_EQ(consulted_by(copy, packet_to(80)).number(field::tcp_flags), 2U) << "the copy has it";
}

TEST(classifier, does_not_consult_what_nothing_better_can_come_of)
{
    classifier table;
    table.insert(make_rule(10, tcp_to(80)));
    table.insert(make_rule(5, from(1)));
    EXPECT_EQ(consulted_by(table, packet_to(80)), tcp_to(80).mask);
    EXPECT_EQ(consulted_by(table, packet_to(81)).number(field::nw_src), 0xffffffffU);
}

TEST(classifier, keeps_many_rules_of_one_mask)
{
    // Past all sizes at which something changes: 256 rules, and 32,768.
    constexpr std::uint32_t count = 40000;
    classifier table;
    std::vector<rule_ptr> rules;
    const auto check = [&](std::uint32_t first, std::uint32_t last) {
        ASSERT_EQ(table.size(), last - first);
        for (std::uint32_t i = 0; i < count; i += 97) {
            const bool there = i >= first && i < last;
            ASSERT_EQ(table.lookup(from(i).value), there ? rules[i].get() : nullptr) << i;
        }
    };
    std::vector<classifier> copies;
    for (std::uint32_t i = 0; i < count; ++i) {
        rules.push_back(make_rule(static_cast<priority_t>(i % 1000), from(i)));
        table.insert(rules.back());
        if (i % 3000 == 0 || i == 256 || i == 255) {
            copies.push_back(table);
            check(0, i + 1);
        }
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        if (i % 3000 == 0 || i == count - 256) {
            check(i, count);
        }
        ASSERT_EQ(table.erase(*rules[i]), rules[i]);
    }
    EXPECT_TRUE(table.empty());
    // Down to few, and up again: with what was there and with what was not.
    table = copies.back();
    const auto last = static_cast<std::uint32_t>(table.size());
    check(0, last);
    for (std::uint32_t i = 100; i < last; ++i) {
        table.erase(*rules[i]);
    }
    check(0, 100);
    for (std::uint32_t i = 100; i < 1000; ++i) {
        table.insert(rules[i]);
    }
    check(0, 1000);
}

TEST(classifier, keeps_many_masks)
{
    constexpr unsigned count = 1000;
    dice d{5};
    classifier table;
    linear_table model;
    for (unsigned i = 1; i <= count; ++i) {
        match what;
        what.require(field::xreg0, ~wide{}, i);
        const rule_ptr r = make_rule(static_cast<priority_t>(d.below(500)), what);
        table.insert(r);
        model.insert(r);
    }
    EXPECT_EQ(table.mask_count(), count);
    while (!model.rules().empty()) {
        key packet;
        packet.set(field::xreg0, d.below(1024));
        ASSERT_EQ(table.lookup(packet), model.lookup(packet));
        table.erase(*model.erase(d.below(static_cast<unsigned>(model.rules().size()))));
    }
    EXPECT_EQ(table.mask_count(), 0U);
}

// What a random table may have.
struct limits {
    explicit limits(dice& d)
        : fields{1 + d.below(9)},
          priorities{d.one_in(3) ? 1 : 1 + d.below(50)},
          conjunctions{d.one_in(2) ? 0 : 1 + d.below(8)},
          dimensions{static_cast<std::uint8_t>(2 + d.below(2))}
    {}
    unsigned fields; // of a match
    unsigned priorities;
    unsigned conjunctions;
    std::uint8_t dimensions;
};

// A table that changes, and what is to be its like.
struct pair_of_tables {
    classifier table;
    linear_table model;

    void insert(rule_ptr r) { EXPECT_EQ(table.insert(r), model.insert(r)); }
    void erase_one(dice& d)
    {
        const rule_ptr out = model.erase(d.below(static_cast<unsigned>(model.rules().size())));
        EXPECT_EQ(table.erase(*out), out);
    }
    void change(dice& d, const limits& l)
    {
        if (!model.rules().empty() && d.one_in(3)) {
            erase_one(d);
            return;
        }
        match what = d.any_match(l.fields);
        if (l.conjunctions != 0 && d.one_in(5)) {
            what.require(field::conj_id, 1 + d.below(l.conjunctions));
        }
        const bool dimension = l.conjunctions != 0 && d.one_in(3);
        insert(make_rule(static_cast<priority_t>(d.below(l.priorities)), what,
                         dimension ? d.any_conjunctions(l.conjunctions, l.dimensions) : nullptr));
    }
};

class classifier_at_random : public testing::TestWithParam<unsigned> {};

TEST_P(classifier_at_random, answers_as_a_table_without_structure_does)
{
    dice d{GetParam()};
    const limits l{d};
    pair_of_tables now;
    std::vector<pair_of_tables> copies;
    unsigned met = 0;
    for (unsigned round = 0; round < 400; ++round) {
        now.change(d, l);
        ASSERT_EQ(now.table.size(), now.model.rules().size());
        if (d.one_in(20)) {
            copies.push_back(now);
        } else if (!copies.empty() && d.one_in(50)) {
            now = copies[d.below(static_cast<unsigned>(copies.size()))];
        }
        ASSERT_EQ(now.table.union_mask(), now.model.union_mask());
        for (unsigned i = 0; i < 20; ++i) {
            const key packet = d.any_packet();
            const rule* const expected = now.model.lookup(packet);
            ASSERT_EQ(now.table.lookup(packet), expected);
            met += static_cast<unsigned>(expected != nullptr);
            if (!copies.empty()) {
                const auto& then = copies[d.below(static_cast<unsigned>(copies.size()))];
                ASSERT_EQ(then.table.lookup(packet), then.model.lookup(packet));
            }
        }
    }
    EXPECT_GT(met, 800U) << "packets and rules are to meet";
    while (!now.model.rules().empty()) {
        now.erase_one(d);
    }
    EXPECT_EQ(now.table.size(), 0U);
    EXPECT_EQ(now.table.mask_count(), 0U);
    EXPECT_EQ(now.table.union_mask(), key{});
}

TEST_P(classifier_at_random, consults_all_bits_that_its_answer_depends_on)
{
    dice d{GetParam()};
    const limits l{d};
    pair_of_tables now;
    for (unsigned round = 0; round < 150; ++round) {
        now.change(d, l);
        for (unsigned i = 0; i < 5; ++i) {
            const key packet = d.any_packet();
            key consulted;
            const rule* const expected = now.table.lookup(packet, &consulted);
            for (std::size_t w = 0; w < key_words; ++w) {
                ASSERT_EQ(consulted.words[w] & ~now.table.union_mask().words[w], 0U);
            }
            for (unsigned n = 0; n < 10; ++n) {
                key other = packet;
                const key noise = n % 2 == 0 ? d.noise() : d.any_packet();
                for (std::size_t w = 0; w < key_words; ++w) {
                    other.words[w] = (packet.words[w] & consulted.words[w]) |
                                     (noise.words[w] & ~consulted.words[w]);
                }
                ASSERT_EQ(now.table.lookup(other), expected);
                ASSERT_EQ(now.model.lookup(other), expected);
            }
        }
    }
}

TEST_P(classifier_at_random, lists_rules_by_what_they_match)
{
    dice d{GetParam()};
    const limits l{d};
    pair_of_tables now;
    for (unsigned round = 0; round < 200; ++round) {
        now.change(d, l);
        const match filter = d.any_match(3);
        const auto priority = static_cast<priority_t>(d.below(l.priorities));
        std::set<const rule*> all;
        std::set<const rule*> within;
        bool overlap = false;
        for (const rule_ptr& r : now.model.rules()) {
            all.insert(r.get());
            if (r->within(filter)) {
                within.insert(r.get());
            }
            overlap = overlap || (r->priority() == priority && r->overlaps(filter));
            ASSERT_EQ(now.table.find_exact(r->match(), r->priority()), r.get());
        }
        std::set<const rule*> visited;
        now.table.for_each([&](const rule& r) { EXPECT_TRUE(visited.insert(&r).second); });
        EXPECT_EQ(visited, all);
        visited.clear();
        now.table.for_each_within(filter,
                                  [&](const rule& r) { EXPECT_TRUE(visited.insert(&r).second); });
        EXPECT_EQ(visited, within);
        EXPECT_EQ(now.table.has_overlap(filter, priority), overlap);
        EXPECT_EQ(now.model.union_mask(), now.table.union_mask());
    }
}

INSTANTIATE_TEST_SUITE_P(seeds, classifier_at_random, testing::Range(0U, 30U));

} // namespace
} // namespace strait::flow
