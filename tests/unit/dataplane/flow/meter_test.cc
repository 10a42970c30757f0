// SPDX-License-Identifier: BSD-3-Clause
// Bands of meters, by a clock that is a number.
#include "dataplane/flow/meter.hh"

#include <gtest/gtest.h>

#include <vector>

namespace strait::flow {
namespace {

using dataplane::worker_index;

constexpr std::uint64_t hz = 1'000'000'000;
constexpr worker_index first{0};

packet_meter made(bool in_packets, std::vector<meter_settings::band> bands)
{
    return {{.id = 1, .in_packets = in_packets, .bands = std::move(bands)}, {}, 1, {hz, hz}};
}

dataplane::packet of(std::uint32_t bytes)
{
    dataplane::packet p{};
    p.length = bytes;
    return p;
}

TEST(meter_test, in_packets_counts_them)
{
    const packet_meter m = made(true, {{.rate = 10, .burst = 5}});
    int passed = 0;
    for (int i = 0; i < 8; ++i) {
        passed += m.pass(first, of(9000), hz);
    }
    EXPECT_EQ(passed, 5);
    EXPECT_EQ(m.counted().packets(), 8U);
    EXPECT_EQ(m.counted().bytes(), 72'000U);
    EXPECT_EQ(m.dropped(0).packets(), 3U);
    EXPECT_EQ(m.dropped(0).bytes(), 27'000U);
    EXPECT_FALSE(m.would_pass(of(1), hz));
    EXPECT_TRUE(m.would_pass(of(1), 2 * hz));
    EXPECT_EQ(m.counted().packets(), 8U) << "to ask is not to count";
}

TEST(meter_test, in_kbit_counts_bytes)
{
    const packet_meter m = made(false, {{.rate = 8, .burst = 8}}); // 1000 bytes
    EXPECT_TRUE(m.pass(first, of(600), hz));
    EXPECT_FALSE(m.pass(first, of(600), hz));
    EXPECT_TRUE(m.pass(first, of(400), hz)) << "what is dropped takes nothing";
}

TEST(meter_test, counts_what_a_packet_is_to_be_cut_into)
{
    dataplane::packet cut = of(54 + 3000);
    cut.offload.segment_size = 1000;
    cut.offload.header_length = 54;
    const packet_meter in_packets = made(true, {{.rate = 10, .burst = 3}});
    EXPECT_TRUE(in_packets.pass(first, cut, hz));
    EXPECT_FALSE(in_packets.pass(first, of(1), hz));
    EXPECT_EQ(in_packets.counted().packets(), 2U) << "by counters it is one";
    const packet_meter in_kbit = made(false, {{.rate = 80, .burst = 80}}); // 10,000 bytes
    for (const bool passes : {true, true, true, false}) {                  // 3162 each
        EXPECT_EQ(in_kbit.pass(first, cut, hz), passes);
    }
}

TEST(meter_test, without_a_burst_has_a_seconds_worth)
{
    const packet_meter m = made(true, {{.rate = 7}});
    int passed = 0;
    for (int i = 0; i < 20; ++i) {
        passed += m.pass(first, of(1), hz);
    }
    EXPECT_EQ(passed, 7);
}

TEST(meter_test, the_highest_rate_that_is_exceeded_counts_the_drop)
{
    const packet_meter m =
        made(true, {{.rate = 2, .burst = 2}, {.rate = 6, .burst = 6}, {.rate = 4, .burst = 4}});
    int passed = 0;
    for (int i = 0; i < 10; ++i) {
        passed += m.pass(first, of(1), hz);
    }
    EXPECT_EQ(passed, 2);
    EXPECT_EQ(m.dropped(0).packets(), 2U); // the third and the fourth
    EXPECT_EQ(m.dropped(2).packets(), 2U);
    EXPECT_EQ(m.dropped(1).packets(), 4U);
}

} // namespace
} // namespace strait::flow
