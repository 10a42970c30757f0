// SPDX-License-Identifier: BSD-3-Clause
// Packets into a well-formed receive virtqueue, both ring kinds: buffers of every shape, mergeable
// and not, too few and too small ones; and from one guest to another.
#include "test_guest.hh"
#include "tests/unit/dataplane/remote_guest.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace strait::vhost::test {
namespace {

using dataplane::drop_reason;

constexpr std::uint64_t plain = feature_bits({feature::version_1});
constexpr std::uint64_t mergeable = feature_bits({feature::version_1, feature::mergeable_buffers});

class ring_sink : public testing::TestWithParam<bool> {
protected:
    [[nodiscard]] static ring_options options(std::uint16_t size = 256,
                                              std::uint64_t features = plain)
    {
        return {.packed = GetParam(), .size = size, .features = features};
    }
    std::mt19937_64 random{20261};
};

INSTANTIATE_TEST_SUITE_P(kinds, ring_sink, testing::Bool(), kind_name);

TEST_P(ring_sink, writes_into_buffers_of_every_shape)
{
    struct shape {
        const char* name;
        std::vector<std::size_t> lengths;
    };
    const std::vector<shape> shapes{
        {"one", {16'100}},
        {"header alone", {12, 16'000}},
        {"legacy header alone", {10, 16'100}},
        {"header over three", {4, 4, 4, 16'000}},
        {"header over twelve",
         std::vector<std::size_t>{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 16'000}},
        {"cut in the head", {26, 30, 16'000}},
        {"pages", {4096, 4096, 4096, 4096, 4096}},
        {"hundreds", std::vector<std::size_t>(162, 100)},
        {"empty ones between", {0, 12, 0, 0, 100, 0, 16'000, 0}},
    };
    for (const std::uint64_t features :
         {plain, mergeable, std::uint64_t{0}, feature_bits({feature::mergeable_buffers})}) {
        if (GetParam() && (features & plain) == 0) {
            continue;
        }
        for (const bool indirect : {false, true}) {
            for (const shape& s : shapes) {
                for (const std::size_t size : {14U, 60U, 128U, 129U, 300U, 1514U, 9018U, 16000U}) {
                    SCOPED_TRACE(std::string{s.name} + (indirect ? ", indirect, " : ", direct, ") +
                                 std::to_string(size) + " bytes, features " +
                                 std::to_string(features));
                    receiver r{options(256, features)};
                    ASSERT_TRUE(r.add(s.lengths, 3, indirect));
                    r.guest->publish();
                    test_packet p{random_bytes(random, size), pick(random, 14, 128),
                                  pick(random, 1, 3) == 1 ? 100 : SIZE_MAX};
                    r.send(p);
                    ASSERT_EQ(r.engine->fault(), nullptr);
                    EXPECT_EQ(r.collect(), std::vector<bytes>{p.frame()});
                    EXPECT_EQ(r.worker.counters().tx_packets.read(), 1U);
                    EXPECT_EQ(r.worker.counters().tx_bytes.read(), size);
                    EXPECT_EQ(r.worker.drops(), 0U);
                    EXPECT_EQ(r.engine->position(), r.guest->position());
                }
            }
        }
    }
}

TEST_P(ring_sink, writes_every_length)
{
    receiver r{options()};
    for (std::size_t size = 14; size <= 65535; size += size < 300 ? 1 : 1789) {
        ASSERT_TRUE(r.add(12 + size, size));
        r.guest->publish();
        test_packet p{random_bytes(random, size)};
        r.send(p);
        ASSERT_EQ(r.collect(), std::vector<bytes>{p.frame()}) << size;
    }
    ASSERT_TRUE(r.add(12 + 65535, 1));
    r.guest->publish();
    test_packet p{random_bytes(random, 65535)};
    r.send(p);
    ASSERT_EQ(r.collect(), std::vector<bytes>{p.frame()});
}

TEST_P(ring_sink, merges_buffers)
{
    struct layout {
        std::size_t buffer;
        std::size_t frame;
        std::size_t count;
    };
    // 12 bytes of header count too.
    const std::vector<layout> cases{{1526, 1514, 1},   {1526, 1515, 2},  {1536, 9018, 6},
                                    {1536, 65535, 43}, {100, 88, 1},     {100, 89, 2},
                                    {100, 6388, 64},   {64, 52, 1},      {64, 53, 2},
                                    {12, 60, 6},       {2048, 65557, 33}};
    for (const layout& c : cases) {
        for (const bool pieces : {false, true}) {
            SCOPED_TRACE(std::to_string(c.frame) + " in buffers of " + std::to_string(c.buffer));
            receiver r{options(256, mergeable)};
            for (std::size_t i = 0; i < 100; ++i) {
                ASSERT_TRUE(r.add(c.buffer, i));
            }
            r.guest->publish();
            test_packet p{random_bytes(random, c.frame), 128, pieces ? 250 : SIZE_MAX};
            r.send(p);
            ASSERT_EQ(r.engine->fault(), nullptr);
            EXPECT_EQ(r.collect(), std::vector<bytes>{p.frame()});
            EXPECT_EQ(r.buffer_counts, std::vector<std::size_t>{c.count});
            EXPECT_EQ(r.worker.drops(), 0U);
            EXPECT_EQ(r.engine->position(), r.guest->position());
        }
    }
}

TEST_P(ring_sink, merges_chains)
{
    receiver r{options(256, mergeable | feature_bits({feature::indirect}))};
    for (std::size_t i = 0; i < 20; ++i) {
        ASSERT_TRUE(r.add(std::array<std::size_t, 3>{100, 60, 40}, i, i % 3 == 1));
    }
    r.guest->publish();
    test_packet p{random_bytes(random, 1514)};
    r.send(p);
    EXPECT_EQ(r.collect(), std::vector<bytes>{p.frame()});
    EXPECT_EQ(r.buffer_counts, std::vector<std::size_t>{8});
}

// Frames of a guest whose memory this process cannot address, and a receiver's buffers for them.
struct remote_burst {
    remote_burst(std::mt19937_64& random, std::span<const std::size_t> sizes)
    {
        for (const std::size_t size : sizes) {
            const bytes f = random_bytes(random, size);
            frames.push_back(f);
            std::vector<std::uint8_t> plain_bytes(size);
            std::memcpy(plain_bytes.data(), f.data(), size);
            packets.push_back(
                std::make_unique<strait::test::remote_packet>(guest, plain_bytes, 1500));
            list.push_back(&packets.back()->get());
        }
    }
    strait::test::remote_guest guest;
    std::vector<std::unique_ptr<strait::test::remote_packet>> packets;
    std::vector<bytes> frames;
    std::vector<dataplane::packet*> list;
};

constexpr std::array<std::size_t, 8> remote_sizes{129, 1514, 100, 4000, 1514, 9018, 60, 2000};

TEST_P(ring_sink, has_remote_payload_copied_into_its_buffers_by_the_senders_hypervisor)
{
    struct shape {
        const char* name;
        std::vector<std::size_t> lengths;
        std::size_t count;
        std::uint64_t features;
        bool one_call;
    };
    for (const shape& s : {shape{"one", {9100}, 20, plain, true},
                           shape{"header alone", {12, 9100}, 20, plain, false},
                           shape{"pieces", {50, 100, 1000, 8000}, 20, plain, false},
                           shape{"merged", {1526}, 100, mergeable, false}}) {
        SCOPED_TRACE(s.name);
        for (const bool found : {false, s.one_call}) {
            receiver r{options(256, s.features)};
            for (std::size_t i = 0; i < s.count; ++i) {
                ASSERT_TRUE(r.add(s.lengths, i));
            }
            r.guest->publish();
            remote_burst b{random, remote_sizes};
            if (found) {
                r.engine->prefetch_ring(b.list.size());
                r.engine->prefetch_buffers(b.list.size());
            }
            r.worker.send(*r.engine, b.list);
            ASSERT_EQ(r.engine->fault(), nullptr);
            EXPECT_EQ(r.collect(), b.frames);
            EXPECT_EQ(r.worker.counters().tx_packets.read(), b.frames.size());
            EXPECT_EQ(r.worker.counters().tx_bytes.read(), 18335U);
            EXPECT_EQ(r.worker.drops(), 0U);
            if (s.one_call) {
                EXPECT_EQ(b.guest.calls, 1U) << "a burst is one call";
            }
        }
    }
}

// What the sender took back meanwhile arrives as a frame that nobody takes, and only that.
TEST_P(ring_sink, spoils_a_frame_whose_remote_payload_cannot_be_had)
{
    for (const bool merged : {false, true}) {
        for (const std::size_t lost : {1U, 5U}) {
            receiver r{options(256, merged ? mergeable : plain)};
            for (std::size_t i = 0; i < 50; ++i) {
                ASSERT_TRUE(r.add(merged ? 1526 : 9100, i));
            }
            r.guest->publish();
            remote_burst b{random, remote_sizes};
            b.guest.take_back(b.packets[lost]->reference(0));
            r.worker.send(*r.engine, b.list);
            const std::vector<bytes> got = r.collect();
            ASSERT_EQ(got.size(), b.frames.size());
            for (std::size_t i = 0; i < got.size(); ++i) {
                EXPECT_EQ(got[i] == b.frames[i], i != lost) << i;
                EXPECT_EQ(b.packets[i]->payload().unreadable, i == lost) << i;
            }
            EXPECT_EQ(got[lost].size(), b.frames[lost].size());
            EXPECT_EQ((bytes{got[lost].begin(), got[lost].begin() + 14}), bytes(14));
            EXPECT_EQ(r.worker.counters().tx_packets.read(), b.frames.size() - 1);
            EXPECT_EQ(r.worker.counters().tx_bytes.read(), 18335U - b.frames[lost].size());
            EXPECT_EQ(r.worker.drops(drop_reason::copy_failed), 1U);
        }
    }
}

// A receiver that cut its own memory loses what was for it, and its senders are not blamed.
TEST_P(ring_sink, blames_no_sender_for_its_own_memory)
{
    for (const bool merged : {false, true}) {
        receiver r{options(256, merged ? mergeable : plain)};
        for (std::size_t i = 0; i < 50; ++i) {
            ASSERT_TRUE(r.add(merged ? 1526 : 9100, i));
        }
        r.guest->publish();
        remote_burst b{random, remote_sizes};
        const guest_range all = r.ram.regions()[0];
        b.guest.cut = {r.ram.at(all.address), all.size};
        b.guest.take_back(b.packets[3]->reference(0));
        r.worker.send(*r.engine, b.list);
        const std::vector<bytes> got = r.collect();
        ASSERT_EQ(got.size(), b.frames.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
            const bool is_whole = remote_sizes[i] <= 128; // nothing of it is remote
            EXPECT_EQ(got[i] == b.frames[i], is_whole) << i;
            EXPECT_EQ(b.packets[i]->payload().unreadable, i == 3) << i;
        }
        EXPECT_EQ(r.worker.drops(drop_reason::copy_failed), 6U);
    }
}

TEST_P(ring_sink, drops_what_fits_no_buffer_and_uses_it_for_the_next)
{
#ifdef STRAIT_MUTATE_GUEST
    GTEST_SKIP() << "a buffer that was given back is read again";
#endif
    for (const bool chained : {false, true}) {
        receiver r{options()};
        const std::vector<std::size_t> lengths =
            chained ? std::vector<std::size_t>{12, 500} : std::vector<std::size_t>{512};
        ASSERT_TRUE(r.add(lengths, 0));
        r.guest->publish();
        std::vector<std::unique_ptr<test_packet>> packets;
        packets.push_back(std::make_unique<test_packet>(random_bytes(random, 501)));
        packets.push_back(std::make_unique<test_packet>(random_bytes(random, 1514)));
        packets.push_back(std::make_unique<test_packet>(random_bytes(random, 500)));
        r.send(packets);
        EXPECT_EQ(r.collect(), std::vector<bytes>{packets[2]->frame()});
        EXPECT_EQ(r.worker.drops(drop_reason::receiver_buffer_too_small), 2U);
        EXPECT_EQ(r.worker.drops(), 2U);
        EXPECT_EQ(r.worker.counters().tx_packets.read(), 1U);
        EXPECT_EQ(r.engine->fault(), nullptr);
        EXPECT_EQ(r.engine->position(), r.guest->position());
    }
}

TEST_P(ring_sink, a_packet_takes_at_most_64_buffers)
{
#ifdef STRAIT_MUTATE_GUEST
    GTEST_SKIP() << "buffers that were given back are read again";
#endif
    receiver r{options(256, mergeable)};
    for (std::size_t i = 0; i < 200; ++i) {
        ASSERT_TRUE(r.add(std::size_t{100}, i));
    }
    r.guest->publish();
    std::vector<std::unique_ptr<test_packet>> packets;
    packets.push_back(std::make_unique<test_packet>(random_bytes(random, 64 * 100 - 12 + 1)));
    packets.push_back(std::make_unique<test_packet>(random_bytes(random, 64 * 100 - 12)));
    r.send(packets);
    EXPECT_EQ(r.collect(), std::vector<bytes>{packets[1]->frame()});
    EXPECT_EQ(r.worker.drops(drop_reason::receiver_buffer_too_small), 1U);
}

TEST_P(ring_sink, drops_when_there_is_no_buffer)
{
    receiver r{options()};
    std::vector<std::unique_ptr<test_packet>> packets;
    for (std::size_t i = 0; i < 10; ++i) {
        packets.push_back(std::make_unique<test_packet>(random_bytes(random, 60 + i)));
    }
    r.send(packets);
    EXPECT_EQ(r.worker.drops(drop_reason::receiver_full), 10U);
    EXPECT_EQ(r.guest->interrupts(), 0U);
    for (std::size_t i = 0; i < 4; ++i) {
        ASSERT_TRUE(r.add(std::size_t{1526}, i));
    }
    r.guest->publish();
    r.send(packets);
    const std::vector<bytes> got = r.collect();
    ASSERT_EQ(got.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(got[i], packets[i]->frame());
    }
    EXPECT_EQ(r.worker.drops(drop_reason::receiver_full), 16U);
    EXPECT_EQ(r.worker.drops(), 16U);
    EXPECT_EQ(r.engine->fault(), nullptr);
    EXPECT_EQ(r.engine->position(), r.guest->position());
}

TEST_P(ring_sink, gives_back_buffers_that_are_not_enough)
{
#ifdef STRAIT_MUTATE_GUEST
    GTEST_SKIP() << "buffers that were given back are read again";
#endif
    receiver r{options(256, mergeable)};
    for (std::size_t i = 0; i < 5; ++i) {
        ASSERT_TRUE(r.add(std::size_t{1000}, i));
    }
    r.guest->publish();
    std::vector<std::unique_ptr<test_packet>> packets;
    packets.push_back(std::make_unique<test_packet>(random_bytes(random, 1500))); // 2 buffers
    packets.push_back(std::make_unique<test_packet>(random_bytes(random, 4000))); // 5, 3 are left
    packets.push_back(std::make_unique<test_packet>(random_bytes(random, 60)));
    r.send(packets);
    EXPECT_EQ(r.collect(), std::vector<bytes>{packets[0]->frame()});
    EXPECT_EQ(r.worker.drops(drop_reason::receiver_full), 2U);
    EXPECT_EQ(r.engine->position(), r.guest->position());
    // The three and two more make it whole.
    ASSERT_TRUE(r.add(std::size_t{1000}, 5));
    ASSERT_TRUE(r.add(std::size_t{1000}, 6));
    r.guest->publish();
    r.send(*packets[1]);
    EXPECT_EQ(r.collect(), std::vector<bytes>{packets[1]->frame()});
    EXPECT_EQ(r.engine->position(), r.guest->position());
}

// Many laps of a ring; some packets find no room.
void run_laps(receiver& r, std::uint16_t size, std::size_t packets, std::mt19937_64& random,
              bool indirect)
{
    const bool merges = r.guest->options().has(feature::mergeable_buffers);
    std::size_t token = 0;
    std::size_t sent = 0;
    std::size_t dropped = 0;
    while (sent < packets) {
        for (std::size_t n = pick(random, 0, std::min<std::size_t>(size, 100)); n > 0; --n) {
            std::vector<std::size_t> lengths(
                merges ? 1 : pick(random, 1, std::min<std::size_t>(size, 3)),
                merges ? pick(random, 60, 500) : 312);
            if (!r.add(lengths, token++, indirect && pick(random, 0, 1) == 1)) {
                break;
            }
        }
        r.guest->publish();
        std::vector<std::unique_ptr<test_packet>> burst;
        for (std::size_t n = pick(random, 1, 64); n > 0; --n) {
            burst.push_back(std::make_unique<test_packet>(
                random_bytes(random, pick(random, 14, 300)), pick(random, 14, 128)));
        }
        r.send(burst);
        ASSERT_EQ(r.engine->fault(), nullptr);
        const std::vector<bytes> got = r.collect();
        ASSERT_LE(got.size(), burst.size());
        // The first ones arrive and the rest find the ring full.
        for (std::size_t i = 0; i < got.size(); ++i) {
            ASSERT_EQ(got[i], burst[i]->frame());
        }
        sent += got.size();
        dropped += burst.size() - got.size();
        ASSERT_EQ(r.worker.counters().tx_packets.read(), sent);
        ASSERT_EQ(r.worker.drops(drop_reason::receiver_full), dropped);
        ASSERT_EQ(r.engine->position(), r.guest->position());
        if (testing::Test::HasFailure()) {
            return;
        }
    }
    EXPECT_EQ(r.worker.drops(), dropped);
}

TEST_P(ring_sink, goes_round_rings_of_every_size)
{
    constexpr std::uint16_t sizes[] = {1, 2, 3, 4, 5, 8, 31, 64, 100, 256, 300, 1000, 1024};
    for (const std::uint16_t size : sizes) {
        if (!GetParam() && (size & (size - 1)) != 0) {
            continue;
        }
        for (const bool merges : {false, true}) {
#ifdef STRAIT_MUTATE_GUEST
            if (merges) {
                continue; // partial packets read buffers again
            }
#endif
            for (const bool shuffled : {false, true}) {
                if (merges && size < 8) {
                    continue; // a ring too small for a frame
                }
                SCOPED_TRACE(std::to_string(size) + (merges ? ", mergeable" : "") +
                             (shuffled ? ", shuffled" : ""));
                ring_options o =
                    options(size, (merges ? mergeable : plain) | feature_bits({feature::indirect}));
                o.shuffle = shuffled ? &random : nullptr;
                receiver r{o};
                run_laps(r, size, std::size_t{5} * size + 300, random, true);
            }
        }
    }
}

TEST_P(ring_sink, goes_round_the_largest_ring)
{
    const std::uint16_t size = GetParam() ? 32767 : 32768;
    receiver r{options(size), std::size_t{16} << 20};
    run_laps(r, size, 100'000, random, false);
}

TEST_P(ring_sink, begins_where_it_is_told)
{
    constexpr std::uint16_t places[] = {1, 17, 255};
    for (const std::uint16_t at : places) {
        for (const bool wrap : {true, false}) {
            ring_options o = options();
            o.start = GetParam() ? ring_index{at, wrap}
                                 : ring_index{static_cast<std::uint16_t>(0U - at), true};
            receiver r{o};
            EXPECT_EQ(r.engine->position(), o.start);
            run_laps(r, 256, 600, random, false);
        }
    }
}

TEST_P(ring_sink, keeps_in_order_rings_in_order)
{
    receiver r{options(64, plain | feature_bits({feature::in_order}))};
    run_laps(r, 64, 1000, random, false);
}

TEST_P(ring_sink, publishes_large_bursts_of_many_buffers)
{
    // 64 packets of 9 buffers each: returned in several parts.
    receiver r{options(1024, mergeable)};
    for (std::size_t i = 0; i < 700; ++i) {
        ASSERT_TRUE(r.add(std::size_t{200}, i));
    }
    r.guest->publish();
    std::vector<std::unique_ptr<test_packet>> packets;
    std::vector<bytes> frames;
    for (std::size_t i = 0; i < 64; ++i) {
        packets.push_back(std::make_unique<test_packet>(random_bytes(random, 1700 + i)));
        frames.push_back(packets.back()->frame());
    }
    r.send(packets);
    EXPECT_EQ(r.collect(), frames);
    EXPECT_EQ(r.worker.drops(), 0U);
    EXPECT_EQ(r.engine->position(), r.guest->position());
}

TEST_P(ring_sink, mixes_large_and_small_packets)
{
    receiver r{options(1024, mergeable)};
    for (std::size_t i = 0; i < 400; ++i) {
        ASSERT_TRUE(r.add(std::size_t{300}, i));
    }
    r.guest->publish();
    std::vector<std::unique_ptr<test_packet>> packets;
    std::vector<bytes> frames;
    for (std::size_t i = 0; i < 64; ++i) {
        packets.push_back(std::make_unique<test_packet>(
            random_bytes(random, i % 3 == 0 ? pick(random, 500, 3000) : pick(random, 14, 288))));
        frames.push_back(packets.back()->frame());
    }
    r.send(packets);
    EXPECT_EQ(r.collect(), frames);
    EXPECT_EQ(r.worker.drops(), 0U);
}

TEST_P(ring_sink, nothing_sent_is_nothing_done)
{
    receiver r{options()};
    ASSERT_TRUE(r.add(std::size_t{100}, 1));
    r.guest->publish();
    r.worker.send(*r.engine, {});
    EXPECT_TRUE(r.guest->collect().empty());
    EXPECT_EQ(r.guest->interrupts(), 0U);
    EXPECT_EQ(r.worker.drops(), 0U);
}

// From a transmit ring of one guest to a receive ring of another, of any pair of kinds: heads by
// way of the switch, payloads straight.
TEST_P(ring_sink, carries_packets_from_guest_to_guest)
{
    for (const bool from_packed : {false, true}) {
        for (const std::uint64_t features : {plain, mergeable}) {
#ifdef STRAIT_MUTATE_GUEST
            if (features == mergeable) {
                continue; // partial packets read buffers again
            }
#endif
            guest_ram ram{std::size_t{4} << 20};
            ring_options from = options();
            from.packed = from_packed;
            const auto sender = make_driver(ram, from);
            const auto in = make_source(sender->setup());
            receiver r{options(1024, features), std::size_t{8} << 20};
            std::size_t token = 0;
            for (int round = 0; round < 20; ++round) {
                std::vector<bytes> frames;
                std::vector<std::uint64_t> places;
                for (std::size_t n = pick(random, 1, 30); n > 0; --n) {
                    const bytes frame =
                        random_bytes(random, pick(random, 0, 3) == 0 ? pick(random, 14, 65535)
                                                                     : pick(random, 14, 1514));
                    bytes all(12);
                    all.insert(all.end(), frame.begin(), frame.end());
                    // In up to four pieces.
                    std::vector<buffer> list;
                    const std::uint64_t place = ram.allocate(all.size());
                    places.push_back(place);
                    ram.write(place, all);
                    std::size_t at = 0;
                    for (std::size_t pieces = pick(random, 0, 3); pieces > 0; --pieces) {
                        const std::size_t size = pick(random, 0, all.size() - at);
                        list.push_back({place + at, static_cast<std::uint32_t>(size), false});
                        at += size;
                    }
                    list.push_back(
                        {place + at, static_cast<std::uint32_t>(all.size() - at), false});
                    if (!sender->add(list, token++)) {
                        break;
                    }
                    frames.push_back(frame);
                }
                sender->publish();
                while (r.buffers.size() < 200 &&
                       r.add(features == plain ? std::size_t{65547} : std::size_t{1526}, token++)) {
                    if (features == plain && r.buffers.size() >= 40) {
                        break;
                    }
                }
                r.guest->publish();
                // Frames of 64 KiB take 43 mergeable buffers: what finds no room is dropped here
                // as anywhere, and the rest must arrive whole and in order.
                ASSERT_EQ(r.worker.poll(*in), ports::rx_queue::poll::taken);
                ASSERT_EQ(r.worker.burst().count, frames.size());
                std::vector<dataplane::packet*> list;
                for (dataplane::packet_slot& p : r.worker.burst().packets()) {
                    list.push_back(&p);
                }
                const std::uint64_t before = r.worker.counters().tx_packets.read();
                r.worker.send(*r.engine, list);
                r.worker.release(*in);
                const std::size_t sent = r.worker.counters().tx_packets.read() - before;
                frames.resize(sent);
                ASSERT_EQ(r.collect(), frames);
                if (features == plain) {
                    ASSERT_EQ(sent, list.size());
                }
                sender->collect();
                for (const std::uint64_t place : places) {
                    ram.free(place);
                }
            }
            EXPECT_EQ(in->fault(), nullptr);
            EXPECT_EQ(r.engine->fault(), nullptr);
        }
    }
}

} // namespace
} // namespace strait::vhost::test
