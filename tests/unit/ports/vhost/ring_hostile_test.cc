// SPDX-License-Identifier: BSD-3-Clause
// Rings that no honest driver would make: each breach of the protocol by name, with the reason it
// is refused for; and rings corrupted at random. Whatever a ring says, nothing outside the guest's
// own writable buffers and the device's part of the ring changes, the work is bounded, and what was
// good before the breach still counts.
#include "ports/vhost/split_layout.hh"
#include "test_ring.hh"
#include "tests/soak.hh"
#include "tests/unit/sanitizers.hh"

#include <array>
#include <atomic>
#include <chrono>
#include <thread>

namespace strait::vhost::test {
namespace {

using dataplane::drop_reason;
using poll = ports::rx_queue::poll;

constexpr std::uint64_t plain = feature_bits({feature::version_1});
constexpr std::uint64_t mergeable = feature_bits({feature::version_1, feature::mergeable_buffers});

constexpr std::uint64_t ram_address = 0x10'0000;
constexpr std::size_t ram_size = std::size_t{1} << 20;
constexpr std::uint64_t ram_end = ram_address + ram_size;

// One guest's ring, in either direction, whose descriptors the test writes itself.
struct victim {
    victim(bool is_packed, bool receives, std::uint64_t features = plain, std::uint16_t size = 256)
        : to_guest{receives},
          ram{std::make_unique<guest_ram>(ram_size, ram_address)},
          guest{make_driver(*ram, {.packed = is_packed, .size = size, .features = features})}
    {
        if (to_guest) {
            in = make_sink(guest->setup());
        } else {
            out = make_source(guest->setup());
        }
        place = ram->allocate(200'000, 4096);
        for (std::size_t i = 0; i < 64; ++i) {
            packets.push_back(std::make_unique<test_packet>(bytes(60 + i, std::byte{0x77})));
            list.push_back(packets.back()->get());
        }
    }

    // A buffer as this direction wants it.
    [[nodiscard]] buffer good(std::uint32_t length = 1526) const
    {
        return {place, length, to_guest};
    }
    [[nodiscard]] const ring& engine() const
    {
        return to_guest ? static_cast<const ring&>(*in) : *out;
    }
    [[nodiscard]] split_descriptor& split(std::size_t i) const
    {
        return ram->as<split_descriptor>(guest->places()[0].address + 16 * i);
    }
    [[nodiscard]] packed_descriptor& packed(std::size_t i) const
    {
        return ram->as<packed_descriptor>(guest->places()[0].address + 16 * i);
    }
    [[nodiscard]] std::uint16_t& available(std::size_t word) const
    {
        return ram->as<std::uint16_t>(guest->places()[1].address + 2 * word);
    }
    // One poll, or a burst of `count` packets.
    void work(std::size_t count = 1)
    {
        if (to_guest) {
            worker.send(*in, std::span{list}.first(count));
        } else if (worker.poll(*out) == poll::taken) {
            for (const dataplane::packet_slot& p : worker.burst().packets()) {
                taken.push_back(frame_of(p));
            }
            worker.release(*out);
        }
    }
    // Where the device may write: its part of the ring and the buffer that `good` names.
    [[nodiscard]] std::vector<guest_range> writable(std::uint64_t size = 0) const
    {
        std::vector<guest_range> all = guest->device_writes();
        if (to_guest && size != 0) {
            all.push_back({place, size});
        }
        return all;
    }

    bool to_guest;
    std::unique_ptr<guest_ram> ram;
    std::unique_ptr<driver> guest;
    std::unique_ptr<source> out;
    std::unique_ptr<sink> in;
    worker_side worker;
    std::uint64_t place;
    std::vector<std::unique_ptr<test_packet>> packets;
    std::vector<dataplane::packet*> list;
    std::vector<bytes> taken;
};

class ring_hostile : public testing::TestWithParam<std::tuple<bool, bool>> {
protected:
    [[nodiscard]] static bool packed() { return std::get<0>(GetParam()); }
    [[nodiscard]] static bool to_guest() { return std::get<1>(GetParam()); }

    // The ring is broken for that reason, says so once, and moves nothing any more; memory outside
    // what the device may write is as it was.
    static void expect_fault(victim& v, const char* reason)
    {
        const bytes before = v.ram->image();
        v.work();
        ASSERT_STREQ(v.engine().fault(), reason);
        // In test builds that scribble over what was read, the guest changes its own memory.
#ifndef STRAIT_MUTATE_GUEST
        EXPECT_EQ(v.ram->changed_outside(before, v.writable()), std::nullopt);
#endif
        EXPECT_EQ(v.engine().position(), v.guest->position());
        if (to_guest()) {
            EXPECT_EQ(v.worker.drops(drop_reason::receiver_malformed), 1U);
            EXPECT_EQ(v.worker.counters().tx_packets.read(), 0U);
        } else {
            EXPECT_EQ(v.worker.counters().rx_packets.read(), 0U);
        }
        const std::uint64_t drops = v.worker.drops();
        const bytes after = v.ram->image();
        v.work(3);
        EXPECT_STREQ(v.engine().fault(), reason);
        EXPECT_EQ(v.ram->image(), after);
        if (to_guest()) {
            EXPECT_EQ(v.worker.drops(drop_reason::receiver_not_connected), 3U);
            EXPECT_EQ(v.worker.drops(), drops + 3);
        } else {
            EXPECT_EQ(v.worker.drops(), drops);
        }
        EXPECT_EQ(v.engine().kicks(), 0U);
    }
    // A chain like this breaks the ring for that reason, direct and in a table.
    static void refuse(std::vector<buffer> list, const char* reason, std::uint64_t features = plain)
    {
        for (const bool indirect : {false, true}) {
            SCOPED_TRACE(indirect ? "indirect" : "direct");
            if (indirect && packed() && !to_guest() && reason == fault_text::direction) {
                continue; // see the_direction_in_tables_of_packed_transmit_rings
            }
            victim v{packed(), to_guest(), features, 1024};
            ASSERT_TRUE(v.guest->add(list, 1, indirect));
            v.guest->publish();
            expect_fault(v, reason);
        }
    }

    std::mt19937_64 random{20263};
};

INSTANTIATE_TEST_SUITE_P(kinds, ring_hostile, testing::Combine(testing::Bool(), testing::Bool()),
                         [](const testing::TestParamInfo<std::tuple<bool, bool>>& param) {
                             return std::string{std::get<0>(param.param) ? "packed_" : "split_"} +
                                    (std::get<1>(param.param) ? "sink" : "source");
                         });

TEST_P(ring_hostile, available_index_jumps)
{
    if (packed()) {
        GTEST_SKIP() << "packed rings have no such index";
    }
    for (const unsigned ahead : {257U, 1000U, 32768U, 65535U}) {
        victim v{packed(), to_guest()};
        for (std::size_t i = 0; i < 256; ++i) {
            ASSERT_TRUE(v.guest->add({v.good()}, i));
        }
        v.available(1) = static_cast<std::uint16_t>(ahead);
        const bytes before = v.ram->image();
#ifndef STRAIT_MUTATE_GUEST
        if (to_guest()) { // hints take no buffer of it for one that is there
            v.in->prefetch_ring(v.list.size());
            v.in->prefetch_buffers(v.list.size());
        }
#endif
        v.work();
        EXPECT_STREQ(v.engine().fault(), fault_text::index_jump);
        EXPECT_EQ(v.ram->changed_outside(before, {}), std::nullopt);
        EXPECT_EQ(v.engine().position(), ring_index{});
        EXPECT_EQ(v.worker.drops(drop_reason::receiver_malformed), to_guest() ? 1U : 0U);
    }
    // As many as the ring has is no jump.
    victim v{packed(), to_guest()};
    for (std::size_t i = 0; i < 256; ++i) {
        ASSERT_TRUE(v.guest->add({v.good()}, i));
    }
    v.guest->publish();
    v.work();
    EXPECT_EQ(v.engine().fault(), nullptr);
}

// A packed ring that is looked ahead in ends after a lap, whatever its guest does to flags
// meanwhile. Behind its descriptors there is no memory.
TEST_P(ring_hostile, descriptors_are_made_available_while_they_are_looked_at)
{
#ifdef STRAIT_MUTATE_GUEST
    GTEST_SKIP() << "hints are left out here";
#endif
    if (!packed() || !to_guest()) {
        GTEST_SKIP() << "only what a packed ring receives is looked at ahead so";
    }
    constexpr std::size_t page = 4096;
    for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{3}}) {
        SCOPED_TRACE(size);
        constexpr std::array<guest_range, 2> regions{
            {{ram_address, page}, {2 * ram_address, page}}};
        guest_ram ram{regions};
        (void)ram.allocate(page - sizeof(packed_descriptor) * size);
        const auto guest = make_driver(ram, {.packed = true, .size = size, .features = plain});
        ASSERT_EQ(guest->places()[0].address + guest->places()[0].size, ram_address + page);
        const std::uint64_t place = ram.allocate(1526);
        const auto engine = make_sink(guest->setup());
        // As in a lap that began with the wrap counter at 1, or at 0.
        const auto make_available = [&](bool wrap) {
            for (std::size_t i = 0; i < size; ++i) {
                auto& d = ram.as<packed_descriptor>(guest->places()[0].address +
                                                    i * sizeof(packed_descriptor));
                d.address = place;
                d.length = 1526;
                std::atomic_ref{d.flags}.store(
                    static_cast<std::uint16_t>(
                        descriptor_flag::write |
                        (wrap ? descriptor_flag::available : descriptor_flag::used)),
                    std::memory_order_release);
            }
        };
        worker_side worker;
        std::vector<std::unique_ptr<test_packet>> packets;
        std::vector<dataplane::packet*> list;
        for (std::size_t i = 0; i < size + 1U; ++i) {
            packets.push_back(std::make_unique<test_packet>(bytes(60, std::byte{0x77})));
            list.push_back(packets.back()->get());
        }
        std::atomic<bool> stop{false};
        std::thread flips{[&] {
            for (bool wrap = true; !stop.load(std::memory_order_relaxed); wrap = !wrap) {
                make_available(wrap);
            }
        }};
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds{300};
        while (std::chrono::steady_clock::now() < end) {
            worker.send(*engine, list);
        }
        stop = true;
        flips.join();
        EXPECT_EQ(engine->fault(), nullptr);
        EXPECT_GT(worker.counters().tx_packets.read(), 0U);
    }
}

TEST_P(ring_hostile, head_beyond_the_ring)
{
    if (packed()) {
        GTEST_SKIP() << "packed rings name no heads";
    }
    for (const unsigned head : {256U, 257U, 32768U, 65535U}) {
        victim v{packed(), to_guest()};
        ASSERT_TRUE(v.guest->add({v.good()}, 1));
        v.available(2) = static_cast<std::uint16_t>(head);
        v.guest->publish();
        expect_fault(v, fault_text::head_range);
    }
}

TEST_P(ring_hostile, chain_continues_beyond_the_ring)
{
    if (packed()) {
        GTEST_SKIP() << "packed chains continue at the next descriptor";
    }
    for (const unsigned next : {256U, 32768U, 65535U}) {
        for (const std::size_t at : {0U, 1U}) {
            victim v{packed(), to_guest()};
            ASSERT_TRUE(v.guest->add({v.good(5), v.good(5), v.good(5)}, 1));
            v.split(at).next = static_cast<std::uint16_t>(next);
            v.guest->publish();
            expect_fault(v, fault_text::next_range);
        }
    }
}

TEST_P(ring_hostile, table_continues_beyond_its_end)
{
    if (packed()) {
        GTEST_SKIP() << "packed tables have no such field";
    }
    for (const unsigned next : {3U, 4U, 255U, 65535U}) {
        victim v{packed(), to_guest()};
        ASSERT_TRUE(v.guest->add({v.good(5), v.good(5), v.good(5)}, 1, true));
        v.ram->as<split_descriptor>(v.split(0).address + 16).next =
            static_cast<std::uint16_t>(next);
        v.guest->publish();
        expect_fault(v, fault_text::next_range);
    }
}

TEST_P(ring_hostile, chain_is_a_loop)
{
    if (packed()) {
        GTEST_SKIP() << "packed chains cannot loop, only be too long";
    }
    for (const bool indirect : {false, true}) {
        for (const std::uint16_t back : std::array<std::uint16_t, 3>{0, 1, 2}) {
            for (const std::uint32_t length : {0U, 1U}) {
                victim v{packed(), to_guest()};
                ASSERT_TRUE(
                    v.guest->add({v.good(length), v.good(length), v.good(length)}, 1, indirect));
                split_descriptor& last =
                    indirect ? v.ram->as<split_descriptor>(v.split(0).address + 32) : v.split(2);
                last.flags |= descriptor_flag::next;
                last.next = back;
                v.guest->publish();
#ifdef STRAIT_MUTATE_GUEST
                // What is read a second time is something else by then.
                v.work();
                EXPECT_NE(v.engine().fault(), nullptr);
#else
                expect_fault(v, fault_text::chain_length);
#endif
            }
        }
    }
}

TEST_P(ring_hostile, chain_is_too_long)
{
    for (const std::uint32_t length : {0U, 1U}) {
        victim v{packed(), to_guest()};
        refuse(std::vector<buffer>(289, v.good(length)), fault_text::chain_length);
        refuse(std::vector<buffer>(600, v.good(length)), fault_text::chain_length);
    }
    if (packed()) {
        // No end within the ring: every descriptor says there is a next one.
        victim v{packed(), to_guest(), plain, 8};
        ASSERT_TRUE(v.guest->add(std::vector<buffer>(8, v.good(1)), 1));
        v.packed(7).flags |= descriptor_flag::next;
        expect_fault(v, fault_text::chain_length);
    }
}

TEST_P(ring_hostile, chain_of_288_is_not_too_long)
{
    for (const bool indirect : {false, true}) {
        victim v{packed(), to_guest(), plain, 1024};
        ASSERT_TRUE(v.guest->add(std::vector<buffer>(288, v.good(5)), 1, indirect));
        v.guest->publish();
        v.work();
        EXPECT_EQ(v.engine().fault(), nullptr);
        EXPECT_EQ(v.guest->collect().size(), 1U);
    }
}

TEST_P(ring_hostile, indirect_table_of_a_bad_length)
{
    for (const std::uint32_t length :
         {0U, 1U, 8U, 15U, 17U, 31U, 40U, 0xffff'fff0U, 0xffff'ffffU}) {
        victim v{packed(), to_guest()};
        ASSERT_TRUE(v.guest->add({v.good(100), v.good(100)}, 1, true));
        (packed() ? v.packed(0).length : v.split(0).length) = length;
        v.guest->publish();
        expect_fault(v, fault_text::indirect_table);
    }
}

TEST_P(ring_hostile, indirect_table_outside_memory)
{
    for (const std::uint64_t address :
         {std::uint64_t{0}, ram_address - 1, ram_address - 16, ram_end - 16, ram_end - 31, ram_end,
          ~std::uint64_t{0}, ~std::uint64_t{0} - 31, std::uint64_t{1} << 63}) {
        victim v{packed(), to_guest()};
        ASSERT_TRUE(v.guest->add({v.good(100), v.good(100)}, 1, true));
        const std::uint64_t table = packed() ? v.packed(0).address : v.split(0).address;
        (packed() ? v.packed(0).address : v.split(0).address) = address;
        v.guest->publish();
        expect_fault(v, fault_text::indirect_table);
        (packed() ? v.packed(0).address : v.split(0).address) = table;
    }
}

TEST_P(ring_hostile, indirect_is_nested_or_chained)
{
    // In a table.
    for (const std::size_t at : {0U, 1U}) {
        victim v{packed(), to_guest()};
        ASSERT_TRUE(v.guest->add({v.good(5), v.good(5)}, 1, true));
        const std::uint64_t table = packed() ? v.packed(0).address : v.split(0).address;
        if (packed()) {
            v.ram->as<packed_descriptor>(table + 16 * at).flags |= descriptor_flag::indirect;
        } else {
            v.ram->as<split_descriptor>(table + 16 * at).flags |= descriptor_flag::indirect;
        }
        v.guest->publish();
        expect_fault(v, fault_text::indirect_nested);
    }
    // A table with a next one, and a table at a chain's end.
    for (const std::size_t at : {0U, 1U}) {
        victim v{packed(), to_guest()};
        ASSERT_TRUE(v.guest->add({v.good(16), v.good(16)}, 1));
        if (packed()) {
            v.packed(at).flags |= descriptor_flag::indirect;
        } else {
            v.split(at).flags |= descriptor_flag::indirect;
        }
        v.guest->publish();
        expect_fault(v, fault_text::indirect_nested);
    }
}

TEST_P(ring_hostile, buffers_outside_memory)
{
    struct place {
        std::uint64_t address;
        std::uint32_t length;
    };
    const std::vector<place> places{
        {0, 1526},
        {ram_address - 1, 1526},
        {ram_address - 1526, 1526},
        {ram_end - 1525, 1526},
        {ram_end - 1, 1526},
        {ram_end, 1526},
        {ram_end - 14, 0xffff'ffff},
        {ram_address, 0xffff'ffff},
        {ram_address, static_cast<std::uint32_t>(ram_size + 1)},
        {~std::uint64_t{0}, 1526},
        {~std::uint64_t{0} - 1525, 1526},
        {~std::uint64_t{0} - 1524, 1526},
        {std::uint64_t{1} << 63, 1526},
        {(std::uint64_t{1} << 63) + ram_address, 1526},
        {(std::uint64_t{1} << 32) + ram_address, 1526},
    };
    victim v{packed(), to_guest()};
    for (const place& p : places) {
        SCOPED_TRACE(std::to_string(p.address) + " of " + std::to_string(p.length));
        const buffer bad{p.address, p.length, to_guest()};
        refuse({bad}, fault_text::address);
        refuse({v.good(5), bad}, fault_text::address);
        refuse({v.good(5), bad, v.good(5)}, fault_text::address);
        refuse({bad}, fault_text::address, mergeable);
    }
}

TEST_P(ring_hostile, buffers_in_a_hole_between_regions)
{
    const std::vector<guest_range> regions{{0x10'0000, 0x4'0000}, {0x20'0000, 0x1'0000}};
    for (const std::uint64_t address :
         {0x13'ffffU, 0x13'f000U, 0x14'0000U, 0x1f'ffffU, 0x20'ffffU}) {
        guest_ram ram{regions};
        const auto guest = make_driver(ram, {.packed = packed(), .features = plain});
        worker_side worker;
        ASSERT_TRUE(guest->add({{address, 0x1001, to_guest()}}, 1));
        guest->publish();
        const bytes before = ram.image();
        if (to_guest()) {
            const auto engine = make_sink(guest->setup());
            test_packet p{bytes(60)};
            dataplane::packet* const one = p.get();
            worker.send(*engine, {&one, 1});
            EXPECT_STREQ(engine->fault(), fault_text::address);
        } else {
            const auto engine = make_source(guest->setup());
            EXPECT_EQ(worker.poll(*engine), poll::empty);
            EXPECT_STREQ(engine->fault(), fault_text::address);
        }
#ifndef STRAIT_MUTATE_GUEST
        EXPECT_EQ(ram.changed_outside(before, guest->device_writes()), std::nullopt);
#endif
    }
}

TEST_P(ring_hostile, buffers_of_the_wrong_direction)
{
    victim v{packed(), to_guest()};
    const buffer good = v.good(100);
    buffer wrong = good;
    wrong.writable = !wrong.writable;
    refuse({wrong}, fault_text::direction);
    refuse({wrong, good}, fault_text::direction);
    refuse({good, wrong}, fault_text::direction);
    wrong.length = 0;
    refuse({good, wrong}, fault_text::direction);
    wrong.length = 1526;
    refuse({wrong}, fault_text::direction, mergeable);
}

// DPDK's driver leaves "write" set there; nothing is written whatever it says.
TEST_P(ring_hostile, the_direction_in_tables_of_packed_transmit_rings)
{
    if (!packed() || to_guest()) {
        GTEST_SKIP() << "elsewhere the direction must be right";
    }
    victim v{packed(), to_guest()};
    ASSERT_TRUE(v.guest->add({{v.place, 12, true}, {v.place + 12, 100, true}}, 1, true));
    v.guest->publish();
    const bytes before = v.ram->image();
    v.work();
    EXPECT_EQ(v.engine().fault(), nullptr);
    EXPECT_EQ(v.taken.size(), 1U);
#ifndef STRAIT_MUTATE_GUEST
    EXPECT_EQ(v.ram->changed_outside(before, v.writable()), std::nullopt);
#endif
}

TEST_P(ring_hostile, length_sums_of_many_gibibytes)
{
    // 280 buffers of a megabyte less a page, one over another: 280 MiB in one chain.
    victim v{packed(), to_guest(), plain, 1024};
    const bytes before = v.ram->image();
    ASSERT_TRUE(v.guest->add(std::vector<buffer>(280, {v.place, 200'000, to_guest()}), 1, false));
    v.guest->publish();
    v.work();
    EXPECT_EQ(v.engine().fault(), nullptr);
    EXPECT_EQ(v.guest->collect().size(), 1U);
    EXPECT_EQ(v.worker.drops(drop_reason::frame_too_long), to_guest() ? 0U : 1U);

    // And 4 GiB that are not there.
    refuse(std::vector<buffer>(4, {v.place, 0x4000'0000, to_guest()}), fault_text::address);
}

TEST_P(ring_hostile, what_came_before_the_breach_counts)
{
    victim v{packed(), to_guest()};
    for (std::size_t i = 0; i < 5; ++i) {
        ASSERT_TRUE(v.guest->add({v.good(200)}, i));
    }
    ASSERT_TRUE(v.guest->add({{1, 200, to_guest()}}, 5));
    ASSERT_TRUE(v.guest->add({v.good(200)}, 6));
    v.guest->publish();
    v.work(8);
    EXPECT_STREQ(v.engine().fault(), fault_text::address);
    const auto all = v.guest->collect();
    ASSERT_EQ(all.size(), 5U);
    EXPECT_EQ(v.engine().position(), v.guest->position());
    if (to_guest()) {
        EXPECT_EQ(v.worker.counters().tx_packets.read(), 5U);
        EXPECT_EQ(v.worker.drops(drop_reason::receiver_malformed), 3U);
    } else {
        EXPECT_EQ(v.worker.counters().rx_packets.read(), 5U);
        EXPECT_EQ(v.taken.size(), 5U);
        EXPECT_EQ(v.worker.drops(drop_reason::malformed_descriptor), 1U);
    }
}

TEST_P(ring_hostile, one_ring_of_a_guest_breaks_and_the_other_works)
{
    guest_ram ram{ram_size, ram_address};
    const ring_options o{.packed = packed(), .features = plain};
    const auto transmit = make_driver(ram, o);
    const auto receive = make_driver(ram, o);
    const auto out = make_source(transmit->setup());
    const auto in = make_sink(receive->setup());
    worker_side worker;
    const std::uint64_t place = ram.allocate(2000);
    test_packet p{bytes(60, std::byte{1})};
    dataplane::packet* const one = p.get();
    ASSERT_TRUE(transmit->add({{to_guest() ? place : 0, 100, false}}, 1));
    ASSERT_TRUE(receive->add({{to_guest() ? 0 : place, 1526, true}}, 1));
    transmit->publish();
    receive->publish();
    const bool got = worker.take(*out).size() == 1;
    worker.send(*in, {&one, 1});
    EXPECT_EQ(got, to_guest());
    EXPECT_EQ(out->fault() == nullptr, to_guest());
    EXPECT_EQ(in->fault() == nullptr, !to_guest());
    EXPECT_EQ(receive->collect().size(), to_guest() ? 0U : 1U);
    EXPECT_EQ(transmit->collect().size(), to_guest() ? 1U : 0U);
}

// A driver that corrupts its rings at random, burst after burst: descriptors, indices, tables.
// Buffers lie in the middle of a page each, so that a byte beyond one shows.
class corrupter {
public:
    corrupter(std::mt19937_64& random, bool packed, bool to_guest, std::uint64_t features,
              std::uint16_t size)
        : random_{random}, to_guest_{to_guest}, v{packed, to_guest, features, size}
    {
        tables_ = v.ram->allocate(8 * 4096, 4096);
    }

    void fill()
    {
        std::size_t token = 0;
        while (token < 300) {
            std::vector<buffer> chain;
            for (std::size_t n = pick(random_, 1, 4); n > 0; --n) {
                chain.push_back(any_buffer());
            }
            if (!v.guest->add(chain, token++, pick(random_, 0, 3) == 0)) {
                break;
            }
        }
        v.guest->publish();
    }

    [[nodiscard]] buffer any_buffer()
    {
        const std::uint64_t page = v.place + 4096 * pick(random_, 0, 40);
        return {page + pick(random_, 100, 600),
                static_cast<std::uint32_t>(pick(random_, 0, 4) == 0 ? pick(random_, 0, 30)
                                                                    : pick(random_, 30, 2000)),
                to_guest_};
    }
    [[nodiscard]] std::uint64_t any_address()
    {
        switch (pick(random_, 0, 7)) {
        case 0:
            return pick(random_, 0, 64) + ram_address - 32;
        case 1:
            return pick(random_, 0, 4096) + ram_end - 4096;
        case 2:
            return ~std::uint64_t{0} - pick(random_, 0, 4096);
        case 3:
            return random_();
        case 4:
            return tables_ + 16 * pick(random_, 0, 2000);
        default:
            return any_buffer().address;
        }
    }
    [[nodiscard]] std::uint32_t any_length()
    {
        switch (pick(random_, 0, 5)) {
        case 0:
            return static_cast<std::uint32_t>(random_());
        case 1:
            return 0;
        case 2:
            return static_cast<std::uint32_t>(16 * pick(random_, 0, 400));
        default:
            return static_cast<std::uint32_t>(pick(random_, 0, 2000));
        }
    }
    [[nodiscard]] std::uint16_t any_flags(std::uint16_t old)
    {
        return static_cast<std::uint16_t>(
            pick(random_, 0, 9) == 0 ? random_() : old ^ (1U << pick(random_, 0, 2)));
    }
    // Changes one thing somewhere.
    void corrupt()
    {
        const std::size_t at = pick(random_, 0, v.guest->options().size - 1U);
        const std::size_t what = pick(random_, 0, 6);
        if (!v.guest->options().packed) {
            split_descriptor& d = v.split(at);
            switch (what) {
            case 0:
                d.address = any_address();
                return;
            case 1:
                d.length = any_length();
                return;
            case 2:
                d.flags = any_flags(d.flags);
                return;
            case 3:
                d.next = static_cast<std::uint16_t>(
                    pick(random_, 0, 1) == 0 ? random_()
                                             : pick(random_, 0, v.guest->options().size));
                return;
            case 4:
                d.flags = descriptor_flag::indirect;
                d.address = tables_ + 16 * pick(random_, 0, 100);
                d.length = static_cast<std::uint32_t>(16 * pick(random_, 1, 300));
                return;
            case 5:
                if (pick(random_, 0, 9) == 0) {
                    v.available(1) = static_cast<std::uint16_t>(
                        v.available(1) + pick(random_, 0, 2U * v.guest->options().size));
                }
                return;
            default:
                v.available(2 + at) =
                    static_cast<std::uint16_t>(pick(random_, 0, v.guest->options().size + 1U));
                return;
            }
        }
        packed_descriptor& d = v.packed(at);
        switch (what) {
        case 0:
            d.address = any_address();
            return;
        case 1:
            d.length = any_length();
            return;
        case 2:
            d.flags = any_flags(d.flags);
            return;
        case 3:
            d.id = static_cast<std::uint16_t>(random_());
            return;
        case 4:
            d.flags = static_cast<std::uint16_t>((d.flags & 0x8080U) | descriptor_flag::indirect);
            d.address = tables_ + 16 * pick(random_, 0, 100);
            d.length = static_cast<std::uint32_t>(16 * pick(random_, 1, 300));
            return;
        case 5:
            d.flags ^= 0x8080U;
            return;
        default:
            v.ram->as<std::uint16_t>(v.guest->places()[1].address + 2 * pick(random_, 0, 1)) =
                static_cast<std::uint16_t>(random_());
            return;
        }
    }
    // Tables of descriptors, good and bad.
    void make_tables()
    {
        for (std::size_t i = 0; i < 2000; ++i) {
            const bool wild = pick(random_, 0, 99) == 0;
            buffer b = any_buffer();
            if (wild) {
                b.address = any_address();
                b.length = any_length();
            }
            const auto flags =
                static_cast<std::uint16_t>((to_guest_ ? descriptor_flag::write : 0) |
                                           (pick(random_, 0, 2) != 0 ? descriptor_flag::next : 0) |
                                           (wild ? pick(random_, 0, 7) : 0));
            if (v.guest->options().packed) {
                v.ram->as<packed_descriptor>(tables_ + 16 * i) = {b.address, b.length, 0, flags};
            } else {
                v.ram->as<split_descriptor>(tables_ + 16 * i) = {
                    b.address, b.length, flags, static_cast<std::uint16_t>(pick(random_, 0, 300))};
            }
        }
    }
    // Everything that a descriptor anywhere calls writable by the device.
    [[nodiscard]] std::vector<guest_range> writable() const
    {
        std::vector<guest_range> all = v.guest->device_writes();
        if (!to_guest_) {
            return all;
        }
        const auto table = [&](std::uint64_t from, std::size_t count) {
            for (std::size_t i = 0; i < count; ++i) {
                // Address and length are in the same places, flags are not.
                const auto& d = v.ram->as<split_descriptor>(from + 16 * i);
                const auto& p = v.ram->as<packed_descriptor>(from + 16 * i);
                const std::uint16_t flags = v.guest->options().packed ? p.flags : d.flags;
                if ((flags & descriptor_flag::write) != 0) {
                    all.push_back({d.address, d.length});
                }
            }
        };
        table(v.guest->places()[0].address, v.guest->options().size);
        // Indirect tables: the driver's own ones and ours, wherever a descriptor may point at one.
        for (std::uint64_t at = ram_address; at + 16 <= ram_end; at += 16) {
            if (at < v.place || at >= v.place + 200'000) {
                table(at, 1);
            }
        }
        return all;
    }
    // A device that may write over its own descriptors follows what it wrote: not tested here.
    [[nodiscard]] bool writes_over_descriptors() const
    {
        for (const guest_range& r : writable()) {
            for (const guest_range& place : v.guest->places()) {
                if (r.address != place.address && r.address < place.address + place.size &&
                    r.address + r.size > place.address && r.size != 0) {
                    return true;
                }
            }
        }
        return false;
    }

private:
    std::mt19937_64& random_;
    bool to_guest_;
    std::uint64_t tables_{0};

public:
    victim v;
};

TEST_P(ring_hostile, rings_corrupted_at_random)
{
    const auto rounds = strait::test::fewer_if<std::size_t>(
        strait::test::address_sanitizer, strait::test::short_or_soak<std::size_t>(50, 150), 20);
    std::size_t faults = 0;
    std::size_t moved = 0;
    constexpr std::uint16_t sizes[] = {1, 2, 8, 64, 256};
    for (std::size_t round = 0; round < rounds; ++round) {
        const std::uint16_t size = sizes[pick(random, 0, 4)];
        const std::uint64_t features =
            (pick(random, 0, 1) == 0 ? plain : mergeable) |
            (pick(random, 0, 1) == 0 ? feature_bits({feature::event_index}) : 0);
        corrupter c{random, packed(), to_guest(), features, size};
        c.make_tables();
        c.fill();
        for (std::size_t n = pick(random, 0, 6); n > 0; --n) {
            c.corrupt();
        }
        for (int step = 0; step < 6; ++step) {
            const bytes before = c.v.ram->image();
            const std::vector<guest_range> allowed = c.writable();
            const bool blind = c.writes_over_descriptors();
            c.v.work(pick(random, 1, 64));
#ifndef STRAIT_MUTATE_GUEST
            if (!blind) {
                const auto changed = c.v.ram->changed_outside(before, allowed);
                ASSERT_EQ(changed, std::nullopt) << "round " << round << " step " << step;
            }
#else
            static_cast<void>(blind);
#endif
            if (c.v.engine().fault() != nullptr) {
                ++faults;
                break;
            }
            c.corrupt();
        }
        moved += c.v.worker.counters().tx_packets.read() + c.v.worker.counters().rx_packets.read();
        ASSERT_LE(c.v.worker.burst().segments_used, dataplane::burst::segment_capacity);
    }
    // The rings were neither all broken at once nor all good.
    EXPECT_GT(faults, rounds / 10);
    EXPECT_GT(moved, rounds / 10);
}

TEST_P(ring_hostile, memory_of_noise)
{
    for (int round = 0; round < 60; ++round) {
        constexpr std::uint16_t sizes[] = {1, 4, 256, 1024};
        victim v{packed(), to_guest(), mergeable, sizes[pick(random, 0, 3)]};
        // Buffers' addresses are in memory now and then: the upper bits are cleared.
        const bytes noise = random_bytes(random, ram_size);
        v.ram->write(ram_address, noise);
        for (std::size_t i = 0; i < v.guest->options().size; ++i) {
            split_descriptor& d = v.split(i);
            if (pick(random, 0, 3) != 0) {
                d.address = ram_address + (d.address & (ram_size - 1));
                d.length &= 0xffff;
            }
        }
        if (!packed()) {
            v.available(1) = static_cast<std::uint16_t>(pick(random, 0, v.guest->options().size));
        }
        for (int i = 0; i < 4; ++i) {
            v.work(64);
        }
    }
}

// The guest writes while the device works: indices, descriptors and frames change under it at any
// moment. It must survive; what it carries is the guest's affair.
TEST_P(ring_hostile, memory_that_changes_meanwhile)
{
    if (strait::test::thread_sanitizer) {
        GTEST_SKIP() << "the race is the guest's, and the point";
    }
    std::atomic<bool> stop{false};
    auto c =
        std::make_unique<corrupter>(random, packed(), to_guest(), mergeable, std::uint16_t{256});
    c->make_tables();
    c->fill();
    guest_ram& ram = *c->v.ram;
    const ring_setup setup = c->v.guest->setup();
    std::thread guest{[&ram, &stop, places = c->v.guest->places()] {
        std::mt19937_64 noise{1};
        const bytes image = ram.image();
        while (!stop.load(std::memory_order_relaxed)) {
            const std::uint64_t word = noise();
            // Now noise, now what was there: both are met.
            const guest_range& r = places[word % 3];
            const std::uint64_t at = r.address + (word >> 8) % r.size / 2 * 2;
            const auto old = static_cast<std::uint16_t>(word >> 40);
            std::uint16_t value = old;
            if ((word >> 4 & 7) != 0) {
                std::memcpy(&value, image.data() + (at - ram_address), sizeof value);
            }
            __atomic_store_n(&ram.as<std::uint16_t>(at), value, __ATOMIC_RELAXED);
        }
    }};
    std::size_t faults = 0;
    std::size_t moved = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds{300};
    while (std::chrono::steady_clock::now() < end) {
        ring_setup s = setup;
        s.start = {static_cast<std::uint16_t>(pick(random, 0, 255)), pick(random, 0, 1) == 0};
        if (to_guest()) {
            c->v.in = make_sink(s);
        } else {
            c->v.out = make_source(s);
        }
        for (int i = 0; i < 10 && c->v.engine().fault() == nullptr; ++i) {
            c->v.work(64);
        }
        faults += c->v.engine().fault() != nullptr ? 1U : 0U;
        moved = c->v.worker.counters().tx_packets.read() + c->v.worker.counters().rx_packets.read();
    }
    stop = true;
    guest.join();
    EXPECT_GT(faults + moved, 0U);
}

} // namespace
} // namespace strait::vhost::test
