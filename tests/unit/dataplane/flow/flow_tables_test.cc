// SPDX-License-Identifier: BSD-3-Clause
// Tables as values: what copies share, and readers of published ones while the next are made.
#include "dataplane/flow/flow_tables.hh"

#include "tests/unit/dataplane/flow/rule_sets.hh"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace strait::flow {
namespace {

using test::make_rule;

TEST(flow_tables, has_no_table_at_first)
{
    const flow_tables tables;
    EXPECT_EQ(tables.find(0), nullptr);
    EXPECT_EQ(tables.find(254), nullptr);
    EXPECT_EQ(tables.size(), 0U);
}

TEST(flow_tables, leaves_copies_as_they_were)
{
    flow_tables tables;
    tables.own(0).insert(make_rule(1, {}));
    tables.own(254).insert(make_rule(1, {}));
    EXPECT_EQ(tables.find(all_tables), nullptr) << "no table has this number";
    const flow_tables before = tables;
    EXPECT_EQ(before.find(0), tables.find(0)) << "shared";
    tables.own(0).insert(make_rule(2, {}));
    EXPECT_EQ(tables.find(0)->size(), 2U);
    EXPECT_EQ(before.find(0)->size(), 1U);
    EXPECT_EQ(before.find(254), tables.find(254)) << "not touched";
    EXPECT_EQ(&tables.own(0), tables.find(0)) << "nobody else has it: no copy";
    tables.remove(0);
    tables.remove(1);
    EXPECT_EQ(tables.find(0), nullptr);
    EXPECT_EQ(before.find(0)->size(), 1U);
    EXPECT_EQ(before.size(), 2U);
    EXPECT_EQ(tables.size(), 1U);
}

// What RCU is for the switch: a pointer, and readers that say when they have let go of what they
// read.
class publisher {
public:
    explicit publisher(flow_tables first)
        : owner_{std::make_unique<const flow_tables>(std::move(first))}, shown_{owner_.get()}
    {}
    [[nodiscard]] const flow_tables& current() const noexcept { return *owner_; }
    void publish(flow_tables next)
    {
        auto made = std::make_unique<const flow_tables>(std::move(next));
        shown_.store(made.get(), std::memory_order_release);
        const unsigned long then = passes_.load(std::memory_order_acquire);
        while (passes_.load(std::memory_order_acquire) < then + 2) {
            std::this_thread::yield();
        }
        owner_ = std::move(made);
    }
    // The reader's.
    [[nodiscard]] const flow_tables& read() const noexcept
    {
        return *shown_.load(std::memory_order_acquire);
    }
    void quiescent() noexcept { passes_.fetch_add(1, std::memory_order_release); }

private:
    std::unique_ptr<const flow_tables> owner_;
    std::atomic<const flow_tables*> shown_;
    std::atomic<unsigned long> passes_{0};
};

TEST(flow_tables, can_be_read_while_the_next_are_made)
{
    // Two rules in two tables always have one cookie; around them others come and go.
    const auto marked = [](flow_tables& tables, std::uint64_t cookie) {
        for (const table_id id : {table_id{0}, table_id{1}}) {
            tables.own(id).insert(rule::make({.cookie = cookie, .priority = 0}, {}, {}));
        }
    };
    flow_tables first;
    marked(first, 0);
    publisher published{std::move(first)};
    std::atomic<bool> done{false};
    std::thread reader{[&] {
        test::dice d{1};
        std::uint64_t last = 0;
        while (!done.load(std::memory_order_relaxed)) {
            const flow_tables& tables = published.read();
            const key packet = d.any_packet();
            key consulted;
            if (const rule* r = tables.find(0)->lookup(packet, &consulted)) {
                r->count(1, 64, {});
            }
            std::array<std::uint64_t, 2> cookies{};
            for (const table_id id : {table_id{0}, table_id{1}}) {
                cookies[id] = tables.find(id)->find_exact({}, 0)->cookie();
            }
            EXPECT_EQ(cookies[0], cookies[1]);
            EXPECT_GE(cookies[0], last);
            last = cookies[0];
            published.quiescent();
        }
    }};
    test::dice d{2};
    std::vector<rule_ptr> there;
    for (std::uint64_t cookie = 1; cookie <= 500; ++cookie) {
        flow_tables next = published.current();
        marked(next, cookie);
        for (unsigned i = 0; i < 5; ++i) {
            classifier& table = next.own(0);
            if (!there.empty() && d.one_in(3)) {
                table.erase(*there.back());
                there.pop_back();
            } else {
                there.push_back(make_rule(static_cast<priority_t>(1 + d.below(5)), d.any_match(3),
                                          d.one_in(4) ? d.any_conjunctions(3, 2) : nullptr));
                table.insert(there.back());
            }
        }
        published.publish(std::move(next));
    }
    done = true;
    reader.join();
}

} // namespace
} // namespace strait::flow
