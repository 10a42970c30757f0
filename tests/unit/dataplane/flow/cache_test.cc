// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/cache.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

namespace strait::flow {
namespace {

constexpr std::size_t smallest = std::size_t{1} << 20; // that a cache can have
constexpr std::size_t chunk = 64 * 1024;
constexpr std::size_t line = 64;
constexpr std::size_t header = 24;

// A cache whose flows are told by nw_src, with programs of as many words as a test likes.
class flow_cache : public ::testing::Test {
protected:
    static constexpr dataplane::bridge_index bridge{0};

    flow_cache() { layout_ = layout_of({field::in_port, field::nw_src}); }

    static key_layout layout_of(const std::vector<field>& fields)
    {
        key matched;
        for (const field f : fields) {
            matched.set(f, ~wide{});
        }
        return make_layout(matched, {});
    }
    [[nodiscard]] key packet(std::uint64_t address, std::uint32_t port = 1) const
    {
        key k;
        k.set(field::in_port, port);
        k.set(field::nw_src, address);
        return k;
    }
    cache::question ask(std::uint64_t address, dataplane::bridge_index of = bridge)
    {
        cache::question q{};
        q.words = words_.data();
        cache_->ask(packet(address), layout_, cache::first_pass(of), q);
        cache_->prefetch_bucket(q);
        cache_->prefetch_entry(q);
        return q;
    }
    cache::entry* find(std::uint64_t address, cache::packet_facts facts = {0, line})
    {
        return cache_->find(ask(address), layout_.count, facts);
    }
    // An entry's size comes of its program's.
    cache::entry* put(std::uint64_t address, std::size_t program_words, std::uint32_t version = 1)
    {
        made_->program_words = program_words;
        std::fill_n(made_->program.begin(), program_words, address);
        const cache::question q = ask(address);
        return cache_->put(q, layout_.count, *made_, version,
                           cache_->find(q, layout_.count, {0, line}));
    }
    // As a worker does it between bursts.
    void end_burst() { cache_->bring_home(++tsc_, true); }
    // Until all that was carried is home.
    void settle()
    {
        for (int i = 0; i < 1'000'000 && !cache_->settled(); ++i) {
            end_burst();
        }
        ASSERT_TRUE(cache_->settled());
    }
    // So many flows of one size, from `first`, each with a packet at `now`; how many were kept.
    std::size_t fill(std::uint64_t first, std::size_t count, std::size_t program_words,
                     seconds_t now)
    {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (cache::entry* const e = put(first + i, program_words)) {
                cache_->count(*e, line, now);
                ++kept;
            }
            settle();
        }
        return kept;
    }
    // Others, until there is no memory that is nobody's: some make way for one another before that.
    void use_up(std::size_t program_words)
    {
        constexpr std::uint64_t first = 500'000;
        for (std::uint64_t i = 0; cache_->counters.bytes.read() < smallest; ++i) {
            (void)fill(first + i, 1, program_words, 1);
        }
    }
    std::size_t found_of(std::uint64_t first, std::size_t count)
    {
        std::size_t out = 0;
        for (std::size_t i = 0; i < count; ++i) {
            out += find(first + i) != nullptr;
        }
        return out;
    }
    // Words of a program that make an entry fill so many cache lines.
    [[nodiscard]] std::size_t words_for(std::size_t lines) const
    {
        return (lines * line - header) / sizeof(std::uint64_t) - layout_.count;
    }
    static rule_ptr some_rule()
    {
        return rule::make({}, {}, std::make_shared<const action_list>());
    }

    key_layout layout_;
    std::unique_ptr<cache> cache_{std::make_unique<cache>(smallest, 1)};
    std::array<std::uint64_t, key_words> words_{};
    std::unique_ptr<translation> made_{std::make_unique<translation>()};
    std::uint64_t tsc_{0};
};

TEST_F(flow_cache, finds_what_was_put_into_it_and_nothing_else)
{
    EXPECT_EQ(find(1), nullptr);
    cache::entry* const e = put(1, 3, 7);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(find(1), e);
    EXPECT_EQ(find(2), nullptr);
    EXPECT_EQ(cache::version_of(*e), 7U);
    EXPECT_EQ(cache::program_of(*e).size(), 3U);
    EXPECT_EQ(cache::program_of(*e)[2], 1U);
    EXPECT_EQ(cache_->counters.entries.read(), 1U);
    EXPECT_EQ(cache_->counters.bytes.read(), chunk);
}

TEST_F(flow_cache, tells_the_ports_of_two_bridges_apart)
{
    ASSERT_NE(put(1, 1), nullptr);
    EXPECT_EQ(cache_->find(ask(1, dataplane::bridge_index{1}), layout_.count, {0, line}), nullptr);
}

TEST_F(flow_cache, asks_an_entry_s_tests_of_the_packet)
{
    made_->tests.longest = 100;
    cache::entry* const e = put(1, 1);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(find(1, {0, 100}), e);
    EXPECT_EQ(find(1, {0, 101}), nullptr);
    // For the other packets there is another entry beside it.
    made_->tests = {};
    made_->tests.shortest = 101;
    made_->program_words = 1;
    const cache::question q = ask(1);
    cache::entry* const other = cache_->put(q, layout_.count, *made_, 1, nullptr);
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(find(1, {0, 101}), other);
    EXPECT_EQ(find(1, {0, 100}), e);
}

TEST_F(flow_cache, puts_a_new_version_where_the_old_one_was_if_it_is_as_large)
{
    cache::entry* const e = put(1, words_for(2), 1);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(put(1, words_for(2) - 1, 2), e);
    EXPECT_EQ(cache::version_of(*find(1)), 2U);
    EXPECT_EQ(cache_->counters.entries.read(), 1U);
    // Of another size it is another, and the old one is gone.
    cache::entry* const larger = put(1, words_for(3), 3);
    ASSERT_NE(larger, nullptr);
    EXPECT_NE(larger, e);
    EXPECT_EQ(find(1), larger);
    EXPECT_EQ(cache_->counters.entries.read(), 1U);
    // Its memory is the next one's of that size.
    EXPECT_EQ(put(2, words_for(2)), e);
}

TEST_F(flow_cache, holds_an_entry_in_a_later_version)
{
    cache::entry* const e = put(1, 1, 1);
    cache::renew(*e, 5);
    EXPECT_EQ(cache::version_of(*find(1)), 5U);
}

TEST_F(flow_cache, has_entries_of_up_to_64_cache_lines)
{
    cache::entry* const e = put(1, words_for(64));
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(find(1), e);
    EXPECT_EQ(put(2, words_for(64) + 1), nullptr);
    EXPECT_EQ(find(2), nullptr);
    EXPECT_EQ(cache_->counters.uncached.read(), 1U);
    // Nor of more rules than it has a number for.
    made_->rule_count = 256;
    EXPECT_EQ(put(3, 1), nullptr);
    EXPECT_EQ(cache_->counters.uncached.read(), 2U);
}

TEST_F(flow_cache, an_entry_that_grows_too_large_is_gone)
{
    ASSERT_NE(put(1, 1), nullptr);
    EXPECT_EQ(put(1, words_for(64) + 1), nullptr);
    EXPECT_EQ(find(1), nullptr);
    EXPECT_EQ(cache_->counters.entries.read(), 0U);
}

TEST_F(flow_cache, brings_home_what_entries_carried_once)
{
    const rule_ptr r = some_rule();
    made_->rule_count = 1;
    made_->rules[0] = r.get();
    cache::entry* const e = put(1, 1);
    ASSERT_NE(e, nullptr);
    EXPECT_TRUE(cache_->nothing_pending());
    cache_->count(*e, 100, 3);
    cache_->count(*e, 50, 4);
    EXPECT_EQ(r->packets(), 0U);
    EXPECT_FALSE(cache_->nothing_pending());
    settle();
    EXPECT_EQ(r->packets(), 2U);
    EXPECT_EQ(r->bytes(), 150U);
    EXPECT_EQ(r->last_used(), std::chrono::seconds{4});
    settle();
    EXPECT_EQ(r->packets(), 2U);
}

TEST_F(flow_cache, what_a_removed_entry_carried_comes_home_and_its_memory_only_then)
{
    const rule_ptr r = some_rule();
    made_->rule_count = 1;
    made_->rules[0] = r.get();
    cache::entry* const e = put(1, words_for(2) - 1);
    cache_->count(*e, 100, 3);
    ASSERT_NE(put(1, words_for(3) - 1), nullptr); // takes its place
    cache::entry* const other = put(2, words_for(2) - 1);
    EXPECT_NE(other, e);
    EXPECT_EQ(r->packets(), 0U);
    settle();
    EXPECT_EQ(r->packets(), 1U);
    EXPECT_EQ(r->bytes(), 100U);
    EXPECT_EQ(put(3, words_for(2) - 1), e);
}

TEST_F(flow_cache, entries_that_carried_nothing_lately_make_way)
{
    constexpr std::size_t lines = 8;
    constexpr std::size_t room = smallest / (lines * line) - 1; // the first line is not used
    EXPECT_EQ(fill(1, room, words_for(lines), 1), room);
    EXPECT_EQ(cache_->counters.evictions.read(), 0U);
    EXPECT_EQ(cache_->counters.entries.read(), room);
    EXPECT_EQ(cache_->counters.bytes.read(), smallest);
    // These have carried something that is not home yet: they stay.
    const std::set<std::uint64_t> busy{1, 2, 3, 100, room};
    for (const std::uint64_t flow : busy) {
        cache_->count(*find(flow), line, 2);
    }
    for (std::uint64_t i = 0; i < room - busy.size(); ++i) {
        ASSERT_NE(put(1'000'000 + i, words_for(lines)), nullptr) << i;
    }
    EXPECT_EQ(cache_->counters.evictions.read(), room - busy.size());
    EXPECT_EQ(cache_->counters.entries.read(), room);
    EXPECT_EQ(found_of(1, room), busy.size());
    for (const std::uint64_t flow : busy) {
        EXPECT_NE(find(flow), nullptr) << flow;
    }
    EXPECT_EQ(cache_->counters.uncached.read(), 0U);
}

TEST_F(flow_cache, has_no_room_while_all_carry_something)
{
    constexpr std::size_t lines = 64;
    constexpr std::size_t room = smallest / (lines * line) - 1;
    for (std::uint64_t i = 0; i < room; ++i) {
        cache::entry* const e = put(i, words_for(lines));
        ASSERT_NE(e, nullptr);
        cache_->count(*e, line, 1);
    }
    EXPECT_EQ(put(room, words_for(lines)), nullptr);
    EXPECT_EQ(cache_->counters.uncached.read(), 1U);
    EXPECT_EQ(found_of(0, room), room);
    settle();
    EXPECT_NE(put(room, words_for(lines)), nullptr);
}

// All memory is of small entries that were used just now; then larger ones come.
TEST_F(flow_cache, a_size_that_has_no_memory_gets_some_of_another_s)
{
    constexpr std::size_t small = 2;
    constexpr std::size_t large = 5;
    constexpr std::size_t many = smallest / (small * line);
    ASSERT_EQ(fill(0, many, words_for(small), 1), many);
    use_up(words_for(small));
    const std::size_t before = found_of(0, many);
    EXPECT_EQ(put(1'000'000, words_for(large)), nullptr);
    settle();
    cache::entry* const e = put(1'000'000, words_for(large));
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(find(1'000'000), e);
    // One chunk, and no more, was given away.
    EXPECT_GE(found_of(0, many), before - chunk / (small * line));
    EXPECT_EQ(cache_->counters.bytes.read(), smallest);
}

TEST_F(flow_cache, a_size_gets_memory_though_all_entries_carry_something_always)
{
    constexpr std::size_t small = 2;
    constexpr std::size_t large = 5;
    constexpr std::size_t many = smallest / (small * line) - 1;
    const rule_ptr r = some_rule();
    made_->rule_count = 1;
    made_->rules[0] = r.get();
    ASSERT_EQ(fill(0, many, words_for(small) - 1, 1), many);
    std::uint64_t counted = many;
    bool cached = false;
    for (int i = 0; i < 3000 && !cached; ++i) { // a few entries go home in each
        for (std::uint64_t flow = 0; flow < many; ++flow) {
            if (cache::entry* const e = find(flow)) {
                cache_->count(*e, line, 1);
                ++counted;
            }
        }
        cached = put(1'000'000, words_for(large) - 1) != nullptr;
        end_burst();
    }
    EXPECT_TRUE(cached);
    settle();
    EXPECT_EQ(r->packets(), counted); // nothing of what they carried is lost
}

TEST_F(flow_cache, takes_no_memory_away_within_a_burst)
{
    constexpr std::size_t small = 2;
    constexpr std::size_t large = 5;
    constexpr std::size_t many = smallest / (small * line);
    ASSERT_EQ(fill(0, many, words_for(small), 1), many);
    use_up(words_for(small));
    const std::size_t before = found_of(0, many);
    for (std::uint64_t i = 0; i < 1000; ++i) {
        EXPECT_EQ(put(1'000'000 + i, words_for(large)), nullptr);
    }
    EXPECT_EQ(found_of(0, many), before);
    EXPECT_EQ(cache_->counters.uncached.read(), 1000U);
}

TEST_F(flow_cache, gives_a_chunk_away_a_few_entries_at_a_time)
{
    constexpr std::size_t small = 2;
    for (std::uint64_t i = 0; i < smallest / (small * line); ++i) {
        ASSERT_NE(put(i, words_for(small)), nullptr);
    }
    use_up(words_for(small));
    EXPECT_EQ(put(1'000'000, words_for(5)), nullptr);
    std::uint64_t before = cache_->counters.entries.read();
    std::uint64_t calls = 0;
    while (!cache_->settled()) {
        end_burst();
        const std::uint64_t left = cache_->counters.entries.read();
        EXPECT_LE(before - left, 16U);
        before = left;
        ++calls;
    }
    EXPECT_GE(calls, chunk / (small * line) / 16);
}

// Entries of one size come and go, and those of the other are not asked for any more.
TEST_F(flow_cache, memory_goes_to_the_size_that_is_missed_more)
{
    constexpr std::size_t small = 2;
    constexpr std::size_t large = 5;
    constexpr std::size_t many = smallest / (small * line);
    ASSERT_EQ(fill(0, many, words_for(small), 1), many);
    use_up(words_for(small));
    constexpr std::size_t room = smallest / (large * line) / 2;
    std::size_t found = 0;
    for (seconds_t round = 2; round < 40; ++round) {
        (void)fill(1'000'000, room, words_for(large), round);
        found = found_of(1'000'000, room);
    }
    EXPECT_GT(found, room * 9 / 10);
    EXPECT_LT(found_of(0, many), many * 6 / 10);
}

TEST_F(flow_cache, memory_stays_with_the_size_that_is_used_no_less)
{
    constexpr std::size_t small = 2;
    constexpr std::size_t large = 5;
    constexpr std::size_t many = smallest / (small * line) / 2;
    ASSERT_EQ(fill(0, many, words_for(small), 1), many);
    for (seconds_t round = 2; round < 6; ++round) {
        // New ones each time: none of them is used again.
        for (std::uint64_t i = 0; i < 4000; ++i) {
            if (cache::entry* const e = put(1'000'000 * round + i, words_for(large))) {
                cache_->count(*e, line, round);
            }
            if (i % 500 == 0) {
                for (std::uint64_t flow = 0; flow < many; ++flow) {
                    if (cache::entry* const e = find(flow)) {
                        cache_->count(*e, line, round);
                    }
                }
            }
            settle();
        }
    }
    EXPECT_GT(found_of(0, many), many * 8 / 10);
}

// All that can happen to entries of all sizes, against a plain map of what was put last.
TEST_F(flow_cache, never_mixes_entries_up_while_chunks_move)
{
    std::mt19937_64 random{7};
    const auto below = [&random](std::uint64_t n) { return random() % n; };
    std::map<std::uint64_t, std::size_t> sizes; // words of the program put last
    std::vector<rule_ptr> rules;
    std::map<std::uint64_t, std::uint64_t> carried; // by rule
    for (int i = 0; i < 16; ++i) {
        rules.push_back(some_rule());
    }
    seconds_t now = 1;
    std::size_t hits = 0;
    for (int i = 0; i < 400'000; ++i) {
        // Sizes in fashion change from time to time.
        const std::uint64_t flow = below(3000);
        const std::size_t words = 1 + (flow + static_cast<std::uint64_t>(i) / 50'000 * 97) % 300;
        cache::entry* e = find(flow);
        if (e != nullptr) {
            const auto known = sizes.find(flow);
            ASSERT_NE(known, sizes.end());
            const auto program = cache::program_of(*e);
            ASSERT_EQ(program.size(), known->second);
            ASSERT_TRUE(std::ranges::all_of(program, [&](auto w) { return w == flow; }));
            ++hits;
        }
        if (e == nullptr || sizes[flow] != words) {
            made_->rule_count = 1;
            made_->rules[0] = rules[flow % rules.size()].get();
            e = put(flow, words);
            sizes[flow] = words;
        }
        if (e != nullptr && below(2) == 0) {
            cache_->count(*e, 10, now);
            ++carried[flow % rules.size()];
        }
        if (below(16) == 0) {
            end_burst();
        }
        now += below(1000) == 0;
    }
    settle();
    EXPECT_GT(hits, 20'000U);
    EXPECT_GT(cache_->counters.evictions.read(), 10'000U);
    EXPECT_LE(cache_->counters.entries.read(), sizes.size());
    for (std::size_t i = 0; i < rules.size(); ++i) {
        EXPECT_EQ(rules[i]->packets(), carried[i]) << i;
        EXPECT_EQ(rules[i]->bytes(), 10 * carried[i]) << i;
    }
}

} // namespace
} // namespace strait::flow
