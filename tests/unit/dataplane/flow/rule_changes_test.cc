// SPDX-License-Identifier: BSD-3-Clause
// What changes of rules leave of a cache. That no flow goes where it should not, whatever changes,
// is forward_test.cc's business.
#include "dataplane/flow/rule_changes.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <memory>
#include <random>
#include <vector>

namespace strait::flow {
namespace {

rule_ptr rule_for(field f, std::uint64_t value, std::uint64_t mask, table_id table = 0)
{
    match what;
    what.require(field::eth_type, 0x0800);
    what.require(f, value, mask);
    return rule::make({.table = table}, what, std::make_shared<const action_list>());
}
rule_ptr rule_for_address(std::uint32_t address, unsigned length)
{
    return rule_for(field::nw_dst, address, 0xffffffff & ~(0xffffffffULL >> length));
}

class changes_of_rules : public ::testing::Test {
protected:
    changes_of_rules()
    {
        matched_.set(field::eth_type, ~wide{});
        matched_.set(field::nw_dst, ~wide{});
        matched_.set(field::tp_dst, ~wide{});
    }

    const pipeline& tell()
    {
        current_.layout = make_layout(matched_, {});
        current_.layout.tables = tables_;
        current_.version = ++version_;
        changes_.tell(current_, written_);
        return current_;
    }
    // Whether what was looked up in `older` is to be looked up again.
    bool stale(std::uint32_t older, std::uint32_t address, std::uint16_t port = 80)
    {
        key k;
        k.set(field::eth_type, 0x0800);
        k.set(field::nw_dst, address);
        k.set(field::tp_dst, port);
        std::array<std::uint64_t, key_words> asked{};
        const key_layout& l = current_.layout;
        for (std::size_t i = 0; i < l.count; ++i) {
            asked[i] = k.words[l.words[i]] & l.masks[i];
        }
        return !current_.still_holds(older, asked.data(), l);
    }
    std::size_t how_many_stale(std::uint32_t older)
    {
        std::size_t out = 0;
        for (std::uint32_t i = 0; i < all; ++i) {
            out += stale(older, first + i) ? 1U : 0U;
        }
        return out;
    }

    static constexpr std::uint32_t first = 0x0a000000;
    static constexpr std::uint32_t all = 10'000;
    std::uint32_t version_{0xfffffffc}; // 0 is among those that come
    key matched_;
    key written_;
    std::bitset<table_count> tables_{std::bitset<table_count>{}.set()};
    pipeline current_;
    rule_changes changes_;
};

TEST_F(changes_of_rules, leave_nothing_of_what_was_before_the_first)
{
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
    EXPECT_EQ(how_many_stale(version_), 0U);
}

TEST_F(changes_of_rules, concern_the_flows_that_a_rule_matches_and_hardly_any_other)
{
    const std::uint32_t before = tell().version;
    changes_.add(*rule_for_address(first + 77, 32));
    tell();
    EXPECT_TRUE(stale(before, first + 77));
    EXPECT_FALSE(stale(version_, first + 77));
    EXPECT_EQ(how_many_stale(before), 1U);
    for (int i = 0; i < 8; ++i) { // also after others, past the number's end
        tell();
        EXPECT_TRUE(stale(before, first + 77));
        EXPECT_EQ(how_many_stale(before), 1U);
    }
    changes_.add(*rule_for_address(first + 77, 32)); // gone, and there again
    tell();
    EXPECT_EQ(how_many_stale(before), 1U);
    changes_.add(*rule_for_address(first + 256, 24));
    tell();
    for (std::uint32_t i = 256; i < 512; ++i) {
        EXPECT_TRUE(stale(version_ - 1, first + i));
    }
    EXPECT_LT(how_many_stale(version_ - 1), 600U);
    changes_.add(*rule_for(field::tp_dst, 0x0040, 0xffc0));
    tell();
    EXPECT_TRUE(stale(version_ - 1, first, 80));
    EXPECT_FALSE(stale(version_ - 1, first, 60));
}

TEST_F(changes_of_rules, concern_the_passes_alone_that_may_come_to_the_rule)
{
    tables_ = 1; // the first pass comes to table 0
    tell();
    changes_.add(*rule_for(field::nw_dst, first + 77, 0xffffffff, 5));
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), 0U);
    // A pass that has other words, and a rule that it may meet.
    key later;
    later.set(field::eth_type, ~wide{});
    later.set(field::nw_dst, ~wide{});
    current_.later.push_back({5, make_later_layout(later, {})});
    current_.later.front().layout.tables = 0x20;
    tell();
    changes_.add(*rule_for(field::nw_dst, first + 78, 0xffffffff, 5));
    tell();
    const key_layout& l = current_.later.front().layout;
    const auto stale_there = [&](std::uint32_t address) {
        std::array<std::uint64_t, key_words> asked{};
        asked[l.place_of_word(place_of(field::nw_dst).word)] = address;
        return !current_.still_holds(version_ - 1, asked.data(), l);
    };
    EXPECT_TRUE(stale_there(first + 78));
    EXPECT_FALSE(stale_there(first + 80));
    changes_.add(*rule_for(field::tp_dst, 80, 0xffff, 5)); // which its keys do not have
    tell();
    EXPECT_TRUE(stale_there(first + 80));
}

TEST_F(changes_of_rules, tell_when_a_later_pass_has_come_to_ask_for_more)
{
    const auto ask_for = [this](unsigned length) {
        key bits;
        bits.set(field::nw_dst, 0xffffffff & ~(0xffffffffULL >> length));
        current_.later = {{5, make_later_layout(bits, {})}};
        tell();
        return version_ - current_.later.front().layout.widened;
    };
    EXPECT_EQ(ask_for(16), 0U);
    EXPECT_EQ(ask_for(16), 1U);
    EXPECT_EQ(ask_for(17), 0U);
    EXPECT_EQ(ask_for(16), 1U);
    EXPECT_EQ(ask_for(16), 2U);
    EXPECT_EQ(ask_for(17), 0U) << "as one before has done, but not the last one";
}

TEST_F(changes_of_rules, concern_all_where_a_rule_has_no_bits_to_tell_flows_by)
{
    const std::uint32_t before = tell().version;
    changes_.add(*rule_for(field::nw_proto, 17, 0xff));
    tell();
    EXPECT_EQ(how_many_stale(before), all);
    changes_.add(*rule_for_address(first, 0));
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
}

TEST_F(changes_of_rules, are_not_told_by_bits_that_are_written_or_vary)
{
    tell();
    written_.set(field::nw_dst, 0xff, 0xff);
    changes_.add(*rule_for_address(first + 256 + 7, 32));
    tell();
    EXPECT_TRUE(stale(version_ - 1, first + 256 + 7));
    EXPECT_TRUE(stale(version_ - 1, first + 256 + 8)); // which may become the other
    EXPECT_FALSE(stale(version_ - 1, first));
    written_.set(field::nw_dst, ~wide{});
    changes_.add(*rule_for_address(first + 7, 32));
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
    changes_.add(*rule_for(field::nw_ttl, 64, 0xff));
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
    changes_.add(*rule_for(field::reg0, 64, 0xff));
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
}

TEST_F(changes_of_rules, concern_all_when_keys_have_other_words)
{
    tell();
    matched_.set(field::tp_dst, 0xff, 0xffff); // other bits of the same
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), 0U);
    matched_.set(field::tp_dst, 0, 0xffff);
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
    matched_.set(field::eth_src, ~wide{}); // as many as before, but others
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
}

TEST_F(changes_of_rules, concern_all_when_they_are_many_or_unknown)
{
    tell();
    changes_.add_all();
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
    for (std::uint32_t i = 0; i < 100'000; ++i) {
        changes_.add(*rule_for_address(first + i, 32));
    }
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), 0U);
}

TEST_F(changes_of_rules, of_more_kinds_than_are_kept_are_told_by_fewer_bits_or_concern_all)
{
    tell();
    for (const unsigned length : {11U, 10U, 9U, 8U}) {
        changes_.add(*rule_for_address(0xf0000000, length));
        tell();
        EXPECT_TRUE(stale(version_ - 1, 0xf0000001));
        EXPECT_FALSE(stale(version_ - 1, first));
    }
    changes_.add(*rule_for_address(first + 5, 32));
    tell();
    EXPECT_TRUE(stale(version_ - 1, first + 5));
    EXPECT_FALSE(stale(version_ - 1, 0x14000000));
    changes_.add(*rule_for(field::tp_dst, 80, 0xffff));
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), all);
    changes_.add(*rule_for(field::tp_dst, 81, 0xffff));
    tell();
    EXPECT_EQ(how_many_stale(version_ - 1), 0U);
}

TEST_F(changes_of_rules, are_forgotten_before_versions_come_round)
{
    const std::uint32_t before = tell().version;
    version_ += 1U << 31;
    tell();
    EXPECT_EQ(how_many_stale(before), all);
    EXPECT_EQ(how_many_stale(version_ - 1), all);
}

key written_by(const action& a)
{
    key out;
    add_written({a}, out);
    return out;
}

// Each change, of one value, against all that came after a version.
TEST(changed_values, are_found_and_hardly_any_that_did_not_change)
{
    constexpr std::uint32_t begin = 0xffffff00; // 0 is among the versions that come
    constexpr std::uint64_t bits = 0xffff'0000;
    constexpr std::uint64_t values = 20'000; // several to a range
    std::mt19937 random{1};
    changed_values tested{3, bits, begin};
    std::vector<std::uint32_t> last(values, begin);
    std::size_t more = 0;
    for (std::uint32_t made = 1; made <= 5000; ++made) {
        const std::uint64_t value = random() % values;
        const std::uint32_t version = begin + made;
        tested.note(value << 16 | made, version);
        last[value] = version;
        const std::uint32_t since =
            version - static_cast<std::uint32_t>(random()) % std::min(made, 100U);
        for (std::uint64_t other : {value, random() % values, random() % values}) {
            const bool changed = static_cast<std::int32_t>(last[other] - since) > 0;
            const bool said = tested.after(since, other << 16);
            ASSERT_TRUE(said || !changed) << made;
            more += said && !changed ? 1U : 0U;
        }
    }
    EXPECT_LT(more, 50U);
}

TEST(changed_values, of_one_range_are_all_that_are_not_known_apart)
{
    changed_values tested{0, ~0ULL, 0};
    std::uint32_t version = 0;
    // One more than there are ranges: two have one.
    for (std::uint64_t i = 1; i <= (1U << changed_values::range_bits) + 1; ++i) {
        tested.note(i, ++version);
    }
    for (std::uint64_t i = 1; i <= version; ++i) {
        EXPECT_TRUE(tested.after(0, i));
        EXPECT_TRUE(tested.after(static_cast<std::uint32_t>(i) - 1, i));
    }
}

TEST(written_bits, are_those_of_all_actions_that_write)
{
    EXPECT_EQ(written_by({output{1}}), key{});
    EXPECT_EQ(written_by({resubmit{std::nullopt, table_id{1}}}), key{});
    EXPECT_EQ(written_by({set_field{field::nw_dst, 7, 0xff}}).get(field::nw_dst), wide{0xff});
    EXPECT_EQ(
        written_by({move_field{{field::nw_src, 0, 8}, {field::nw_dst, 8, 8}}}).get(field::nw_dst),
        wide{0xff00});
    EXPECT_EQ(written_by({stack_pop{{field::reg3, 0, 4}}}).get(field::reg3), wide{0xf});
    EXPECT_EQ(written_by({check_pkt_larger{100, {field::reg0, 3, 1}}}).get(field::reg0), wide{8});
    EXPECT_EQ(written_by({resubmit{port_number{4}, std::nullopt}}).get(field::in_port),
              wide::ones(32));
    EXPECT_EQ(written_by({dec_ttl{}}).get(field::nw_ttl), wide{0xff});
    for (const action& tags :
         {action{push_vlan{0x8100}}, action{pop_vlan{}},
          action{set_field{field::vlan_tci, 0, 0xffff}},
          action{move_field{{field::reg0, 0, 12}, {field::vlan_tci, 0, 12}}},
          action{clone{{{pop_vlan{}}}}}, action{write_actions{{{pop_vlan{}}}}}}) {
        for (const field f : {field::vlan_tci, field::inner_vlan_tci, field::eth_type}) {
            EXPECT_EQ(written_by(tags).get(f), wide{0xffff});
        }
    }
    EXPECT_EQ(written_by({ct{}}).get(field::ct_state), wide::ones(32));
    EXPECT_EQ(written_by({ct{}}).get(field::nw_dst), wide{});
    EXPECT_EQ(written_by({ct_clear{}}).get(field::ct_mark), wide::ones(32));
    ct translating; // for who goes on, whose key is another
    translating.translation = nat{};
    EXPECT_EQ(written_by({translating}).get(field::tp_dst), wide{});
    const key swapped = written_by({resubmit{std::nullopt, table_id{1}, true}});
    EXPECT_EQ(swapped.get(field::nw_dst), wide::ones(32));
    EXPECT_EQ(swapped.get(field::ct_nw_dst), wide::ones(32));
    EXPECT_EQ(written_by({group{1}}).get(field::eth_src), wide::ones(48));
}

} // namespace
} // namespace strait::flow
