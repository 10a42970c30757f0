// SPDX-License-Identifier: BSD-3-Clause
// Which queue a packet goes to. The vectors are those that Microsoft publishes to verify receive
// side scaling, whose hash and order of fields netif takes over.
#include "ports/xen-netback/hash.hh"

#include "tests/unit/dataplane/ip_frame.hh"

#include "dataplane/flow_hash.hh"
#include "ports/xen-netback/netif.hh"

#include <arpa/inet.h>

#include <numeric>

namespace strait::xen::test {
namespace {

using strait::test::borrowed_packet;
using strait::test::frame;
using strait::test::ip_frame;
namespace hash_type = netif::hash_type;

constexpr std::array<std::uint8_t, hash_config::max_key> key{
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

struct vector {
    const char* source;
    std::uint16_t source_port;
    const char* destination;
    std::uint16_t destination_port;
    std::uint32_t addresses; // hash of them alone
    std::uint32_t all;       // with the ports
};
constexpr vector vectors_v4[] = {
    {"66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e8fc2, 0x51ccc178},
    {"199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718262a, 0xc626b0ea},
    {"24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0a5de, 0x5c2b394a},
    {"38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xafc7327f},
    {"153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d1809c5, 0x10e828a2},
};
constexpr vector vectors_v6[] = {
    {"3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc18cd5, 0x40207d3d},
    {"3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c461c, 0xdde51bbf},
    {"3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4b61e985,
     0x02d1feef},
};

frame make(const vector& v, const ip_frame& shape)
{
    frame f = shape.build(false);
    const std::size_t addresses = shape.network() + (shape.ipv6 ? 8 : 12);
    const int family = shape.ipv6 ? AF_INET6 : AF_INET;
    const std::size_t length = shape.ipv6 ? 16 : 4;
    EXPECT_EQ(::inet_pton(family, v.source, &f.at(addresses)), 1);
    EXPECT_EQ(::inet_pton(family, v.destination, &f.at(addresses + length)), 1);
    strait::test::put16(f, shape.transport(), v.source_port);
    strait::test::put16(f, shape.transport() + 2, v.destination_port);
    return f;
}

hash_config config(std::uint32_t types = hash_type::all)
{
    hash_config c;
    EXPECT_TRUE(c.set_types(types));
    EXPECT_TRUE(c.set_key(std::as_bytes(std::span{key})));
    return c;
}

hash_config::value hash(const hash_config& c, const frame& f)
{
    borrowed_packet p{f};
    return c.of(p.get());
}

TEST(hash, tcp_is_hashed_with_its_ports)
{
    for (const bool ipv6 : {false, true}) {
        const std::span<const vector> all =
            ipv6 ? std::span<const vector>{vectors_v6} : std::span<const vector>{vectors_v4};
        for (const vector& v : all) {
            const auto h = hash(config(), make(v, {.ipv6 = ipv6}));
            EXPECT_EQ(h.hash, v.all) << v.source;
            EXPECT_EQ(h.type, ipv6 ? hash_type::ipv6_tcp : hash_type::ipv4_tcp);
        }
    }
}

TEST(hash, tcp_is_hashed_without_them_when_only_that_is_asked_for)
{
    for (const bool ipv6 : {false, true}) {
        const std::span<const vector> all =
            ipv6 ? std::span<const vector>{vectors_v6} : std::span<const vector>{vectors_v4};
        for (const vector& v : all) {
            const auto h = hash(config(hash_type::ipv4 | hash_type::ipv6), make(v, {.ipv6 = ipv6}));
            EXPECT_EQ(h.hash, v.addresses) << v.source;
            EXPECT_EQ(h.type, ipv6 ? hash_type::ipv6 : hash_type::ipv4);
        }
    }
}

TEST(hash, udp_is_hashed_by_its_addresses)
{
    for (const vector& v : vectors_v4) {
        EXPECT_EQ(hash(config(), make(v, {.protocol = 17})).hash, v.addresses);
    }
}

TEST(hash, tags_and_options_are_passed_over)
{
    EXPECT_EQ(hash(config(), make(vectors_v4[0], {.tags = {0x8100}})).hash, vectors_v4[0].all);
    EXPECT_EQ(hash(config(), make(vectors_v4[0], {.tags = {0x88a8, 0x8100}})).hash,
              vectors_v4[0].all);
    EXPECT_EQ(hash(config(), make(vectors_v4[0], {.ip_options = 8})).hash, vectors_v4[0].all);
}

TEST(hash, all_fragments_of_a_datagram_have_one_hash)
{
    frame first = make(vectors_v4[0], {});
    frame later = first;
    strait::test::put16(first, 14 + 6, 0x2000); // more follow
    strait::test::put16(later, 14 + 6, 0x0010); // and this is one
    later.at(34) ^= 0xff;                       // where a first fragment has its ports
    EXPECT_EQ(hash(config(), first).hash, vectors_v4[0].addresses);
    EXPECT_EQ(hash(config(), later).hash, vectors_v4[0].addresses);
}

TEST(hash, what_is_not_asked_for_is_not_hashed)
{
    EXPECT_EQ(hash(config(hash_type::ipv6_tcp | hash_type::ipv6), make(vectors_v4[0], {})).type,
              0U);
    EXPECT_EQ(hash(config(hash_type::ipv4_tcp), make(vectors_v4[0], {.protocol = 17})).type, 0U);
    EXPECT_EQ(hash(config(0), make(vectors_v4[0], {})).type, 0U);
    EXPECT_EQ(hash(hash_config{}, make(vectors_v4[0], {})).type, 0U);
}

TEST(hash, frames_that_end_early_are_not_read_beyond)
{
    for (const bool ipv6 : {false, true}) {
        const frame whole =
            make(ipv6 ? vectors_v6[0] : vectors_v4[0], {.tags = {0x8100}, .ipv6 = ipv6});
        for (std::size_t size = 14; size < 80; ++size) {
            const frame part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
            // A head that is exactly as long: what is read beyond it is an error of ASan's.
            strait::test::split_packet p{part, size, {}};
            (void)config().of(p.get());
            (void)dataplane::flow_hash(p.get());
        }
    }
    frame bad = make(vectors_v4[0], {});
    bad.at(14) = 0x44; // a header of 16 bytes
    EXPECT_EQ(hash(config(), bad).type, 0U);
    bad.at(14) = 0x65; // version 6 in a frame of version 4
    EXPECT_EQ(hash(config(), bad).type, 0U);
    bad.at(14) = 0x4f; // longer than the frame
    EXPECT_EQ(hash(config(), frame(bad.begin(), bad.begin() + 40)).type, hash_type::ipv4);
}

TEST(hash, the_table_says_which_queue)
{
    hash_config c = config();
    EXPECT_EQ(c.queue({.hash = 7, .type = 1}, 4), 3U) << "without a table, what is left";
    ASSERT_TRUE(c.set_mapping_size(4));
    const std::uint32_t entries[] = {2, 0, 3, 1};
    ASSERT_TRUE(c.set_mapping(0, entries, 4));
    for (std::uint32_t h = 0; h < 8; ++h) {
        EXPECT_EQ(c.queue({.hash = h, .type = 1}, 4), entries[h % 4]);
    }
    const std::uint32_t later[] = {1};
    ASSERT_TRUE(c.set_mapping(3, later, 4));
    EXPECT_EQ(c.queue({.hash = 3, .type = 1}, 4), 1U);
    ASSERT_TRUE(c.set_mapping_size(2));
    EXPECT_EQ(c.queue({.hash = 1, .type = 1}, 4), 0U) << "a new table has only zeros";
}

TEST(hash, the_table_never_leads_beyond_the_queues)
{
    hash_config c = config();
    ASSERT_TRUE(c.set_mapping_size(2));
    const std::uint32_t entries[] = {15, 14};
    ASSERT_TRUE(c.set_mapping(0, entries, 16));
    EXPECT_LT(c.queue({.hash = 0, .type = 1}, 3), 3U);
}

TEST(hash, what_the_protocol_does_not_allow_is_refused_and_changes_nothing)
{
    hash_config c = config();
    EXPECT_FALSE(c.set_types(hash_type::all + 1));
    EXPECT_FALSE(c.set_key(std::vector<std::byte>(hash_config::max_key + 1)));
    EXPECT_FALSE(c.set_mapping_size(hash_config::max_mapping + 1));
    EXPECT_EQ(hash(c, make(vectors_v4[0], {})).hash, vectors_v4[0].all);
    ASSERT_TRUE(c.set_mapping_size(8));
    const std::vector<std::uint32_t> nine(9, 1);
    EXPECT_FALSE(c.set_mapping(0, nine, 4));
    EXPECT_FALSE(c.set_mapping(1, std::span{nine}.first(8), 4));
    EXPECT_FALSE(c.set_mapping(9, {}, 4));
    EXPECT_FALSE(c.set_mapping(0xffff'ffff, std::span{nine}.first(2), 4)) << "the sum overflows";
    const std::uint32_t beyond[] = {1, 4};
    EXPECT_FALSE(c.set_mapping(0, beyond, 4));
    EXPECT_EQ(c.queue({.hash = 0, .type = 1}, 4), 0U);
    EXPECT_TRUE(c.set_mapping(8, {}, 4));
}

TEST(hash, a_shorter_key_ends_in_zeros)
{
    hash_config whole = config();
    auto padded = key;
    std::fill(padded.begin() + 16, padded.end(), std::uint8_t{0});
    ASSERT_TRUE(whole.set_key(std::as_bytes(std::span{padded})));
    hash_config part = config();
    ASSERT_TRUE(part.set_key(std::as_bytes(std::span{key}.first(16))));
    const frame f = make(vectors_v4[1], {});
    EXPECT_EQ(hash(part, f).hash, hash(whole, f).hash);
}

TEST(hash, goes_through_a_text_and_back)
{
    hash_config c;
    ASSERT_TRUE(c.set_types(hash_type::ipv4 | hash_type::ipv6_tcp));
    ASSERT_TRUE(c.set_key(std::as_bytes(std::span{key})));
    for (const std::uint32_t size : {0U, 1U, 128U}) {
        ASSERT_TRUE(c.set_mapping_size(size));
        const std::vector<std::uint32_t> entries(size, 15);
        ASSERT_TRUE(c.set_mapping(0, entries, 16));
        const std::string text = c.to_text();
        const auto back = hash_config::from_text(text, 16);
        ASSERT_TRUE(back.has_value());
        EXPECT_EQ(back->to_text(), text);
        EXPECT_EQ(hash_config::from_text(text, 15).has_value(), size == 0) << "of no such queue";
        EXPECT_FALSE(hash_config::from_text(text + "0", 16).has_value());
        EXPECT_FALSE(hash_config::from_text(text + "x0", 16).has_value());
    }
    EXPECT_FALSE(hash_config::from_text(c.to_text() + "00", 16).has_value()) << "129 entries";
    EXPECT_FALSE(hash_config::from_text("10" + c.to_text().substr(2), 16).has_value())
        << "a type that there is none of";
    EXPECT_FALSE(hash_config::from_text("", 16).has_value());
}

} // namespace
} // namespace strait::xen::test
