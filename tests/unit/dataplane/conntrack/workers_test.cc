// SPDX-License-Identifier: BSD-3-Clause
// Several workers and the same connections: what one has begun another answers, nothing of it is
// lost, limits and translated tuples are kept to the last one, and what a worker leaves undone
// others do. The tests with threads are for ThreadSanitizer as well.
#include "tests/unit/dataplane/conntrack/packets.hh"
#include "tests/unit/sanitizers.hh"

#include "dataplane/conntrack/tracker.hh"
#include "dataplane/conntrack/tracker_known.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <set>
#include <thread>

namespace strait::test {
namespace {

using conntrack::parameters;
using conntrack::seconds_t;
using conntrack::zone_id;
using dataplane::drop_reason;
namespace ct = conntrack::state;
namespace tcp = conntrack::tcp;

constexpr std::uint32_t answered = ct::tracked | ct::established | ct::reply;
constexpr end server{0x0a00'0002, 80};

end client(unsigned i)
{
    return {0x0a01'0000 + i / 20'000, static_cast<std::uint16_t>(2000 + i % 20'000)};
}

class conntrack_workers : public testing::Test {
protected:
    void make(std::size_t connections, unsigned workers)
    {
        store_ = std::make_unique<conntrack::store>(
            conntrack::store_settings{.connections = connections, .workers = workers});
        for (unsigned w = 0; w < workers; ++w) {
            trackers_.push_back(std::make_unique<conntrack::tracker>(*store_, w));
        }
    }
    // Each worker's thread calls it with the worker's number.
    void run(const std::function<void(unsigned)>& body)
    {
        std::vector<std::thread> threads;
        for (unsigned w = 0; w < trackers_.size(); ++w) {
            threads.emplace_back(body, w);
        }
        for (std::thread& t : threads) {
            t.join();
        }
    }
    static conntrack::request ask(conntrack::tracker& by, const frame& f, const parameters& asked,
                                  seconds_t now = 1000)
    {
        asking a{f, asked};
        by.track({&a.request(), 1}, now);
        return a.request();
    }
    std::uint32_t state(unsigned worker, const frame& f, const parameters& asked = {},
                        seconds_t now = 1000)
    {
        return ask(*trackers_[worker], f, asked, now).answer.state;
    }
    [[nodiscard]] std::size_t connections() const { return store_->connections().size(); }
    std::vector<conntrack::connection_record> list(seconds_t now = 1000)
    {
        std::vector<conntrack::connection_record> room(connections() + 1);
        conntrack::job j{conntrack::job::kind::show, {}, room};
        EXPECT_TRUE(trackers_[0]->submit(j));
        while (!j.done()) {
            trackers_[0]->maintain(now);
        }
        EXPECT_TRUE(j.at_end());
        room.resize(j.count());
        return room;
    }

    std::unique_ptr<conntrack::store> store_;
    std::vector<std::unique_ptr<conntrack::tracker>> trackers_;
};

TEST_F(conntrack_workers, one_begins_and_another_answers)
{
    make(1000, 2);
    const frame there = udp_frame(client(1), server);
    EXPECT_EQ(state(0, there, {.commit = true}), ct::tracked | ct::fresh);
    EXPECT_EQ(state(1, udp_frame(server, client(1))), answered);
    EXPECT_EQ(state(0, there), ct::tracked | ct::established);
    EXPECT_EQ(connections(), 1U);
    EXPECT_EQ(list().size(), 1U);
}

TEST_F(conntrack_workers, a_burst_of_many_zones_is_answered_in_order_in_each)
{
    make(10'000, 2);
    std::vector<std::unique_ptr<asking>> all;
    for (unsigned i = 0; i < 200; ++i) {
        const zone_id zone = conntrack::make_zone(static_cast<std::uint16_t>(i % 7), i % 2 != 0);
        all.push_back(std::make_unique<asking>(udp_frame(client(i), server),
                                               parameters{.zone = zone, .commit = true}));
        all.push_back(
            std::make_unique<asking>(udp_frame(server, client(i)), parameters{.zone = zone}));
    }
    std::vector<conntrack::request> requests;
    for (const auto& a : all) {
        requests.push_back(a->request());
    }
    trackers_[1]->track(requests, 1000);
    for (std::size_t i = 0; i < requests.size(); i += 2) {
        EXPECT_EQ(requests[i].answer.state, ct::tracked | ct::fresh);
        EXPECT_EQ(requests[i + 1].answer.state, answered) << i;
        EXPECT_EQ(requests[i + 1].answer.zone, requests[i].asked.zone);
    }
    EXPECT_EQ(connections(), 200U);
}

TEST_F(conntrack_workers, what_a_sleeping_worker_has_begun_others_forget)
{
    make(1000, 2);
    for (unsigned i = 0; i < 100; ++i) {
        state(1, udp_frame(client(i), server), {.commit = true});
    }
    store_->limits().limit(0, 100);
    EXPECT_EQ(ask(*trackers_[0], udp_frame(client(200), server), {.commit = true}).reason,
              drop_reason::ct_zone_full);
    for (seconds_t now = 1000; now < 1040; ++now) {
        for (int i = 0; i < 10; ++i) {
            trackers_[0]->maintain(now);
        }
    }
    EXPECT_EQ(connections(), 0U);
    EXPECT_EQ(store_->limits().used(0), 0U);
    EXPECT_FALSE(
        ask(*trackers_[0], udp_frame(client(200), server), {.commit = true}, 1040).dropped);
}

TEST_F(conntrack_workers, a_full_table_makes_room_in_whosever_zone_there_is_some)
{
    make(640, 2);
    unsigned made = 0;
    while (
        !ask(*trackers_[1], udp_frame(client(made), server), {.zone = 1, .commit = true}).dropped &&
        trackers_[1]->counters.evicted.read() == 0) {
        ++made;
    }
    // All but what one worker may keep for itself.
    EXPECT_GE(made, 640U - 2 * 640 / 32);
    EXPECT_LE(made, 640U);
    for (unsigned i = 0; i < 200; ++i) {
        EXPECT_FALSE(
            ask(*trackers_[0], udp_frame(client(i), server), {.zone = 2, .commit = true}).dropped);
    }
    EXPECT_EQ(store_->limits().used(2), 200U);
    EXPECT_LE(connections(), 640U);
    EXPECT_EQ(store_->limits().used(1) + 200, connections());
}

TEST_F(conntrack_workers, room_is_made_in_a_zone_that_another_is_always_busy_with)
{
    make(640, 2);
    for (unsigned i = 0; i < 2000; ++i) { // nobody answers
        (void)ask(*trackers_[1], udp_frame(client(i), server), {.zone = 1, .commit = true});
    }
    conntrack::zone_lock& busy = store_->shard_of(1).lock;
    ASSERT_NE(conntrack::store::shard_number(1), conntrack::store::shard_number(2));
    unsigned refused = 0;
    for (unsigned i = 0; i < 200; ++i) {
        busy.lock();
        const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds{1};
        std::thread other{[&] { // goes on as soon as it may
            std::this_thread::sleep_until(until);
            busy.unlock();
        }};
        refused +=
            ask(*trackers_[0], udp_frame(client(i), server), {.zone = 2, .commit = true}).dropped
                ? 1U
                : 0U;
        other.join();
    }
    EXPECT_LT(refused, 40U) << "some, as room is made for those that follow";
    EXPECT_LE(connections(), 640U);
}

TEST_F(conntrack_workers, are_never_said_to_have_less_than_none)
{
    constexpr unsigned workers = 64;
    conntrack::table all{1000, workers};
    std::atomic<bool> ended{false};
    std::thread busy{[&] {
        conntrack::whole_tuple t = conntrack::whole_tuple::of(
            {.source = 1, .destination = 2, .source_port = 3, .destination_port = 4});
        while (!ended.load(std::memory_order_relaxed)) {
            const auto id = all.insert(0, t, t.reversed());
            all.erase(workers - 1, id);
        }
    }};
    std::size_t most = 0;
    for (unsigned i = 0; i < (thread_sanitizer ? 20'000U : 1'000'000U); ++i) {
        most = std::max(most, all.size());
    }
    ended = true;
    busy.join();
    EXPECT_LE(most, 1U);
}

TEST_F(conntrack_workers, hands_that_meet_on_one_connection_lose_nothing_of_it)
{
    make(10'000, 2);
    constexpr unsigned count = thread_sanitizer ? 1000 : 4000;
    constexpr unsigned steps = 6;
    // Of each connection, how many packets have been seen: of even ones worker 0 sends the next.
    std::vector<std::atomic<unsigned>> seen(count);
    std::atomic<unsigned> wrong{0};
    const auto packet = [](unsigned i, unsigned step) {
        const end c = client(i);
        switch (step) {
        case 0:
            return tcp_packet{c, server, tcp::syn, 100};
        case 1:
            return tcp_packet{server, c, tcp::syn | tcp::ack, 500, 101};
        case 2:
            return tcp_packet{c, server, tcp::ack, 101, 501, 1000, "question"};
        case 3:
            return tcp_packet{server, c, tcp::ack, 501, 109, 1000, "answer"};
        case 4:
            return tcp_packet{c, server, tcp::ack | tcp::fin, 109, 507};
        default:
            return tcp_packet{server, c, tcp::ack | tcp::fin, 507, 110};
        }
    };
    run([&](unsigned w) {
        for (unsigned left = count * steps / 2, i = 0; left > 0; i = (i + 1) % count) {
            const unsigned step = seen[i].load(std::memory_order_acquire);
            if (step == steps || step % 2 != w) {
                if (i % 64 == 0) {
                    std::this_thread::yield();
                }
                continue;
            }
            const std::uint32_t is =
                state(w, packet(i, step).build(), {.zone = 5, .commit = step == 0});
            const std::uint32_t wanted = step == 0 ? ct::tracked | ct::fresh
                                         : w == 1  ? answered
                                                   : ct::tracked | ct::established;
            wrong.fetch_add(is == wanted ? 0U : 1U, std::memory_order_relaxed);
            seen[i].store(step + 1, std::memory_order_release);
            --left;
        }
    });
    EXPECT_EQ(wrong.load(), 0U);
    EXPECT_EQ(connections(), count);
    for (const auto& c : list()) {
        EXPECT_EQ(c.tcp, tcp::state::last_ack);
        EXPECT_NE(c.notes & conntrack::note::assured, 0);
    }
}

// While others begin in the same zone, and what is looked for without a lock moves.
TEST_F(conntrack_workers, that_go_the_short_way_of_one_connection_agree_on_it)
{
    make(10'000, 2);
    constexpr unsigned count = 64; // every other one TCP
    constexpr unsigned packets = thread_sanitizer ? 20'000 : 400'000;
    constexpr parameters asked{.zone = 5, .commit = true};
    std::array<std::vector<std::unique_ptr<asking>>, 2> sent; // by the worker that has them
    for (unsigned i = 0; i < count; ++i) {
        const end c = client(i);
        if (i % 2 == 0) {
            for (unsigned w : {0U, 1U}) {
                const std::string data = "as long as TCP's header"; // as the short way wants it
                const frame f = w == 0 ? udp_frame(c, server, data) : udp_frame(server, c, data);
                (void)state(0, f, asked);
                sent[w].push_back(std::make_unique<asking>(f, asked));
            }
            continue;
        }
        (void)state(0, tcp_packet{c, server, tcp::syn, 100}.build(), asked);
        (void)state(0, tcp_packet{server, c, tcp::syn | tcp::ack, 500, 101}.build(), asked);
        (void)state(0, tcp_packet{c, server, tcp::ack, 101, 501}.build(), asked);
        for (unsigned w : {0U, 1U}) {
            const tcp_packet p = w == 0 ? tcp_packet{c, server, tcp::ack, 101, 501, 1000, "again"}
                                        : tcp_packet{server, c, tcp::ack, 501, 101};
            sent[w].push_back(std::make_unique<asking>(p.build(), asked));
        }
    }
    std::atomic<unsigned> wrong{0};
    std::array<unsigned, 2> went_short{};
    run([&](unsigned w) {
        conntrack::tracker& t = *trackers_[w];
        const std::uint32_t wanted = w == 1 ? answered : ct::tracked | ct::established;
        for (unsigned n = 0; n < packets; ++n) {
            if (n % 16 == w) {
                (void)state(w, udp_frame(client(1000 + n / 16), server), asked);
                t.maintain(1000);
            }
            const conntrack::request& r = sent[w][n % count]->request();
            conntrack::plain_packet q;
            if (!conntrack::read_plain(*r.p, asked.zone, q)) {
                wrong.fetch_add(1, std::memory_order_relaxed);
                continue;
            }
            t.look_for(q);
            conntrack::lock_holder held{t.alone()};
            t.enter(held, asked.zone);
            const conntrack::known_connection k = t.meet(q, 1000);
            if (k.of != nullptr) { // by chance another one of its bucket may be the likely one
                ++went_short[w];
                const bool is_right = k.state == wanted && t.follow(q, k, 1000);
                wrong.fetch_add(is_right ? 0U : 1U, std::memory_order_relaxed);
            }
        }
    });
    EXPECT_EQ(wrong.load(), 0U);
    EXPECT_GT(went_short[0], packets * 9 / 10);
    EXPECT_GT(went_short[1], packets * 9 / 10);
    unsigned assured = 0;
    for (const auto& c : list()) {
        assured += (c.notes & conntrack::note::assured) != 0 ? 1U : 0U;
    }
    EXPECT_EQ(assured, count);
}

TEST_F(conntrack_workers, no_two_are_translated_to_the_same_and_a_limit_is_exact)
{
    make(100'000, 3);
    constexpr unsigned most = 1500;
    constexpr unsigned each = thread_sanitizer ? 700 : 1000;
    store_->limits().limit(9, most);
    const flow::nat shared{.which = flow::nat::side::source,
                           .first = 0xc0a8'0001,
                           .last = 0xc0a8'0001,
                           .first_port = 10'000,
                           .last_port = 14'999};
    std::atomic<unsigned> refused{0};
    run([&](unsigned w) {
        for (unsigned i = 0; i < each; ++i) {
            const end from{0x0a05'0000 + w, static_cast<std::uint16_t>(20'000 + i)};
            const auto r = ask(*trackers_[w], udp_frame(from, server),
                               {.zone = 9, .commit = true, .translation = &shared});
            refused.fetch_add(r.dropped && r.reason == drop_reason::ct_zone_full ? 1U : 0U,
                              std::memory_order_relaxed);
        }
    });
    EXPECT_EQ(refused.load(), 3 * each - most);
    EXPECT_EQ(store_->limits().used(9), most);
    std::set<std::uint16_t> ports;
    for (const auto& c : list()) {
        EXPECT_TRUE(ports.insert(c.reply.destination_port).second);
    }
    EXPECT_EQ(ports.size(), most);
}

TEST_F(conntrack_workers, nothing_is_left_of_what_many_did_at_once)
{
    constexpr std::size_t capacity = 512;
    constexpr unsigned steps = thread_sanitizer ? 4000 : 20'000;
    make(capacity, 3);
    std::atomic<seconds_t> time{1000};
    std::atomic<bool> odd{false};
    run([&](unsigned w) {
        std::mt19937 numbers{w};
        const auto any = [&numbers](unsigned below) {
            return static_cast<unsigned>(numbers() % below);
        };
        conntrack::tracker& t = *trackers_[w];
        std::unique_ptr<conntrack::job> j;
        const flow::nat nat{.which = flow::nat::side::source,
                            .first = 0xc0a8'0001,
                            .last = 0xc0a8'0002,
                            .first_port = 3000,
                            .last_port = 3200};
        for (unsigned i = 0; i < steps; ++i) {
            const seconds_t now = time.load(std::memory_order_relaxed) + any(2);
            std::vector<std::unique_ptr<asking>> all;
            std::vector<conntrack::request> requests;
            for (unsigned n = any(6); n > 0; --n) {
                const end from = client(any(300));
                const bool back = any(2) == 0;
                const bool six = any(3) == 0;
                parameters asked{.zone = any(70), .commit = any(2) == 0};
                asked.force = asked.commit && any(16) == 0;
                asked.translation = !six && any(4) == 0 ? &nat : nullptr;
                all.push_back(std::make_unique<asking>(back ? udp_frame(server, from, "x", six)
                                                            : udp_frame(from, server, "x", six),
                                                       asked));
                requests.push_back(all.back()->request());
            }
            t.track(requests, now);
            for (const conntrack::request& r : requests) {
                odd = odd || (!r.dropped && (r.answer.state & ct::tracked) == 0);
            }
            t.maintain(now);
            if (w == 0 && any(20) == 0) {
                time.fetch_add(1, std::memory_order_relaxed);
            }
            if (w == 1 && (!j || j->done())) {
                flow::match some;
                some.require(flow::field::ct_zone, any(70));
                j = std::make_unique<conntrack::job>(conntrack::job::kind::forget, some);
                odd = odd || !t.submit(*j);
            }
        }
        while (j && !j->done()) {
            t.maintain(time.load(std::memory_order_relaxed));
        }
    });
    EXPECT_FALSE(odd.load());
    EXPECT_LE(connections(), capacity);
    seconds_t now = time.load();
    // Twice, each time by another worker and of another family: all places are there, and all that
    // leads to them.
    for (unsigned round = 0; round < 2; ++round) {
        now += 1000;
        for (int i = 0; i < 500; ++i, now += i % 50 == 0 ? 1 : 0) {
            trackers_[round]->maintain(now);
        }
        EXPECT_EQ(connections(), 0U);
        for (zone_id z = 0; z < 70; ++z) {
            EXPECT_EQ(store_->limits().used(z), 0U) << z;
        }
        for (unsigned i = 0; i < capacity; ++i) {
            const frame f = udp_frame(client(i), server, "y", round == 1);
            EXPECT_FALSE(ask(*trackers_[round], f, {.commit = true}, now).dropped);
        }
        EXPECT_GT(connections(), capacity * 7 / 8) << "others may keep some for themselves";
    }
}

} // namespace
} // namespace strait::test
