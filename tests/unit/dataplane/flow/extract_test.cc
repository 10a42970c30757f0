// SPDX-License-Identifier: BSD-3-Clause
// Frames to keys: each kind of header, what is missing, cut short or malformed, heads that end
// before the headers do; and hundreds of thousands of frames against a plain reader.
#include "tests/soak.hh"
#include "tests/unit/dataplane/flow/header_frames.hh"
#include "tests/unit/sanitizers.hh"

#include "dataplane/flow/extract.hh"

#include <gmock/gmock.h>

#include <memory>

namespace strait::test {
namespace {

using flow::depth;
using flow::field;
using flow::network_header;
using flow::transport_header;
using flow::wide;

struct extracted {
    flow::key fields;
    flow::header_layout at;
    bool complete;
    [[nodiscard]] std::uint64_t operator[](field f) const { return fields.number(f); }
};

// As a packet whose head is no longer than `head`; the rest cannot be read at all.
extracted extract(const frame& f, std::size_t head = dataplane::longest_head,
                  depth deepest = depth::transport)
{
    head = std::min(head, f.size());
    const std::vector<std::byte> bytes{reinterpret_cast<const std::byte*>(f.data()),
                                       reinterpret_cast<const std::byte*>(f.data()) + head};
    const std::unique_ptr<std::byte[]> exact{new std::byte[head]};
    std::copy(bytes.begin(), bytes.end(), exact.get());
    const dataplane::guest_span nowhere{reinterpret_cast<void*>(8), f.size() - head};
    dataplane::packet p{};
    p.data = exact.get();
    p.length = static_cast<std::uint32_t>(f.size());
    p.head_length = static_cast<std::uint16_t>(head);
    p.segments = &nowhere;
    p.segment_count = 1;
    extracted out{};
    out.fields.words.fill(0x5a5a'5a5a'5a5a'5a5a);
    out.complete = flow::extract(p, out.fields, out.at, deepest);
    for (std::size_t i = 0; i < flow::key_words; ++i) { // what is not of packets stays
        if (i == 0 || i > 13) {
            EXPECT_EQ(out.fields.words[i], 0x5a5a'5a5a'5a5a'5a5aU) << i;
            out.fields.words[i] = 0;
        }
    }
    return out;
}

TEST(flow_extract, tcp_over_ipv4)
{
    ip_frame shape{.protocol = 6};
    shape.tcp_flags = 0x12;
    frame f = shape.build(false);
    f[46] |= 0x0e; // reserved bits are flags too
    const extracted got = extract(f);
    EXPECT_TRUE(got.complete);
    EXPECT_EQ(got[field::eth_dst], 0x02'00'00'00'00'02U);
    EXPECT_EQ(got[field::eth_src], 0x02'00'00'00'00'01U);
    EXPECT_EQ(got[field::eth_type], 0x0800U);
    EXPECT_EQ(got[field::vlan_tci], 0U);
    EXPECT_EQ(got[field::nw_proto], 6U);
    EXPECT_EQ(got[field::nw_ttl], 64U);
    EXPECT_EQ(got[field::nw_src], get32(f, 26));
    EXPECT_EQ(got[field::nw_dst], get32(f, 30));
    EXPECT_EQ(got[field::nw_frag], 0U);
    EXPECT_EQ(got[field::tp_src], get16(f, 34));
    EXPECT_EQ(got[field::tp_dst], get16(f, 36));
    EXPECT_EQ(got[field::tcp_flags], 0xe12U);
    EXPECT_EQ(got[field::packet_length], f.size());
    EXPECT_EQ(got.at.network, 14);
    EXPECT_EQ(got.at.network_is, network_header::ipv4);
    EXPECT_EQ(got.at.transport, 34);
    EXPECT_EQ(got.at.transport_is, transport_header::tcp);
    EXPECT_EQ(got.at.checksum, 50);
    EXPECT_EQ(got.at.tags, 0);
    EXPECT_FALSE(got.at.fragment);
}

TEST(flow_extract, udp_over_ipv6_behind_extension_headers)
{
    const ip_frame shape{.ipv6 = true, .extensions = {0, 43, 60}, .protocol = 17};
    const frame f = shape.build(false);
    const extracted got = extract(f);
    EXPECT_EQ(got[field::nw_proto], 17U);
    EXPECT_EQ(got[field::ipv6_label], 0x12345U);
    EXPECT_EQ(got.fields.get(field::ipv6_src),
              (wide{std::uint64_t{get32(f, 22)} << 32 | get32(f, 26),
                    std::uint64_t{get32(f, 30)} << 32 | get32(f, 34)}));
    EXPECT_EQ(got[field::tp_src], get16(f, shape.transport()));
    EXPECT_EQ(got.at.network_is, network_header::ipv6);
    EXPECT_EQ(got.at.transport, shape.transport());
    EXPECT_EQ(got.at.checksum, shape.field());
    EXPECT_FALSE(got.at.routed);
    frame routed = f;
    routed[54 + 8 + 3] = 1; // segments left
    EXPECT_TRUE(extract(routed).at.routed);
}

TEST(flow_extract, two_tags_and_the_next_ones_type)
{
    const frame plain = ip_frame{}.build(false);
    const frame one = with_tag(plain, 0x6005);
    extracted got = extract(one);
    EXPECT_EQ(got[field::vlan_tci], 0x7005U);
    EXPECT_EQ(got[field::inner_vlan_tci], 0U);
    EXPECT_EQ(got[field::eth_type], 0x0800U);
    EXPECT_EQ(got.at.network, 18);
    EXPECT_EQ(got.at.tags, 1);
    EXPECT_FALSE(got.at.outer_qinq);
    const frame two = with_tag(one, 0x0007, 0x88a8);
    got = extract(two);
    EXPECT_EQ(got[field::vlan_tci], 0x1007U);
    EXPECT_EQ(got[field::inner_vlan_tci], 0x7005U);
    EXPECT_EQ(got[field::eth_type], 0x0800U);
    EXPECT_EQ(got.at.tags, 2);
    EXPECT_TRUE(got.at.outer_qinq);
    got = extract(with_tag(two, 9));
    EXPECT_EQ(got[field::vlan_tci], 0x1009U);
    EXPECT_EQ(got[field::inner_vlan_tci], 0x1007U);
    EXPECT_EQ(got[field::eth_type], 0x8100U);
    EXPECT_EQ(got[field::nw_src], 0U);
    EXPECT_EQ(got.at.network, 0);
    got = extract(with_tag(plain, 5, 0x9100)); // not a tag to Open vSwitch either
    EXPECT_EQ(got[field::eth_type], 0x9100U);
    EXPECT_EQ(got.at.tags, 0);
    const frame cut{two.begin(), two.begin() + 17}; // no type behind the tag
    got = extract(cut);
    EXPECT_EQ(got[field::vlan_tci], 0U);
    EXPECT_EQ(got[field::eth_type], 0x88a8U);
    EXPECT_TRUE(got.complete);
}

TEST(flow_extract, lengths_in_place_of_a_type)
{
    frame f = make_frame("02:00:00:00:00:02", "02:00:00:00:00:01", 60, 1, 40);
    EXPECT_EQ(extract(f)[field::eth_type], 0x05ffU);
    for (const unsigned type : {0x0806U, 0x05ffU}) {
        const std::uint8_t snap[] = {0xaa,
                                     0xaa,
                                     3,
                                     0,
                                     0,
                                     0,
                                     static_cast<std::uint8_t>(type >> 8),
                                     static_cast<std::uint8_t>(type)};
        std::copy(std::begin(snap), std::end(snap), f.begin() + 14);
        EXPECT_EQ(extract(f)[field::eth_type], type);
    }
    f[20] = 8;
    f[19] = 1; // another organisation
    EXPECT_EQ(extract(f)[field::eth_type], 0x05ffU);
}

TEST(flow_extract, fragments)
{
    frame f = ip_frame{.protocol = 17}.build(false);
    put16(f, 20, 0x2000);
    extracted got = extract(f);
    EXPECT_EQ(got[field::nw_frag], flow::frag_any);
    EXPECT_EQ(got[field::tp_src], get16(f, 34));
    EXPECT_TRUE(got.at.fragment);
    put16(f, 20, 0x0001);
    got = extract(f);
    EXPECT_EQ(got[field::nw_frag], flow::frag_any | flow::frag_later);
    EXPECT_EQ(got[field::tp_src], 0U);
    EXPECT_EQ(got[field::nw_proto], 17U);
    EXPECT_EQ(got.at.transport, 0);
    EXPECT_EQ(got.at.checksum, 0);

    frame v6 = ip_frame{.ipv6 = true, .extensions = {44}, .protocol = 17}.build(false);
    EXPECT_EQ(extract(v6)[field::nw_frag], 0U) << "atomic";
    put16(v6, 56, 1);
    got = extract(v6);
    EXPECT_EQ(got[field::nw_frag], flow::frag_any);
    EXPECT_EQ(got[field::tp_src], get16(v6, 62));
    put16(v6, 56, 0x10);
    got = extract(v6);
    EXPECT_EQ(got[field::nw_frag], flow::frag_any | flow::frag_later);
    EXPECT_EQ(got[field::nw_proto], 44U);
    EXPECT_EQ(got[field::tp_src], 0U);
}

TEST(flow_extract, ip_lengths_bound_what_belongs_to_a_packet)
{
    frame f = ip_frame{.protocol = 17, .payload = 10}.build(false);
    f.resize(60, 0xee);
    EXPECT_EQ(extract(f)[field::tp_src], get16(f, 34)) << "padding is no fault";
    put16(f, 16, 27); // seven bytes of UDP
    extracted got = extract(f);
    EXPECT_EQ(got[field::tp_src], 0U);
    EXPECT_EQ(got[field::nw_proto], 17U);
    EXPECT_TRUE(got.complete);
    put16(f, 16, 47); // longer than the frame
    got = extract(f);
    EXPECT_EQ(got[field::nw_proto], 0U);
    EXPECT_EQ(got[field::nw_src], 0U);
    EXPECT_EQ(got[field::eth_type], 0x0800U);
    EXPECT_EQ(got.at.network, 0);
    put16(f, 16, 19);
    EXPECT_EQ(extract(f)[field::nw_src], 0U);
    f[14] = 0x44;
    put16(f, 16, 46);
    EXPECT_EQ(extract(f)[field::nw_src], 0U) << "a header of 16 bytes";

    frame v6 = ip_frame{.ipv6 = true, .protocol = 17, .payload = 10}.build(false);
    put16(v6, 18, 19); // longer than the frame
    EXPECT_TRUE(extract(v6).fields.get(field::ipv6_src).is_zero());
    put16(v6, 18, 7);
    got = extract(v6);
    EXPECT_FALSE(got.fields.get(field::ipv6_src).is_zero());
    EXPECT_EQ(got[field::tp_src], 0U);
}

TEST(flow_extract, extension_headers_cut_short_leave_the_addresses)
{
    frame f = ip_frame{.ipv6 = true, .extensions = {0, 60}, .protocol = 6}.build(false);
    f[55] = 200; // of 8 bytes: longer than the packet
    const extracted got = extract(f);
    EXPECT_TRUE(got.complete);
    EXPECT_FALSE(got.fields.get(field::ipv6_src).is_zero());
    EXPECT_EQ(got[field::nw_proto], 0U);
    EXPECT_EQ(got[field::nw_ttl], 0U);
    EXPECT_EQ(got[field::ipv6_label], 0U);
    EXPECT_EQ(got.at.network_is, network_header::ipv6_cut);
}

TEST(flow_extract, tcp_headers_that_lie_about_their_length)
{
    frame f = ip_frame{.tcp_options = 0, .payload = 4}.build(false);
    for (const unsigned words : {0U, 4U, 7U, 15U}) { // 20 bytes and 4 are there
        f[46] = static_cast<std::uint8_t>(words << 4);
        const extracted got = extract(f);
        EXPECT_EQ(got[field::tp_src], 0U);
        EXPECT_EQ(got[field::tcp_flags], 0U);
        EXPECT_EQ(got.at.transport_is, transport_header::none);
        EXPECT_EQ(got.at.checksum, 50) << "which covers the addresses all the same";
    }
    f[46] = 0x60;
    EXPECT_EQ(extract(f)[field::tp_src], get16(f, 34));
}

TEST(flow_extract, arp_of_ipv4_on_ethernet_only)
{
    frame f = make_frame("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01", 60, 1, 0x0806);
    put32(f, 14, 0x0001'0800);
    put32(f, 18, 0x0604'0002);
    extracted got = extract(f);
    EXPECT_EQ(got[field::nw_proto], 2U);
    EXPECT_EQ(got[field::nw_src], get32(f, 28));
    EXPECT_EQ(got[field::nw_dst], get32(f, 38));
    EXPECT_EQ(got[field::arp_sha], std::uint64_t{get32(f, 22)} << 16 | get16(f, 26));
    EXPECT_EQ(got[field::arp_tha], std::uint64_t{get32(f, 32)} << 16 | get16(f, 36));
    EXPECT_EQ(got.at.network_is, network_header::arp);
    f[20] = 1; // operation 258
    got = extract(f);
    EXPECT_EQ(got[field::nw_proto], 0U);
    EXPECT_EQ(got[field::nw_src], get32(f, 28));
    for (const std::size_t i : {15U, 17U, 18U, 19U}) {
        frame other = f;
        other[i] ^= 3;
        got = extract(other);
        EXPECT_EQ(got[field::nw_src], 0U) << i;
        EXPECT_EQ(got.at.network_is, network_header::none);
    }
    f.resize(41);
    EXPECT_EQ(extract(f)[field::nw_src], 0U);
}

// A solicitation with these options; addresses count up.
frame solicitation(const std::vector<std::pair<std::uint8_t, std::uint8_t>>& options)
{
    frame f = ip_frame{.ipv6 = true, .protocol = 17, .payload = 0}.build(false);
    f.resize(54);
    f[20] = 58;
    f.insert(f.end(), {135, 0, 0, 0, 0, 0, 0, 0});
    for (std::uint8_t i = 0; i < 16; ++i) {
        f.push_back(i);
    }
    for (const auto& [kind, size] : options) {
        f.push_back(kind);
        f.push_back(size);
        const std::size_t left = size == 0 ? 6 : size * std::size_t{8} - 2;
        for (std::size_t i = 0; i < left; ++i) {
            f.push_back(static_cast<std::uint8_t>(kind * 16 + i));
        }
    }
    put16(f, 18, static_cast<unsigned>(f.size() - 54));
    return f;
}

TEST(flow_extract, neighbour_discovery)
{
    extracted got = extract(solicitation({{14, 1}, {1, 1}, {2, 1}}));
    EXPECT_EQ(got[field::tp_src], 135U);
    EXPECT_EQ(got.fields.get(field::nd_target),
              (wide{0x0001'0203'0405'0607, 0x0809'0a0b'0c0d'0e0f}));
    EXPECT_EQ(got[field::arp_sha], 0x10'11'12'13'14'15U);
    EXPECT_EQ(got[field::arp_tha], 0x20'21'22'23'24'25U);
    EXPECT_EQ(got[field::tcp_flags], 0U);
    EXPECT_EQ(got.at.nd_target, 62);
    EXPECT_EQ(got.at.nd_source_link, 88);
    EXPECT_EQ(got.at.nd_target_link, 96);

    got = extract(solicitation({{1, 1}, {2, 1}, {1, 1}})); // one twice
    EXPECT_TRUE(got.fields.get(field::nd_target).is_zero());
    EXPECT_EQ(got[field::arp_sha], 0U);
    EXPECT_EQ(got[field::arp_tha], 0U);
    EXPECT_EQ(got[field::tp_src], 135U);
    EXPECT_EQ(got.at.nd_target, 0);
    EXPECT_EQ(got.at.nd_source_link, 0);
    EXPECT_EQ(got.at.nd_target_link, 0);

    got = extract(solicitation({{1, 1}, {5, 0}, {2, 1}})); // the second has no end
    EXPECT_EQ(got[field::arp_sha], 0x10'11'12'13'14'15U);
    EXPECT_EQ(got[field::arp_tha], 0U);
    EXPECT_TRUE(got.complete);

    frame advertisement_of_routers = solicitation({{1, 1}});
    advertisement_of_routers[54] = 134;
    got = extract(advertisement_of_routers);
    EXPECT_TRUE(got.fields.get(field::nd_target).is_zero());
    EXPECT_EQ(got[field::arp_sha], 0U);
    EXPECT_EQ(got[field::tp_src], 134U);
}

TEST(flow_extract, says_when_headers_lie_beyond_the_head)
{
    const frame f =
        ip_frame{.ipv6 = true, .extensions = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, .protocol = 6}.build(
            false);
    const extracted got = extract(f, 128); // the tenth ends at 134
    EXPECT_FALSE(got.complete);
    EXPECT_FALSE(got.fields.get(field::ipv6_src).is_zero());
    EXPECT_EQ(got[field::tp_src], 0U);
    EXPECT_TRUE(extract(f, 192).complete);

    // lengthen_head() makes it whole.
    const std::unique_ptr<dataplane::burst> b{new dataplane::burst{}};
    dataplane::packet_slot& p = b->slots[0];
    frame payload = f;
    p.data = p.head.data();
    p.length = static_cast<std::uint32_t>(f.size());
    p.head_length = 128;
    std::memcpy(p.data, f.data(), 128);
    b->segments[0] = {payload.data() + 128, payload.size() - 128};
    p.segments = b->segments.data();
    p.segment_count = 1;
    flow::key k;
    flow::header_layout at;
    EXPECT_FALSE(flow::extract(p, k, at));
    dataplane::lengthen_head(p, *b);
    EXPECT_TRUE(flow::extract(p, k, at));
    EXPECT_EQ(k, read_plainly(f).fields);
}

// However an mbuf chain is cut, little more is read of it than of a guest's packet.
TEST(flow_extract, no_head_is_longer_than_the_longest)
{
    const frame f =
        ip_frame{.ipv6 = true, .extensions = std::vector<std::uint8_t>(20, 60), .protocol = 17}
            .build(false);
    EXPECT_FALSE(extract(f, f.size()).complete);
}

TEST(flow_extract, stops_where_nobody_looks_further)
{
    random_source random{7};
    for (unsigned i = 0; i < 20'000; ++i) {
        const frame f = random_frame(random);
        flow::key all = extract(f).fields;
        const extracted network = extract(f, dataplane::longest_head, depth::network);
        const extracted link = extract(f, dataplane::longest_head, depth::link);
        ASSERT_EQ(network.at.looked_at, depth::network);
        ASSERT_EQ(network.at.transport, 0);
        ASSERT_EQ(link.at.network, 0);
        for (const field deep :
             {field::tp_src, field::tp_dst, field::tcp_flags, field::nd_target}) {
            all.set(deep, 0);
        }
        if (network.at.network_is != network_header::arp) {
            all.set(field::arp_sha, 0);
            all.set(field::arp_tha, 0);
        }
        ASSERT_EQ(network.fields, all) << to_text(f);
        flow::key top;
        for (const field shallow : {field::eth_dst, field::eth_src, field::eth_type,
                                    field::vlan_tci, field::inner_vlan_tci, field::packet_length}) {
            top.set(shallow, all.get(shallow));
        }
        ASSERT_EQ(link.fields, top);
    }
}

TEST(flow_extract, the_depth_of_a_match_is_that_of_its_deepest_field)
{
    const auto of = [](field f) {
        flow::match m;
        m.require(f, 1, 1);
        return flow::depth_to_match(m.mask);
    };
    EXPECT_EQ(flow::depth_to_match({}), depth::link);
    EXPECT_EQ(of(field::reg3), depth::link);
    EXPECT_EQ(of(field::inner_vlan_tci), depth::link);
    EXPECT_EQ(of(field::packet_length), depth::link);
    EXPECT_EQ(of(field::nw_proto), depth::network);
    EXPECT_EQ(of(field::nw_frag), depth::network);
    EXPECT_EQ(of(field::ipv6_dst), depth::network);
    EXPECT_EQ(of(field::tcp_flags), depth::transport);
    EXPECT_EQ(of(field::tp_src), depth::transport);
    EXPECT_EQ(of(field::arp_tha), depth::transport);
}

// Every field of every frame, whole and broken, with heads of any length.
TEST(flow_extract, agrees_with_a_plain_reader)
{
    const unsigned frames = fewer_if(address_sanitizer, 200'000U, 15'000U);
    random_source random{1};
    unsigned incomplete = 0;
    unsigned longer = 0;
    for (unsigned i = 0; i < frames; ++i) {
        const frame f =
            random() % 4 == 0 ? random_frame(random) : damaged(random_frame(random), random);
        const plain_headers plain = read_plainly(f);
        const extracted got = extract(f);
        ASSERT_TRUE(got.complete || f.size() > dataplane::longest_head);
        if (got.complete) {
            ASSERT_EQ(got.fields, plain.fields) << to_text(f);
            ASSERT_EQ(got.at.network, plain.network) << to_text(f);
            ASSERT_EQ(got.at.tags, plain.tags);
        } else {
            ++longer;
        }
        const std::size_t head = random() % (std::min<std::size_t>(f.size(), 192) + 1);
        const extracted part = extract(f, head);
        if (part.complete) {
            ASSERT_EQ(part.fields, got.fields) << head << ' ' << to_text(f);
        } else {
            ASSERT_LT(head, f.size());
            ++incomplete;
        }
    }
    EXPECT_GT(incomplete, frames / 20);
    EXPECT_LT(longer, frames / 100);
}

} // namespace
} // namespace strait::test
