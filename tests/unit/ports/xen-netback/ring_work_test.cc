// SPDX-License-Identifier: BSD-3-Clause
// How much a guest can make a worker do in one poll, counted in reads of its memory and in pieces
// that are copied for it: the worst that a ring can say.
#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include "tests/unit/dataplane/ip_frame.hh"

#include <gtest/gtest.h>

#include <cstring>

namespace strait::xen::test {
namespace {

class counted_reads {
public:
    counted_reads() { dataplane::detail::watch_reads() = {.reads = 0, .mutate = false}; }
    counted_reads(const counted_reads&) = delete;
    counted_reads& operator=(const counted_reads&) = delete;
    ~counted_reads() { dataplane::detail::watch_reads() = {}; }
    [[nodiscard]] static std::uint64_t count() { return dataplane::detail::watch_reads().reads; }
};

class xen_ring_work : public testing::Test {
protected:
    lab lab_;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor_{lab_.hypervisor()};
    wired_guest guest_{lab_, *hypervisor_};

    void fill(std::uint16_t size, std::uint16_t flags, std::uint8_t extra_type = 0)
    {
        for (std::uint16_t id = 0; id < netif::ring_size; ++id) {
            const grant_ref r = guest_.front().tx_grant(id);
            guest_.domain().regrant(r, domain_id{0}, guest_.front().tx_page(id), true);
            if (extra_type != 0 && id % 2 == 1) {
                put_extra(guest_, netif::extra{extra_type});
                continue;
            }
            put_request(guest_, {.grant = static_cast<std::uint32_t>(r),
                                 .offset = 0,
                                 .flags = flags,
                                 .id = id,
                                 .size = size});
        }
        guest_.publish();
    }
    // Each slot is read once, and each piece that is copied out of a page is a read.
    void expect_bounded()
    {
        const auto before = hypervisor_->counts();
        const counted_reads counted;
        (void)guest_.receive();
        guest_.release();
        const std::uint64_t pieces = hypervisor_->counts().pieces - before.pieces;
        EXPECT_LE(pieces, netif::ring_size);
        EXPECT_LE(counted_reads::count(), netif::ring_size + pieces + 1);
        EXPECT_GE(counted_reads::count(), pieces + 1) << "this build does not count";
        EXPECT_LE(hypervisor_->counts().calls - before.calls, 1U);
    }
};

// Or none of this build's tests says anything.
TEST_F(xen_ring_work, is_done_in_memory_that_changes)
{
    fill(60, 0);
    const netif::tx_request before = guest_.front().tx().peek<netif::tx_request>();
    ASSERT_EQ(guest_.receive(), ports::rx_queue::poll::taken);
    const auto after = guest_.front().tx().peek<netif::tx_request>();
    EXPECT_NE(std::memcmp(&before, &after, sizeof before), 0);
    guest_.release();
}

TEST_F(xen_ring_work, of_short_frames_is_bounded)
{
    fill(13, 0);
    expect_bounded();
}

TEST_F(xen_ring_work, of_multicasts_is_bounded)
{
    fill(60, netif::tx_flag::extra_info, static_cast<std::uint8_t>(netif::extra::multicast_add));
    expect_bounded();
}

TEST_F(xen_ring_work, of_frames_without_end_is_bounded)
{
    fill(60, netif::tx_flag::more_data);
    expect_bounded();
}

TEST_F(xen_ring_work, of_the_smallest_slots_is_bounded)
{
    for (std::uint16_t frames = 0; frames < netif::ring_size / 16; ++frames) {
        guest_.send(make_frame("00:16:3e:00:00:01", "00:16:3e:00:00:02", 128), {},
                    std::vector<std::uint16_t>(15, 8));
    }
    guest_.publish();
    expect_bounded();
    EXPECT_EQ(guest_.worker().counters.rx_packets.read(), 16U);
}

TEST_F(xen_ring_work, of_full_frames_is_bounded)
{
    fill(4096, 0);
    expect_bounded();
    EXPECT_EQ(guest_.worker().counters.rx_packets.read(), 64U);
}

// Extension headers that go on behind the head, and end nowhere: each frame's are looked at twice.
TEST_F(xen_ring_work, of_long_headers_is_bounded)
{
    const strait::test::ip_frame shape{
        .ipv6 = true, .extensions = std::vector<std::uint8_t>(20, 60), .payload = 100};
    for (int i = 0; i < 64; ++i) {
        guest_.send(shape.build(true), {.checksum_blank = true}, std::vector<std::uint16_t>(3, 50));
    }
    guest_.publish();
    const auto before = hypervisor_->counts();
    (void)guest_.receive();
    guest_.release();
    EXPECT_LE(hypervisor_->counts().pieces - before.pieces, 2 * netif::ring_size);
    EXPECT_EQ(hypervisor_->counts().calls - before.calls, 2U);
    EXPECT_EQ(guest_.worker().drops(dataplane::drop_reason::bad_offload), 64U);
}

TEST_F(xen_ring_work, of_a_burst_to_it_is_bounded)
{
    const std::vector<frame> burst(64,
                                   make_frame("00:16:3e:00:00:01", "00:16:3e:00:00:02", 65'535));
    const auto before = hypervisor_->counts();
    guest_.transmit(burst); // 64 of 16 slots, of which 16 fit
    EXPECT_LE(hypervisor_->counts().pieces - before.pieces, 2 * netif::ring_size + 64);
    EXPECT_EQ(guest_.worker().counters.tx_packets.read(), 16U);
}

} // namespace
} // namespace strait::xen::test
