// SPDX-License-Identifier: BSD-3-Clause
// How much a guest can make a worker do in one poll, counted in reads of its memory: the worst that
// a ring can say, in each direction.
#include "test_ring.hh"

#include <algorithm>
#include <gtest/gtest.h>

namespace strait::vhost::test {
namespace {

// 64 packets' chains of 288 descriptors: in the sink a packet may take one more after 256.
constexpr std::uint64_t most_reads_of_source = 64 * (288 + 4) + 4 * 2048;
constexpr std::uint64_t most_reads_of_sink = 64 * (256 + 288 + 64 + 4);

class counted_reads {
public:
    counted_reads() { dataplane::detail::watch_reads() = {.reads = 0, .mutate = false}; }
    counted_reads(const counted_reads&) = delete;
    counted_reads& operator=(const counted_reads&) = delete;
    ~counted_reads() { dataplane::detail::watch_reads() = {}; }
    [[nodiscard]] static std::uint64_t count() { return dataplane::detail::watch_reads().reads; }
};

class ring_work : public testing::TestWithParam<bool> {
protected:
    // A ring full of chains like this one; the reads of its first poll, or of 64 packets sent.
    static std::uint64_t reads(std::span<const buffer> chain, bool indirect, std::uint64_t features,
                               std::uint64_t& moved)
    {
        const bool to_guest = chain.front().writable;
        // One indirect table serves all, as a hostile driver would have it.
        guest_ram ram{std::size_t{8} << 20};
        const auto guest =
            make_driver(ram, {.packed = GetParam(), .size = 32768, .features = features});
        for (std::size_t token = 0; token < 1000; ++token) {
            if (!guest->add(chain, token, indirect)) {
                break;
            }
        }
        guest->publish();
        worker_side worker;
        if (!to_guest) {
            const auto engine = make_source(guest->setup());
            const counted_reads counted;
            worker.poll(*engine);
            moved = worker.burst().count;
            for (const dataplane::packet_slot& p : worker.burst().packets()) {
                EXPECT_EQ(frame_of(p).size(), p.length); // what a port that copies it reads
            }
            return counted_reads::count();
        }
        const auto engine = make_sink(guest->setup());
        std::vector<std::unique_ptr<test_packet>> packets;
        std::vector<dataplane::packet*> list;
        for (std::size_t i = 0; i < 64; ++i) {
            packets.push_back(std::make_unique<test_packet>(bytes(9000)));
            list.push_back(packets.back()->get());
        }
        const counted_reads counted;
        worker.send(*engine, list);
        moved = worker.counters().tx_packets.read();
        return counted_reads::count();
    }
};

INSTANTIATE_TEST_SUITE_P(kinds, ring_work, testing::Bool(), kind_name);

TEST_P(ring_work, of_a_poll_is_bounded)
{
    constexpr std::uint64_t plain = feature_bits({feature::version_1});
    constexpr std::uint64_t mergeable =
        feature_bits({feature::version_1, feature::mergeable_buffers});
    std::uint64_t most = 0;
    for (const std::uint64_t features : {plain, mergeable}) {
        for (const bool to_guest : {false, true}) {
            for (const bool indirect : {false, true}) {
                for (const std::uint32_t length : {0U, 1U, 12U, 30U, 100U}) {
                    for (const std::size_t count : {1U, 2U, 4U, 5U, 100U, 257U, 288U}) {
                        const std::vector<buffer> chain(count, {0x10'0000, length, to_guest});
                        std::uint64_t moved = 0;
                        const std::uint64_t n = reads(chain, indirect, features, moved);
                        most = std::max(most, n);
                        EXPECT_LE(n, to_guest ? most_reads_of_sink : most_reads_of_source)
                            << count << " descriptors of " << length << " bytes, "
                            << (to_guest ? "to" : "from") << " the guest, "
                            << (indirect ? "indirect" : "direct") << ", features " << features;
                    }
                }
            }
        }
    }
    EXPECT_GT(most, 10'000U); // they are counted
}

} // namespace
} // namespace strait::vhost::test
