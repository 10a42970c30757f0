// SPDX-License-Identifier: BSD-3-Clause
// Headers changed in place: what becomes of each field and each checksum, with work left undone in
// the packet and without; what cannot be done; and that key and frame say the same afterwards, for
// hundreds of thousands of frames.
#include "tests/soak.hh"
#include "tests/unit/dataplane/flow/header_frames.hh"
#include "tests/unit/sanitizers.hh"

#include "dataplane/flow/rewrite.hh"
#include "dataplane/offload.hh"
#include "dataplane/parse.hh"

#include <gmock/gmock.h>

#include <memory>

namespace strait::test {
namespace {

using dataplane::offload_fault;
using dataplane::segmentation;
using flow::depth;
using flow::field;
using flow::wide;

// A frame's head; what lies behind it cannot be touched, for it is nowhere.
class subject {
public:
    explicit subject(const frame& f, std::size_t head = dataplane::longest_head,
                     depth deepest = depth::transport)
        : rest_(f.begin() + static_cast<std::ptrdiff_t>(std::min(head, f.size())), f.end()),
          nowhere_{reinterpret_cast<void*>(8), rest_.size()}
    {
        head = std::min(head, f.size());
        memory_.reset(new std::byte[dataplane::head_room + head]);
        p_.data = memory_.get() + dataplane::head_room;
        p_.length = static_cast<std::uint32_t>(f.size());
        p_.head_length = static_cast<std::uint16_t>(head);
        std::memcpy(p_.data, f.data(), head);
        p_.segments = &nowhere_;
        p_.segment_count = 1;
        complete_ = flow::extract(p_, key_, at_, deepest);
        p_.tags = at_.tags;
    }
    [[nodiscard]] dataplane::packet& packet() { return p_; }
    [[nodiscard]] flow::header_layout& at() { return at_; }
    [[nodiscard]] const flow::key& fields() const { return key_; }
    [[nodiscard]] bool complete() const { return complete_; }
    [[nodiscard]] bool set(const flow::match& m)
    {
        return flow::set_headers(p_, at_, m.value, m.mask);
    }
    [[nodiscard]] bool set(field f, wide value, wide mask = ~wide{})
    {
        flow::match m;
        m.require(f, value, mask);
        return set(m);
    }
    [[nodiscard]] frame bytes() const
    {
        frame f(p_.head_length);
        std::memcpy(f.data(), p_.data, f.size());
        f.insert(f.end(), rest_.begin(), rest_.end());
        return f;
    }

private:
    std::unique_ptr<std::byte[]> memory_;
    frame rest_;
    dataplane::guest_span nowhere_;
    dataplane::packet p_{};
    flow::key key_;
    flow::header_layout at_;
    bool complete_;
};

const std::vector<field> settable{
    field::eth_dst,  field::eth_src,    field::vlan_tci, field::inner_vlan_tci, field::nw_proto,
    field::nw_tos,   field::nw_ttl,     field::nw_src,   field::nw_dst,         field::ipv6_src,
    field::ipv6_dst, field::ipv6_label, field::tp_src,   field::tp_dst,         field::arp_sha,
    field::arp_tha,  field::nd_target};

// The bits of a field that can be set in this frame.
wide writable(field f, const plain_headers& h)
{
    const bool arp = h.present.contains(field::arp_sha) && h.end == 0;
    if (!h.present.contains(f) || (f == field::nw_proto && !arp) ||
        ((f == field::tp_src || f == field::tp_dst) && h.protocol == 2)) {
        return {};
    }
    if (f == field::vlan_tci || f == field::inner_vlan_tci) {
        return 0xefff;
    }
    const bool icmp = h.protocol == 1 || h.protocol == 58;
    if (icmp && (f == field::tp_src || f == field::tp_dst)) {
        return 0xff;
    }
    return wide::ones(flow::width_of(f));
}

wide random_wide(random_source& random)
{
    return {random(), random()};
}

// Some fields, under masks of all kinds.
flow::match random_change(random_source& random)
{
    flow::match m;
    for (const field f : settable) {
        if (random() % 4 == 0) {
            const wide mask = random() % 2 == 0 ? ~wide{} : random_wide(random);
            m.require(f, random_wide(random), mask);
        }
    }
    return m;
}

TEST(flow_rewrite, the_key_says_what_the_frame_says_and_checksums_stay_as_right_as_they_were)
{
    const unsigned frames = fewer_if(address_sanitizer, 200'000U, 15'000U);
    random_source random{2};
    unsigned changed = 0;
    for (unsigned i = 0; i < frames; ++i) {
        const frame f =
            random() % 2 == 0 ? random_frame(random) : damaged(random_frame(random), random);
        if (f.size() < 14) {
            continue;
        }
        subject s{f};
        if (!s.complete()) {
            continue;
        }
        const plain_headers before = read_plainly(f);
        const flow::match m = random_change(random);
        const bool sctp_fragment =
            before.protocol == 132 && before.fragment &&
            (m.mask.number(field::tp_src) | m.mask.number(field::tp_dst)) != 0;
        ASSERT_EQ(s.set(m), !sctp_fragment) << to_text(f);
        const frame now = s.bytes();
        if (sctp_fragment) {
            ASSERT_EQ(now, f);
            continue;
        }
        flow::key expected = before.fields;
        for (const field each : settable) {
            expected.set(each, m.value.get(each), m.mask.get(each) & writable(each, before));
        }
        plain_headers after = read_plainly(now);
        if (before.protocol == 58 &&
            (before.fields.get(field::tp_src) != after.fields.get(field::tp_src) ||
             before.fields.get(field::tp_dst) != after.fields.get(field::tp_dst))) {
            // Another type of message has other fields.
            for (const field each : {field::nd_target, field::arp_sha, field::arp_tha}) {
                expected.set(each, 0);
                after.fields.set(each, 0);
            }
        }
        ASSERT_EQ(after.fields, expected)
            << to_text(f) << "\nset " << ::testing::PrintToString(m.value) << "\nunder "
            << ::testing::PrintToString(m.mask);
        ASSERT_EQ(faults_of(now, before), faults_of(f, before)) << to_text(f) << '\n'
                                                                << to_text(now);
        changed += now != f ? 1U : 0U;
    }
    EXPECT_GT(changed, frames / 2);
}

// What of a frame may differ is what was set, and checksums.
TEST(flow_rewrite, nothing_else_is_written)
{
    random_source random{3};
    for (unsigned i = 0; i < 20'000; ++i) {
        const frame f = random_frame(random);
        const plain_headers h = read_plainly(f);
        subject s{f};
        const flow::match m = random_change(random);
        const bool arp_beyond_a_key =
            h.present.contains(field::arp_sha) && h.end == 0 && get16(f, h.network + 6) > 0xff;
        if (arp_beyond_a_key || !s.set(m)) {
            continue;
        }
        frame now = s.bytes();
        // Set back, it is what it was.
        subject back{now};
        flow::match original{h.fields, {}};
        for (const field each : settable) {
            original.mask.set(each, m.mask.get(each) & writable(each, h));
        }
        ASSERT_TRUE(flow::set_headers(back.packet(), s.at(), original.value, original.mask));
        frame again = back.bytes();
        if (s.at().checksum != 0) { // 0 and 0xffff are the same number
            const std::size_t at = s.at().checksum;
            if (get16(f, at) == 0xffff && get16(again, at) == 0) {
                put16(again, at, 0xffff);
            }
        }
        ASSERT_EQ(to_text(again), to_text(f)) << ::testing::PrintToString(m.mask);
    }
}

TEST(flow_rewrite, a_udp_checksum_of_0_stays_and_none_becomes_0)
{
    frame f = ip_frame{.protocol = 17, .payload = 10}.build(false);
    put16(f, 40, 0);
    subject none{f};
    ASSERT_TRUE(none.set(field::nw_src, 0x0a000001));
    ASSERT_TRUE(none.set(field::tp_dst, 53));
    EXPECT_EQ(get16(none.bytes(), 40), 0U);

    // A port for which the sum comes to 0, which would say that there is none.
    f = ip_frame{.protocol = 17, .payload = 10}.build(false);
    const unsigned port = (get16(f, 34) + get16(f, 40)) % 0xffff;
    subject s{f};
    ASSERT_TRUE(s.set(field::tp_src, port));
    EXPECT_EQ(get16(s.bytes(), 40), 0xffffU);
    ip_frame same{.protocol = 17, .payload = 10};
    EXPECT_TRUE(same.correct(s.bytes()));
}

// The DEI bit is nowhere in a key: its place says that there is a tag.
TEST(flow_rewrite, tags_keep_their_dei)
{
    const frame plain = ip_frame{}.build(false);
    for (const unsigned dei : {0U, 0x1000U}) {
        subject s{with_tag(with_tag(plain, static_cast<std::uint16_t>(0x2005 | dei)),
                           static_cast<std::uint16_t>(0x4006 | dei), 0x88a8)};
        flow::match m;
        m.require(field::vlan_tci, 0x7123 ^ dei);
        m.require(field::inner_vlan_tci, 0x0456 ^ dei, 0x1fff);
        ASSERT_TRUE(s.set(m));
        EXPECT_EQ(get16(s.bytes(), 14), 0x6123U | dei);
        EXPECT_EQ(get16(s.bytes(), 18), 0x2456U | dei);
    }
}

TEST(flow_rewrite, arp_operations_beyond_a_keys_reach_are_replaced)
{
    frame f = make_frame("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01", 60, 1, 0x0806);
    put32(f, 14, 0x0001'0800);
    put32(f, 18, 0x0604'1234);
    subject s{f};
    EXPECT_EQ(s.fields().number(field::nw_proto), 0U);
    ASSERT_TRUE(s.set(field::nw_proto, 2));
    EXPECT_EQ(get16(s.bytes(), 20), 2U);
}

TEST(flow_rewrite, the_destination_of_a_routed_packet_is_in_no_checksum)
{
    frame f = ip_frame{.ipv6 = true, .extensions = {43}, .protocol = 17}.build(false);
    for (const unsigned left : {0U, 1U}) {
        f[57] = static_cast<std::uint8_t>(left);
        subject s{f};
        const unsigned before = get16(f, 68);
        ASSERT_TRUE(s.set(field::ipv6_dst, wide{0xfd00'0000'0000'0000, 1}));
        EXPECT_EQ(get16(s.bytes(), 68) == before, left > 0);
        ASSERT_TRUE(s.set(field::ipv6_src, wide{0xfd00'0000'0000'0000, 2}));
        EXPECT_NE(get16(s.bytes(), 68), before);
    }
}

// A first fragment has the ports and the checksum of all; later ones have addresses alone.
TEST(flow_rewrite, fragments)
{
    const flow::match m = [] {
        flow::match out;
        out.require(field::nw_src, 0x0a000001);
        out.require(field::tp_src, 1234);
        return out;
    }();
    for (const unsigned place : {0x2000U, 0x2010U}) {
        frame f = ip_frame{.protocol = 6}.build(false);
        put16(f, 20, place);
        put16(f, 24, 0);
        put16(f, 24, 0xffff ^ plain_sum(f, 14, 34));
        subject s{f};
        ASSERT_TRUE(s.set(m));
        const frame now = s.bytes();
        EXPECT_EQ(get32(now, 26), 0x0a000001U);
        EXPECT_EQ(plain_sum(now, 14, 34), 0xffffU);
        const bool first = place == 0x2000;
        EXPECT_EQ(get16(now, 34), first ? 1234U : get16(f, 34));
        EXPECT_EQ(get16(now, 50) != get16(f, 50), first);
    }
}

TEST(flow_rewrite, sctp_of_any_length_keeps_its_crc)
{
    random_source random{4};
    for (const std::size_t payload : {0U, 1U, 4U, 100U, 1400U, 9000U, 60'000U}) {
        frame f = ip_frame{.protocol = 17, .payload = payload + 4}.build(false);
        f[23] = 132;
        put16(f, 24, 0);
        put16(f, 24, 0xffff ^ plain_sum(f, 14, 34));
        put32(f, 42, plain_crc32c(f, 34, f.size()));
        subject s{f}; // most of it cannot be read
        flow::match m;
        m.require(field::tp_src, random() & 0xffff);
        m.require(field::tp_dst, random() & 0xffff);
        m.require(field::nw_dst, random() & 0xffff'ffff);
        ASSERT_TRUE(s.set(m));
        const frame now = s.bytes();
        EXPECT_EQ(get16(now, 34), m.value.number(field::tp_src));
        EXPECT_EQ(get32(now, 42), plain_crc32c(now, 34, now.size())) << payload;
    }
}

TEST(flow_rewrite, refuses_what_would_leave_a_checksum_wrong)
{
    // The TCP header begins behind the head.
    const frame f =
        ip_frame{.ipv6 = true, .extensions = std::vector<std::uint8_t>(10, 60)}.build(false);
    subject s{f, 128};
    ASSERT_FALSE(s.complete());
    EXPECT_FALSE(s.set(field::ipv6_src, 1));
    EXPECT_FALSE(s.set(field::tp_src, 1));
    EXPECT_FALSE(s.set(field::nw_tos, 1));
    EXPECT_EQ(s.bytes(), f);
    EXPECT_TRUE(s.set(field::eth_src, 1)) << "which is in none";
    EXPECT_FALSE(flow::decrement_ttl(s.packet(), s.at()));

    // Nobody looked for it.
    const frame plain = ip_frame{}.build(false);
    subject shallow{plain, 128, depth::link};
    EXPECT_TRUE(shallow.set(field::eth_src, 1));
    EXPECT_FALSE(shallow.set(field::nw_ttl, 1));
    EXPECT_FALSE(flow::decrement_ttl(shallow.packet(), shallow.at()));
    subject deeper{plain, 128, depth::network};
    EXPECT_TRUE(deeper.set(field::nw_ttl, 7));
    EXPECT_FALSE(deeper.set(field::nw_src, 1));
    EXPECT_FALSE(deeper.set(field::tp_src, 1));
    EXPECT_TRUE(flow::decrement_ttl(deeper.packet(), deeper.at()));
    EXPECT_TRUE(ip_frame{}.correct([&] {
        frame now = deeper.bytes();
        EXPECT_EQ(now[22], 6);
        return now;
    }()));
}

TEST(flow_rewrite, the_depth_it_takes_to_set_a_field)
{
    const auto of = [](std::initializer_list<field> fields) {
        flow::match m;
        for (const field f : fields) {
            m.require(f, 1, 1);
        }
        return flow::depth_to_set(m.mask);
    };
    EXPECT_EQ(of({}), depth::link);
    EXPECT_EQ(of({field::eth_dst, field::vlan_tci, field::reg0}), depth::link);
    EXPECT_EQ(of({field::eth_dst, field::nw_ttl}), depth::network);
    EXPECT_EQ(of({field::nw_tos, field::ipv6_label}), depth::network);
    EXPECT_EQ(of({field::nw_src}), depth::transport);
    EXPECT_EQ(of({field::ipv6_dst}), depth::transport);
    EXPECT_EQ(of({field::nw_tos, field::tp_dst}), depth::transport);
}

std::vector<ip_frame> shapes()
{
    std::vector<ip_frame> out;
    for (const bool ipv6 : {false, true}) {
        for (const std::uint8_t protocol : std::array<std::uint8_t, 2>{6, 17}) {
            for (const auto& tags : {std::vector<std::uint16_t>{}, {0x8100}, {0x88a8, 0x8100}}) {
                ip_frame shape{.tags = tags, .ipv6 = ipv6, .protocol = protocol, .payload = 900};
                shape.extensions =
                    ipv6 ? std::vector<std::uint8_t>{0, 60} : std::vector<std::uint8_t>{};
                shape.ip_options = ipv6 ? 0 : 8;
                out.push_back(shape);
            }
        }
    }
    return out;
}

flow::match random_ip_change(random_source& random)
{
    flow::match m;
    for (const field f : {field::nw_src, field::nw_dst, field::ipv6_src, field::ipv6_dst,
                          field::tp_src, field::tp_dst, field::nw_tos, field::nw_ttl}) {
        m.require(f, random_wide(random), random() % 2 == 0 ? ~wide{} : random_wide(random));
    }
    return m;
}

// The sum that is there is the pseudo-header's: of the ports, say, it knows nothing yet.
TEST(flow_rewrite, checksums_left_blank_are_right_when_they_are_filled)
{
    random_source random{5};
    for (unsigned i = 0; i < 500; ++i) {
        for (const ip_frame& shape : shapes()) {
            const frame f = shape.build(true);
            split_packet whole = split_packet::random(f, 150, random);
            dataplane::packet& p = whole.get();
            ASSERT_EQ(infer_offload(p, true, segmentation::none, 0), offload_fault::none);
            flow::key k;
            flow::header_layout at;
            ASSERT_TRUE(flow::extract(p, k, at));
            const flow::match m = random_ip_change(random);
            ASSERT_TRUE(flow::set_headers(p, at, m.value, m.mask));
            ASSERT_TRUE(!flow::insert_tag(p, at, 0x8100, 7) || flow::remove_tag(p, at));
            ASSERT_FALSE(p.offload.empty());
            dataplane::finish_checksum(p);
            ASSERT_TRUE(shape.correct(bytes_of(p)));
            flow::key after;
            flow::extract(p, after, at);
            EXPECT_EQ(after.number(field::tp_dst),
                      (k.number(field::tp_dst) & ~m.mask.number(field::tp_dst)) |
                          m.value.number(field::tp_dst));
        }
    }
}

TEST(flow_rewrite, segments_cut_later_are_right)
{
    random_source random{6};
    const std::unique_ptr<dataplane::burst> cut{new dataplane::burst{}};
    for (unsigned i = 0; i < 100; ++i) {
        for (ip_frame shape : shapes()) {
            if (shape.protocol != 6) {
                continue;
            }
            shape.payload = 3000;
            split_packet whole = split_packet::random(shape.build(true), 150, random);
            dataplane::packet& p = whole.get();
            ASSERT_EQ(infer_offload(p, true,
                                    shape.ipv6 ? segmentation::tcp_ipv6 : segmentation::tcp_ipv4,
                                    1000),
                      offload_fault::none);
            flow::key k;
            flow::header_layout at;
            ASSERT_TRUE(flow::extract(p, k, at));
            const flow::match m = random_ip_change(random);
            ASSERT_TRUE(flow::set_headers(p, at, m.value, m.mask));
            if (flow::insert_tag(p, at, 0x88a8, 7)) {
                shape.tags.push_back(0x88a8);
            }
            cut->clear();
            dataplane::segmenter cutter{p, {}};
            ASSERT_EQ(cutter.cut(*cut, 64), 3U);
            for (const dataplane::packet_slot& segment : cut->packets()) {
                ASSERT_TRUE(shape.correct(bytes_of(segment)));
            }
        }
    }
}

// Where IP's length says that TCP's header is not there, but an intent has its checksum.
TEST(flow_rewrite, a_blank_checksum_is_kept_whatever_ip_says_of_its_length)
{
    const ip_frame shape{.payload = 20};
    frame f = shape.build(true);
    put16(f, 16, 30);
    split_packet whole{f, f.size(), {}};
    dataplane::packet& p = whole.get();
    ASSERT_EQ(infer_offload(p, true, segmentation::none, 0), offload_fault::none);
    flow::key k;
    flow::header_layout at;
    ASSERT_TRUE(flow::extract(p, k, at));
    ASSERT_EQ(at.checksum, 0);
    flow::match m;
    m.require(field::nw_src, 0x0a00'0001);
    ASSERT_TRUE(flow::set_headers(p, at, m.value, m.mask));
    dataplane::finish_checksum(p);
    const frame now = bytes_of(p);
    EXPECT_EQ(ip_frame::pseudo_sum(now, 14, false, 34, 6) % 0xffff,
              (0xffff - plain_sum(now, 34, now.size()) % 0xffff) % 0xffff);
}

TEST(flow_rewrite, ttl_ends_at_1)
{
    for (const ip_frame& shape : shapes()) {
        for (const unsigned ttl : {0U, 1U, 2U, 64U, 255U}) {
            frame f = shape.build(false);
            subject before{f};
            ASSERT_TRUE(before.set(field::nw_ttl, ttl));
            f = before.bytes();
            subject s{f};
            EXPECT_EQ(flow::decrement_ttl(s.packet(), s.at()), ttl > 1);
            const frame now = s.bytes();
            if (ttl <= 1) {
                EXPECT_EQ(now, f);
            }
            EXPECT_EQ(read_plainly(now).fields.number(field::nw_ttl), ttl > 1 ? ttl - 1 : ttl);
            EXPECT_TRUE(shape.correct(now));
        }
    }
    subject other{make_frame("02:00:00:00:00:02", "02:00:00:00:00:01", 60)};
    EXPECT_TRUE(flow::decrement_ttl(other.packet(), other.at()));
}

TEST(flow_rewrite, tags_go_in_and_out_of_frame_layout_and_key)
{
    random_source random{8};
    for (unsigned i = 0; i < 50'000; ++i) {
        const frame f =
            random() % 2 == 0 ? random_frame(random) : damaged(random_frame(random), random);
        if (f.size() < 14 || f.size() > 65'000) {
            continue;
        }
        subject s{f};
        if (!s.complete()) {
            continue;
        }
        const unsigned tags = read_plainly(f).tags;
        flow::key k = s.fields();
        const auto tag = static_cast<std::uint16_t>(random());
        const std::uint16_t type = random() % 2 == 0 ? 0x8100 : 0x88a8;
        const auto agrees = [&] {
            subject again{s.bytes(), s.packet().head_length};
            EXPECT_EQ(std::memcmp(&s.at(), &again.at(), sizeof s.at()), 0);
            return again.fields() == k;
        };
        ASSERT_EQ(flow::insert_tag(s.packet(), s.at(), type, tag), tags < 2);
        if (tags == 2) {
            ASSERT_EQ(s.bytes(), f);
            continue;
        }
        flow::insert_tag(k, tag);
        ASSERT_EQ(to_text(s.bytes()),
                  to_text(with_tag(f, static_cast<std::uint16_t>(tag & 0xefff), type)));
        ASSERT_EQ(s.packet().tags, tags + 1);
        ASSERT_EQ(s.packet().tagged, type == 0x8100 ? 1 : 0);
        ASSERT_TRUE(agrees()) << to_text(f);
        ASSERT_TRUE(s.at().tags < 2 || s.at().outer_qinq == (type == 0x88a8));
        for (unsigned left = tags + 1; left > 0; --left) {
            ASSERT_TRUE(flow::remove_tag(s.packet(), s.at()));
            flow::remove_tag(k);
            ASSERT_TRUE(agrees()) << to_text(f);
            ASSERT_EQ(s.packet().tagged, get16(s.bytes(), 12) == 0x8100 ? 1 : 0);
        }
        ASSERT_FALSE(flow::remove_tag(s.packet(), s.at()));
    }
}

TEST(flow_rewrite, a_third_tag_is_not_pushed)
{
    const frame f = with_tag(with_tag(ip_frame{}.build(false), 5), 6);
    subject s{f};
    EXPECT_FALSE(flow::insert_tag(s.packet(), s.at(), 0x8100, 7));
    EXPECT_EQ(s.bytes(), f);
}

// Behind two tags a key has the third one's type; what is there is no news when one goes.
TEST(flow_rewrite, what_lies_behind_a_third_tag_stays_unknown)
{
    subject s{with_tag(with_tag(with_tag(ip_frame{}.build(false), 5), 6), 7)};
    flow::key k = s.fields();
    ASSERT_TRUE(flow::remove_tag(s.packet(), s.at()));
    flow::remove_tag(k);
    EXPECT_EQ(k.number(field::vlan_tci), 0x1006U);
    EXPECT_EQ(k.number(field::inner_vlan_tci), 0U);
    EXPECT_EQ(k.number(field::eth_type), 0x8100U);
    EXPECT_EQ(s.at().tags, 1);
    ASSERT_TRUE(flow::remove_tag(s.packet(), s.at()));
    EXPECT_EQ(s.at().tags, 0);
    EXPECT_EQ(s.packet().tags, 1) << "though the frame has one, as its ports must know";
    EXPECT_EQ(s.packet().tagged, 1);
}

} // namespace
} // namespace strait::test
