// SPDX-License-Identifier: BSD-3-Clause
// What keeps a flow's packets together.
#include "dataplane/flow_hash.hh"

#include "tests/unit/dataplane/ip_frame.hh"

#include <gtest/gtest.h>

#include <set>

namespace strait::test {
namespace {

using dataplane::flow_hash;

frame from_port(unsigned port, const ip_frame& shape)
{
    frame f = shape.build(false);
    put16(f, shape.transport(), port);
    return f;
}

std::uint32_t hash_of(const frame& f)
{
    return flow_hash(borrowed_packet{f}.get());
}

TEST(flow_hash, a_flow_keeps_its_number_and_many_flows_have_many)
{
    for (const bool ipv6 : {false, true}) {
        for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
            std::set<std::uint32_t> rings;
            for (unsigned port = 0; port < 200; ++port) {
                ip_frame shape{.ipv6 = ipv6, .protocol = protocol, .payload = 10};
                const std::uint32_t first = hash_of(from_port(port, shape));
                shape.payload = 999;
                shape.tcp_flags = 0x18;
                shape.sequence = 5;
                EXPECT_EQ(hash_of(from_port(port, shape)), first);
                rings.insert(first % 16);
            }
            EXPECT_EQ(rings.size(), 16U);
        }
    }
}

TEST(flow_hash, tags_are_no_part_of_a_flow)
{
    const frame plain = from_port(7, {});
    frame tagged = plain;
    const std::uint8_t tags[] = {0x88, 0xa8, 0x00, 0x05, 0x81, 0x00, 0x00, 0x06};
    tagged.insert(tagged.begin() + 12, std::begin(tags), std::end(tags));
    EXPECT_EQ(hash_of(tagged), hash_of(plain));
}

TEST(flow_hash, fragments_of_a_datagram_stay_together)
{
    frame first = from_port(7, {.protocol = 17});
    put16(first, 20, 0x2000); // more of them follow
    frame second = from_port(0x4711, {.protocol = 17});
    put16(second, 20, 0x0010);
    EXPECT_EQ(hash_of(first), hash_of(second));
}

TEST(flow_hash, frames_without_ip_are_told_apart_by_their_addresses)
{
    EXPECT_NE(hash_of(make_frame("02:00:00:00:00:01", "02:00:00:00:00:02", 60)),
              hash_of(make_frame("02:00:00:00:00:01", "02:00:00:00:00:03", 60)));
}

} // namespace
} // namespace strait::test
