// SPDX-License-Identifier: BSD-3-Clause
// The map that copies share: against a std::multimap, with hashes that collide in all ways.
#include "dataplane/flow/hamt.hh"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace strait::flow {
namespace {

struct thing : boost::intrusive_ref_counter<thing, boost::thread_safe_counter> {
    thing(unsigned n, int& count) noexcept : number{n}, alive{count} { ++alive; }
    thing(const thing& other) noexcept
        : boost::intrusive_ref_counter<thing, boost::thread_safe_counter>{other},
          number{other.number},
          alive{other.alive}
    {
        ++alive;
    }
    thing& operator=(const thing&) = delete;
    ~thing() { --alive; }
    unsigned number;
    int& alive;
};

using map = hamt<thing>;

auto numbered(unsigned number)
{
    return [number](const thing& t) { return t.number == number; };
}

TEST(hamt, finds_what_was_put_under_a_hash_by_rank)
{
    int alive = 0;
    {
        map m;
        EXPECT_TRUE(m.empty());
        EXPECT_EQ(m.highest_rank(), 0);
        EXPECT_TRUE(m.find(7).empty());
        m.put(7, 10, new thing{1, alive}, numbered(1));
        m.put(7, 30, new thing{2, alive}, numbered(2));
        m.put(7, 20, new thing{3, alive}, numbered(3));
        m.put(7 + 64, 25, new thing{4, alive}, numbered(4));
        EXPECT_EQ(m.size(), 4U);
        EXPECT_EQ(m.highest_rank(), 30);
        std::vector<unsigned> found;
        for (const auto& e : m.find(7)) {
            found.push_back(e.get()->number);
            EXPECT_EQ(e.hash(), 7U);
        }
        EXPECT_EQ(found, (std::vector<unsigned>{2, 3, 1}));
        EXPECT_EQ(m.take(7, 30, numbered(2))->number, 2U);
        EXPECT_EQ(m.take(7, 30, numbered(2)), nullptr);
        EXPECT_EQ(m.take(7, 20, numbered(2)), nullptr) << "another one";
        EXPECT_EQ(m.highest_rank(), 25);
        EXPECT_EQ(alive, 3);
    }
    EXPECT_EQ(alive, 0);
}

TEST(hamt, puts_in_the_place_of_what_is_the_same)
{
    int alive = 0;
    map m;
    m.put(1, 5, new thing{1, alive}, numbered(1));
    const auto before = m.put(1, 5, new thing{1, alive}, numbered(1));
    EXPECT_EQ(before->use_count(), 1U);
    ASSERT_EQ(m.find(1).size(), 1U);
    EXPECT_NE(m.find(1).begin()->get(), before.get());
    EXPECT_EQ(m.size(), 1U);
}

TEST(hamt, changes_an_object_without_changing_that_of_a_copy)
{
    int alive = 0;
    map m;
    for (unsigned n = 0; n < 100; ++n) {
        m.put(n % 10, 0, new thing{n, alive}, numbered(n));
    }
    thing* const own = &m.own(3, numbered(13));
    EXPECT_EQ(own, &m.own(3, numbered(13))) << "nobody else has it";
    const map copy = m;
    m.own(3, numbered(13)).number = 1000;
    EXPECT_EQ(alive, 101);
    const auto count = [](const map& in, unsigned number) {
        return std::ranges::count_if(in.find(3),
                                     [&](const auto& e) { return e.get()->number == number; });
    };
    EXPECT_EQ(count(m, 1000), 1);
    EXPECT_EQ(count(m, 13), 0);
    EXPECT_EQ(count(copy, 1000), 0);
    EXPECT_EQ(count(copy, 13), 1);
}

// A map, what is to be in it, and how hashes are made.
struct pair_of_maps {
    map m;
    std::multimap<std::uint64_t, std::pair<map::rank_t, unsigned>> model;

    void check() const
    {
        ASSERT_EQ(m.size(), model.size());
        std::size_t seen = 0;
        map::rank_t highest = 0;
        m.for_each([&](const auto& e) {
            ++seen;
            highest = std::max(highest, e.rank());
            const auto [first, last] = model.equal_range(e.hash());
            EXPECT_TRUE(std::any_of(first, last, [&](const auto& one) {
                return one.second == std::pair{e.rank(), e.get()->number};
            }));
        });
        EXPECT_EQ(seen, model.size());
        EXPECT_EQ(m.highest_rank(), highest);
        for (const auto& [hash, ignored] : model) {
            const auto found = m.find(hash);
            EXPECT_EQ(found.size(), model.count(hash));
            EXPECT_TRUE(std::ranges::is_sorted(found, std::greater{},
                                               [](const auto& e) { return e.rank(); }));
        }
    }
};

class hamt_at_random : public testing::TestWithParam<unsigned> {};

TEST_P(hamt_at_random, has_what_a_map_of_another_kind_has)
{
    int alive = 0;
    {
        std::mt19937_64 random{GetParam()};
        // Of the 48 bits these differ: from none to many, low, high or spread.
        const std::uint64_t hash_mask =
            random() & random() & random() >> random() % 48 & ((std::uint64_t{1} << 48) - 1);
        pair_of_maps now;
        std::vector<pair_of_maps> copies;
        for (unsigned round = 0; round < 3000; ++round) {
            const std::uint64_t hash = random() & hash_mask;
            if (now.model.empty() || random() % 5 < (round < 1500 ? 3U : 2U)) {
                const auto rank = static_cast<map::rank_t>(random() % 4);
                const auto number = static_cast<unsigned>(random() % 3);
                const auto [first, last] = now.model.equal_range(hash);
                const bool known = std::any_of(first, last, [&](const auto& one) {
                    return one.second == std::pair{rank, number};
                });
                const auto before =
                    now.m.put(hash, rank, new thing{number, alive}, numbered(number));
                ASSERT_EQ(before != nullptr, known);
                if (!known) {
                    now.model.emplace(hash, std::pair{rank, number});
                }
            } else {
                const auto at =
                    std::next(now.model.begin(), static_cast<long>(random() % now.model.size()));
                const auto taken =
                    now.m.take(at->first, at->second.first, numbered(at->second.second));
                ASSERT_NE(taken, nullptr);
                EXPECT_EQ(taken->number, at->second.second);
                now.model.erase(at);
            }
            if (round % 300 == 0) {
                copies.push_back(now);
            }
        }
        now.check();
        for (const pair_of_maps& copy : copies) {
            copy.check();
        }
        EXPECT_LE(now.m.size(), static_cast<std::size_t>(alive));
        now = {};
        for (const pair_of_maps& copy : copies) {
            copy.check();
        }
    }
    EXPECT_EQ(alive, 0);
}

INSTANTIATE_TEST_SUITE_P(seeds, hamt_at_random, testing::Range(0U, 40U));

} // namespace
} // namespace strait::flow
