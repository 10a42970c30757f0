// SPDX-License-Identifier: BSD-3-Clause
// What taps select by VLAN and flow, and rings of copies: order, wrapping, fullness, counts.
#include "tests/unit/dataplane/eal.hh"

#include "dataplane/tap.hh"

#include <gmock/gmock.h>

#include <atomic>
#include <random>
#include <thread>

namespace strait::test {
namespace {

using dataplane::port_config;
using dataplane::port_index;
using dataplane::tap_event;
using dataplane::tap_filter;
using dataplane::tap_record;
using dataplane::tap_ring;
using dataplane::vlan_id;
using dataplane::vlan_policy;

const std::string a = "02:00:00:00:00:0a";
const std::string b = "02:00:00:00:00:0b";
constexpr port_index here{3};
constexpr std::uint32_t whole = ~std::uint32_t{0};

frame bytes_of(const tap_record& r)
{
    const auto bytes = tap_ring::bytes_of(r);
    const auto* const first = reinterpret_cast<const std::uint8_t*>(bytes.data());
    return {first, first + bytes.size()};
}

TEST(vlan_at_a_port, is_the_tags_or_else_the_ports_own)
{
    port_config plain;
    port_config access;
    access.vlan = vlan_policy::access(vlan_id{7});
    borrowed_packet untagged{make_frame(b, a, 80)};
    EXPECT_EQ(vlan_at(untagged.get(), plain), vlan_id{});
    EXPECT_EQ(vlan_at(untagged.get(), access), vlan_id{7});
    borrowed_packet tagged{with_tag(make_frame(b, a, 80), 0x6005)};
    EXPECT_EQ(vlan_at(tagged.get(), access), vlan_id{5});
    borrowed_packet of_priority{with_tag(make_frame(b, a, 80), 0x6000)};
    EXPECT_EQ(vlan_at(of_priority.get(), access), vlan_id{7});
    borrowed_packet behind{with_tag(with_tag(make_frame(b, a, 80), 9), 0x6000)};
    EXPECT_EQ(vlan_at(behind.get(), access), vlan_id{9}) << "as where it is switched";
    borrowed_packet further{with_tag(with_tag(with_tag(make_frame(b, a, 80), 9), 0), 0)};
    EXPECT_EQ(vlan_at(further.get(), access), vlan_id{7});
    borrowed_packet outer{with_tag(make_frame(b, a, 80), 5, 0x88a8)};
    EXPECT_EQ(vlan_at(outer.get(), access), vlan_id{7});
    frame cut = with_tag(make_frame(b, a, 14), 5);
    cut.resize(16);
    borrowed_packet short_one{cut};
    EXPECT_EQ(vlan_at(short_one.get(), access), vlan_id{7});
}

TEST(tap_filter, wants_what_its_vlans_and_one_of_its_flows_have)
{
    port_config at;
    at.number = 9;
    tap_filter f;
    borrowed_packet of_five{with_tag(make_frame(b, a, 80), 5)};
    borrowed_packet of_six{with_tag(make_frame(b, a, 80), 6)};
    EXPECT_TRUE(f.wants(of_five.get(), at, nullptr));
    f.vlans.emplace().set(5);
    EXPECT_TRUE(f.wants(of_five.get(), at, nullptr));
    EXPECT_FALSE(f.wants(of_six.get(), at, nullptr));
    f.vlans.reset();

    flow::match to_c;
    to_c.require(flow::field::eth_dst, 0x02000000000cULL);
    f.flows = {to_c};
    EXPECT_FALSE(f.wants(of_five.get(), at, nullptr));
    flow::match from_nine;
    from_nine.require(flow::field::in_port, 9);
    f.flows.push_back(from_nine);
    EXPECT_TRUE(f.wants(of_five.get(), at, &at));
    EXPECT_FALSE(f.wants(of_five.get(), at, nullptr)); // where it came from is not known
    frame tiny(10);
    borrowed_packet too_short{tiny};
    EXPECT_FALSE(f.wants(too_short.get(), at, &at));
}

TEST(tap_ring, gives_what_was_put_in_its_order_round_after_round)
{
    tap_ring ring{8192};
    std::mt19937 random{1};
    std::vector<frame> put;
    std::size_t taken = 0;
    for (std::uint64_t n = 0; n < 20'000; ++n) {
        const frame f = make_frame(b, a, 14 + random() % 1500, static_cast<std::uint8_t>(n));
        borrowed_packet p{f, 3};
        ASSERT_TRUE(ring.put(p.get(), {.tsc = n, .incarnation = 5}, here, whole)) << n;
        put.push_back(f);
        while (put.size() - taken > random() % 4) {
            const tap_record* const r = ring.front();
            ASSERT_NE(r, nullptr);
            ASSERT_EQ(r->tsc, taken);
            ASSERT_EQ(r->length, put[taken].size());
            ASSERT_EQ(bytes_of(*r), put[taken]);
            ring.pop();
            put[taken++].clear();
        }
    }
    EXPECT_EQ(ring.lost(here), 0U);
}

TEST(tap_ring, counts_what_finds_no_room_by_port_and_goes_on)
{
    tap_ring ring{4096};
    borrowed_packet p{make_frame(b, a, 1000)};
    std::size_t there = 0;
    while (ring.put(p.get(), {.tsc = there}, here, whole)) {
        ++there;
    }
    EXPECT_EQ(there, 4U); // of 1024 bytes, with what is known of it
    EXPECT_FALSE(ring.put(p.get(), {.tsc = 9}, port_index{4}, whole));
    EXPECT_EQ(ring.lost(here), 1U);
    EXPECT_EQ(ring.lost(port_index{4}), 1U);
    ring.pop();
    EXPECT_TRUE(ring.put(p.get(), {.tsc = there}, here, whole));
    for (std::size_t n = 1; n <= there; ++n) {
        ASSERT_NE(ring.front(), nullptr);
        EXPECT_EQ(ring.front()->tsc, n);
        ring.pop();
    }
    EXPECT_EQ(ring.front(), nullptr);
}

TEST(tap_ring, has_no_more_of_a_packet_than_was_asked_for_or_is_there)
{
    tap_ring ring{8192};
    const frame f = make_frame(b, a, 500);
    borrowed_packet p{f};
    ASSERT_TRUE(ring.put(p.get(), {}, here, 200));
    EXPECT_EQ(ring.front()->length, 500U);
    EXPECT_EQ(bytes_of(*ring.front()), frame(f.begin(), f.begin() + 200));
    ring.pop();
    p.get().segment_count = 0; // as of a device's packet, of which the first piece is known
    ASSERT_TRUE(ring.put(p.get(), {}, here, whole));
    EXPECT_EQ(ring.front()->length, 500U);
    EXPECT_EQ(bytes_of(*ring.front()), frame(f.begin(), f.begin() + dataplane::head_copy));
}

TEST(tap_ring, lets_another_thread_read_while_it_is_filled)
{
    tap_ring ring{16384};
    constexpr std::uint64_t count = 100'000;
    std::atomic<std::uint64_t> lost{0};
    std::thread writer{[&] {
        const frame f = make_frame(b, a, 100);
        borrowed_packet p{f};
        for (std::uint64_t n = 0; n < count; ++n) {
            if (!ring.put(p.get(), {.tsc = n}, here, whole)) {
                lost.fetch_add(1);
                --n;
                std::this_thread::yield();
            }
        }
    }};
    for (std::uint64_t n = 0; n < count;) {
        if (const tap_record* const r = ring.front()) {
            ASSERT_EQ(r->tsc, n++);
            ASSERT_EQ(r->captured, 100U);
            ring.pop();
        } else {
            std::this_thread::yield();
        }
    }
    writer.join();
    EXPECT_EQ(ring.lost(here), lost.load());
}

} // namespace
} // namespace strait::test
