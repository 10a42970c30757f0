// SPDX-License-Identifier: BSD-3-Clause
// Outer headers byte by byte against those that scapy makes, back into what they were made from,
// and each breach of them.
#include "dataplane/tunnel/headers.hh"

#include "dataplane/ip.hh"
#include "dataplane/offload.hh"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace strait::tunnel {
namespace {

using dataplane::packet_slot;
using endpoint::ip_address;
using bytes = std::vector<std::byte>;

bytes from_hex(const std::string& text)
{
    bytes out;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        out.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
    }
    return out;
}
const std::string inner = "02000000000b02000000000a88b5000102030405060708090a0b0c0d0e0f10111213"
                          "1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d";

// A packet whose head lies in a slot.
struct subject {
    explicit subject(const bytes& frame)
    {
        static_cast<dataplane::packet&>(*slot) = {};
        slot->data = slot->head.data();
        std::memcpy(slot->data, frame.data(), frame.size());
        slot->length = static_cast<std::uint32_t>(frame.size());
        slot->head_length = static_cast<std::uint16_t>(frame.size());
    }
    [[nodiscard]] bytes frame() const { return {slot->data, slot->data + slot->length}; }
    std::unique_ptr<packet_slot> slot{new packet_slot};
};

constexpr ip_address a4 = ip_address::v4(0x0a00'0001);
constexpr ip_address b4 = ip_address::v4(0x0a00'0002);
constexpr ip_address a6{0xfd00'0000'0000'0000, 1};
constexpr ip_address b6{0xfd00'0000'0000'0000, 2};

description make(kind what, bool ipv6, std::uint64_t key)
{
    description d;
    d.what = what;
    d.source = ipv6 ? a6 : a4;
    d.destination = ipv6 ? b6 : b4;
    d.source_port = 50000;
    d.destination_port = what == kind::geneve ? geneve_port : vxlan_port;
    d.key = key;
    return d;
}

// What scapy 2.5 makes of the same description, from the outer IP header on.
struct sample {
    const char* name;
    description header;
    std::string outer;
    bytes options{}; // the description's
};

std::vector<sample> samples()
{
    std::vector<sample> all;
    all.push_back({"vxlan", make(kind::vxlan, false, 0x123456),
                   "45000060000040004011268b0a0000010a000002c35012b5004c00000800000012345600"});
    description d = make(kind::vxlan, false, 0x123456);
    d.checksum = true;
    all.push_back({"vxlan with a checksum", d,
                   "45000060000040004011268b0a0000010a000002c35012b5004c1c3c0800000012345600"});
    d = make(kind::vxlan, true, 42);
    d.checksum = true;
    d.traffic_class = 0xb9;
    all.push_back({"vxlan over IPv6", d,
                   "6b900000004c1140fd000000000000000000000000000001fd00000000000000000000000000"
                   "0002c35012b5004c746e0800000000002a00"});
    d = make(kind::vxlan, false, 42);
    d.has_policy = true;
    d.policy_group = 0x1234;
    d.policy_flags = 0x48;
    all.push_back({"vxlan with a group policy", d,
                   "45000060000040004011268b0a0000010a000002c35012b5004c00008848123400002a00"});
    d = make(kind::geneve, false, 7);
    d.oam = true;
    all.push_back(
        {"geneve", d, "45000060000040004011268b0a0000010a000002c35017c1004c00000080655800000700"});
    all.push_back({"geneve with an option", make(kind::geneve, false, 0xabcdef),
                   "4500006c000040004011267f0a0000010a000002c35017c10058000003006558abcdef000102"
                   "01020000000000000000",
                   from_hex("010201020000000000000000")});
    d = make(kind::gre, false, 0);
    d.has_key = false;
    all.push_back({"gre", d, "4500005400004000402f26790a0000010a00000200006558"});
    d = make(kind::gre, false, 0xdeadbeef);
    d.checksum = true;
    d.has_sequence = true;
    d.sequence = 7;
    all.push_back({"gre with all it has", d,
                   "4500006000004000402f266d0a0000010a000002b0006558c4240000deadbeef00000007"});
    all.push_back({"gre over IPv6", make(kind::gre, true, 5),
                   "6000000000442f40fd000000000000000000000000000001fd00000000000000000000000000"
                   "00022000655800000005"});
    all.push_back({"nvgre", make(kind::nvgre, false, 0x123456),
                   "4500005800004000402f26750a0000010a0000022000655812345650"});
    return all;
}

// As a switch reads it: a description, and where the inner frame lies.
fault read(const dataplane::packet& p, kind what, outer_ip& ip, contents& c)
{
    const bool ipv6 = (static_cast<unsigned>(p.data[0]) >> 4) == 6;
    if (const fault f = read_ip(p, 0, ipv6, ip); f != fault::none) {
        return f;
    }
    return over_udp(what) ? read_udp(p, ip, what, c) : read_gre(p, ip, c);
}

TEST(headers, are_those_that_scapy_makes)
{
    for (const sample& s : samples()) {
        SCOPED_TRACE(s.name);
        subject p{from_hex(inner)};
        description d = s.header;
        d.options = s.options;
        push(*p.slot, d);
        EXPECT_EQ(length_of(d) * 2, s.outer.size());
        if (!p.slot->offload.empty()) {
            finish_checksum(*p.slot);
        }
        EXPECT_EQ(p.frame(), from_hex(s.outer + inner));
    }
}

TEST(headers, are_read_back_as_they_were_described)
{
    for (const sample& s : samples()) {
        SCOPED_TRACE(s.name);
        const std::string padding = "0000";
        subject p{from_hex(s.outer + inner + padding)};
        outer_ip ip;
        contents c;
        ASSERT_EQ(read(*p.slot, s.header.what, ip, c), fault::none);
        EXPECT_EQ(ip.source, s.header.source);
        EXPECT_EQ(ip.destination, s.header.destination);
        EXPECT_EQ(ip.hop_limit, 64);
        EXPECT_EQ(ip.traffic_class, s.header.traffic_class);
        const bool nvgre = s.header.what == kind::nvgre;
        EXPECT_EQ(nvgre ? c.header.key >> 8 : c.header.key, s.header.key);
        EXPECT_EQ(c.header.has_key, s.header.has_key);
        EXPECT_EQ(c.header.checksum, s.header.checksum);
        EXPECT_EQ(c.header.has_sequence, s.header.has_sequence);
        EXPECT_EQ(c.header.sequence, s.header.sequence);
        EXPECT_EQ(c.header.oam, s.header.oam);
        EXPECT_EQ(c.header.policy_group, s.header.policy_group);
        EXPECT_EQ(c.header.policy_flags, s.header.policy_flags);
        EXPECT_EQ(bytes(c.header.options.begin(), c.header.options.end()), s.options);
        pop(*p.slot, c);
        EXPECT_EQ(p.frame(), from_hex(inner));
        EXPECT_EQ(p.slot->head_length, p.slot->length);
    }
}

TEST(headers, cut_anywhere_are_not_read)
{
    for (const sample& s : samples()) {
        SCOPED_TRACE(s.name);
        const bytes whole = from_hex(s.outer + inner);
        for (std::size_t size = 1; size < whole.size(); ++size) {
            subject p{{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}};
            outer_ip ip;
            contents c;
            EXPECT_EQ(read(*p.slot, s.header.what, ip, c), fault::truncated) << size;
        }
    }
}

TEST(headers, longer_than_what_is_looked_at_are_not_read)
{
    for (const sample& s : samples()) {
        SCOPED_TRACE(s.name);
        const bytes whole = from_hex(s.outer + inner);
        for (std::size_t head = 0; head < s.outer.size() / 2; ++head) {
            subject p{whole};
            p.slot->head_length = static_cast<std::uint16_t>(head);
            outer_ip ip;
            contents c;
            const bool ipv6 = s.header.ipv6();
            fault f = read_ip(*p.slot, 0, ipv6, ip);
            if (f == fault::none) {
                f = over_udp(s.header.what) ? read_udp(*p.slot, ip, s.header.what, c)
                                            : read_gre(*p.slot, ip, c);
            }
            EXPECT_EQ(f, fault::beyond_head) << head;
        }
    }
}

// One byte changed, and the IPv4 header's checksum with it.
fault with_byte(const sample& s, std::size_t at, unsigned value)
{
    bytes frame = from_hex(s.outer + inner);
    frame[at] = static_cast<std::byte>(value);
    if (!s.header.ipv6()) {
        frame[10] = frame[11] = std::byte{0};
        std::uint32_t sum = 0;
        for (std::size_t i = 0; i < 20; i += 2) {
            sum += static_cast<unsigned>(frame[i]) << 8 | static_cast<unsigned>(frame[i + 1]);
        }
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        frame[10] = static_cast<std::byte>(~sum >> 8);
        frame[11] = static_cast<std::byte>(~sum);
    }
    subject p{frame};
    outer_ip ip;
    contents c;
    if (const fault f = read_ip(*p.slot, 0, s.header.ipv6(), ip); f != fault::none) {
        return f;
    }
    return over_udp(s.header.what) ? read_udp(*p.slot, ip, s.header.what, c)
                                   : read_gre(*p.slot, ip, c);
}

const sample& named(const std::vector<sample>& all, const std::string& name)
{
    for (const sample& s : all) {
        if (name == s.name) {
            return s;
        }
    }
    throw std::runtime_error{"there is no sample " + name};
}

TEST(headers, that_break_their_protocol_are_told)
{
    const auto all = samples();
    const sample& vxlan = named(all, "vxlan");
    EXPECT_EQ(with_byte(vxlan, 0, 0x45), fault::none);
    EXPECT_EQ(with_byte(vxlan, 0, 0x65), fault::version);
    EXPECT_EQ(with_byte(vxlan, 0, 0x44), fault::truncated);
    EXPECT_EQ(with_byte(vxlan, 6, 0x20), fault::fragment);   // more fragments
    EXPECT_EQ(with_byte(vxlan, 7, 0x01), fault::fragment);   // a later one
    EXPECT_EQ(with_byte(vxlan, 25, 0x0f), fault::truncated); // UDP's length
    EXPECT_EQ(with_byte(vxlan, 25, 0xff), fault::truncated);
    EXPECT_EQ(with_byte(vxlan, 28, 0x00), fault::flags); // no VNI
    EXPECT_EQ(with_byte(vxlan, 28, 0x0c), fault::flags); // one that is reserved
    EXPECT_EQ(with_byte(vxlan, 29, 0x01), fault::flags);
    EXPECT_EQ(with_byte(vxlan, 35, 0x01), fault::flags);
    const sample& summed = named(all, "vxlan with a checksum");
    EXPECT_EQ(with_byte(summed, 60, 0xee), fault::checksum);
    const sample& geneve = named(all, "geneve with an option");
    EXPECT_EQ(with_byte(geneve, 28, 0x43), fault::version);
    EXPECT_EQ(with_byte(geneve, 28, 0x3f), fault::options); // beyond the packet
    EXPECT_EQ(with_byte(geneve, 28, 0x02), fault::options); // the option's end is not within
    EXPECT_EQ(with_byte(geneve, 39, 0x1f), fault::options); // nor is this one's
    EXPECT_EQ(with_byte(geneve, 39, 0x00), fault::none);    // three without content
    EXPECT_EQ(with_byte(geneve, 30, 0x08), fault::protocol);
    const sample& gre = named(all, "gre with all it has");
    EXPECT_EQ(with_byte(gre, 20, 0xf0), fault::flags); // routing
    EXPECT_EQ(with_byte(gre, 21, 0x01), fault::version);
    EXPECT_EQ(with_byte(gre, 22, 0x08), fault::protocol);
    EXPECT_EQ(with_byte(gre, 60, 0xee), fault::checksum);
    const sample& six = named(all, "gre over IPv6");
    EXPECT_EQ(with_byte(six, 0, 0x40), fault::version);
    EXPECT_EQ(with_byte(six, 6, 44), fault::fragment);
    EXPECT_EQ(with_byte(six, 5, 0xff), fault::truncated);
}

// Each would have an inner frame of its own.
TEST(headers, of_datagrams_that_are_still_to_be_cut_are_not_read)
{
    const auto all = samples();
    for (const char* const name : {"vxlan", "vxlan with a checksum", "geneve"}) {
        const sample& s = named(all, name);
        const bytes frame = from_hex(s.outer + inner);
        subject p{frame};
        outer_ip ip;
        contents c;
        EXPECT_EQ(read(*p.slot, s.header.what, ip, c), fault::none) << name;
        p.slot->offload.segment_size = 40;
        EXPECT_EQ(read(*p.slot, s.header.what, ip, c), fault::unsegmented) << name;
    }
}

TEST(headers, of_IPv4_have_their_checksum_checked)
{
    bytes frame = from_hex(samples().front().outer + inner);
    frame[10] ^= std::byte{1};
    subject p{frame};
    outer_ip ip;
    EXPECT_EQ(read_ip(*p.slot, 0, false, ip), fault::ip_checksum);
}

TEST(headers, have_no_more_behind_them_than_a_head_holds)
{
    const bytes frame = from_hex(samples().front().outer + inner);
    subject p{frame};
    bytes more(100);
    dataplane::guest_span rest{more.data(), more.size()};
    p.slot->segments = &rest;
    p.slot->segment_count = 1;
    p.slot->length += static_cast<std::uint32_t>(more.size());
    outer_ip ip;
    contents c;
    EXPECT_EQ(read(*p.slot, kind::vxlan, ip, c), fault::trailing);
}

TEST(headers, checksums_are_of_payload_in_pieces_too)
{
    bytes frame = from_hex(inner);
    for (std::size_t head = 20; head < 30; ++head) {
        subject p{{frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(head)}};
        dataplane::guest_span rest{frame.data() + head, frame.size() - head};
        p.slot->segments = &rest;
        p.slot->segment_count = 1;
        p.slot->length = static_cast<std::uint32_t>(frame.size());
        description d = make(kind::gre, false, 1);
        d.checksum = true;
        push(*p.slot, d);
        outer_ip ip;
        contents c;
        EXPECT_EQ(read(*p.slot, kind::gre, ip, c), fault::none) << head;
    }
}

TEST(headers, source_ports_follow_the_inner_flow)
{
    bytes frame = from_hex("02000000000b02000000000a0800"
                           "4500002800004000400600000a0000010a0000020400005000000000");
    const std::uint16_t first = entropy_port(frame);
    EXPECT_GE(first, 0xc000);
    EXPECT_EQ(entropy_port(frame), first);
    frame[22] = std::byte{0x3f}; // the TTL tells no flows apart
    EXPECT_EQ(entropy_port(frame), first);
    std::set<std::uint16_t> ports;
    for (unsigned i = 0; i < 256; ++i) {
        frame[35] = static_cast<std::byte>(i);
        ports.insert(entropy_port(frame));
    }
    EXPECT_GT(ports.size(), 240U);
}

TEST(congestion, is_told_as_RFC_6040_says)
{
    EXPECT_EQ(ecn_out(0xb8, 0x02), 0xba);
    EXPECT_EQ(ecn_out(0xbb, 0x00), 0xb8);
    // Outer by inner; -1: the packet is dropped.
    constexpr int expected[4][4] = {{0, 1, 2, 3}, {0, 1, 1, 3}, {0, 1, 2, 3}, {-1, 3, 3, 3}};
    for (unsigned outer = 0; outer < 4; ++outer) {
        for (unsigned in = 0; in < 4; ++in) {
            const ecn_verdict v =
                ecn_in(static_cast<std::uint8_t>(outer), static_cast<std::uint8_t>(in));
            EXPECT_EQ(v.dropped ? -1 : int{v.ecn}, expected[outer][in]) << outer << in;
        }
    }
}

} // namespace
} // namespace strait::tunnel
