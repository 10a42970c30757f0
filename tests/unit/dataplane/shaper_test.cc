// SPDX-License-Identifier: BSD-3-Clause
// Rates that packets wait for: what leaves in a time, in whose turn, what may wait, for how long.
#include "tests/soak.hh"
#include "tests/unit/dataplane/shaped_port.hh"
#include "tests/unit/sanitizers.hh"

#include <gmock/gmock.h>

namespace strait::test {
namespace {

using dataplane::shaper_classes;
using dataplane::shaping_bucket;

constexpr std::uint64_t second = shaper_hz;

TEST(shaping_bucket_test, loses_nothing_to_rounding)
{
    // 3 bytes a second of a clock that they do not divide, and nothing but the rate for a day.
    constexpr std::uint64_t hz = 2'399'999'987;
    shaping_bucket b;
    constexpr std::uint64_t begin = 1000 * hz;
    std::uint64_t now = begin;
    b.set(3, 10, hz, now);
    ASSERT_TRUE(b.has(10, now));
    b.take(10);
    constexpr std::uint64_t bytes = 3 * 86'400;
    for (std::uint64_t i = 0; i < bytes; ++i) {
        ASSERT_FALSE(b.has(1, b.when(1) - 1));
        now = b.when(1);
        ASSERT_TRUE(b.has(1, now));
        b.take(1);
    }
    EXPECT_NEAR(static_cast<double>(now - begin), 86'400.0 * hz, 100.0);
}

TEST(shaping_bucket_test, has_no_more_than_its_burst_after_idleness)
{
    shaping_bucket b;
    b.set(1000, 500, shaper_hz, second);
    for (const std::uint64_t idle : {0UL, 1UL, 1000UL}) {
        const std::uint64_t now = second + idle * second;
        std::uint64_t passed = 0;
        while (b.has(10, now)) {
            b.take(10);
            passed += 10;
        }
        EXPECT_EQ(passed, 500U) << idle;
    }
}

TEST(shaping_bucket_test, lets_through_what_is_larger_than_its_burst_and_waits_for_the_rest)
{
    shaping_bucket b;
    b.set(1000, 100, shaper_hz, second);
    ASSERT_TRUE(b.has(1000, second));
    b.take(1000);
    EXPECT_FALSE(b.has(1, second + second * 9 / 10));
    EXPECT_TRUE(b.has(100, second + second));
}

TEST(shaping_bucket_test, has_nothing_without_a_rate_and_no_credit_by_being_set_anew)
{
    shaping_bucket b;
    b.set(0, 1000, shaper_hz, second);
    EXPECT_FALSE(b.has(0, 100 * second));
    EXPECT_EQ(b.when(1), shaping_bucket::never);
    shaping_bucket c;
    c.set(1000, 100, shaper_hz, second);
    c.take(100);
    c.set(2000, 1000, shaper_hz, second);
    EXPECT_FALSE(c.has(1, second));
    EXPECT_TRUE(c.has(1000, second + second / 2));
}

TEST_F(shaped_port, holds_its_rate_over_a_long_time)
{
    struct one {
        std::uint32_t kbps;
        std::uint64_t time;
        std::uint32_t length;
    };
    const unsigned seconds = fewer_if(address_sanitizer, 20U, 5U);
    for (const one& o : {one{10'000'000, second / 4, 1514}, one{10'000'000, second / 50, 64},
                         one{1'000'000, second, 1000}, one{1'000, seconds * second, 1514},
                         one{64, short_or_soak(seconds, 100U) * second, 60}}) {
        queue_.sent.clear();
        queue_.bytes = 0;
        noted_ = 0;
        offered_of_.clear();
        gone_of_.clear();
        shaping s = plain(o.kbps);
        s.classes[0]->max_wait_ms = 60'000;
        shape(s);
        const std::uint64_t from = now_;
        const shaped_frame f{.length = o.length};
        keep_full_for(o.time, {f});
        const double due = o.kbps * 125.0 * static_cast<double>(now_ - from) / second;
        const double burst = 125.0 * dataplane::usual_or(0, o.kbps);
        EXPECT_LE(static_cast<double>(queue_.bytes), due + burst) << o.kbps;
        EXPECT_GE(static_cast<double>(queue_.bytes), due * 0.99 - o.length) << o.kbps;
        shaper_.reset();
    }
}

TEST_F(shaped_port, sends_at_once_what_its_rate_has_room_for_and_owns_nothing)
{
    shape(plain(8'000, 80)); // 1,000,000 bytes a second, 10,000 at once
    for (int i = 0; i < 10; ++i) {
        offer({.length = 1000});
    }
    EXPECT_EQ(queue_.sent.size(), 10U);
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
    EXPECT_EQ(shaper_->next_release(), dataplane::shaper::never);
    EXPECT_EQ(counts(0).sent_packets.read(), 10U);
    EXPECT_EQ(counts(0).sent_bytes.read(), 10'000U);
    offer({.length = 1000});
    EXPECT_EQ(queue_.sent.size(), 10U);
    EXPECT_EQ(counts(0).waiting_packets.read(), 1U);
    EXPECT_EQ(counts(0).waiting_bytes.read(), 1000U);
    // A millisecond later, and not a moment earlier.
    (void)release();
    EXPECT_EQ(shaper_->next_release(), now_ + ms);
    now_ += ms - 1;
    EXPECT_EQ(release(), 0U);
    now_ += 1;
    EXPECT_EQ(release(), 1U);
    EXPECT_EQ(queue_.sent.size(), 11U);
    EXPECT_EQ(queue_.sent.back().number, 10U);
    EXPECT_EQ(counters_->tx_packets.read(), 11U);
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
}

TEST_F(shaped_port, keeps_frames_as_they_are_while_they_wait)
{
    shape(plain(1'000, 8));
    std::vector<std::uint32_t> lengths;
    for (const std::uint32_t length : {60U, 1514U, 2047U, 2048U, 9014U, 65'000U, 60U}) {
        lengths.push_back(length);
        offer({.sender = 5, .length = length});
    }
    shaping s = plain(0); // no rate: all leave
    shaper_->set(s);
    now_ += 1;
    (void)release();
    ASSERT_EQ(queue_.sent.size(), lengths.size());
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        EXPECT_EQ(queue_.sent[i].number, i);
        EXPECT_EQ(queue_.sent[i].length, lengths[i]);
        EXPECT_EQ(queue_.sent[i].sender, dataplane::port_index{5});
    }
    EXPECT_FALSE(shaper_->waits());
    offer({});
    EXPECT_EQ(queue_.sent.size(), lengths.size() + 1);
}

TEST_F(shaped_port, charges_segments_with_their_headers)
{
    // 10 segments of 1000 bytes and 54 of headers: 540 more bytes go by the wire than it has.
    dataplane::offload_intent todo;
    todo.segment_size = 1000;
    todo.header_length = 54;
    todo.checksum_start = 34;
    todo.checksum_offset = 16;
    todo.network_start = 14;
    todo.required = dataplane::offloads::segmentation_ipv4 | dataplane::offloads::checksum_ipv4;
    shape(plain(8, 1000));
    offer({.length = 10'054, .todo = todo});
    ASSERT_EQ(queue_.sent.size(), 1U);
    const std::uint64_t left = 125'000 - 10'540;
    offer({.length = static_cast<std::uint32_t>(left % 60'000)});
    offer({.length = 60'000});
    ASSERT_EQ(queue_.sent.size(), 3U);
    offer({.length = 60, .todo = {}});
    EXPECT_EQ(queue_.sent.size(), 3U) << "the credit is used up to the last byte";
    offer({.length = 10'054, .todo = todo});
    shaper_->set(plain(0));
    (void)release();
    ASSERT_EQ(queue_.sent.size(), 5U);
    EXPECT_EQ(queue_.sent.back().todo.segment_size, 1000U);
    EXPECT_EQ(queue_.sent.back().todo.header_length, 54U);
    EXPECT_EQ(shaper_->takes(), dataplane::offloads::checksum_ipv4);
}

class shaped_classes : public shaped_port {
protected:
    // What each of the frames got of all that was sent, in a second in which each always had some.
    std::vector<double> shares(const shaping& s, const std::vector<shaped_frame>& all)
    {
        shape(s);
        keep_full_for(second, all);
        std::vector<double> out;
        for (const shaped_frame& f : all) {
            out.push_back(static_cast<double>(sent_of(f)) * 8 / 1000); // kbit
        }
        return out;
    }
    static shaping of(std::uint32_t kbps, const std::map<std::size_t, shaper_class>& classes)
    {
        shaping s = plain(kbps);
        for (const auto& [number, c] : classes) {
            s.classes[number] = c;
            s.classes[number]->max_wait_ms = 60'000;
        }
        return s;
    }
};

TEST_F(shaped_classes, have_what_is_theirs_and_share_the_rest_by_their_rates)
{
    const auto got = shares(of(100'000, {{1, {.rate_kbps = 10'000}}, {2, {.rate_kbps = 30'000}}}),
                            {{.number_of_class = 1}, {.number_of_class = 2}});
    // 60,000 are left: a quarter and three quarters of them.
    EXPECT_NEAR(got[0], 25'000, 500);
    EXPECT_NEAR(got[1], 75'000, 1'500);
}

TEST_F(shaped_classes, of_a_lower_priority_keep_what_is_theirs_and_get_nothing_else)
{
    const auto got = shares(of(100'000, {{1, {.rate_kbps = 10'000, .priority = 0}},
                                         {2, {.rate_kbps = 30'000, .priority = 1}}}),
                            {{.number_of_class = 1}, {.number_of_class = 2}});
    EXPECT_NEAR(got[0], 70'000, 1'000);
    EXPECT_NEAR(got[1], 30'000, 1'000);
}

TEST_F(shaped_classes, do_not_pass_their_ceil)
{
    const auto got = shares(of(100'000, {{1, {.rate_kbps = 10'000, .ceil_kbps = 20'000}},
                                         {2, {.rate_kbps = 30'000, .ceil_kbps = 30'000}}}),
                            {{.number_of_class = 1}, {.number_of_class = 2}});
    EXPECT_NEAR(got[0], 20'000, 300);
    EXPECT_NEAR(got[1], 30'000, 400);
}

TEST_F(shaped_classes, without_a_rate_live_on_what_is_left)
{
    const auto got = shares(of(100'000, {{1, {.rate_kbps = 90'000, .ceil_kbps = 90'000}},
                                         {2, {.rate_kbps = 0, .priority = 0}}}),
                            {{.number_of_class = 1}, {.number_of_class = 2}});
    EXPECT_NEAR(got[0], 90'000, 1'000);
    EXPECT_NEAR(got[1], 10'000, 500);
}

TEST_F(shaped_classes, share_in_bytes_whatever_the_length_of_their_frames)
{
    const auto got =
        shares(of(50'000, {{1, {}}, {2, {}}, {3, {}}}), {{.number_of_class = 1, .length = 64},
                                                         {.number_of_class = 2, .length = 1514},
                                                         {.number_of_class = 3, .length = 9014}});
    for (const double g : got) {
        EXPECT_NEAR(g, 50'000 / 3.0, 600);
    }
}

TEST_F(shaped_classes, that_nobody_made_are_class_0)
{
    shape(of(1'000, {{2, {.rate_kbps = 500}}}));
    offer({.number_of_class = 2});
    offer({.number_of_class = 5});
    offer({.number_of_class = 7});
    offer({.number_of_class = 0});
    EXPECT_EQ(counts(2).sent_packets.read(), 1U);
    EXPECT_EQ(counts(0).sent_packets.read() + counts(0).waiting_packets.read(), 3U);
    EXPECT_EQ(counts(5).sent_packets.read(), 0U);
}

TEST_F(shaped_classes, that_go_leave_what_waits_to_class_0)
{
    shaping s = of(1'000, {{2, {.rate_kbps = 500}}});
    s.burst_kbit = 8;
    shape(s);
    for (int i = 0; i < 20; ++i) {
        offer({.number_of_class = 2, .sender = static_cast<std::uint16_t>(i % 3)});
    }
    const std::uint64_t before = counts(2).waiting_packets.read();
    ASSERT_GT(before, 15U);
    s.classes[2].reset();
    shaper_->set(s);
    (void)release();
    EXPECT_EQ(counts(2).waiting_packets.read(), 0U);
    EXPECT_EQ(counts(0).waiting_packets.read(), before);
    run_for(2 * second);
    EXPECT_EQ(queue_.sent.size() + drops(drop_reason::shaper_timeout), 20U);
    EXPECT_EQ(waiting(), 0U);
}

TEST_F(shaped_classes, that_go_leave_what_class_0_has_room_for_to_wait_anew)
{
    shaping s = of(8, {{2, {.rate_kbps = 8, .max_wait_ms = 60'000}}});
    s.burst_kbit = 8;
    s.classes[0]->limit = 10;
    s.classes[0]->max_wait_ms = 100;
    shape(s);
    for (int i = 0; i < 41; ++i) {
        offer({.number_of_class = 2, .sender = static_cast<std::uint16_t>(i < 31 ? 1 : 2)});
    }
    const std::uint64_t waited = counts(2).waiting_packets.read();
    run_for(500 * ms); // longer than packets of class 0 may
    s.classes[2].reset();
    shaper_->set(s);
    (void)release();
    EXPECT_EQ(counts(0).waiting_packets.read(), 10U);
    EXPECT_EQ(drops(drop_reason::shaper_full), waited - 10);
    EXPECT_EQ(counts(0).dropped.read(), waited - 10);
    run_for(99 * ms);
    EXPECT_EQ(drops(drop_reason::shaper_timeout), 0U);
    run_for(20 * ms);
    EXPECT_EQ(drops(drop_reason::shaper_timeout), 10U);
}

TEST_F(shaped_port, shares_a_class_among_its_senders)
{
    shaping s = plain(80'000);
    s.classes[0]->max_wait_ms = 60'000;
    shape(s);
    const std::vector<shaped_frame> all{
        {.sender = 1, .length = 1514}, {.sender = 2, .length = 64}, {.sender = 700, .length = 500}};
    keep_full_for(second, all);
    for (const shaped_frame& f : all) {
        EXPECT_NEAR(static_cast<double>(sent_of(f)), 10'000'000 / 3.0, 50'000) << f.sender;
    }
}

TEST_F(shaped_port, gives_nobody_more_for_large_frames_that_come_one_at_a_time)
{
    shaping s = plain(80'000);
    s.classes[0]->max_wait_ms = 60'000;
    shape(s);
    constexpr std::uint32_t large = 60'000;
    std::map<std::uint32_t, std::uint64_t> sent;
    std::map<std::uint32_t, std::int64_t> waits;
    queue_.seen = [&](const sent_frame& f) {
        sent[f.length] += f.length;
        --waits[f.length];
    };
    for (const std::uint64_t end = now_ + second; now_ < end; now_ += ms / 10) {
        do {
            for (; waits[large] < 1; ++waits[large]) {
                offer({.sender = 1, .length = large});
            }
            for (; waits[500] < 100; ++waits[500]) {
                offer({.sender = 2, .length = 500});
            }
        } while (release() > 0);
    }
    EXPECT_NEAR(static_cast<double>(sent[large]), 5'000'000, 200'000);
    EXPECT_NEAR(static_cast<double>(sent[500]), 5'000'000, 200'000);
}

TEST_F(shaped_port, keeps_the_order_of_each_sender)
{
    shaping s = plain(8'000);
    s.classes[0]->max_wait_ms = 60'000;
    shape(s);
    for (int i = 0; i < 600; ++i) {
        offer({.sender = static_cast<std::uint16_t>(i * i % 7)});
    }
    run_for(2 * second);
    ASSERT_EQ(queue_.sent.size(), 600U);
    std::map<dataplane::port_index, std::uint64_t> last;
    for (const sent_frame& f : queue_.sent) {
        EXPECT_GE(f.number, last[f.sender]);
        last[f.sender] = f.number;
    }
}

TEST_F(shaped_port, holds_no_more_than_its_class_may)
{
    shaping s = plain(8, 8);
    s.classes[0]->limit = 50;
    shape(s);
    for (int i = 0; i < 200; ++i) {
        offer({.length = 100});
        EXPECT_LE(waiting(), 50U);
    }
    EXPECT_EQ(drops(drop_reason::shaper_full), 200 - 50 - queue_.sent.size());
    EXPECT_EQ(counts(0).dropped.read(), drops(drop_reason::shaper_full));
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 50U);
    // By bytes, and frames of several buffers.
    s.classes[0]->limit = 1000;
    s.classes[0]->limit_bytes = 100'000;
    shape(s);
    for (int i = 0; i < 40; ++i) {
        offer({.length = 30'000});
        EXPECT_LE(counts(0).waiting_bytes.read(), 100'000U);
    }
    EXPECT_EQ(waiting(), 3U);
    // By buffers, of which a frame may have many.
    s.classes[0]->limit = 40;
    s.classes[0]->limit_bytes = 10'000'000;
    shape(s);
    for (int i = 0; i < 40; ++i) {
        offer({.length = 30'000}); // 15 or so
    }
    EXPECT_LE(rte_mempool_in_use_count(pool_.get()), 40U + 15U);
}

TEST_F(shaped_port, lets_no_sender_keep_others_out)
{
    shaping s = plain(8, 8);
    s.classes[0]->limit = 100;
    shape(s);
    std::map<std::uint64_t, drop_reason> dropped;
    watcher_.seen = [&](std::uint64_t number, drop_reason r) { dropped[number] = r; };
    std::map<std::uint64_t, std::uint16_t> sender;
    for (int i = 0; i < 1000; ++i) {
        sender[offer({.sender = 1, .length = 100})] = 1;
    }
    for (int i = 0; i < 30; ++i) {
        sender[offer({.sender = 2, .length = 100})] = 2;
    }
    for (const auto& [number, reason] : dropped) {
        EXPECT_EQ(reason, drop_reason::shaper_full);
        EXPECT_EQ(sender.at(number), 1) << "who has most makes room";
    }
    // In the end each has half, whoever sends more.
    for (int i = 0; i < 2000; ++i) {
        sender[offer({.sender = static_cast<std::uint16_t>(i % 10 == 0 ? 2 : 1), .length = 100})] =
            static_cast<std::uint16_t>(i % 10 == 0 ? 2 : 1);
    }
    std::array<unsigned, 3> left{};
    for (const auto& [number, who] : sender) {
        left[who] += dropped.contains(number) ? 0U : 1U;
    }
    EXPECT_NEAR(left[2], 50, 2);
}

TEST_F(shaped_port, drops_nothing_for_a_packet_that_finds_no_room_all_the_same)
{
    shaping s = plain(8, 8);
    s.classes[0]->limit_bytes = 10'000;
    shape(s);
    offer({.sender = 9, .length = 1000}); // has the credit
    for (int i = 0; i < 6; ++i) {
        offer({.sender = 1, .length = 1000});
    }
    for (int i = 0; i < 3; ++i) {
        offer({.sender = 2, .length = 1000});
    }
    std::vector<std::uint64_t> dropped;
    watcher_.seen = [&](std::uint64_t number, drop_reason) { dropped.push_back(number); };
    // One of 1 goes; then one more of it would, which has less by then than this one wants.
    const std::uint64_t large = offer({.sender = 3, .length = 5500});
    EXPECT_EQ(dropped, std::vector{large});
    EXPECT_EQ(waiting(), 9U);
    s.kbps = 0;
    shaper_->set(s);
    while (release() > 0) {}
    ASSERT_EQ(queue_.sent.size(), 10U);
    std::map<std::size_t, std::vector<std::uint64_t>> by_sender;
    for (const sent_frame& f : queue_.sent) {
        by_sender[dataplane::to_index(f.sender)].push_back(f.number);
    }
    EXPECT_EQ(by_sender[1], (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(by_sender[2], (std::vector<std::uint64_t>{7, 8, 9}));
}

TEST_F(shaped_port, counts_others_that_make_room_for_a_mirrors_copies_as_the_ports)
{
    shaping s = plain(8, 8);
    s.classes[0]->limit = 10;
    shape(s);
    for (int i = 0; i < 11; ++i) {
        offer({.sender = 1});
    }
    ASSERT_EQ(waiting(), 10U);
    std::vector<std::uint64_t> seen;
    watcher_.seen = [&](std::uint64_t number, drop_reason) { seen.push_back(number); };
    shaper_->count_others_at(counters_.get());
    auto real = std::exchange(counters_, std::make_unique<dataplane::port_counters>());
    for (int i = 0; i < 7; ++i) {
        offer({.sender = 2});
    }
    EXPECT_EQ(drops(drop_reason::shaper_full), 2U);
    counters_ = std::move(real);
    EXPECT_EQ(drops(drop_reason::shaper_full), 5U); // up to half
    EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
}

TEST_F(shaped_port, has_wait_what_the_device_has_no_room_for)
{
    shaping s = plain(8'000, 8);
    s.classes[0]->max_wait_ms = 60'000;
    shape(s);
    for (int i = 0; i < 1000; ++i) {
        offer({.sender = static_cast<std::uint16_t>(i % 3), .length = 100});
    }
    const std::uint64_t at_once = queue_.sent.size();
    ASSERT_LT(at_once, 20U);
    shaper_->set(shaping{}); // all may go
    std::size_t released = 0;
    for (int i = 0; i < 1000; ++i) {
        queue_.room = i % 2 == 0 ? 5U : 0U;
        released += release();
        EXPECT_EQ(counts(0).sent_packets.read(), queue_.sent.size());
        EXPECT_EQ(queue_.sent.size() + waiting(), 1000U);
        if (waiting() > 0) {
            EXPECT_LE(shaper_->next_release(), now_);
        }
    }
    EXPECT_EQ(at_once + released, 1000U);
    EXPECT_EQ(queue_.sent.size(), 1000U);
    EXPECT_EQ(drops(drop_reason::receiver_full), 0U);
    std::map<dataplane::port_index, std::uint64_t> last;
    for (const sent_frame& f : queue_.sent) {
        EXPECT_GE(f.number, last[f.sender]);
        last[f.sender] = f.number;
    }
}

TEST_F(shaped_port, pays_nothing_for_what_the_device_has_no_room_for)
{
    shaping s = plain(8'000, 8); // 1000 bytes a millisecond
    s.classes[0]->max_wait_ms = 60'000;
    shape(s);
    for (int i = 0; i < 10; ++i) {
        offer({.length = 1000});
    }
    ASSERT_EQ(queue_.sent.size(), 1U);
    queue_.room = 0;
    now_ += ms;
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(release(), 0U);
    }
    queue_.room = 100;
    EXPECT_EQ(release(), 1U);
    EXPECT_EQ(release(), 0U);
}

TEST_F(shaped_port, has_packets_wait_once_the_device_is_full_and_counts_what_it_took)
{
    shape(plain(1'000'000));
    queue_.room = 3;
    for (int i = 0; i < 10; ++i) {
        offer({});
    }
    EXPECT_EQ(counts(0).sent_packets.read(), 3U);
    EXPECT_EQ(drops(drop_reason::receiver_full), 1U);
    EXPECT_EQ(waiting(), 6U);
    queue_.room = 100;
    EXPECT_EQ(release(), 6U);
    offer({});
    EXPECT_EQ(counts(0).sent_packets.read(), 10U);
}

TEST_F(shaped_port, drops_what_waits_too_long)
{
    shaping s = plain(8, 8); // 1000 bytes a second
    s.classes[0]->max_wait_ms = 100;
    shape(s);
    for (int i = 0; i < 10; ++i) {
        offer({.sender = static_cast<std::uint16_t>(i), .length = 1000});
    }
    ASSERT_EQ(waiting(), 9U);
    run_for(99 * ms);
    EXPECT_EQ(waiting(), 9U);
    run_for(14 * ms); // an eighth late at most
    EXPECT_EQ(waiting(), 0U);
    EXPECT_EQ(drops(drop_reason::shaper_timeout), 9U);
    EXPECT_EQ(shaper_->next_release(), dataplane::shaper::never);
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
}

TEST_F(shaped_port, gives_up_all_that_waits_when_it_is_told_to)
{
    shape(plain(8, 8));
    for (int i = 0; i < 30; ++i) {
        offer({.sender = static_cast<std::uint16_t>(i % 4)});
    }
    shaper_->drop_all(drop_reason::receiver_not_connected, *counters_);
    EXPECT_EQ(drops(drop_reason::receiver_not_connected), 30 - queue_.sent.size());
    EXPECT_EQ(waiting(), 0U);
    EXPECT_EQ(shaper_->next_release(), dataplane::shaper::never);
    for (int i = 0; i < 30; ++i) {
        offer({}); // left to TearDown: freed with the shaper
    }
    EXPECT_GT(waiting(), 25U);
}

TEST_F(shaped_port, drops_what_there_is_no_memory_for)
{
    pool_ptr other = make_pool(4);
    std::swap(other, pool_);
    shape(plain(8, 8));
    for (int i = 0; i < 20; ++i) {
        offer({});
    }
    EXPECT_EQ(waiting(), 4U);
    EXPECT_EQ(drops(drop_reason::no_memory), 20 - 4 - queue_.sent.size());
    shaper_.reset();
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
    std::swap(other, pool_);
}

} // namespace
} // namespace strait::test
