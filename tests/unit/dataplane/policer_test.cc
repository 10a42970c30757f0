// SPDX-License-Identifier: BSD-3-Clause
// Limits of ports against the clock, which is a number here.
#include "dataplane/policer.hh"

#include <gtest/gtest.h>

#include <span>
#include <vector>

namespace strait::dataplane {
namespace {

constexpr std::uint64_t hz = 2'500'000'000;
constexpr std::uint64_t start = 77 * hz;
constexpr worker_index first{0};

class policed : public testing::Test {
protected:
    std::size_t pass(policer& p, std::uint64_t now)
    {
        return p.take(first, std::span{packets_}, now);
    }
    void make(std::size_t count, std::uint32_t length)
    {
        packets_.assign(count, {});
        for (packet& p : packets_) {
            p.length = length;
        }
    }
    std::vector<packet> packets_;
};

TEST_F(policed, bytes_are_a_part_of_what_came)
{
    policer p{{.kbps = 8, .burst_kbit = 8}, hz, 1, start}; // 1000 bytes, and as many a second
    make(20, 100);
    EXPECT_EQ(pass(p, start), 10U);
    EXPECT_EQ(pass(p, start), 0U);
    EXPECT_EQ(pass(p, start + hz / 2 + 1000), 5U);
    std::vector<packet*> pointers;
    for (packet& one : packets_) {
        pointers.push_back(&one);
    }
    EXPECT_EQ(p.take(first, std::span{pointers}, start + hz + 2000), 5U);
}

TEST_F(policed, packets_count_whatever_their_length)
{
    policer p{{.packets = 10, .burst_packets = 4}, hz, 1, start};
    make(20, 65'535);
    EXPECT_EQ(pass(p, start), 4U);
    EXPECT_EQ(pass(p, start + hz / 10 + 1000), 1U);
}

TEST_F(policed, what_is_to_be_cut_counts_as_what_it_becomes)
{
    make(20, 54 + 3000);
    for (packet& p : packets_) {
        p.offload = {.segment_size = 1000,
                     .header_length = 54,
                     .required = offloads::checksum_ipv4 | offloads::segmentation_ipv4};
    }
    policer by_packets{{.packets = 10, .burst_packets = 9}, hz, 1, start};
    EXPECT_EQ(pass(by_packets, start), 3U);
    policer by_bytes{{.kbps = 80, .burst_kbit = 80}, hz, 1, start}; // 10,000 bytes; 3162 each
    EXPECT_EQ(pass(by_bytes, start), 3U);
}

TEST_F(policed, the_stricter_of_two_limits_counts)
{
    policer p{{.kbps = 8, .burst_kbit = 8, .packets = 1000, .burst_packets = 1000}, hz, 1, start};
    make(20, 500);
    EXPECT_EQ(pass(p, start), 2U);
    make(20, 1);
    policer q{{.kbps = 8, .burst_kbit = 8, .packets = 1, .burst_packets = 3}, hz, 1, start};
    EXPECT_EQ(pass(q, start), 3U);
}

TEST(port_rate_test, has_a_burst_that_any_frame_fits_in)
{
    const port_rate small{.kbps = 100};
    EXPECT_GE(small.usual_burst_kbit() * 125, 65'535U);
    const port_rate large{.kbps = 10'000'000, .packets = 1'000'000};
    EXPECT_EQ(large.usual_burst_kbit(), 1'000'000U);
    EXPECT_EQ(large.usual_burst_packets(), 100'000U);
    EXPECT_GE(port_rate{.packets = 1}.usual_burst_packets(), burst::capacity);
    EXPECT_FALSE(port_rate{}.limits());
}

} // namespace
} // namespace strait::dataplane
