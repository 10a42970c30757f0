// SPDX-License-Identifier: BSD-3-Clause
// Packets out of a well-formed transmit virtqueue, both ring kinds: every shape that a driver may
// give a packet, every ring size, and when packets are left to gather.
#include "ports/gather.hh"
#include "test_guest.hh"

#include <gtest/gtest.h>

#include <numeric>

namespace strait::vhost::test {
namespace {

using dataplane::drop_reason;
using poll = ports::rx_queue::poll;

constexpr std::uint64_t modern = feature_bits({feature::version_1});

class ring_source : public testing::TestWithParam<bool> {
protected:
    [[nodiscard]] static ring_options options(std::uint16_t size = 256,
                                              std::uint64_t features = modern)
    {
        return {.packed = GetParam(), .size = size, .features = features};
    }
    std::mt19937_64 random{20260};
};

INSTANTIATE_TEST_SUITE_P(kinds, ring_source, testing::Bool(), kind_name);

struct shape {
    const char* name;
    std::vector<std::size_t> cuts;
};

const std::vector<shape>& shapes()
{
    static const std::vector<shape> all{
        {"one descriptor", {}},
        {"header alone", {12}},
        {"legacy header alone", {10}},
        {"header over three", {4, 4, 4}},
        {"header over twelve", std::vector<std::size_t>(12, 1)},
        {"header and a byte", {13}},
        {"header and Ethernet header", {26}},
        {"header split from within", {7, 6, 20}},
        {"half a head", {12, 64}},
        {"a whole head", {12, 128}},
        {"header and head", {140}},
        {"a head and a byte", {12, 129}},
        {"pieces of 100", std::vector<std::size_t>(200, 100)},
        {"pieces of one at first", std::vector<std::size_t>(250, 1)},
        {"empty ones between", {0, 12, 0, 0, 30, 0, 100, 0}},
    };
    return all;
}

TEST_P(ring_source, takes_every_shape_of_packet)
{
    for (const std::uint64_t features :
         {modern, std::uint64_t{0}, feature_bits({feature::mergeable_buffers})}) {
        if (GetParam() && features == 0) {
            continue; // a packed ring is never without VERSION_1
        }
        for (const bool indirect : {false, true}) {
            for (const shape& s : shapes()) {
                for (const std::size_t size :
                     {14U, 15U, 42U, 59U, 60U, 127U, 128U, 129U, 300U, 1514U, 9018U, 16000U}) {
                    SCOPED_TRACE(std::string{s.name} + (indirect ? ", indirect, " : ", direct, ") +
                                 std::to_string(size) + " bytes, features " +
                                 std::to_string(features));
                    transmitter t{options(256, features)};
                    const bytes frame = random_bytes(random, size);
                    ASSERT_TRUE(t.add(frame, s.cuts, 7, indirect));
                    t.guest->publish();
                    const std::vector<bytes> got = t.worker.take(*t.engine);
                    ASSERT_EQ(t.engine->fault(), nullptr);
                    ASSERT_EQ(got.size(), 1U);
                    EXPECT_EQ(got[0], frame);
                    EXPECT_EQ(t.collect(), (std::vector<returned>{{7, 0}}));
                    EXPECT_EQ(t.worker.counters().rx_packets.read(), 1U);
                    EXPECT_EQ(t.worker.counters().rx_bytes.read(), size);
                    EXPECT_EQ(t.worker.drops(), 0U);
                    EXPECT_EQ(t.engine->position(), t.guest->position());
                }
            }
        }
    }
}

TEST_P(ring_source, takes_every_length)
{
    transmitter t{options()};
    for (std::size_t size = 14; size <= 65535; size += size < 300 ? 1 : 1789) {
        const bytes frame = random_bytes(random, size);
        ASSERT_TRUE(t.add(frame, {}, size));
        t.guest->publish();
        ASSERT_EQ(t.worker.take(*t.engine), std::vector<bytes>{frame}) << size;
        ASSERT_EQ(t.collect().size(), 1U);
    }
    const bytes longest = random_bytes(random, 65535);
    ASSERT_TRUE(t.add(longest, {}, 1));
    t.guest->publish();
    ASSERT_EQ(t.worker.take(*t.engine), std::vector<bytes>{longest});
}

TEST_P(ring_source, head_is_private_and_the_rest_is_not_copied)
{
    transmitter t{options()};
    const bytes frame = random_bytes(random, 1000);
    for (const bool header_alone : {false, true}) {
        const std::vector<std::size_t> cuts =
            header_alone ? std::vector<std::size_t>{12} : std::vector<std::size_t>{};
        ASSERT_TRUE(t.add(frame, cuts, 1));
        t.guest->publish();
        ASSERT_EQ(t.worker.poll(*t.engine), poll::taken);
        const dataplane::packet& p = t.worker.burst().slots[0];
        EXPECT_EQ(p.head_length, dataplane::head_copy);
        EXPECT_EQ(p.segment_count, 1);
        EXPECT_EQ(p.mbuf, nullptr);
        EXPECT_TRUE(p.offload.empty());
        // What the guest writes now is seen in the payload and not in the head.
        for (const buffer& b : t.buffers.at(1)) {
            const bytes zero(b.length);
            t.ram.write(b.address, zero);
        }
        bytes expected = frame;
        std::fill(expected.begin() + dataplane::head_copy, expected.end(), std::byte{0});
        EXPECT_EQ(frame_of(p), expected);
        t.worker.release(*t.engine);
        ASSERT_EQ(t.collect().size(), 1U);
    }
}

TEST_P(ring_source, returns_buffers_only_at_release)
{
    transmitter t{options()};
    const bytes frame = random_bytes(random, 60);
    ASSERT_TRUE(t.add(frame, {}, 1));
    t.guest->publish();
    ASSERT_EQ(t.worker.poll(*t.engine), poll::taken);
    EXPECT_TRUE(t.collect().empty());
    EXPECT_EQ(t.engine->position(), t.guest->position());
    t.worker.release(*t.engine);
    EXPECT_EQ(t.collect().size(), 1U);
    EXPECT_EQ(t.worker.poll(*t.engine), poll::empty);
}

// Many laps of a ring, in bursts of any size, chains of any length.
void run_laps(transmitter& t, std::uint16_t size, std::size_t packets, std::mt19937_64& random,
              bool indirect)
{
    std::deque<bytes> sent;
    std::size_t added = 0;
    std::size_t taken = 0;
    std::size_t returned_count = 0;
    while (returned_count < packets) {
        for (std::size_t n = pick(random, 1, std::min<std::size_t>(size, 100));
             n > 0 && added < packets; --n) {
            const bytes frame = random_bytes(random, pick(random, 14, 300));
            std::vector<std::size_t> cuts(pick(random, 0, std::min<std::size_t>(size, 4) - 1),
                                          pick(random, 5, 40));
            if (!t.add(frame, cuts, added, indirect && pick(random, 0, 1) == 1)) {
                break;
            }
            sent.push_back(frame);
            ++added;
        }
        t.guest->publish();
        for (const bytes& frame : t.worker.take(*t.engine)) {
            ASSERT_FALSE(sent.empty());
            ASSERT_EQ(frame, sent.front());
            sent.pop_front();
            ++taken;
        }
        ASSERT_EQ(t.engine->fault(), nullptr);
        for (const returned& r : t.collect()) {
            ASSERT_EQ(r, (returned{returned_count, 0}));
            ++returned_count;
        }
        ASSERT_EQ(returned_count, taken);
        ASSERT_EQ(t.engine->position(), t.guest->position());
    }
    EXPECT_EQ(t.worker.poll(*t.engine), poll::empty);
    EXPECT_EQ(t.worker.counters().rx_packets.read(), packets);
    EXPECT_EQ(t.worker.drops(), 0U);
}

TEST_P(ring_source, goes_round_rings_of_every_size)
{
    constexpr std::uint16_t sizes[] = {1, 2, 3, 4, 5, 8, 31, 48, 64, 100, 256, 300, 1000, 1024};
    for (const std::uint16_t size : sizes) {
        if (!GetParam() && (size & (size - 1)) != 0) {
            continue;
        }
        for (const bool shuffled : {false, true}) {
            SCOPED_TRACE(std::to_string(size) + (shuffled ? ", shuffled" : ""));
            ring_options o = options(size, modern | feature_bits({feature::indirect}));
            o.shuffle = shuffled ? &random : nullptr;
            transmitter t{o};
            run_laps(t, size, std::size_t{7} * size + 300, random, true);
        }
    }
}

TEST_P(ring_source, goes_round_the_largest_ring)
{
    const std::uint16_t size = GetParam() ? 32767 : 32768;
    transmitter t{options(size), std::size_t{4} << 20};
    run_laps(t, size, 100'000, random, false);
    if (GetParam()) {
        transmitter u{options(32768), std::size_t{4} << 20};
        run_laps(u, 32768, 100'000, random, false);
    }
}

TEST_P(ring_source, begins_where_it_is_told)
{
    constexpr std::uint16_t places[] = {1, 17, 255};
    for (const std::uint16_t at : places) {
        for (const bool wrap : {true, false}) {
            ring_options o = options();
            // Split rings run freely over 2^16: just before its end is the interesting place.
            o.start = GetParam() ? ring_index{at, wrap}
                                 : ring_index{static_cast<std::uint16_t>(0U - at), true};
            transmitter t{o};
            EXPECT_EQ(t.engine->position(), o.start);
            run_laps(t, 256, 600, random, false);
        }
    }
}

TEST_P(ring_source, keeps_in_order_rings_in_order)
{
    transmitter t{options(64, modern | feature_bits({feature::in_order}))};
    run_laps(t, 64, 1000, random, false);
}

// As QEMU does while there is no switch, at an index of its own: see packed_layout::refresh().
TEST_P(ring_source, passes_over_what_another_returned)
{
    if (!GetParam()) {
        GTEST_SKIP() << "a split ring's place is in guest memory";
    }
    constexpr std::uint16_t size = 13;
    transmitter t{options(size)};
    ring_index place{};
    std::size_t token = 0;
    for (int round = 0; round < 300; ++round) {
        std::vector<bytes> expected;
        const std::size_t added = pick(random, 1, size);
        const std::size_t first_dropped = pick(random, 0, added);
        const std::size_t dropped = pick(random, 0, added - first_dropped);
        for (std::size_t n = 0; n < added; ++n) {
            const bytes frame = random_bytes(random, 100);
            ASSERT_TRUE(t.add(frame, {}, token++));
            if (n < first_dropped || n >= first_dropped + dropped) {
                expected.push_back(frame);
            }
        }
        t.guest->publish();
        for (std::size_t n = 0; n < added; ++n) {
            if (n >= first_dropped && n < first_dropped + dropped) {
                auto& d =
                    t.ram.as<packed_descriptor>(t.guest->places()[0].address + 16U * place.next);
                d.flags = place.wrap ? descriptor_flag::available | descriptor_flag::used : 0;
            }
            if (++place.next == size) {
                place = {0, !place.wrap};
            }
        }
        std::vector<bytes> taken;
        for (int polls = 0; polls < 3; ++polls) {
            for (bytes& frame : t.worker.take(*t.engine)) {
                taken.push_back(std::move(frame));
            }
        }
        ASSERT_EQ(taken, expected) << round;
        ASSERT_EQ(t.collect().size(), added);
        ASSERT_EQ(t.engine->position(), place);
    }
}

// What is kept of a packed ring names its place after every burst, and a source that begins there
// goes on where the other was killed: nothing is lost or taken twice.
TEST_P(ring_source, goes_on_from_the_position_that_was_kept)
{
    if (!GetParam()) {
        GTEST_SKIP() << "a split ring's place is in guest memory";
    }
#ifdef STRAIT_MUTATE_GUEST
    GTEST_SKIP() << "what was taken and not returned is not as it was";
#endif
    constexpr std::uint16_t size = 13;
    transmitter t{options(size)};
    ring_position kept;
    const ring_position::identity identity{1, t.guest->places()[0].address, size};
    const auto read = [&](std::uint16_t index) {
        return t.ram.as<packed_descriptor>(t.guest->places()[0].address + 16U * index);
    };
    kept.begin(identity, {0, true});
    t.engine = make_source(t.guest->setup(&kept));
    std::deque<bytes> sent;
    std::size_t token = 0;
    for (int round = 0; round < 500; ++round) {
        for (std::size_t n = pick(random, 1, 6); n > 0; --n) {
            const bytes frame = random_bytes(random, 100);
            if (t.add(frame, std::vector<std::size_t>(pick(random, 0, 2), 20), token)) {
                sent.push_back(frame);
                ++token;
            }
        }
        t.guest->publish();
        // Killed with packets taken and not returned, now and then: they come again.
        const bool killed = pick(random, 0, 4) == 0;
        if (killed) {
            t.worker.poll(*t.engine);
        } else {
            for (const bytes& frame : t.worker.take(*t.engine)) {
                ASSERT_EQ(frame, sent.front());
                sent.pop_front();
            }
        }
        const auto place = kept.recover(identity, read);
        if (!place) {
            // Nothing was returned yet.
            ASSERT_EQ(t.guest->progress() + t.collect().size(), 0U);
            continue;
        }
        ASSERT_EQ(place->index, t.engine->position().next);
        ASSERT_EQ(place->wrap, t.engine->position().wrap);
        if (killed) {
            ring_setup again = t.guest->setup(&kept);
            again.start = ring_index{place->index, place->wrap};
            kept.begin(identity, *place);
            t.engine = make_source(again);
        }
        t.collect();
        ASSERT_EQ(t.engine->position(), t.guest->position());
    }
    EXPECT_GT(token, 500U);
}

TEST_P(ring_source, takes_a_burst_and_leaves_the_rest)
{
    transmitter t{options()};
    std::vector<bytes> frames;
    for (std::size_t i = 0; i < 150; ++i) {
        frames.push_back(random_bytes(random, 200));
        ASSERT_TRUE(t.add(frames.back(), {}, i));
    }
    t.guest->publish();
    std::vector<bytes> got;
    for (const std::size_t expected : {64U, 64U, 22U}) {
        const auto some = t.worker.take(*t.engine);
        EXPECT_EQ(some.size(), expected);
        got.insert(got.end(), some.begin(), some.end());
    }
    EXPECT_EQ(got, frames);
}

TEST_P(ring_source, long_chains_fill_a_burst_early_and_lose_nothing)
{
    // 40 packets of 250 descriptors: more segments than a burst holds.
    transmitter t{options(1024, modern | feature_bits({feature::indirect})), std::size_t{8} << 20};
    std::vector<bytes> frames;
    for (std::size_t i = 0; i < 40; ++i) {
        frames.push_back(random_bytes(random, 1500));
        ASSERT_TRUE(t.add(frames.back(), std::vector<std::size_t>(249, 6), i, true));
    }
    t.guest->publish();
    std::vector<bytes> got;
    for (int polls = 0; polls < 40 && got.size() < frames.size(); ++polls) {
        for (bytes& f : t.worker.take(*t.engine)) {
            got.push_back(std::move(f));
        }
    }
    EXPECT_EQ(got, frames);
    EXPECT_EQ(t.engine->fault(), nullptr);
}

TEST_P(ring_source, takes_a_chain_of_288)
{
    for (const bool indirect : {false, true}) {
        transmitter t{options(1024, modern | feature_bits({feature::indirect}))};
        const bytes frame = random_bytes(random, 288 * 5 - 12);
        ASSERT_TRUE(t.add(frame, std::vector<std::size_t>(288, 5), 1, indirect));
        t.guest->publish();
        EXPECT_EQ(t.worker.take(*t.engine), std::vector<bytes>{frame});
        EXPECT_EQ(t.engine->fault(), nullptr);
    }
}

TEST_P(ring_source, drops_what_is_no_frame_and_goes_on)
{
    // Nothing behind the header, or not even all of it; and longer than any frame.
    struct bad {
        std::vector<std::uint32_t> lengths;
        drop_reason reason;
    };
    const std::vector<bad> cases{
        {{12}, drop_reason::malformed_descriptor},
        {{11}, drop_reason::malformed_descriptor},
        {{1}, drop_reason::malformed_descriptor},
        {{0}, drop_reason::malformed_descriptor},
        {{0, 0}, drop_reason::malformed_descriptor},
        {{4, 4, 4}, drop_reason::malformed_descriptor},
        {{12, 0}, drop_reason::malformed_descriptor},
        {{65557 + 13}, drop_reason::frame_too_long},
        {{12, 65535, 23}, drop_reason::frame_too_long},
        {{500'000, 500'000, 500'000}, drop_reason::frame_too_long},
    };
    for (const bad& c : cases) {
        transmitter t{options()};
        const std::uint64_t place = t.ram.allocate(500'000);
        std::vector<buffer> chain;
        for (const std::uint32_t length : c.lengths) {
            chain.push_back({place, length, false});
        }
        const bytes frame = random_bytes(random, 100);
        ASSERT_TRUE(t.add(frame, {}, 0));
        ASSERT_TRUE(t.guest->add(chain, 1));
        t.buffers[1] = {};
        ASSERT_TRUE(t.add(frame, {}, 2));
        t.guest->publish();
        EXPECT_EQ(t.worker.take(*t.engine), (std::vector<bytes>{frame, frame}));
        EXPECT_EQ(t.engine->fault(), nullptr);
        EXPECT_EQ(t.worker.drops(c.reason), 1U);
        EXPECT_EQ(t.worker.drops(), 1U);
        EXPECT_EQ(t.worker.counters().rx_packets.read(), 2U);
        EXPECT_EQ(t.collect(), (std::vector<returned>{{0, 0}, {1, 0}, {2, 0}}));
    }
}

TEST_P(ring_source, takes_the_longest_frame)
{
    transmitter t{options()};
    const bytes frame = random_bytes(random, 65557);
    ASSERT_TRUE(t.add(frame, {}, 0));
    t.guest->publish();
    EXPECT_EQ(t.worker.take(*t.engine), std::vector<bytes>{frame});
}

TEST_P(ring_source, buffers_may_lie_in_any_region_and_touch_its_edges)
{
    const std::vector<guest_range> regions{
        {0, 0x1'0000}, {0x10'0000, 0x2'0000}, {0xffff'ffff'fff0'0000, 0x1000}};
    guest_ram ram{regions};
    const auto guest = make_driver(ram, options());
    const auto engine = make_source(guest->setup());
    worker_side worker;
    std::size_t token = 0;
    for (const guest_range& r : regions) {
        const bytes frame = random_bytes(random, 100);
        bytes all(12);
        all.insert(all.end(), frame.begin(), frame.end());
        const std::uint64_t end = r.address + r.size - all.size();
        ram.write(end, all);
        ASSERT_TRUE(guest->add({{end, 112, false}}, token++));
        guest->publish();
        EXPECT_EQ(worker.take(*engine), std::vector<bytes>{frame});
        EXPECT_EQ(engine->fault(), nullptr);
    }
    // A frame whose pieces are in three regions.
    const bytes frame = random_bytes(random, 300);
    ram.write(0, bytes(12));
    ram.write(0x11'ff9c, std::span{frame}.first(100));
    ram.write(0xffff'ffff'fff0'0000, std::span{frame}.subspan(100));
    ASSERT_TRUE(guest->add(
        {{0, 12, false}, {0x11'ff9c, 100, false}, {0xffff'ffff'fff0'0000, 200, false}}, token));
    guest->publish();
    EXPECT_EQ(worker.take(*engine), std::vector<bytes>{frame});
}

TEST_P(ring_source, lone_packets_are_never_left_for_ever)
{
    // Whatever came before, a packet is out within the longest pause.
    transmitter t{options()};
    for (int round = 0; round < 300; ++round) {
        const std::size_t burst = pick(random, 0, 1) == 0 ? 64 : pick(random, 1, 64);
        for (std::size_t i = 0; i < burst; ++i) {
            ASSERT_TRUE(
                t.add(random_bytes(random, 60), {}, static_cast<std::size_t>(round) * 64 + i));
        }
        t.guest->publish();
        std::uint64_t waited = 0;
        std::size_t got = 0;
        while (got < burst) {
            constexpr std::uint64_t step = 100;
            t.worker.pass(step);
            t.worker.burst().clear();
            const poll result = t.engine->receive(t.worker.burst(), t.worker.context());
            if (result == poll::taken) {
                got += t.worker.burst().count;
                t.worker.release(*t.engine);
                waited = 0;
            } else {
                waited += step;
                ASSERT_LE(waited, ports::gatherer::longest + step);
            }
        }
        t.collect();
    }
}

// A guest that sends at a pace.
struct sender : transmitter {
    using transmitter::transmitter;

    void offer(std::size_t n)
    {
        for (std::size_t i = 0; i < n; ++i) {
            ASSERT_TRUE(add(random_bytes(random, 60), {}, token++));
        }
        guest->publish();
    }
    [[nodiscard]] poll look()
    {
        worker.burst().clear();
        return engine->receive(worker.burst(), worker.context());
    }
    // 64 packets every 1,000 cycles: soon the ring is left alone until a burst has gathered. What
    // came back with the last.
    [[nodiscard]] std::size_t hurry(std::size_t rounds = 20)
    {
        std::size_t back = 0;
        for (std::size_t i = 0; i < rounds; ++i) {
            worker.pass(1'000);
            offer(64);
            while (look() != poll::taken) {
                worker.pass(100);
            }
            worker.release(*engine);
            back = collect().size();
        }
        return back;
    }

    std::mt19937_64 random{20261};
    std::size_t token{0};
};

TEST_P(ring_source, gathers_under_load_and_not_without_it)
{
    sender t{options()};
    // A packet every 20,000 cycles: each is taken at first sight, and comes back at once.
    for (int i = 0; i < 20; ++i) {
        t.worker.pass(20'000);
        t.offer(1);
        ASSERT_EQ(t.look(), poll::taken);
        t.worker.release(*t.engine);
        ASSERT_EQ(t.collect().size(), 1U);
    }
    EXPECT_EQ(t.hurry(), 64U);
    t.worker.pass(200);
    t.offer(20);
    EXPECT_EQ(t.look(), poll::empty);
    EXPECT_TRUE(t.collect().empty());
    t.offer(28);
    t.worker.pass(ports::gatherer::longest);
    EXPECT_EQ(t.look(), poll::taken);
    EXPECT_EQ(t.worker.burst().count, 48U);
    t.worker.release(*t.engine);
    t.collect();
    // At that pace a worker to whom a packet costs little has time to look.
    t.worker.packet_cost = 1;
    t.worker.pass(ports::gatherer::longest);
    t.offer(64);
    ASSERT_EQ(t.look(), poll::taken);
    t.worker.release(*t.engine);
    t.collect();
    for (int i = 0; i < 20; ++i) {
        t.worker.pass(20);
        t.offer(1);
        ASSERT_EQ(t.look(), poll::taken) << i;
        t.worker.release(*t.engine);
        ASSERT_EQ(t.collect().size(), 1U);
    }
}

// While a ring is left alone, what was taken from it at the last look is not back yet.
TEST_P(ring_source, what_a_busy_ring_gave_comes_back_at_the_next_look)
{
    sender t{options()};
    (void)t.hurry();
    EXPECT_TRUE(t.engine->waits()); // a worker that slept now would keep it
    EXPECT_EQ(t.look(), poll::empty);
    EXPECT_TRUE(t.collect().empty());
    t.worker.pass(ports::gatherer::longest);
    EXPECT_EQ(t.look(), poll::empty); // there is nothing more: all is back
    EXPECT_EQ(t.collect().size(), 64U);
    EXPECT_FALSE(t.engine->waits());

    // Whoever takes the ring out of service finds nothing under way.
    (void)t.hurry();
    const ring_index before = t.engine->position();
    EXPECT_TRUE(t.engine->return_all());
    EXPECT_NE(t.engine->position(), before);
    EXPECT_EQ(t.collect().size(), 64U);
    EXPECT_FALSE(t.engine->return_all());
    EXPECT_TRUE(t.collect().empty());
}

// A driver is told of what came back late, and not of what did not.
TEST_P(ring_source, tells_of_what_comes_back_late)
{
    sender t{options()};
    (void)t.hurry();
    t.worker.flush();
    const std::uint64_t before = t.engine->kicks();
    t.worker.pass(ports::gatherer::longest);
    EXPECT_EQ(t.look(), poll::empty);
    t.worker.flush();
    EXPECT_EQ(t.engine->kicks(), before + 1);
    t.worker.pass(ports::gatherer::longest);
    EXPECT_EQ(t.look(), poll::empty);
    t.worker.flush();
    EXPECT_EQ(t.engine->kicks(), before + 1);
    (void)t.hurry();
    t.worker.flush();
    const std::uint64_t then = t.engine->kicks();
    EXPECT_TRUE(t.engine->return_all());
    EXPECT_EQ(t.engine->kicks(), then) << "whether it is told is the caller's to say";
    t.engine->notify_if_wanted();
    EXPECT_EQ(t.engine->kicks(), then + 1);
}

// More than a quarter of a ring is not kept from its driver.
TEST_P(ring_source, returns_much_of_a_ring_at_once)
{
    sender small{options(128)};
    EXPECT_EQ(small.hurry(), 64U);
    EXPECT_FALSE(small.engine->waits());
    EXPECT_TRUE(small.collect().empty());
    sender least{options(256)};
    EXPECT_EQ(least.hurry(), 64U);
    EXPECT_TRUE(least.engine->waits());
}

} // namespace
} // namespace strait::vhost::test
