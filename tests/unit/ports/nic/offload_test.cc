// SPDX-License-Identifier: BSD-3-Clause
// Work that is left to a device: what DPDK is told of it, and a device that does it. That is
// virtio-user, at whose other end is a vhost-user port of the test's own switch, so that a packet
// comes to a guest behind it as the device finished it.
#include "tests/unit/dataplane/ip_frame.hh"
#include "tests/unit/ports/nic/lab.hh"
#include "tests/unit/ports/vhost/lab.hh"

#include "dataplane/offload.hh"
#include "ports/nic/ethdev_queue.hh"

#include <gmock/gmock.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_net.h>

namespace strait::test {
namespace {

using dataplane::offloads;
using dataplane::segmentation;
using ::testing::ElementsAre;

constexpr offloads checksums = offloads::checksum_ipv4 | offloads::checksum_ipv6;
constexpr offloads all_but_ecn =
    checksums | offloads::segmentation_ipv4 | offloads::segmentation_ipv6;

class nic_offload : public ::testing::Test {
protected:
    nic_offload() : switch_{2}, guest_{switch_.socket(1), {.ring_size = 256}}, pool_{make_pool()}
    {
        auto made = strait::nic::make_port(
            {.name = "up0", .device = "net_virtio_user0,path=" + switch_.socket(0), .mtu = 1500},
            pool_.get());
        if (!made) {
            throw std::runtime_error{made.error().message};
        }
        port_.emplace(std::move(made).value(), pool_.get());
        EXPECT_TRUE((*port_)->start());
        EXPECT_TRUE(vhost::test::eventually([&] { return (*port_)->link_up(); }));
    }
    ~nic_offload() override
    {
        port_.reset();
        EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U) << "mbufs leaked";
    }
    [[nodiscard]] ports::tx_queue& queue() { return *(*port_)->queues().front().tx; }

    // Frames that come to the guest, until there are `count`.
    std::vector<frame> arrived(std::size_t count)
    {
        std::vector<frame> all;
        vhost::test::eventually([&] {
            for (const auto& got : guest_.receive()) {
                frame f(got.size());
                std::memcpy(f.data(), got.data(), got.size());
                all.push_back(std::move(f));
            }
            return all.size() >= count;
        });
        return all;
    }

    vhost::test::lab switch_;
    vhost::test::guest guest_;
    pool_ptr pool_;
    std::optional<port_under_test> port_;
};

split_packet left_undone(const ip_frame& shape, std::uint16_t size)
{
    const frame f = shape.build(true);
    const std::size_t head = std::min(f.size(), dataplane::head_copy);
    std::vector<std::size_t> pieces;
    for (std::size_t at = head; at < f.size(); at += pieces.back()) {
        pieces.push_back(std::min<std::size_t>(f.size() - at, 1000));
    }
    split_packet p{f, head, pieces};
    const segmentation kind = size == 0              ? segmentation::none
                              : shape.protocol == 17 ? segmentation::udp
                              : shape.ipv6           ? segmentation::tcp_ipv6
                                                     : segmentation::tcp_ipv4;
    EXPECT_EQ(dataplane::infer_offload(p.get(), true, kind, size), dataplane::offload_fault::none);
    return p;
}

// What a driver would be given: the mbufs of a queue on the null device, seen on their way to it.
class told : public ::testing::Test {
protected:
    told()
    {
        start_eal(1);
        pool_ = make_pool();
        port_.emplace(
            strait::nic::make_port({.name = "up0", .device = "net_null0"}, pool_.get()).value(),
            pool_.get());
        EXPECT_EQ(rte_eth_dev_get_port_by_name("net_null0", &id_), 0);
        callback_ = rte_eth_add_tx_callback(id_, 0, look, this);
        // Drivers look at what they are asked; this one has a limit.
        rte_eth_fp_ops[id_].tx_pkt_prepare = [](void*, rte_mbuf** mbufs, std::uint16_t count) {
            for (std::uint16_t i = 0; i < count; ++i) {
                if (mbufs[i]->tso_segsz > 0 && mbufs[i]->tso_segsz < 256) {
                    rte_errno = EINVAL;
                    return i;
                }
            }
            return count;
        };
    }
    ~told() override
    {
        rte_eth_remove_tx_callback(id_, 0, callback_);
        port_.reset();
        EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U) << "mbufs leaked";
    }
    void send(nic::ethdev_tx_queue& queue, std::vector<dataplane::packet*> packets)
    {
        ports::notification_list notifications;
        queue.transmit(packets, {0, pool_.get(), counters_.get(), &notifications});
    }

    [[nodiscard]] rte_mempool* pool() const { return pool_.get(); }

    struct given {
        std::uint64_t flags;
        std::uint64_t l2;
        std::uint64_t l3;
        std::uint64_t l4;
        std::uint64_t segment_size;
        frame bytes;
    };
    std::vector<given> given_;
    std::uint16_t id_{0};
    std::unique_ptr<dataplane::port_counters> counters_{new dataplane::port_counters{}};
    nic::device_errors errors_;

private:
    static std::uint16_t look(std::uint16_t /*port*/, std::uint16_t /*queue*/, rte_mbuf** mbufs,
                              std::uint16_t count, void* self)
    {
        for (const rte_mbuf* const m : std::span{mbufs, count}) {
            static_cast<told*>(self)->given_.push_back(
                {m->ol_flags, m->l2_len, m->l3_len, m->l4_len, m->tso_segsz, from_mbuf_chain(m)});
        }
        return count;
    }

    pool_ptr pool_;
    std::optional<port_under_test> port_;
    const rte_eth_rxtx_callback* callback_{nullptr};
};

TEST_F(told, a_device_what_is_left_to_do)
{
    for (const bool fills_ipv4 : {false, true}) {
        nic::ethdev_tx_queue queue{
            id_,
            0,
            {.takes_chains = true, .takes = all_but_ecn, .fills_ipv4 = fills_ipv4},
            errors_};
        EXPECT_EQ(queue.takes(), all_but_ecn);
        for (const bool ipv6 : {false, true}) {
            for (const std::vector<std::uint16_t>& tags :
                 {std::vector<std::uint16_t>{}, {0x8100}, {0x88a8, 0x8100}}) {
                ip_frame shape{.tags = tags, .ipv6 = ipv6, .payload = 3000};
                split_packet tcp = left_undone(shape, 0);
                split_packet cut = left_undone(shape, 1000);
                shape.protocol = 17;
                split_packet udp = left_undone(shape, 0);
                const frame whole = make_frame("02:00:00:00:00:02", "02:00:00:00:00:01", 200);
                borrowed_packet complete{whole};
                given_.clear();
                send(queue, {&tcp.get(), &udp.get(), &complete.get(), &cut.get()});
                ASSERT_EQ(given_.size(), 4U);
                EXPECT_EQ(given_[2].flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG), 0U);
                EXPECT_EQ(given_[2].bytes, whole);

                const std::uint64_t version = ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
                EXPECT_EQ(given_[0].flags, version | RTE_MBUF_F_TX_TCP_CKSUM);
                EXPECT_EQ(given_[1].flags, version | RTE_MBUF_F_TX_UDP_CKSUM);
                EXPECT_EQ(given_[1].bytes, bytes_of(udp.get()));
                EXPECT_EQ(given_[0].bytes, bytes_of(tcp.get()));
                EXPECT_EQ(given_[0].segment_size, 0U);
                shape.protocol = 6;
                for (const std::size_t i : {0U, 3U}) {
                    EXPECT_EQ(given_[i].l2, shape.network());
                    EXPECT_EQ(given_[i].l3, shape.transport() - shape.network());
                    EXPECT_EQ(given_[i].l4, shape.header_length() - shape.transport());
                }
                const bool ip_sum = fills_ipv4 && !ipv6;
                EXPECT_EQ(given_[3].flags, version | RTE_MBUF_F_TX_TCP_CKSUM |
                                               RTE_MBUF_F_TX_TCP_SEG |
                                               (ip_sum ? RTE_MBUF_F_TX_IP_CKSUM : 0));
                EXPECT_EQ(given_[3].segment_size, 1000U);
                frame expected = bytes_of(cut.get());
                const std::uint16_t sum = dataplane::pseudo_sum_without_length(cut.get());
                std::memcpy(expected.data() + shape.field(), &sum, sizeof sum);
                if (ip_sum) {
                    put16(expected, shape.network() + 10, 0);
                }
                EXPECT_EQ(given_[3].bytes, expected);
            }
        }
    }
}

// By RTE_MBUF_F_TX_UDP_SEG alone: with the flag of UDP's checksum beside it, the preparation that
// Intel's drivers share has the sum begin with the length of the whole.
TEST_F(told, a_device_what_datagrams_to_cut)
{
    nic::ethdev_tx_queue queue{
        id_,
        0,
        {.takes_chains = true, .takes = dataplane::all_offloads, .fills_ipv4 = true},
        errors_};
    for (const bool ipv6 : {false, true}) {
        const ip_frame shape{.tags = {0x8100}, .ipv6 = ipv6, .protocol = 17, .payload = 3000};
        split_packet cut = left_undone(shape, 1000);
        given_.clear();
        send(queue, {&cut.get()});
        ASSERT_EQ(given_.size(), 1U);
        EXPECT_EQ(given_[0].flags,
                  RTE_MBUF_F_TX_UDP_SEG |
                      (ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM));
        EXPECT_EQ(given_[0].segment_size, 1000U);
        EXPECT_EQ(given_[0].l2, shape.network());
        EXPECT_EQ(given_[0].l3, shape.transport() - shape.network());
        EXPECT_EQ(given_[0].l4, 8U);
        frame expected = bytes_of(cut.get());
        const std::uint16_t sum = dataplane::pseudo_sum_without_length(cut.get());
        std::memcpy(expected.data() + shape.field(), &sum, sizeof sum);
        if (!ipv6) {
            put16(expected, shape.network() + 10, 0);
        }
        EXPECT_EQ(given_[0].bytes, expected);

        rte_mbuf* const m = to_mbuf(given_[0].bytes, pool());
        m->l2_len = given_[0].l2 & 0x7f;
        m->l3_len = given_[0].l3 & 0x1ff;
        m->l4_len = given_[0].l4 & 0xff;
        m->ol_flags = given_[0].flags;
        EXPECT_EQ(rte_net_intel_cksum_prepare(m), 0);
        EXPECT_EQ(from_mbuf_chain(m), expected) << "a driver finds nothing to mend";
        rte_pktmbuf_free(m);
    }
}

TEST_F(told, what_is_to_be_cut_is_not_padded)
{
    nic::ethdev_tx_queue queue{id_,
                               0,
                               {.kind = nic::driver::other,
                                .takes_chains = true,
                                .takes = dataplane::all_offloads,
                                .fills_ipv4 = true},
                               errors_};
    rte_eth_fp_ops[id_].tx_pkt_prepare = [](void*, rte_mbuf**, std::uint16_t count) {
        return count; // this one cuts as small as that
    };
    const ip_frame shape{.protocol = 17, .payload = 2};
    split_packet cut = left_undone(shape, 1);
    split_packet whole = left_undone(shape, 0);
    given_.clear();
    send(queue, {&cut.get(), &whole.get()});
    ASSERT_EQ(given_.size(), 2U);
    EXPECT_EQ(given_[0].bytes.size(), 44U);
    EXPECT_EQ(given_[1].bytes.size(), 60U);
}

TEST_F(told, what_a_driver_refuses_is_dropped_alone)
{
    nic::ethdev_tx_queue queue{id_, 0, {.takes_chains = true, .takes = all_but_ecn}, errors_};
    const ip_frame shape{.payload = 3000};
    split_packet good = left_undone(shape, 1000);
    split_packet small = left_undone(shape, 200);
    send(queue, {&small.get(), &good.get(), &small.get(), &small.get(), &good.get(), &small.get()});
    EXPECT_EQ(given_.size(), 2U);
    for (const given& g : given_) {
        EXPECT_EQ(g.segment_size, 1000U);
    }
    constexpr auto refused = static_cast<std::size_t>(dataplane::drop_reason::transmit_error);
    EXPECT_EQ(counters_->drops[refused].read(), 4U);
    EXPECT_EQ(counters_->tx_packets.read(), 2U);
    EXPECT_EQ(counters_->tx_bytes.read(), 2 * shape.size());
}

TEST_F(nic_offload, is_what_the_device_says)
{
    EXPECT_EQ(queue().takes(), all_but_ecn);
    EXPECT_THAT(std::get<std::vector<std::string>>(port_->detail("tx_offloads")),
                ElementsAre("checksum", "segmentation"));
}

TEST_F(nic_offload, checksums_are_filled_by_the_device)
{
    for (const bool ipv6 : {false, true}) {
        for (const std::uint8_t protocol : std::array<std::uint8_t, 2>{6, 17}) {
            for (const std::size_t payload : {0U, 1U, 47U, 300U, 1400U}) {
                const ip_frame shape{.ipv6 = ipv6, .protocol = protocol, .payload = payload};
                split_packet p = left_undone(shape, 0);
                port_->transmit({&p.get()});
                const std::vector<frame> got = arrived(1);
                ASSERT_EQ(got.size(), 1U);
                frame expected = shape.build(false);
                expected.resize(std::max<std::size_t>(expected.size(), 60)); // padded, as on a wire
                EXPECT_EQ(got[0], expected);
                EXPECT_EQ(bytes_of(p.get()), shape.build(true)) << "others may get it, too";
            }
        }
    }
}

TEST_F(nic_offload, segments_are_cut_by_the_device)
{
    for (const bool ipv6 : {false, true}) {
        for (const std::size_t payload : {1449U, 2896U, 20'000U, 60'000U}) {
            const ip_frame shape{.ipv6 = ipv6, .payload = payload, .tcp_flags = 0x19};
            split_packet p = left_undone(shape, 1448);
            const std::uint64_t sent = port_->counters().tx_packets.read();
            port_->transmit({&p.get()});
            EXPECT_EQ(port_->counters().tx_packets.read(), sent + 1) << "whole, to the device";
            const std::size_t count = (payload + 1447) / 1448;
            const std::vector<frame> got = arrived(count);
            ASSERT_EQ(got.size(), count);
            frame joined;
            for (const frame& f : got) {
                EXPECT_TRUE(shape.correct(f));
                joined.insert(joined.end(),
                              f.begin() + static_cast<std::ptrdiff_t>(shape.header_length()),
                              f.end());
            }
            const frame whole = shape.build(true);
            EXPECT_TRUE(std::equal(
                joined.begin(), joined.end(),
                whole.begin() + static_cast<std::ptrdiff_t>(shape.header_length()), whole.end()));
        }
    }
    EXPECT_EQ(port_->drops(dataplane::drop_reason::transmit_error), 0U);
}

TEST_F(nic_offload, a_burst_of_all_kinds_arrives_in_order)
{
    const ip_frame small{.payload = 40, .seed = 3};
    const ip_frame large{.ipv6 = true, .payload = 4000, .seed = 5};
    split_packet one = left_undone(small, 0);
    split_packet two = left_undone(large, 1000);
    const frame plain = make_frame("02:00:00:00:00:02", "02:00:00:00:00:01", 700, 7);
    borrowed_packet three{plain, 2};
    port_->transmit({&three.get(), &one.get(), &two.get(), &three.get()});
    const std::vector<frame> got = arrived(7);
    ASSERT_EQ(got.size(), 7U);
    EXPECT_EQ(got.front(), plain);
    EXPECT_TRUE(small.correct(got[1]));
    for (std::size_t i = 2; i < 6; ++i) {
        EXPECT_TRUE(large.correct(got[i])) << i;
    }
    EXPECT_EQ(got.back(), plain);
}

} // namespace
} // namespace strait::test
