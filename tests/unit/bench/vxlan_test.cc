// SPDX-License-Identifier: BSD-3-Clause
// The generator as a host that speaks VXLAN, with DPDK's headers and checksums as the oracle.

#include "bench/generator/vxlan.hh"

#include <gtest/gtest.h>

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

namespace strait::bench {
namespace {

constexpr std::uint32_t near = 0x0a000002;
constexpr std::uint32_t far = 0x0a000001;
constexpr std::uint32_t network = 0x123456;
constexpr std::uint16_t inner = 64;
constexpr rte_ether_addr far_mac{{0x02, 0, 0, 0, 0, 0x77}};

struct arp_frame {
    rte_ether_hdr ethernet;
    rte_arp_hdr arp;
    std::array<std::byte, 18> padding;
};

arp_frame asks(std::uint32_t from, std::uint32_t about)
{
    arp_frame made{};
    made.ethernet.dst_addr = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    made.ethernet.src_addr = far_mac;
    made.ethernet.ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP);
    made.arp = {.arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER),
                .arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4),
                .arp_hlen = 6,
                .arp_plen = 4,
                .arp_opcode = RTE_BE16(RTE_ARP_OP_REQUEST),
                .arp_data = {}};
    made.arp.arp_data.arp_sha = far_mac;
    made.arp.arp_data.arp_sip = rte_cpu_to_be_32(from);
    made.arp.arp_data.arp_tip = rte_cpu_to_be_32(about);
    return made;
}

std::span<const std::byte> bytes_of(const arp_frame& one)
{
    return std::as_bytes(std::span{&one, 1});
}

struct outer {
    rte_ether_hdr ethernet;
    rte_ipv4_hdr ip;
    rte_udp_hdr udp;
    rte_vxlan_hdr vxlan;
};
static_assert(sizeof(outer) == vxlan::header);

class vxlan_end : public testing::Test {
protected:
    vxlan_end() { (void)end_.take(bytes_of(asks(far, near))); }

    outer written(std::uint32_t flow = 0)
    {
        std::array<std::byte, vxlan::header> raw{};
        end_.write(raw.data(), inner, flow);
        return get<outer>(raw.data());
    }
    // As the switch would send it: the other way round.
    std::vector<std::byte> arriving()
    {
        outer made = written();
        std::swap(made.ethernet.src_addr, made.ethernet.dst_addr);
        made.ip.src_addr = rte_cpu_to_be_32(far);
        made.ip.dst_addr = rte_cpu_to_be_32(near);
        std::vector<std::byte> frame(vxlan::header + inner, std::byte{0x5a});
        put(frame.data(), made);
        return frame;
    }

    vxlan end_{side::a, {.network = network, .own = near, .far = far}};
};

TEST_F(vxlan_end, writes_a_header_that_others_read)
{
    const outer made = written();
    EXPECT_TRUE(rte_is_same_ether_addr(&made.ethernet.dst_addr, &far_mac));
    EXPECT_EQ(made.ethernet.ether_type, RTE_BE16(RTE_ETHER_TYPE_IPV4));
    EXPECT_EQ(made.ip.total_length, RTE_BE16(vxlan::header + inner - 14));
    EXPECT_EQ(made.ip.src_addr, rte_cpu_to_be_32(near));
    EXPECT_EQ(made.ip.dst_addr, rte_cpu_to_be_32(far));
    rte_ipv4_hdr header = made.ip;
    header.hdr_checksum = 0;
    EXPECT_EQ(rte_ipv4_cksum(&header), made.ip.hdr_checksum);
    EXPECT_EQ(made.udp.dst_port, RTE_BE16(RTE_VXLAN_DEFAULT_PORT));
    EXPECT_EQ(made.udp.dgram_len, RTE_BE16(8 + 8 + inner));
    EXPECT_EQ(made.vxlan.vx_flags, RTE_BE32(0x08000000));
    EXPECT_EQ(made.vxlan.vx_vni, rte_cpu_to_be_32(network << 8));
}

TEST_F(vxlan_end, has_source_ports_by_flow)
{
    std::set<std::uint16_t> ports;
    for (std::uint32_t flow = 0; flow < 1000; ++flow) {
        const std::uint16_t port = rte_be_to_cpu_16(written(flow).udp.src_port);
        EXPECT_GE(port, 49152);
        EXPECT_EQ(port, rte_be_to_cpu_16(written(flow).udp.src_port));
        ports.insert(port);
    }
    EXPECT_GT(ports.size(), 950U);
}

TEST_F(vxlan_end, finds_each_byte_that_is_not_right)
{
    const std::vector<std::byte> good = arriving();
    ASSERT_TRUE(end_.take(good));
    ASSERT_TRUE(end_.check(good));
    constexpr std::size_t source_port = 34; // and the byte behind it
    for (std::size_t i = 0; i < vxlan::header; ++i) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            std::vector<std::byte> changed = good;
            changed[i] ^= std::byte{1} << bit;
            EXPECT_EQ(end_.check(changed), i == source_port || i == source_port + 1)
                << "byte " << i << ", bit " << bit;
        }
    }
    for (const unsigned length : {vxlan::header - 1U, vxlan::header + inner - 1U}) {
        EXPECT_FALSE(end_.check(std::span{good}.first(length)));
    }
}

TEST_F(vxlan_end, checks_a_checksum_that_is_there)
{
    std::vector<std::byte> frame = arriving();
    outer head = get<outer>(frame.data());
    head.udp.dgram_cksum = rte_ipv4_udptcp_cksum(&head.ip, frame.data() + offsetof(outer, udp));
    put(frame.data(), head);
    EXPECT_TRUE(end_.check(frame));
    frame.back() ^= std::byte{1};
    EXPECT_FALSE(end_.check(frame));
}

TEST_F(vxlan_end, learns_whom_it_was_known_to_by_what_comes)
{
    vxlan anew{side::a, {.network = network, .own = near, .far = far}};
    std::vector<std::byte> frame = arriving();
    EXPECT_FALSE(anew.check(frame));
    ASSERT_TRUE(anew.take(frame));
    EXPECT_TRUE(anew.check(frame));
    frame[6] ^= std::byte{4};
    ASSERT_TRUE(anew.take(frame));
    EXPECT_FALSE(anew.check(frame));
}

TEST_F(vxlan_end, answers_who_asks_for_it)
{
    ASSERT_TRUE(end_.owes_answer());
    arp_frame made{};
    static_assert(sizeof made == smallest_frame);
    EXPECT_EQ(end_.write_answer(reinterpret_cast<std::byte*>(&made)), sizeof made);
    EXPECT_FALSE(end_.owes_answer());
    EXPECT_TRUE(rte_is_same_ether_addr(&made.ethernet.dst_addr, &far_mac));
    EXPECT_EQ(made.arp.arp_opcode, RTE_BE16(RTE_ARP_OP_REPLY));
    EXPECT_EQ(made.arp.arp_hardware, RTE_BE16(RTE_ARP_HRD_ETHER));
    EXPECT_EQ(made.arp.arp_data.arp_sip, rte_cpu_to_be_32(near));
    EXPECT_EQ(made.arp.arp_data.arp_tip, rte_cpu_to_be_32(far));
    EXPECT_TRUE(rte_is_same_ether_addr(&made.arp.arp_data.arp_tha, &far_mac));
    EXPECT_TRUE(rte_is_same_ether_addr(&made.arp.arp_data.arp_sha, &made.ethernet.src_addr));

    for (const auto& [from, about] : {std::pair{far, far}, {near, near}, {far + 5, near}}) {
        EXPECT_FALSE(end_.take(bytes_of(asks(from, about))));
        EXPECT_FALSE(end_.owes_answer());
    }
    arp_frame reply = asks(far, near);
    reply.arp.arp_opcode = RTE_BE16(RTE_ARP_OP_REPLY);
    EXPECT_FALSE(end_.take(bytes_of(reply)));
    EXPECT_FALSE(end_.take(bytes_of(asks(far, near)).first(41)));
    EXPECT_FALSE(end_.owes_answer());
}

} // namespace
} // namespace strait::bench
