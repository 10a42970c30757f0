// SPDX-License-Identifier: BSD-3-Clause
// The device's side of a queue: chains of every shape, kicks and interrupts as they are wanted, and
// rings that no honest driver would make.
#include "vmm/virtio/queue.hh"

#include "test_device.hh"

#include <gmock/gmock.h>

#include <cstring>
#include <random>

#include <sys/eventfd.h>

namespace strait::vmm::virtio::test {
namespace {

namespace feature = vhost::feature;
namespace fault_text = vhost::fault_text;
using dataplane::guest_span;
using testing::HasSubstr;
using vhost::descriptor_flag::indirect;
using vhost::descriptor_flag::next;
using vhost::descriptor_flag::write;

constexpr std::uint64_t plain = feature_bits({feature::version_1});
constexpr std::uint64_t with_events = feature_bits({feature::version_1, feature::event_index});

// A driver and a queue.
struct pair {
    explicit pair(const ring_options& options, std::size_t ram_size = std::size_t{1} << 20)
        : m{options, ram_size}
    {
        q.emplace(setup_of(*m.guest), options.all_features(), m.ram.memory());
    }
    [[nodiscard]] bool kicked() const
    {
        eventfd_t count = 0;
        return ::eventfd_read(m.guest->kick_fd(), &count) == 0;
    }

    guest_machine m;
    std::optional<queue> q;
};

class queue_of : public testing::TestWithParam<bool> {
protected:
    [[nodiscard]] static ring_options options(std::uint16_t size = 64,
                                              std::uint64_t features = plain)
    {
        return {.packed = GetParam(), .size = size, .features = features};
    }
    std::mt19937_64 random{7};
};

INSTANTIATE_TEST_SUITE_P(kinds, queue_of, testing::Bool(), vhost::test::kind_name);

TEST_P(queue_of, gives_chains_of_every_shape)
{
    for (const unsigned n : {1U, 2U, GetParam() ? 17U : 16U, 256U}) {
        const auto size = static_cast<std::uint16_t>(n);
        pair p{options(size)};
        guest_ram& ram = p.m.ram;
        for (std::size_t token = 0; token < 600; ++token) {
            const bool in_table = token % 2 == 1;
            const std::size_t parts =
                vhost::test::pick(random, 1, in_table ? 30U : std::min<std::size_t>(16, size));
            const std::size_t readable = vhost::test::pick(random, 0, parts);
            std::vector<buffer> list;
            bytes expected;
            bytes answer;
            for (std::size_t i = 0; i < parts; ++i) {
                const std::size_t length = vhost::test::pick(random, 0, 40);
                const bytes content = vhost::test::random_bytes(random, length);
                list.push_back(
                    {ram.allocate(length), static_cast<std::uint32_t>(length), i >= readable});
                if (i < readable) {
                    ram.write(list.back().address, content);
                }
                bytes& all = i < readable ? expected : answer;
                all.insert(all.end(), content.begin(), content.end());
            }
            ASSERT_TRUE(p.m.guest->add(list, token, in_table));
            p.m.guest->publish();

            chain c;
            ASSERT_TRUE(p.q->next(c)) << p.q->fault();
            bytes got(c.readable_bytes());
            EXPECT_TRUE(c.read(got));
            EXPECT_EQ(got, expected);
            EXPECT_TRUE(c.readable().empty());
            EXPECT_EQ(c.writable_bytes(), answer.size());
            EXPECT_TRUE(c.write(answer));
            EXPECT_TRUE(c.writable().empty());
            const auto written = static_cast<std::uint32_t>(answer.size());
            p.q->complete(c, written);
            ASSERT_EQ(p.m.guest->collect(), (std::vector<returned>{{token, written}}));
            ASSERT_FALSE(p.q->next(c));
            ASSERT_EQ(p.q->fault(), nullptr);

            bytes there;
            for (const buffer& b : list) {
                if (b.writable) {
                    const bytes part = ram.read(b.address, b.length);
                    there.insert(there.end(), part.begin(), part.end());
                }
                ram.free(b.address);
            }
            ASSERT_EQ(there, answer);
        }
    }
}

TEST_P(queue_of, gives_pieces_of_a_chain)
{
    pair p{options()};
    const std::uint64_t place = p.m.ram.allocate(64);
    ASSERT_TRUE(p.m.guest->add(
        {{place, 3}, {place + 3, 5}, {place + 8, 2, true}, {place + 10, 1, true}}, 1));
    p.m.guest->publish();
    chain c;
    ASSERT_TRUE(p.q->next(c));
    bytes eight(8);
    bytes nine(9);
    EXPECT_FALSE(c.read(nine)) << "more than there is";
    EXPECT_EQ(c.readable_bytes(), 8U);
    EXPECT_TRUE(c.read(std::span{eight}.first(4)));
    EXPECT_EQ(c.readable_bytes(), 4U);
    ASSERT_EQ(c.readable().size(), 1U);
    EXPECT_EQ(c.readable()[0].size(), 4U);
    EXPECT_FALSE(c.write(std::span{eight}.first(4)));
    guest_span last;
    ASSERT_TRUE(c.take_last(last));
    EXPECT_EQ(last.size(), 1U);
    EXPECT_EQ(c.writable_bytes(), 2U);
    EXPECT_EQ(c.writable().size(), 1U);
    ASSERT_TRUE(c.take_last(last));
    ASSERT_TRUE(c.take_last(last));
    EXPECT_EQ(c.writable_bytes(), 0U);
    EXPECT_TRUE(c.writable().empty());
    EXPECT_FALSE(c.take_last(last));
    EXPECT_TRUE(c.write({}));
}

TEST_P(queue_of, is_kicked_when_it_asks)
{
    for (const std::uint64_t features : {plain, with_events}) {
        pair p{options(64, features)};
        const std::uint64_t place = p.m.ram.allocate(64);
        const auto offer = [&] {
            ASSERT_TRUE(p.m.guest->add({{place, 64}}, 1));
            p.m.guest->publish();
        };
        chain c;
        offer();
        EXPECT_FALSE(p.kicked()) << "nobody asked";
        EXPECT_FALSE(p.q->ask_for_kick()) << "something is there";
        ASSERT_TRUE(p.q->next(c));
        p.q->complete(c, 0);
        EXPECT_TRUE(p.q->ask_for_kick());
        offer();
        EXPECT_TRUE(p.kicked());
        p.q->decline_kicks();
        ASSERT_TRUE(p.q->next(c));
        p.q->complete(c, 0);
        offer();
        EXPECT_FALSE(p.kicked());
        EXPECT_EQ(p.q->fault(), nullptr);
    }
}

TEST_P(queue_of, interrupts_as_the_driver_wants)
{
    pair p{options()};
    const std::uint64_t place = p.m.ram.allocate(64);
    const auto one = [&] {
        EXPECT_TRUE(p.m.guest->add({{place, 64}}, 1));
        p.m.guest->publish();
        chain c;
        EXPECT_TRUE(p.q->next(c));
        p.q->complete(c, 0);
        p.m.guest->collect();
        return p.m.guest->interrupts();
    };
    p.m.guest->want_interrupts(true);
    EXPECT_EQ(one(), 1U);
    EXPECT_EQ(one(), 1U);
    p.m.guest->want_interrupts(false);
    EXPECT_EQ(one(), 0U);

    pair e{options(64, with_events)};
    e.m.guest->want_interrupt_at(2);
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(e.m.guest->add({{place, 64}}, 1));
    }
    e.m.guest->publish();
    chain c;
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(e.q->next(c));
        e.q->complete(c, 0);
        EXPECT_EQ(e.m.guest->interrupts(), i == 2 ? 1U : 0U) << i;
    }
}

// Below, rings that break the protocol. A queue of either kind, whose descriptors the test writes.
class hostile_queue : public queue_of {
protected:
    struct descriptor {
        std::uint64_t address;
        std::uint32_t length;
        std::uint16_t flags;
        std::uint16_t next{0}; // split rings, tables of split rings
    };
    // Descriptors of the ring, the first being a chain's head, as they are.
    static void put(pair& p, const std::vector<descriptor>& list)
    {
        std::uint16_t at = 0;
        for (const descriptor& d : list) {
            if (GetParam()) {
                p.m.ram.as<vhost::packed_descriptor>(p.m.guest->places()[0].address + 16U * at) = {
                    d.address, d.length, at,
                    static_cast<std::uint16_t>(d.flags | vhost::descriptor_flag::available)};
            } else {
                p.m.ram.as<vhost::split_descriptor>(p.m.guest->places()[0].address + 16U * at) = {
                    d.address, d.length, d.flags, d.next};
            }
            ++at;
        }
        available(p, 2) = 0;
        available(p, 1) = 1;
    }
    static std::uint16_t& available(pair& p, std::size_t word)
    {
        static std::uint16_t none;
        return GetParam() ? none
                          : p.m.ram.as<std::uint16_t>(p.m.guest->places()[1].address + 2 * word);
    }
    // A table in the guest's memory.
    static std::uint64_t table(pair& p, const std::vector<descriptor>& list)
    {
        const std::uint64_t place = p.m.ram.allocate(16 * list.size(), 16);
        std::uint64_t at = place;
        for (const descriptor& d : list) {
            if (GetParam()) {
                p.m.ram.as<vhost::packed_descriptor>(at) = {d.address, d.length, 0, d.flags};
            } else {
                p.m.ram.as<vhost::split_descriptor>(at) = {d.address, d.length, d.flags, d.next};
            }
            at += 16;
        }
        return place;
    }
    // The next chain is refused for `why`; then the queue is dead, whatever comes, and writes
    // nothing.
    static void expect_refused(pair& p, const std::string& why)
    {
        chain c;
        const bytes before = p.m.ram.image();
        EXPECT_FALSE(p.q->next(c));
        ASSERT_NE(p.q->fault(), nullptr) << why;
        EXPECT_THAT(p.q->fault(), HasSubstr(why));
        const std::string first = p.q->fault();
#ifdef STRAIT_MUTATE_GUEST
        return; // what was read has changed
#endif
        EXPECT_FALSE(p.q->next(c));
        EXPECT_TRUE(p.q->ask_for_kick()) << "nothing more to look at";
        p.q->decline_kicks();
        p.q->complete(c, 0);
        EXPECT_EQ(p.q->fault(), first);
        EXPECT_EQ(p.m.ram.changed_outside(before, {}), std::nullopt);
        EXPECT_EQ(p.m.guest->interrupts(), 0U);
    }
};

INSTANTIATE_TEST_SUITE_P(kinds, hostile_queue, testing::Bool(), vhost::test::kind_name);

constexpr std::uint64_t ram_begin = 0x10'0000;
constexpr std::uint64_t ram_end = ram_begin + (std::uint64_t{1} << 20);

TEST_P(hostile_queue, rings_outside_the_memory)
{
    for (std::size_t part = 0; part < 3; ++part) {
        for (const std::uint64_t address :
             {std::uint64_t{0}, ram_begin - 16, ram_end - 2, ram_end, ~std::uint64_t{15}}) {
            pair p{options()};
            queue_setup s = setup_of(*p.m.guest);
            (part == 0 ? s.descriptors : part == 1 ? s.driver : s.device) = address;
            p.q.emplace(s, p.m.guest->options().all_features(), p.m.ram.memory());
            expect_refused(p, "a ring lies outside the memory");
        }
    }
    // To the last byte.
    const std::uint64_t n = 64;
    pair p{options(n)};
    queue_setup s = setup_of(*p.m.guest);
    for (const auto& [part, size] : {std::pair{&queue_setup::descriptors, 16 * n},
                                     std::pair{&queue_setup::driver, GetParam() ? 4 : 6 + 2 * n},
                                     std::pair{&queue_setup::device, GetParam() ? 4 : 6 + 8 * n}}) {
        queue_setup good = s;
        good.*part = ram_end - size;
        EXPECT_EQ(queue(good, p.m.guest->options().all_features(), p.m.ram.memory()).fault(),
                  nullptr);
        good.*part += 2;
        EXPECT_NE(queue(good, p.m.guest->options().all_features(), p.m.ram.memory()).fault(),
                  nullptr);
    }
}

TEST_P(hostile_queue, buffers_outside_the_memory)
{
    for (const bool in_table : {false, true}) {
        for (const descriptor& d :
             {descriptor{0, 1, 0}, descriptor{ram_end, 1, write}, descriptor{ram_end - 1, 2, write},
              descriptor{ram_begin - 1, 2, 0}, descriptor{ram_begin, 0xffff'ffff, 0},
              descriptor{~std::uint64_t{0}, 2, write}}) {
            pair p{options()};
            put(p,
                in_table ? std::vector<descriptor>{{table(p, {d}), 16, indirect}} : std::vector{d});
            expect_refused(p, fault_text::address);
        }
    }
}

TEST_P(hostile_queue, a_buffer_to_be_read_behind_one_to_be_written)
{
    for (const std::uint32_t length : {8U, 0U}) {
        pair p{options()};
        put(p, {{ram_end - 8, length, write | next, 1}, {ram_end - 8, 8, 0}});
        expect_refused(p, "a buffer to be read stands behind one to be written");
        pair t{options()};
        put(t, {{table(t, {{ram_end - 8, 8, next, 1},
                           {ram_end - 8, length, write | next, 2},
                           {ram_end - 8, 8, 0}}),
                 48, indirect}});
        expect_refused(t, "a buffer to be read stands behind one to be written");
    }
}

TEST_P(hostile_queue, chains_of_4_gib)
{
    constexpr std::size_t ram = std::size_t{64} << 20;
    for (const std::size_t last : {ram, ram - 1}) {
        pair p{options(), ram};
        std::vector<descriptor> list;
        for (std::uint16_t i = 0; i < 64; ++i) {
            list.push_back({ram_begin, static_cast<std::uint32_t>(i == 63 ? last : ram),
                            i == 63 ? std::uint16_t{0} : next, static_cast<std::uint16_t>(i + 1)});
        }
        put(p, {{table(p, list), 16 * 64, indirect}});
        chain c;
        EXPECT_EQ(p.q->next(c), last != ram);
        if (last == ram) {
            EXPECT_STREQ(p.q->fault(), "a descriptor chain has 4 GiB or more");
        } else {
            EXPECT_EQ(c.readable_bytes(), 0xffff'ffffU);
        }
    }
}

TEST_P(hostile_queue, tables)
{
    const descriptor good{ram_end - 8, 8, 0};
    const auto refused = [&](const std::vector<descriptor>& ring, const std::string& why) {
        pair p{options()};
        put(p, ring);
        expect_refused(p, why);
    };
    refused({{ram_begin, 0, indirect}}, fault_text::indirect_table);
    refused({{ram_begin, 17, indirect}}, fault_text::indirect_table);
    refused({{ram_end - 16, 32, indirect}}, fault_text::indirect_table);
    refused({{ram_end - 16, 16, indirect | next, 1}, good}, fault_text::indirect_nested);
    refused({{ram_end - 8, 8, next, 1}, {ram_end - 16, 16, indirect}}, fault_text::indirect_nested);
    pair nested{options()};
    put(nested, {{table(nested, {{ram_begin, 16, indirect}}), 16, indirect}});
    expect_refused(nested, fault_text::indirect_nested);
    pair longer{options()};
    std::vector<descriptor> list;
    for (std::uint16_t i = 0; i < 289; ++i) {
        list.push_back({ram_end - 8, 8, next, static_cast<std::uint16_t>(i + 1)});
    }
    put(longer, {{table(longer, list), 16 * 289, indirect}});
    expect_refused(longer, fault_text::chain_length);
}

TEST_P(hostile_queue, rings_of_either_kind)
{
    if (GetParam()) {
        pair endless{options()};
        put(endless, std::vector(64, descriptor{ram_end - 8, 8, next}));
        expect_refused(endless, fault_text::chain_length);
        return;
    }
#ifndef STRAIT_MUTATE_GUEST // there it is a loop no longer
    pair loop{options()};
    put(loop, {{ram_end - 8, 8, next, 1}, {ram_end - 8, 8, next, 0}});
    expect_refused(loop, fault_text::chain_length);
#endif
    pair beyond{options()};
    put(beyond, {{ram_end - 8, 8, next, 64}});
    expect_refused(beyond, fault_text::next_range);
    pair far{options()};
    put(far, {{table(far, {{ram_end - 8, 8, next, 1}}), 16, indirect}});
    expect_refused(far, fault_text::next_range);
    pair head{options()};
    put(head, {{ram_end - 8, 8, 0}});
    available(head, 2) = 64;
    expect_refused(head, fault_text::head_range);
    pair jump{options()};
    put(jump, {{ram_end - 8, 8, 0}});
    available(jump, 1) = 65;
    EXPECT_FALSE(jump.q->ask_for_kick()) << "a fault is to be looked at";
    expect_refused(jump, fault_text::index_jump);
}

TEST_P(hostile_queue, what_was_good_before_still_counts)
{
    pair p{options()};
    const std::uint64_t place = p.m.ram.allocate(8);
    ASSERT_TRUE(p.m.guest->add({{place, 8}}, 5));
    ASSERT_TRUE(p.m.guest->add({{ram_end, 8}}, 6));
    p.m.guest->publish();
    chain c;
    ASSERT_TRUE(p.q->next(c));
    p.q->complete(c, 0);
    EXPECT_EQ(p.m.guest->collect(), (std::vector<returned>{{5, 0}}));
    EXPECT_EQ(p.m.guest->interrupts(), 1U);
    expect_refused(p, fault_text::address);
}

TEST_P(hostile_queue, a_device_that_gives_up_on_its_guest)
{
    pair p{options()};
    ASSERT_TRUE(p.m.guest->add({{ram_begin, 8}}, 5));
    p.m.guest->publish();
    p.q->fail("it makes no sense");
    expect_refused(p, "it makes no sense");
}

} // namespace
} // namespace strait::vmm::virtio::test
