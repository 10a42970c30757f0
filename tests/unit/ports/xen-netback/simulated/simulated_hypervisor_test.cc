// SPDX-License-Identifier: BSD-3-Clause
// What the simulated hypervisor has beyond the seam: counts, costs, domains that come and go under
// copies, and faults. What it has in common with libxen is in ../conformance.
#include "lab.hh"

#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include <poll.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::simulated::test {
namespace {

using dataplane::remote_copy;
using dataplane::remote_span;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using namespace std::chrono_literals;

constexpr domain_id guest_domain{1};
constexpr domain_id tools_domain{0};

faults rules(const std::string& list)
{
    return parse_faults(R"({"rules": [)" + list + "]}").value();
}

class a_simulated_hypervisor : public testing::Test {
protected:
    a_simulated_hypervisor()
    {
        EXPECT_TRUE(hypervisor->attach(guest_domain).has_value());
        std::memset(page, 0x11, page_size);
    }
    [[nodiscard]] remote_span span(std::uint16_t size, std::uint16_t offset = 0) const
    {
        return {static_cast<std::uint32_t>(reference), offset,
                static_cast<std::uint16_t>(guest_domain), size};
    }
    // One byte out of the page; `to` is 0 before.
    grant_status pull(std::byte& to)
    {
        to = std::byte{};
        auto piece = remote_copy::pull(span(1), &to);
        hypervisor->copy({&piece, 1});
        return piece.result();
    }
    grant_status push(std::uint8_t value)
    {
        auto piece = remote_copy::push(&value, span(1));
        hypervisor->copy({&piece, 1});
        return piece.result();
    }

    lab l;
    std::unique_ptr<simulated_guest> guest{l.guest(guest_domain)};
    std::byte* const page{guest->allocate().value()};
    const grant_ref reference{guest->grant(tools_domain, page).value()};
    std::unique_ptr<simulated_hypervisor> hypervisor{l.hypervisor()};
    std::unique_ptr<tool_stack> tools{l.tools()};
};

TEST_F(a_simulated_hypervisor, counts_what_it_does)
{
    const auto before = hypervisor->counts();
    alignas(page_size) static std::array<std::byte, 3 * page_size> local{};
    std::vector<remote_copy> pieces;
    for (int i = 0; i < 17; ++i) {
        pieces.push_back(remote_copy::pull(span(64), local.data()));
    }
    hypervisor->copy(pieces);
    // Three pages of ours for one of its: three operations.
    pieces.assign(1, remote_copy::pull(span(page_size), local.data() + page_size - 1));
    hypervisor->copy(pieces);
    auto bad = span(10);
    bad.reference = 9999;
    pieces.assign(1, remote_copy::push(local.data(), bad));
    hypervisor->copy(pieces);
    hypervisor->copy({});
    const auto now = hypervisor->counts();
    EXPECT_EQ(now.calls - before.calls, 4U);
    EXPECT_EQ(now.pieces - before.pieces, 19U);
    EXPECT_EQ(now.failed - before.failed, 1U);
    EXPECT_EQ(now.bytes - before.bytes, 17U * 64 + page_size);
    EXPECT_EQ(now.hypercalls - before.hypercalls, 2U + 1 + 1);

    const auto offered = guest->offer(tools_domain).value();
    const auto channel = hypervisor->bind(guest_domain, offered.port).value();
    channel->notify();
    channel->notify();
    EXPECT_EQ(hypervisor->counts().notifications - before.notifications, 2U);
}

TEST_F(a_simulated_hypervisor, costs_what_it_is_told_to)
{
    constexpr std::uint64_t cycles = 20'000'000; // some milliseconds
    const auto time = [this] {
        const auto begin = std::chrono::steady_clock::now();
        std::byte to{};
        EXPECT_EQ(pull(to), grant_status::done);
        return std::chrono::steady_clock::now() - begin;
    };
    hypervisor->set_costs({cycles, 0});
    EXPECT_GT(time(), 2ms);
    hypervisor->set_costs({0, cycles});
    EXPECT_GT(time(), 2ms);
    hypervisor->set_costs({});
    auto quickest = time();
    for (int i = 0; i < 20; ++i) {
        quickest = std::min(quickest, time());
    }
    EXPECT_LT(quickest, 1ms);
}

TEST_F(a_simulated_hypervisor, copies_from_domains_that_it_knows)
{
    auto second = l.guest(domain_id{2});
    const auto its = second->grant(tools_domain, second->allocate().value()).value();
    std::byte to{};
    auto piece = remote_copy::pull({static_cast<std::uint32_t>(its), 0, 2, 1}, &to);
    hypervisor->copy({&piece, 1});
    EXPECT_EQ(piece.result(), grant_status::bad_domain);
    EXPECT_THAT(hypervisor->attach(domain_id{3}).error().message, HasSubstr("domain 3"));
    EXPECT_THAT(hypervisor->attach(domain_id{0xffff}).error().message, HasSubstr("reserved"));
    ASSERT_TRUE(hypervisor->attach(domain_id{2}).has_value());
    ASSERT_TRUE(hypervisor->attach(domain_id{2}).has_value()) << "again";
    hypervisor->copy({&piece, 1});
    EXPECT_EQ(piece.result(), grant_status::done);
}

TEST_F(a_simulated_hypervisor, forgets_a_domain_that_ended_and_finds_the_next_of_its_number)
{
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(tools->destroy_domain(guest_domain).has_value());
        guest = l.guest(guest_domain);
        std::byte* const its = guest->allocate().value();
        its[0] = static_cast<std::byte>(i);
        ASSERT_EQ(guest->grant(tools_domain, its), reference);
        std::byte to{};
        EXPECT_EQ(pull(to), grant_status::bad_domain);
        ASSERT_TRUE(hypervisor->attach(guest_domain).has_value());
        EXPECT_EQ(pull(to), grant_status::done);
        EXPECT_EQ(to, static_cast<std::byte>(i));
    }
}

TEST_F(a_simulated_hypervisor, maps_1024_pages_at_most)
{
    const std::vector<grant_ref> many(1025, reference);
    EXPECT_THAT(hypervisor->map(guest_domain, many).error().message, HasSubstr("1 to 1024"));
    EXPECT_TRUE(hypervisor->map(guest_domain, {}).has_error());
    EXPECT_TRUE(hypervisor->map(guest_domain, std::span{many}.first(100)).has_value());
}

// ---- faults of this process ----

TEST_F(a_simulated_hypervisor, fails_a_copy_without_making_it)
{
    hypervisor->set_faults(rules(R"({"on": "copy", "effect": "fail", "status": "bad_page"})"));
    EXPECT_EQ(push(0x22), grant_status::bad_page);
    EXPECT_EQ(page[0], std::byte{0x11});
    hypervisor->set_faults({});
    EXPECT_EQ(push(0x22), grant_status::done);
}

TEST_F(a_simulated_hypervisor, pretends_a_copy)
{
    hypervisor->set_faults(rules(R"({"on": "copy", "effect": "pretend"})"));
    EXPECT_EQ(push(0x22), grant_status::done);
    EXPECT_EQ(page[0], std::byte{0x11});
}

TEST_F(a_simulated_hypervisor, denies_a_copy_that_it_made)
{
    hypervisor->set_faults(rules(R"({"on": "copy", "effect": "deny", "status": "again"})"));
    EXPECT_EQ(push(0x22), grant_status::again);
    EXPECT_EQ(page[0], std::byte{0x22});
}

TEST_F(a_simulated_hypervisor, delays_a_copy)
{
    hypervisor->set_faults(rules(R"({"on": "copy", "effect": "delay", "delay_us": 5000})"));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(push(0x22), grant_status::done);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 5ms);
    EXPECT_EQ(page[0], std::byte{0x22});
}

TEST_F(a_simulated_hypervisor, strikes_single_pieces_of_a_batch)
{
    hypervisor->set_faults(rules(R"({"on": "copy", "skip": 1, "count": 2})"));
    std::array<std::byte, 4> to{};
    std::vector<remote_copy> pieces;
    for (auto& b : to) {
        pieces.push_back(remote_copy::pull(span(1), &b));
    }
    hypervisor->copy(pieces);
    constexpr std::byte copied{0x11};
    EXPECT_THAT(to, ElementsAre(copied, std::byte{}, std::byte{}, copied));
    EXPECT_TRUE(pieces[0].done() && pieces[3].done());
    EXPECT_EQ(pieces[1].result(), grant_status::general_error);
}

TEST_F(a_simulated_hypervisor, strikes_a_copy_by_either_domain)
{
    auto second = l.guest(domain_id{2});
    const auto its = second->grant(tools_domain, second->allocate().value()).value();
    ASSERT_TRUE(hypervisor->attach(domain_id{2}).has_value());
    hypervisor->set_faults(rules(R"({"on": "copy", "domain": 2})"));
    auto piece = remote_copy::across(span(1), {static_cast<std::uint32_t>(its), 0, 2, 1});
    hypervisor->copy({&piece, 1});
    EXPECT_EQ(piece.result(), grant_status::general_error);
    std::byte to{};
    EXPECT_EQ(pull(to), grant_status::done) << "the other domain's alone";
}

TEST_F(a_simulated_hypervisor, fails_and_delays_maps_and_bindings)
{
    const auto offered = guest->offer(tools_domain).value();
    hypervisor->set_faults(rules(R"({"on": "map"}, {"on": "bind"})"));
    EXPECT_THAT(hypervisor->map(guest_domain, {&reference, 1}).error().message,
                HasSubstr("by configuration"));
    EXPECT_THAT(hypervisor->bind(guest_domain, offered.port).error().message,
                HasSubstr("by configuration"));
    EXPECT_TRUE(guest->end(reference)) << "nothing stays in use";
    guest->regrant(reference, tools_domain, page);
    hypervisor->set_faults(rules(R"({"on": "map", "effect": "delay", "delay_us": 20000},
                                    {"on": "bind", "effect": "delay", "delay_us": 20000})"));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(hypervisor->map(guest_domain, {&reference, 1}).has_value());
    EXPECT_TRUE(hypervisor->bind(guest_domain, offered.port).has_value());
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 40ms);
}

// ---- faults of the server ----

TEST_F(a_simulated_hypervisor, hears_of_the_servers_faults_of_copies)
{
    ASSERT_TRUE(tools->set_faults(rules(R"({"on": "copy", "effect": "fail"})")).has_value());
    std::byte to{};
    EXPECT_EQ(pull(to), grant_status::done) << "not before it looks at its events";
    (void)all_events(hypervisor->store());
    EXPECT_EQ(pull(to), grant_status::general_error);
    auto later = l.hypervisor();
    ASSERT_TRUE(later->attach(guest_domain).has_value());
    auto piece = remote_copy::pull(span(1), &to);
    later->copy({&piece, 1});
    EXPECT_FALSE(piece.done()) << "who connects later knows at once";
    ASSERT_TRUE(tools->set_faults({}).has_value());
    (void)all_events(hypervisor->store());
    EXPECT_EQ(pull(to), grant_status::done);
}

TEST_F(a_simulated_hypervisor, meets_the_servers_faults_of_maps_bindings_and_commits)
{
    const auto offered = guest->offer(tools_domain).value();
    ASSERT_TRUE(tools
                    ->set_faults(rules(R"({"on": "map", "count": 1, "status": "no_space"},
                                          {"on": "bind", "count": 1},
                                          {"on": "commit", "count": 1})"))
                    .has_value());
    EXPECT_THAT(hypervisor->map(guest_domain, {&reference, 1}).error().message,
                HasSubstr("no_space"));
    EXPECT_TRUE(hypervisor->map(guest_domain, {&reference, 1}).has_value());
    EXPECT_THAT(hypervisor->bind(guest_domain, offered.port).error().message,
                HasSubstr("by configuration"));
    EXPECT_TRUE(hypervisor->bind(guest_domain, offered.port).has_value());
    auto& store = hypervisor->store();
    auto t = store.begin().value();
    ASSERT_TRUE(store.write("/x", "1", t).has_value());
    EXPECT_FALSE(store.commit(t).value());
    EXPECT_EQ(store.read("/x").value(), std::nullopt);
    t = store.begin().value();
    ASSERT_TRUE(store.write("/x", "1", t).has_value());
    EXPECT_TRUE(store.commit(t).value());
}

TEST_F(a_simulated_hypervisor, delays_events)
{
    auto& store = hypervisor->store();
    faults f;
    f.watch_delay = 50ms;
    ASSERT_TRUE(tools->set_faults(f).has_value());
    const auto begin = std::chrono::steady_clock::now(); // the delay begins with the watch
    ASSERT_TRUE(store.watch("/x", "t").has_value());
    EXPECT_FALSE(next_event(store, 10ms));
    EXPECT_TRUE(next_event(store));
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 50ms);
}

using told = std::pair<std::string, std::string>;

TEST_F(a_simulated_hypervisor, merges_events_that_wait_if_they_are_the_same)
{
    auto& store = hypervisor->store();
    ASSERT_TRUE(store.watch("/", "t").has_value());
    ASSERT_TRUE(store.watch("/x", "u").has_value());
    ASSERT_TRUE(store.watch("@introduceDomain", "i").has_value());
    (void)all_events(store);
    faults f;
    f.watch_delay = 50ms; // and so that all of them wait
    ASSERT_TRUE(tools->set_faults(f).has_value());
    const auto change = [&] {
        for (const char* path : {"/x/1", "/x/2", "/x/1", "/y", "/x/1"}) {
            EXPECT_TRUE(tools->store().write(path, "1").has_value());
        }
        for (std::uint16_t d = 7; d < 9; ++d) {
            EXPECT_TRUE(tools->create_domain(domain_id{d}, "d", small_domain).has_value());
            EXPECT_TRUE(tools->destroy_domain(domain_id{d}).has_value());
        }
        auto all = all_events(store, 100ms);
        std::erase_if(all, [](const told& e) { return e.first.starts_with("/local"); });
        return all;
    };
    EXPECT_THAT(change(),
                ElementsAre(told{"/x/1", "t"}, told{"/x/1", "u"}, told{"/x/2", "t"},
                            told{"/x/2", "u"}, told{"/y", "t"}, told{"@introduceDomain", "i"},
                            told{"@introduceDomain", "i"}));
    f.watch_merging = merging::none;
    ASSERT_TRUE(tools->set_faults(f).has_value());
    EXPECT_THAT(change(), SizeIs(11));
}

TEST_F(a_simulated_hypervisor, merges_events_of_one_token_if_it_is_told_to)
{
    auto& store = hypervisor->store();
    ASSERT_TRUE(store.watch("/", "t").has_value());
    (void)all_events(store);
    faults f;
    f.watch_delay = 50ms;
    f.watch_merging = merging::token;
    ASSERT_TRUE(tools->set_faults(f).has_value());
    for (const char* path : {"/x/1", "/x/2", "/y"}) {
        EXPECT_TRUE(tools->store().write(path, "1").has_value());
    }
    EXPECT_THAT(all_events(store, 100ms), ElementsAre(told{"/y", "t"}));
}

// ---- threads ----

TEST(copying_threads, never_meet_what_the_control_side_takes_away)
{
    lab l;
    auto tools = l.tools();
    auto hypervisor = l.hypervisor();
    constexpr std::uint16_t number = 1;
    auto guest = l.guest(domain_id{number});
    // The same reference in every incarnation.
    const auto reference =
        static_cast<std::uint32_t>(guest->grant(tools_domain, guest->allocate().value()).value());
    ASSERT_TRUE(hypervisor->attach(domain_id{number}).has_value());

    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> done{0};
    std::vector<std::thread> workers;
    for (int i = 0; i < 2; ++i) {
        workers.emplace_back([&] {
            std::array<std::byte, 64> to{};
            while (!stop.load(std::memory_order_relaxed)) {
                std::array<remote_copy, 8> pieces;
                for (auto& p : pieces) {
                    p = remote_copy::pull({reference, 0, number, 64}, to.data());
                }
                hypervisor->copy(pieces);
                for (const auto& p : pieces) {
                    done += p.done() ? 1U : 0U;
                }
            }
        });
    }
    constexpr int rounds = 30;
    for (int i = 0; i < rounds; ++i) {
        const auto before = done.load();
        EXPECT_TRUE(eventually([&] { return done.load() > before + 100; }));
        hypervisor->set_faults(rules(R"({"on": "copy", "probability": 0.5})"));
        hypervisor->set_costs({100, 10});
        ASSERT_TRUE(tools->destroy_domain(domain_id{number}).has_value());
        guest = l.guest(domain_id{number});
        ASSERT_TRUE(guest->grant(tools_domain, guest->allocate().value()).has_value());
        ASSERT_TRUE(hypervisor->attach(domain_id{number}).has_value());
        hypervisor->set_costs({});
        hypervisor->set_faults({});
    }
    stop = true;
    for (auto& w : workers) {
        w.join();
    }
    const auto counts = hypervisor->counts();
    EXPECT_EQ(counts.pieces - counts.failed, done.load());
    EXPECT_EQ(counts.bytes, 64 * done.load());
    EXPECT_TRUE(guest->end(grant_ref{reference})) << "none is left in use";
}

} // namespace
} // namespace strait::xen::simulated::test
