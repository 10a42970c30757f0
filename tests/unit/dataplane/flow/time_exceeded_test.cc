// SPDX-License-Identifier: BSD-3-Clause
// Who is told by dec_ttl that the TTL is used up, of which packet, and how often.
#include "tests/unit/dataplane/flow/flows_of_a_bridge.hh"

#include "dataplane/endpoint/error_limit.hh"
#include "dataplane/parse.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace strait::flow {
namespace {

using dataplane::be16;
using dataplane::be32;
using dataplane::drop_reason;
using dataplane::load;
using endpoint::ip_address;

// A UDP datagram from 10.0.0.1 to 10.1.0.1.
frame_bytes datagram(std::uint8_t ttl, std::uint8_t last = 1)
{
    constexpr std::size_t size = 200;
    frame_bytes f(size);
    constexpr std::array<std::uint8_t, 42> start{
        2,    0, 0,    0,   0, 2,   2, 0, 0, 0,  0, 1, 8,  0,                    // Ethernet
        0x45, 0, 0,    186, 0, 1,   0, 0, 0, 17, 0, 0, 10, 0, 0, 1, 10, 1, 0, 0, // IPv4
        0x10, 0, 0x20, 0,   0, 166, 0, 0};
    for (std::size_t i = 0; i < start.size(); ++i) {
        f[i] = std::byte{start[i]};
    }
    f[22] = std::byte{ttl};
    f[33] = std::byte{last};
    return f;
}

class time_exceeded : public flows_of_a_bridge {
protected:
    static constexpr ip_address router = ip_address::v4(0x0a00'00fe);
    static constexpr std::size_t at_ip = 14;
    static constexpr std::size_t at_quote = at_ip + 20 + 8;

    void rule_of(action_list actions) { publish({{0, 1, ip_match(), std::move(actions)}}); }
    static action out(port_number port) { return {output{port}}; }
    static match ip_match()
    {
        match m;
        m.require(field::eth_type, 0x0800);
        return m;
    }
    std::uint64_t dropped() const
    {
        return counters_.drops[static_cast<std::size_t>(drop_reason::flow_drop)].read();
    }
    // That the sender of `f` is told, of the packet as it came.
    static void expect_about(const frame_bytes& answer, const frame_bytes& f)
    {
        ASSERT_GT(answer.size(), at_quote);
        EXPECT_TRUE(std::equal(f.begin() + 6, f.begin() + 12, answer.begin()));
        EXPECT_TRUE(std::equal(f.begin(), f.begin() + 6, answer.begin() + 6));
        EXPECT_EQ(load<be32>(answer.data() + at_ip + 12), router.v4());
        EXPECT_EQ(load<be32>(answer.data() + at_ip + 16), 0x0a00'0001U);
        EXPECT_EQ(load<be16>(answer.data() + at_quote - 8), 0x0b00);
        EXPECT_TRUE(std::equal(answer.begin() + at_quote, answer.end(), f.begin() + at_ip));
    }
};

TEST_F(time_exceeded, goes_back_by_the_port_that_the_packet_came_from)
{
    rule_of({{set_field{field::eth_dst, 9, wide::ones(48)}},
             {set_field{field::nw_dst, 9, wide::ones(32)}},
             {push_vlan{0x8100}},
             {dec_ttl{router}},
             out(2)});
    for (const std::uint8_t ttl : {std::uint8_t{1}, std::uint8_t{0}, std::uint8_t{1}}) {
        const std::uint64_t before = dropped();
        const sent got = send(3, {datagram(ttl)});
        ASSERT_EQ(got.size(), 1U);
        ASSERT_EQ(got.at(3).size(), 1U);
        expect_about(got.at(3)[0], datagram(ttl));
        EXPECT_EQ(dropped(), before + 1);
    }
    EXPECT_EQ(send(3, {datagram(2)}).at(2).size(), 1U);
    rule_of({{dec_ttl{}}, out(2)});
    EXPECT_TRUE(send(3, {datagram(1)}).empty());
}

TEST_F(time_exceeded, is_told_once_of_a_packet)
{
    const action tells{dec_ttl{router}};
    rule_of({out(2),
             {clone{{tells}}},
             {set_field{field::eth_src, 9, wide::ones(48)}},
             {clone{{tells}}},
             out(4),
             tells});
    std::vector<frame_bytes> frames;
    for (std::uint8_t i = 1; i <= 40; ++i) {
        frames.push_back(datagram(1, i));
    }
    const sent got = send(1, frames);
    EXPECT_EQ(got.at(2), frames);
    EXPECT_EQ(got.at(4).size(), frames.size());
    ASSERT_EQ(got.at(1).size(), frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
        expect_about(got.at(1)[i], frames[i]);
    }
    EXPECT_EQ(dropped(), 0U); // it left by two ports
}

TEST_F(time_exceeded, is_about_the_packet_as_it_came_out_of_connection_tracking)
{
    connections_.drops = false;
    ct commits;
    commits.commit = true;
    const action tells{dec_ttl{router}};
    rule_of({{commits},
             {set_field{field::eth_src, 9, wide::ones(48)}},
             {set_field{field::eth_dst, 9, wide::ones(48)}},
             {clone{{tells}}},
             {set_field{field::nw_dst, 9, wide::ones(32)}},
             tells});
    for (int i = 0; i < 2; ++i) { // translated, and known
        const sent got = send(1, {datagram(1)});
        ASSERT_EQ(got.size(), 1U);
        ASSERT_EQ(got.at(1).size(), 1U);
        expect_about(got.at(1)[0], datagram(1));
    }
}

TEST_F(time_exceeded, is_told_by_the_bucket_that_is_taken)
{
    const auto bucket_of = [](action_list actions, port_number watched) {
        bucket b;
        b.actions = std::move(actions);
        b.watch_port = watched;
        return b;
    };
    put_group(group_ptr{new bucket_group{{.id = 1,
                                          .type = group_type::fast_failover,
                                          .select = {},
                                          .buckets = {bucket_of({{dec_ttl{}}, out(4)}, 4),
                                                      bucket_of({{dec_ttl{router}}, out(5)}, 5)}},
                                         {},
                                         1,
                                         nullptr}});
    rule_of({{set_field{field::eth_src, 9, wide::ones(48)}}, {group{1}}});
    EXPECT_TRUE(send(1, {datagram(1)}).empty());
    links_[3]->store(false); // port 4's
    const sent got = send(1, {datagram(1)});
    ASSERT_EQ(got.at(1).size(), 1U);
    expect_about(got.at(1)[0], datagram(1));
}

TEST_F(time_exceeded, is_not_told_of_errors_nor_to_groups)
{
    rule_of({{dec_ttl{router}}, out(2)});
    frame_bytes error = datagram(1);
    error[23] = std::byte{1};
    error[34] = std::byte{3}; // unreachable
    frame_bytes to_group = datagram(1);
    to_group[30] = std::byte{224};
    frame_bytes broadcast = datagram(1);
    std::fill_n(broadcast.begin(), 6, std::byte{0xff});
    frame_bytes later = datagram(1);
    later[21] = std::byte{8}; // a fragment's place
    const std::vector frames{error, to_group, broadcast, later};
    EXPECT_TRUE(send(1, frames).empty());
    EXPECT_EQ(dropped(), frames.size());
    error[34] = std::byte{8}; // an echo
    EXPECT_EQ(send(1, {error}).at(1).size(), 1U);
}

TEST_F(time_exceeded, is_told_so_often_and_no_more)
{
    constexpr std::uint64_t hz = 1'000'000;
    endpoint::error_limit limit{hz};
    errors_ = &limit;
    tsc_ = 1000 * hz;
    rule_of({{dec_ttl{router}}, out(2)});
    const std::vector<frame_bytes> frames(burst::capacity, datagram(1));
    EXPECT_EQ(send(1, frames).at(1).size(), endpoint::error_limit::at_once);
    EXPECT_EQ(dropped(), frames.size());
    EXPECT_TRUE(send(1, frames).empty());
    EXPECT_EQ(send(3, frames).at(3).size(), endpoint::error_limit::at_once);
    tsc_ += hz / endpoint::error_limit::a_second;
    EXPECT_EQ(send(1, frames).at(1).size(), 1U);
}

} // namespace
} // namespace strait::flow
