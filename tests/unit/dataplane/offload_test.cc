// SPDX-License-Identifier: BSD-3-Clause
// Offloads: what is inferred and what is refused, hostile claims, checksums and segments against
// plain references, against DPDK's own segmentation and against the kernel's.
#include "tests/unit/dataplane/ip_frame.hh"

#include "dataplane/file_descriptor.hh"
#include "dataplane/offload.hh"
#include "dataplane/parse.hh"

#include <rte_ethdev.h>
#include <rte_gso.h>
#include <rte_ip.h>

#include <gmock/gmock.h>

#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include <cstdio>
#include <random>
#include <thread>

namespace strait::test {
namespace {

using dataplane::burst;
using dataplane::offload_fault;
using dataplane::offload_intent;
using dataplane::offloads;
using dataplane::segmentation;
using dataplane::virtio_offload;

constexpr offloads both_checksums = offloads::checksum_ipv4 | offloads::checksum_ipv6;
constexpr offloads everything = dataplane::all_offloads;
constexpr offloads all_but_ecn =
    both_checksums | offloads::segmentation_ipv4 | offloads::segmentation_ipv6;
constexpr offloads all_of_udp =
    both_checksums | offloads::udp_segmentation_ipv4 | offloads::udp_segmentation_ipv6;

static_assert(dataplane::contains(everything, both_checksums));
static_assert(!dataplane::contains(both_checksums, everything));
static_assert(dataplane::contains(offloads{}, offloads::none));

segmentation kind_of(const ip_frame& f)
{
    if (f.protocol == 17) {
        return segmentation::udp;
    }
    return f.ipv6 ? segmentation::tcp_ipv6 : segmentation::tcp_ipv4;
}

// Shapes that headers come in.
std::vector<ip_frame> shapes()
{
    std::vector<ip_frame> all;
    for (const std::vector<std::uint16_t>& tags :
         {std::vector<std::uint16_t>{}, {0x8100}, {0x88a8, 0x8100}}) {
        for (const std::uint8_t protocol : std::array<std::uint8_t, 2>{6, 17}) {
            all.push_back({.tags = tags, .protocol = protocol});
            all.push_back({.tags = tags, .ip_options = 8, .protocol = protocol});
            all.push_back({.tags = tags, .ipv6 = true, .protocol = protocol});
            all.push_back(
                {.tags = tags, .ipv6 = true, .extensions = {0, 43, 60}, .protocol = protocol});
        }
    }
    return all;
}

split_packet as_guest(const frame& f)
{
    const std::size_t head = std::min(f.size(), dataplane::head_copy);
    return {f, head,
            f.size() > head ? std::vector<std::size_t>{f.size() - head}
                            : std::vector<std::size_t>{}};
}

// All segments of a packet, as frames; those with a checksum left are finished in a second step.
std::vector<frame> cut(const dataplane::packet& p, offloads taken, std::size_t most = 64)
{
    static const std::unique_ptr<burst> scratch{new burst};
    std::vector<frame> out;
    for (dataplane::segmenter s{p, taken}; !s.done();) {
        scratch->clear();
        const std::size_t made = s.cut(*scratch, most);
        EXPECT_GT(made, 0U);
        EXPECT_LE(made, most);
        EXPECT_EQ(made, scratch->count);
        for (dataplane::packet_slot& segment : scratch->packets()) {
            EXPECT_EQ(segment.offload.empty(), !contains(taken, both_checksums));
            EXPECT_EQ(segment.offload.segment_size, 0);
            EXPECT_FALSE(dataplane::needs_work(segment, taken));
            if (!segment.offload.empty()) {
                dataplane::finish_checksum(segment);
            }
            out.push_back(bytes_of(segment));
        }
    }
    return out;
}

TEST(offload, infers_where_the_checksum_is)
{
    for (const ip_frame& shape : shapes()) {
        const frame f = shape.build(true);
        split_packet p = as_guest(f);
        ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::none, 0),
                  offload_fault::none);
        const offload_intent& got = p.get().offload;
        EXPECT_EQ(got.network_start, shape.network());
        EXPECT_EQ(got.checksum_start, shape.transport());
        EXPECT_EQ(got.checksum_start + got.checksum_offset, shape.field());
        EXPECT_EQ(got.header_length, shape.header_length());
        EXPECT_EQ(got.segment_size, 0);
        EXPECT_EQ(got.required, shape.ipv6 ? offloads::checksum_ipv6 : offloads::checksum_ipv4);
        EXPECT_TRUE(dataplane::needs_work(p.get(), {}));
        EXPECT_FALSE(dataplane::needs_work(p.get(), both_checksums));
        EXPECT_EQ(bytes_of(p.get()), f) << "nothing is written";

        ASSERT_EQ(dataplane::infer_offload(p.get(), false, segmentation::none, 0),
                  offload_fault::none);
        EXPECT_TRUE(p.get().offload.empty());
        EXPECT_FALSE(dataplane::needs_work(p.get(), {}));
    }
}

TEST(offload, infers_segments)
{
    for (ip_frame shape : shapes()) {
        shape.payload = 4000;
        split_packet p = as_guest(shape.build(true));
        const segmentation of_tcp = shape.ipv6 ? segmentation::tcp_ipv6 : segmentation::tcp_ipv4;
        const bool udp = shape.protocol == 17;
        EXPECT_EQ(dataplane::infer_offload(p.get(), true, udp ? of_tcp : segmentation::udp, 1000),
                  offload_fault::protocol);
        EXPECT_TRUE(p.get().offload.empty());
        ASSERT_EQ(dataplane::infer_offload(p.get(), true, kind_of(shape), 1000),
                  offload_fault::none);
        EXPECT_EQ(p.get().offload.segment_size, 1000);
        EXPECT_EQ(dataplane::segmentation_of(p.get().offload), kind_of(shape));
        EXPECT_FALSE(dataplane::needs_work(p.get(), everything));
        EXPECT_TRUE(dataplane::needs_work(p.get(), both_checksums));
        EXPECT_TRUE(dataplane::needs_work(p.get(), dataplane::all_segmentation));
        EXPECT_TRUE(dataplane::needs_work(p.get(), udp ? all_but_ecn : all_of_udp));
        EXPECT_FALSE(dataplane::needs_work(p.get(), udp ? all_of_udp : all_but_ecn));
        EXPECT_TRUE(dataplane::needs_work(
            p.get(),
            both_checksums |
                (shape.ipv6 ? offloads::segmentation_ipv4 | offloads::udp_segmentation_ipv4
                            : offloads::segmentation_ipv6 | offloads::udp_segmentation_ipv6)));
        if (udp) {
            continue; // whose kind is of both versions
        }
        EXPECT_EQ(
            dataplane::infer_offload(
                p.get(), true, shape.ipv6 ? segmentation::tcp_ipv4 : segmentation::tcp_ipv6, 1000),
            offload_fault::version);
        EXPECT_TRUE(p.get().offload.empty());
    }
}

// Who copies CWR to every segment answers one congestion many times: RFC 3168, 6.1.2.
TEST(offload, segments_with_cwr_are_for_those_who_know_of_it)
{
    for (ip_frame shape : shapes()) {
        if (shape.protocol == 17) {
            continue;
        }
        shape.payload = 4000;
        for (const unsigned flags : {0x10U, 0x90U, 0xd0U, 0x50U}) {
            shape.tcp_flags = static_cast<std::uint8_t>(flags);
            const bool cwr = (flags & 0x80) != 0;
            split_packet p = as_guest(shape.build(true));
            ASSERT_EQ(dataplane::infer_offload(p.get(), true, kind_of(shape), 1000),
                      offload_fault::none);
            EXPECT_EQ(contains(p.get().offload.required, offloads::segmentation_ecn), cwr);
            EXPECT_EQ(dataplane::needs_work(p.get(), all_but_ecn), cwr);
            EXPECT_FALSE(dataplane::needs_work(p.get(), everything));
            // Of one segment, there is nothing to get wrong.
            ASSERT_EQ(dataplane::infer_offload(p.get(), true, kind_of(shape), 4000),
                      offload_fault::none);
            EXPECT_FALSE(dataplane::needs_work(p.get(), both_checksums));
        }
    }
}

TEST(offload, segments_of_a_frame_with_a_checksum_make_it_blank)
{
    for (ip_frame shape : shapes()) {
        shape.payload = 3001;
        split_packet p = as_guest(shape.build(false));
        ASSERT_EQ(dataplane::infer_offload(p.get(), false, kind_of(shape), 1000),
                  offload_fault::none);
        EXPECT_EQ(bytes_of(p.get()), shape.build(true));
        EXPECT_EQ(p.get().offload.checksum_start, shape.transport());
    }
}

TEST(offload, payload_of_one_segment_is_not_cut)
{
    const ip_frame shape{.payload = 1000};
    split_packet p = as_guest(shape.build(true));
    ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::tcp_ipv4, 1000),
              offload_fault::none);
    EXPECT_EQ(p.get().offload.segment_size, 0);
    EXPECT_EQ(p.get().offload.required, offloads::checksum_ipv4);
    split_packet q = as_guest(shape.build(false));
    ASSERT_EQ(dataplane::infer_offload(q.get(), false, segmentation::tcp_ipv4, 0xffff),
              offload_fault::none);
    EXPECT_TRUE(q.get().offload.empty());
    EXPECT_EQ(bytes_of(q.get()), shape.build(false));
}

TEST(offload, says_why_not)
{
    const auto infer = [](const frame& f, segmentation kind = segmentation::none,
                          std::uint16_t size = 0, std::size_t head = dataplane::head_copy) {
        head = std::min(head, f.size());
        split_packet p{f, head,
                       f.size() > head ? std::vector<std::size_t>{f.size() - head}
                                       : std::vector<std::size_t>{}};
        p.get().offload.required = everything;
        const offload_fault fault = dataplane::infer_offload(p.get(), true, kind, size);
        EXPECT_EQ(p.get().offload.empty(), fault != offload_fault::none);
        return fault;
    };
    const ip_frame v4{.payload = 3000};
    const ip_frame v6{.ipv6 = true, .payload = 3000};
    for (const ip_frame& shape : shapes()) {
        const frame f = shape.build(true);
        for (std::size_t n = 0; n < shape.header_length(); ++n) {
            const auto end = f.begin() + static_cast<std::ptrdiff_t>(n);
            EXPECT_EQ(infer({f.begin(), end}), offload_fault::truncated) << n;
            EXPECT_EQ(infer(f, segmentation::none, 0, n), offload_fault::beyond_head) << n;
        }
    }
    const auto changed = [](const ip_frame& shape, std::size_t at, unsigned value) {
        frame f = shape.build(true);
        f.at(at) = static_cast<std::uint8_t>(value);
        return f;
    };
    EXPECT_EQ(infer(changed(v4, 13, 6)), offload_fault::protocol) << "ARP";
    EXPECT_EQ(infer(changed(v4, 14, 0x44)), offload_fault::protocol) << "header of 16 bytes";
    EXPECT_EQ(infer(changed(v4, 14, 0x65)), offload_fault::protocol) << "version 6";
    EXPECT_EQ(infer(changed(v6, 14, 0x40)), offload_fault::protocol) << "version 4";
    EXPECT_EQ(infer(changed(v4, 23, 47)), offload_fault::protocol) << "GRE";
    EXPECT_EQ(infer(changed(v6, 20, 51)), offload_fault::protocol) << "AH";
    EXPECT_EQ(infer(changed(v4, 20, 0x20)), offload_fault::fragment) << "more fragments";
    EXPECT_EQ(infer(changed(v4, 21, 1)), offload_fault::fragment) << "an offset";
    EXPECT_EQ(infer(changed(v6, 20, 44)), offload_fault::fragment);
    EXPECT_EQ(infer(changed(v4, 34 + 12, 0x40)), offload_fault::protocol) << "TCP of 16 bytes";
    frame endless = changed(v6, 20, 60);
    put16(endless, 54, 60 << 8 | 255);
    EXPECT_EQ(infer(endless), offload_fault::beyond_head);
    EXPECT_EQ(infer(ip_frame{.tags = {0x8100, 0x8100, 0x8100}}.build(true)),
              offload_fault::protocol);
    EXPECT_EQ(
        infer(ip_frame{.ipv6 = true, .extensions = std::vector<std::uint8_t>(12, 60)}.build(true),
              segmentation::none, 0, 200),
        offload_fault::beyond_head)
        << "more than a segment's head has room for";

    for (const std::uint16_t size : std::array<std::uint16_t, 3>{0, 1, 7}) {
        EXPECT_EQ(infer(v4.build(true), segmentation::tcp_ipv4, size), offload_fault::segment_size);
    }
    EXPECT_EQ(infer(v4.build(true), segmentation::tcp_ipv4, 11), offload_fault::too_many_segments);
    EXPECT_EQ(infer(v4.build(true), segmentation::tcp_ipv4, 12), offload_fault::none);
    ip_frame small = v4;
    small.payload = 256 * 8;
    EXPECT_EQ(infer(small.build(true), segmentation::tcp_ipv4, 8), offload_fault::none);
    small.payload = 256 * 8 + 1;
    EXPECT_EQ(infer(small.build(true), segmentation::tcp_ipv4, 8),
              offload_fault::too_many_segments);

    // Programs send datagrams as small as they like.
    ip_frame datagrams{.protocol = 17, .payload = 256};
    EXPECT_EQ(infer(datagrams.build(true), segmentation::udp, 0), offload_fault::segment_size);
    EXPECT_EQ(infer(datagrams.build(true), segmentation::udp, 1), offload_fault::none);
    datagrams.payload = 257;
    EXPECT_EQ(infer(datagrams.build(true), segmentation::udp, 1), offload_fault::too_many_segments);
    EXPECT_EQ(infer(v4.build(true), segmentation::udp, 1000), offload_fault::protocol);
    EXPECT_EQ(infer(v6.build(true), segmentation::udp, 1000), offload_fault::protocol);
    for (const std::size_t at : {20U, 21U}) {
        EXPECT_EQ(infer(changed(datagrams, at, 1), segmentation::udp, 100),
                  offload_fault::fragment);
    }

    // Where the sum's last address is not in the header, nobody can write it.
    ip_frame routed{.ipv6 = true, .extensions = {43}, .payload = 3000};
    frame f = routed.build(false);
    f.at(routed.network() + 43) = 1; // one segment left
    split_packet p = as_guest(f);
    EXPECT_EQ(dataplane::infer_offload(p.get(), false, segmentation::tcp_ipv6, 1000),
              offload_fault::protocol);
    EXPECT_EQ(dataplane::infer_offload(p.get(), true, segmentation::tcp_ipv6, 1000),
              offload_fault::none);
}

TEST(offload, each_fault_has_its_words)
{
    std::vector<std::string_view> seen;
    for (unsigned i = 0; i <= static_cast<unsigned>(offload_fault::kind); ++i) {
        const std::string_view text = to_string(static_cast<offload_fault>(i));
        EXPECT_THAT(seen, ::testing::Not(::testing::Contains(text)));
        seen.push_back(text);
    }
}

TEST(offload, virtio_claims_that_the_headers_bear_out)
{
    for (ip_frame shape : shapes()) {
        shape.payload = 3000;
        split_packet p = as_guest(shape.build(true));
        virtio_offload claim{.flags = virtio_offload::needs_checksum | 0xf0,
                             .gso_type = virtio_offload::gso_none,
                             .header_length = static_cast<std::uint16_t>(shape.size()),
                             .gso_size = 0,
                             .checksum_start = static_cast<std::uint16_t>(shape.transport()),
                             .checksum_offset =
                                 static_cast<std::uint16_t>(shape.field() - shape.transport())};
        ASSERT_EQ(dataplane::checked_intent(p.get(), claim, both_checksums), offload_fault::none);
        EXPECT_EQ(p.get().offload.checksum_start, shape.transport());
        EXPECT_EQ(p.get().offload.checksum_offset, claim.checksum_offset);
        EXPECT_EQ(p.get().offload.header_length, shape.header_length());
        if (shape.protocol == 17) {
            claim.gso_type = virtio_offload::gso_udp;
            claim.gso_size = 1448;
            ASSERT_EQ(dataplane::checked_intent(p.get(), claim, all_of_udp), offload_fault::none);
            EXPECT_EQ(p.get().offload.segment_size, 1448);
            EXPECT_EQ(p.get().offload.required,
                      shape.ipv6 ? offloads::checksum_ipv6 | offloads::udp_segmentation_ipv6
                                 : offloads::checksum_ipv4 | offloads::udp_segmentation_ipv4);
            claim.gso_size = 3000;
            ASSERT_EQ(dataplane::checked_intent(p.get(), claim, all_of_udp), offload_fault::none);
            EXPECT_EQ(p.get().offload.segment_size, 0);
        } else {
            for (const unsigned ecn : {0U, 0x80U}) {
                claim.gso_type = static_cast<std::uint8_t>((shape.ipv6 ? 4U : 1U) | ecn);
                claim.gso_size = 1448;
                const auto of_version =
                    both_checksums |
                    (shape.ipv6 ? offloads::segmentation_ipv6 : offloads::segmentation_ipv4) |
                    (ecn != 0 ? offloads::segmentation_ecn : offloads::none);
                ASSERT_EQ(dataplane::checked_intent(p.get(), claim, of_version),
                          offload_fault::none);
                EXPECT_EQ(p.get().offload.segment_size, 1448);
                // The header says what CWR is there, not the claim.
                EXPECT_FALSE(contains(p.get().offload.required, offloads::segmentation_ecn));
                // Linux takes a size that makes one segment for none: the frame stays whole.
                claim.gso_size = 65535;
                ASSERT_EQ(dataplane::checked_intent(p.get(), claim, of_version),
                          offload_fault::none);
                EXPECT_EQ(p.get().offload.segment_size, 0);
                EXPECT_EQ(p.get().offload.checksum_start, shape.transport());
            }
        }
        // That its checksum was verified is what old drivers say of frames that they forward.
        claim = {2, 0, 0, 0, 0, 0};
        ASSERT_EQ(dataplane::checked_intent(p.get(), claim, offloads::none), offload_fault::none);
        EXPECT_TRUE(p.get().offload.empty());
    }
}

TEST(offload, virtio_claims_that_lie)
{
    const ip_frame shape{.payload = 3000};
    const auto check = [&](virtio_offload claim, offloads negotiated = everything) {
        const frame f = shape.build(true);
        split_packet p = as_guest(f);
        const offload_fault fault = dataplane::checked_intent(p.get(), claim, negotiated);
        EXPECT_TRUE(p.get().offload.empty());
        EXPECT_EQ(bytes_of(p.get()), f);
        return fault;
    };
    for (const unsigned type : {2U, 3U, 6U, 0x80U, 0x83U, 0x85U, 0x7fU, 0xffU}) {
        EXPECT_EQ(check({1, static_cast<std::uint8_t>(type), 66, 1000, 34, 16}),
                  offload_fault::kind);
    }
    EXPECT_EQ(check({1, 4, 66, 1000, 34, 16}), offload_fault::version);
    EXPECT_EQ(check({1, 5, 66, 1000, 34, 16}), offload_fault::protocol);
    EXPECT_EQ(check({1, 5, 66, 1000, 34, 6}), offload_fault::place);
    EXPECT_EQ(check({1, 1, 66, 0, 34, 16}), offload_fault::segment_size);
    EXPECT_EQ(check({1, 1, 66, 1, 34, 16}), offload_fault::segment_size);
    EXPECT_EQ(check({1, 1, 66, 8, 34, 16}), offload_fault::too_many_segments);
    EXPECT_EQ(check({1, 1, 66, 1000, 33, 16}), offload_fault::place);
    EXPECT_EQ(check({1, 1, 66, 1000, 34, 6}), offload_fault::place);
    EXPECT_EQ(check({0, 1, 66, 1000, 34, 16}), offload_fault::complete);
    EXPECT_EQ(check({2, 4, 66, 1000, 34, 16}), offload_fault::complete);
    EXPECT_EQ(check({1, 1, 3067, 1000, 34, 16}), offload_fault::header_length);
    EXPECT_EQ(check({1, 0, 0xffff, 0, 34, 16}), offload_fault::header_length);
    EXPECT_EQ(check({1, 0, 0, 0, 0, 16}), offload_fault::place);
    EXPECT_EQ(check({1, 0, 0, 0, 12, 2}), offload_fault::place) << "in the Ethernet header";
    EXPECT_EQ(check({1, 0, 0, 0, 34, 17}), offload_fault::place) << "odd";
    EXPECT_EQ(check({1, 0, 0, 0, 34, 94}), offload_fault::beyond_head);
    EXPECT_EQ(check({1, 0, 0, 0, 3034, 30}), offload_fault::beyond_head) << "the last two bytes";
    EXPECT_EQ(check({1, 0, 0, 0, 3035, 30}), offload_fault::place) << "one byte too far";
    EXPECT_EQ(check({1, 0, 0, 0, 0xffff, 0xffff}), offload_fault::place);
    EXPECT_EQ(check({1, 0, 0, 0, 0xfff0, 0x10}), offload_fault::place);

    constexpr offloads only_ipv6 = both_checksums | offloads::segmentation_ipv6;
    EXPECT_EQ(check({1, 1, 66, 1000, 34, 16}, only_ipv6), offload_fault::not_negotiated);
    EXPECT_EQ(check({1, 4, 66, 1000, 34, 16}, only_ipv6), offload_fault::version);
    EXPECT_EQ(check({1, 0x81, 66, 1000, 34, 16}, all_but_ecn), offload_fault::not_negotiated);
    EXPECT_EQ(check({1, 0, 0, 0, 34, 16}, {}), offload_fault::not_negotiated);
}

TEST(offload, virtio_claims_of_datagrams_that_lie)
{
    const ip_frame shape{.protocol = 17, .payload = 3000};
    const auto check = [](const frame& f, virtio_offload claim, offloads negotiated = everything) {
        split_packet p = as_guest(f);
        const offload_fault fault = dataplane::checked_intent(p.get(), claim, negotiated);
        EXPECT_EQ(p.get().offload.empty(), fault != offload_fault::none);
        EXPECT_EQ(bytes_of(p.get()), f);
        return fault;
    };
    const frame f = shape.build(true);
    EXPECT_EQ(check(f, {1, 5, 42, 1000, 34, 6}), offload_fault::none);
    EXPECT_EQ(check(f, {1, 5, 42, 0, 34, 6}), offload_fault::segment_size);
    EXPECT_EQ(check(f, {1, 5, 42, 11, 34, 6}), offload_fault::too_many_segments);
    EXPECT_EQ(check(f, {1, 5, 42, 12, 34, 6}), offload_fault::none);
    EXPECT_EQ(check(f, {1, 5, 42, 1000, 35, 6}), offload_fault::place);
    EXPECT_EQ(check(f, {1, 5, 42, 1000, 34, 16}), offload_fault::place) << "TCP's";
    EXPECT_EQ(check(f, {1, 5, 42, 1000, 0xffff, 0xffff}), offload_fault::place);
    EXPECT_EQ(check(f, {0, 5, 42, 1000, 34, 6}), offload_fault::complete);
    EXPECT_EQ(check(f, {2, 5, 42, 1000, 34, 6}), offload_fault::complete);
    EXPECT_EQ(check(f, {1, 5, 3043, 1000, 34, 6}), offload_fault::header_length);
    EXPECT_EQ(check(f, {1, 0x85, 42, 1000, 34, 6}), offload_fault::kind) << "ECN is TCP's";
    EXPECT_EQ(check(f, {1, 3, 42, 1000, 34, 6}), offload_fault::kind) << "fragments";
    EXPECT_EQ(check(f, {1, 1, 42, 1000, 34, 6}), offload_fault::protocol) << "segments of TCP";
    EXPECT_EQ(check(f, {1, 5, 42, 1000, 34, 6}, all_but_ecn), offload_fault::not_negotiated);
    EXPECT_EQ(check(f, {1, 5, 42, 1000, 34, 6}, {}), offload_fault::not_negotiated);
    for (const std::size_t size : {34U, 35U, 41U}) {
        EXPECT_EQ(check({f.begin(), f.begin() + static_cast<std::ptrdiff_t>(size)},
                        {1, 5, 0, 1000, 34, 6}),
                  offload_fault::truncated);
    }
    frame first = f;
    put16(first, 20, 0x2000);
    EXPECT_EQ(check(first, {1, 5, 42, 1000, 34, 6}), offload_fault::fragment);
}

TEST(offload, a_checksum_elsewhere_in_the_head_is_filled_at_once)
{
    // An inner checksum, 8 bytes into UDP's payload.
    const ip_frame shape{.protocol = 17, .payload = 777};
    frame f = shape.build(true);
    const std::size_t start = shape.header_length() + 8;
    put16(f, start + 4, 0x1234);
    split_packet p = as_guest(f);
    ASSERT_EQ(dataplane::checked_intent(p.get(), {1, 0, 0, 0, static_cast<std::uint16_t>(start), 4},
                                        both_checksums),
              offload_fault::none);
    EXPECT_TRUE(p.get().offload.empty());
    put16(f, start + 4, 0xffff ^ plain_sum(f, start, f.size()));
    EXPECT_EQ(bytes_of(p.get()), f);
}

// Whatever a guest sends and claims: what passes points into the head, and can be done.
TEST(offload, hostile_frames_and_claims)
{
    std::mt19937 random{20261123};
    const std::vector<ip_frame> all = shapes();
    std::size_t passed = 0;
    std::size_t datagrams = 0;
    for (unsigned round = 0; round < 60'000; ++round) {
        ip_frame shape = all[random() % all.size()];
        shape.payload = random() % 300;
        frame f = shape.build(random() % 2 == 0);
        for (unsigned i = random() % 4; i > 0; --i) {
            f[12 + random() % std::min<std::size_t>(f.size() - 12, 90)] =
                static_cast<std::uint8_t>(random());
        }
        f.resize(random() % 3 == 0 ? 14 + random() % (f.size() - 13) : f.size());
        const std::size_t head = std::min<std::size_t>(f.size(), 14 + random() % 200);
        split_packet p = split_packet::random(f, head, random);
        const auto near = [&](std::size_t right) {
            return static_cast<std::uint16_t>(random() % 4 == 0 ? random() : right);
        };
        offload_fault fault{};
        if (random() % 2 == 0) {
            fault = dataplane::checked_intent(
                p.get(),
                {.flags = static_cast<std::uint8_t>(random()),
                 .gso_type =
                     static_cast<std::uint8_t>(random() % 4 == 0 ? random()
                                                                 : random() % 2 *
                                                                       (shape.protocol == 17 ? 5U
                                                                        : shape.ipv6         ? 4U
                                                                                             : 1U)),
                 .header_length = near(random() % 100),
                 .gso_size = near(random() % 100),
                 .checksum_start = near(shape.transport()),
                 .checksum_offset = near(shape.field() - shape.transport())},
                random() % 2 == 0 ? everything : static_cast<offloads>(random() % 128));
        } else {
            fault = dataplane::infer_offload(p.get(), random() % 2 == 0,
                                             static_cast<segmentation>(random() % 4),
                                             near(random() % 100));
        }
        dataplane::packet& q = p.get();
        const offload_intent todo = q.offload;
        if (fault != offload_fault::none) {
            ASSERT_TRUE(todo.empty());
            continue;
        }
        if (todo.empty()) {
            ASSERT_EQ(todo.checksum_start, 0);
            ASSERT_EQ(todo.segment_size, 0);
            continue;
        }
        ++passed;
        ASSERT_GE(todo.network_start, 14);
        ASSERT_LE(todo.network_start, 22);
        ASSERT_GE(todo.checksum_start, todo.network_start + 20);
        ASSERT_LE(todo.checksum_start + todo.checksum_offset + 2, todo.header_length);
        ASSERT_LE(todo.header_length, q.head_length);
        ASSERT_LE(todo.header_length, q.length);
        // What rte_mbuf has room for: 7, 9 and 8 bits.
        ASSERT_LT(todo.checksum_start - todo.network_start, 512);
        ASSERT_LT(todo.header_length - todo.checksum_start, 256);
        if (todo.segment_size == 0) {
            dataplane::finish_checksum(q);
            ASSERT_TRUE(q.offload.empty());
        } else {
            const bool udp = dataplane::segmentation_of(todo) == segmentation::udp;
            ASSERT_EQ(udp, !dataplane::is_tcp(todo));
            ASSERT_GE(todo.segment_size, udp ? 1 : dataplane::min_segment_size);
            datagrams += udp ? 1U : 0U;
            const std::vector<frame> segments = cut(q, {});
            ASSERT_LE(segments.size(), dataplane::max_segments_of_packet);
            ASSERT_GE(segments.size(), 2U);
        }
    }
    EXPECT_GT(passed, 5'000U) << "the test must not only see refusals";
    EXPECT_GT(datagrams, 300U);
}

TEST(offload, checksums_are_those_of_a_plain_sum)
{
    std::mt19937 random{7};
    const std::vector<ip_frame> all = shapes();
    for (unsigned round = 0; round < 4000; ++round) {
        ip_frame shape = all[random() % all.size()];
        shape.payload = random() % 4 == 0   ? random() % 40
                        : random() % 4 == 0 ? random() % 65'000
                                            : random() % 3000;
        shape.seed = static_cast<std::uint8_t>(random());
        const frame f = shape.build(true);
        const std::size_t head = std::min<std::size_t>(
            f.size(), shape.header_length() + random() % (random() % 2 == 0 ? 3 : 2000));
        split_packet p = split_packet::random(f, head, random);
        ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::none, 0),
                  offload_fault::none);
        dataplane::finish_checksum(p.get());
        EXPECT_TRUE(p.get().offload.empty());
        ASSERT_EQ(bytes_of(p.get()), shape.build(false)) << shape.payload;
        ASSERT_TRUE(shape.correct(bytes_of(p.get())));
    }
}

TEST(offload, the_longest_carries_are_not_lost)
{
    for (const std::uint8_t value : std::array<std::uint8_t, 3>{0x00, 0xff, 0x80}) {
        const ip_frame shape{.payload = 65'000};
        frame f = shape.build(true);
        std::fill(f.begin() + static_cast<std::ptrdiff_t>(shape.header_length()), f.end(), value);
        split_packet p = as_guest(f);
        ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::none, 0),
                  offload_fault::none);
        dataplane::finish_checksum(p.get());
        EXPECT_TRUE(shape.correct(bytes_of(p.get())));
    }
}

// RFC 768: a sum of zero is sent as 0xffff, for zero says that there is none.
TEST(offload, a_udp_checksum_is_never_zero)
{
    const ip_frame shape{.protocol = 17, .payload = 2};
    frame f = shape.build(true);
    const std::size_t last = f.size() - 2;
    put16(f, last, 0);
    put16(f, last, 0xffff ^ plain_sum(f, shape.transport(), f.size()));
    split_packet p = as_guest(f);
    ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::none, 0), offload_fault::none);
    dataplane::finish_checksum(p.get());
    EXPECT_EQ(get16(bytes_of(p.get()), shape.field()), 0xffffU);
    EXPECT_TRUE(shape.correct(bytes_of(p.get())));
}

TEST(offload, an_intent_follows_tags)
{
    ip_frame shape{.payload = 3000};
    frame whole = shape.build(true);
    split_packet p = as_guest(whole);
    ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::tcp_ipv4, 1000),
              offload_fault::none);
    const offload_intent before = p.get().offload;
    for (unsigned tags = 1; tags <= 2; ++tags) {
        dataplane::push_tag(p.get(), 0x6005);
        shape.tags.push_back(0x8100);
        whole = with_tag(whole, 0x6005);
        EXPECT_EQ(bytes_of(p.get()), whole);
        const offload_intent& todo = p.get().offload;
        EXPECT_EQ(todo.network_start, shape.network());
        EXPECT_EQ(todo.checksum_start, shape.transport());
        EXPECT_EQ(todo.checksum_offset, 16);
        EXPECT_EQ(todo.header_length, shape.header_length());
        EXPECT_EQ(todo.segment_size, 1000);
        const std::vector<frame> segments = cut(p.get(), {});
        ASSERT_EQ(segments.size(), 3U);
        for (const frame& f : segments) {
            EXPECT_TRUE(shape.correct(f));
        }
    }
    dataplane::pop_tag(p.get());
    dataplane::pop_tag(p.get());
    EXPECT_EQ(p.get().offload.checksum_start, before.checksum_start);
    EXPECT_EQ(p.get().offload.header_length, before.header_length);
    EXPECT_EQ(p.get().offload.network_start, before.network_start);

    split_packet none = as_guest(ip_frame{}.build(false));
    dataplane::push_tag(none.get(), 5);
    EXPECT_TRUE(none.get().offload.empty());
    EXPECT_EQ(none.get().offload.checksum_start, 0);
}

TEST(offload, segments_are_what_tcp_would_have_sent)
{
    std::mt19937 random{99};
    const std::vector<ip_frame> all = shapes();
    for (unsigned round = 0; round < 3000; ++round) {
        ip_frame shape = all[random() % all.size()];
        if (shape.protocol != 6) {
            continue;
        }
        shape.tcp_options = random() % 4 * 4;
        shape.tcp_flags = static_cast<std::uint8_t>(random()); // CWR, PSH and FIN among them
        shape.sequence = static_cast<std::uint32_t>(random());
        shape.identifier = static_cast<std::uint16_t>(random());
        const auto size = static_cast<std::uint16_t>(random() % 3 == 0 ? 8 + random() % 100
                                                                       : 100 + random() % 9000);
        shape.payload = std::min<std::size_t>(65'400, size + 1 + random() % (size * 50U));
        const frame f = shape.build(true);
        const std::size_t head = std::min<std::size_t>(
            f.size(), shape.header_length() + random() % (random() % 2 == 0 ? 80 : 2000));
        split_packet p = split_packet::random(f, head, random);
        ASSERT_EQ(dataplane::infer_offload(p.get(), true, kind_of(shape), size),
                  offload_fault::none);
        const offloads taken = random() % 2 == 0 ? offloads::none : both_checksums;
        const std::vector<frame> segments = cut(p.get(), taken, 1 + random() % 64);
        ASSERT_EQ(segments.size(), (shape.payload + size - 1) / size);
        ASSERT_EQ(bytes_of(p.get()), f) << "the original stays as it is";

        frame payload;
        const std::size_t tcp = shape.transport();
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const frame& s = segments[i];
            const bool last = i + 1 == segments.size();
            ASSERT_TRUE(shape.correct(s)) << i;
            ASSERT_EQ(get32(s, tcp + 4), shape.sequence + static_cast<std::uint32_t>(i * size));
            unsigned flags = shape.tcp_flags;
            flags &= i == 0 ? 0xffU : 0x7fU;
            flags &= last ? 0xffU : 0xf6U;
            ASSERT_EQ(s.at(tcp + 13), flags);
            if (!shape.ipv6) {
                ASSERT_EQ(get16(s, shape.network() + 4), (shape.identifier + i) & 0xffff);
            }
            ASSERT_TRUE(last || s.size() == shape.header_length() + size);
            payload.insert(payload.end(),
                           s.begin() + static_cast<std::ptrdiff_t>(shape.header_length()), s.end());
            // All else is as it was.
            frame mine = s;
            frame whole{f.begin(), f.begin() + static_cast<std::ptrdiff_t>(shape.header_length())};
            mine.resize(shape.header_length());
            for (frame* const h : {&mine, &whole}) {
                if (shape.ipv6) {
                    put16(*h, shape.network() + 4, 0);
                } else {
                    put32(*h, shape.network() + 2, 0);
                    put16(*h, shape.network() + 10, 0);
                }
                put32(*h, tcp + 4, 0);
                h->at(tcp + 13) = 0;
                put16(*h, tcp + 16, 0);
            }
            ASSERT_EQ(mine, whole);
        }
        ASSERT_TRUE(std::equal(payload.begin(), payload.end(),
                               f.begin() + static_cast<std::ptrdiff_t>(shape.header_length()),
                               f.end()));
    }
}

TEST(offload, datagrams_are_what_udp_would_have_sent)
{
    std::mt19937 random{56};
    const std::vector<ip_frame> all = shapes();
    for (unsigned round = 0; round < 3000; ++round) {
        ip_frame shape = all[random() % all.size()];
        if (shape.protocol != 17) {
            continue;
        }
        shape.identifier = static_cast<std::uint16_t>(random());
        const auto size = static_cast<std::uint16_t>(random() % 3 == 0 ? 1 + random() % 100
                                                                       : 100 + random() % 9000);
        shape.payload = std::min<std::size_t>(65'400, size + 1 + random() % (size * 50U));
        const frame f = shape.build(true);
        const std::size_t head = std::min<std::size_t>(
            f.size(), shape.header_length() + random() % (random() % 2 == 0 ? 80 : 2000));
        split_packet p = split_packet::random(f, head, random);
        ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::udp, size),
                  offload_fault::none);
        const offloads taken = random() % 2 == 0 ? offloads::none : both_checksums;
        const std::vector<frame> datagrams = cut(p.get(), taken, 1 + random() % 64);
        ASSERT_EQ(datagrams.size(), (shape.payload + size - 1) / size);
        ASSERT_EQ(bytes_of(p.get()), f) << "the original stays as it is";

        // Each is, byte for byte, the frame that a sender makes of so much of the payload.
        std::size_t at = shape.header_length();
        for (std::size_t i = 0; i < datagrams.size(); ++i) {
            ip_frame one = shape;
            one.identifier = static_cast<std::uint16_t>(shape.identifier + i);
            one.payload = std::min<std::size_t>(size, f.size() - at);
            frame expected = one.build(true);
            std::copy_n(f.begin(), 12, expected.begin());
            std::copy_n(f.begin() + static_cast<std::ptrdiff_t>(shape.transport()), 4,
                        expected.begin() + static_cast<std::ptrdiff_t>(shape.transport()));
            std::copy_n(f.begin() + static_cast<std::ptrdiff_t>(at), one.payload,
                        expected.begin() + static_cast<std::ptrdiff_t>(shape.header_length()));
            const unsigned sum = 0xffff ^ plain_sum(expected, shape.transport(), expected.size());
            put16(expected, shape.field(), sum == 0 ? 0xffff : sum);
            ASSERT_EQ(datagrams[i], expected) << i;
            ASSERT_TRUE(one.correct(datagrams[i])) << i;
            at += one.payload;
        }
        ASSERT_EQ(at, f.size());
    }
}

// RFC 768, of each that is cut.
TEST(offload, no_datagram_has_a_checksum_of_zero)
{
    for (const bool ipv6 : {false, true}) {
        const ip_frame shape{.ipv6 = ipv6, .protocol = 17, .payload = 40};
        frame f = shape.build(true);
        // What makes the sum of the second one zero: of those of two bytes there are 65536.
        const ip_frame one{.ipv6 = ipv6, .protocol = 17, .payload = 20};
        frame second = one.build(true);
        const auto ports = static_cast<std::ptrdiff_t>(shape.transport());
        std::copy_n(f.begin() + ports, 4, second.begin() + ports);
        std::copy(f.end() - 20, f.end(), second.end() - 20);
        put16(second, second.size() - 2, 0);
        const unsigned last = 0xffff ^ plain_sum(second, one.transport(), second.size());
        put16(f, f.size() - 2, last);
        split_packet p = as_guest(f);
        ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::udp, 20),
                  offload_fault::none);
        const std::vector<frame> datagrams = cut(p.get(), {});
        ASSERT_EQ(datagrams.size(), 2U);
        EXPECT_EQ(get16(datagrams[1], shape.field()), 0xffffU);
        EXPECT_TRUE(shape.correct(datagrams[1]));
    }
}

// A routing header's packet has a last destination that the IPv6 header does not name: what the
// guest wrote for it is kept.
TEST(offload, segments_keep_the_pseudo_header_that_the_guest_meant)
{
    ip_frame shape{.ipv6 = true, .payload = 3000};
    frame f = shape.build(true);
    put16(f, shape.field(), get16(f, shape.field()) ^ 0x0100);
    split_packet p = as_guest(f);
    ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::tcp_ipv6, 1000),
              offload_fault::none);
    for (const frame& s : cut(p.get(), {})) {
        EXPECT_FALSE(shape.correct(s));
    }
}

TEST(offload, a_chain_of_many_segments_fits_a_burst)
{
    ip_frame shape{.payload = 40'000};
    const frame f = shape.build(true);
    std::vector<std::size_t> pieces(burst::max_segments - 1, 100);
    pieces.push_back(f.size() - 128 - 100 * pieces.size());
    split_packet p{f, 128, pieces};
    ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::tcp_ipv4, 39'000),
              offload_fault::none);
    std::unique_ptr<burst> b{new burst};
    // No room for all that is left of the chain: nothing is made.
    b->segments_used = burst::segment_capacity - burst::max_segments;
    dataplane::segmenter s{p.get(), {}};
    EXPECT_EQ(s.cut(*b, 64), 0U);
    b->clear();
    EXPECT_EQ(s.cut(*b, 64), 2U);
    EXPECT_TRUE(s.done());
    EXPECT_TRUE(shape.correct(bytes_of(b->slots[0])));
    EXPECT_TRUE(shape.correct(bytes_of(b->slots[1])));
}

// What DPDK's drivers want of a frame that their device is to cut.
TEST(offload, the_pseudo_sum_without_length_is_dpdks)
{
    for (ip_frame shape : shapes()) {
        if (!shape.extensions.empty()) {
            continue; // DPDK's looks at no extension headers
        }
        for (const std::size_t payload : {2000U, 9999U, 65'000U}) {
            shape.payload = payload;
            split_packet p = as_guest(shape.build(true));
            ASSERT_EQ(dataplane::infer_offload(p.get(), true, kind_of(shape), 1000),
                      offload_fault::none);
            const frame f = bytes_of(p.get());
            const std::uint8_t* const ip = f.data() + shape.network();
            constexpr std::uint64_t flags = RTE_MBUF_F_TX_TCP_SEG;
            const std::uint16_t theirs =
                shape.ipv6 ? rte_ipv6_phdr_cksum(reinterpret_cast<const rte_ipv6_hdr*>(ip), flags)
                           : rte_ipv4_phdr_cksum(reinterpret_cast<const rte_ipv4_hdr*>(ip), flags);
            EXPECT_EQ(dataplane::pseudo_sum_without_length(p.get()), theirs);
        }
    }
}

class against_gso : public ::testing::Test {
protected:
    static void SetUpTestSuite() { start_eal(); }
};

TEST_F(against_gso, tcp_over_ipv4_is_cut_alike)
{
    const pool_ptr direct = make_pool(1024);
    const pool_ptr indirect = make_pool(1024);
    std::mt19937 random{4};
    for (unsigned round = 0; round < 300; ++round) {
        ip_frame shape;
        if (random() % 3 == 0) {
            shape.tags = {0x8100};
        }
        shape.tcp_options = random() % 11 * 4;
        shape.tcp_flags = static_cast<std::uint8_t>(random() & 0x7f); // it copies CWR to all
        shape.sequence = static_cast<std::uint32_t>(random());
        shape.identifier = static_cast<std::uint16_t>(random());
        const auto size = static_cast<std::uint16_t>(300 + random() % 2000);
        shape.payload = size + 1 + random() % 40'000;
        const frame f = shape.build(true);

        rte_mbuf* const m = to_mbuf(f, direct.get());
        m->l2_len = shape.network() & 0x7f;
        m->l3_len = 20;
        m->l4_len = (20 + shape.tcp_options) & 0xff;
        m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_SEG;
        const rte_gso_ctx context{.direct_pool = direct.get(),
                                  .indirect_pool = indirect.get(),
                                  .flag = 0,
                                  .gso_types = RTE_ETH_TX_OFFLOAD_TCP_TSO,
                                  .gso_size =
                                      static_cast<std::uint16_t>(shape.header_length() + size)};
        std::array<rte_mbuf*, 256> theirs;
        const int count = rte_gso_segment(m, &context, theirs.data(), theirs.size());
        ASSERT_GT(count, 1);
        std::vector<frame> expected;
        for (int i = 0; i < count; ++i) {
            frame s = from_mbuf_chain(theirs[static_cast<std::size_t>(i)]);
            // It leaves checksums to the device.
            const std::size_t ip = shape.network();
            put16(s, ip + 10, 0);
            put16(s, ip + 10, 0xffff ^ plain_sum(s, ip, ip + 20));
            put16(s, shape.field(), ip_frame::pseudo_sum(s, ip, false, shape.transport(), 6));
            put16(s, shape.field(), 0xffff ^ plain_sum(s, shape.transport(), s.size()));
            expected.push_back(std::move(s));
            rte_pktmbuf_free(theirs[static_cast<std::size_t>(i)]);
        }
        rte_pktmbuf_free(m);

        split_packet p = split_packet::random(f, std::min(f.size(), dataplane::head_copy), random);
        ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::tcp_ipv4, size),
                  offload_fault::none);
        ASSERT_EQ(cut(p.get(), {}), expected);
    }
    EXPECT_EQ(rte_mempool_in_use_count(direct.get()), 0U);
    EXPECT_EQ(rte_mempool_in_use_count(indirect.get()), 0U);
}

// Frames that a packet socket leaves to be cut, as the kernel cuts them for a tap that takes none
// so. All of it is in a network namespace of the test's own.
class against_linux : public ::testing::Test {
protected:
    void SetUp() override
    {
        bool may = false;
        std::thread{[&] {
            may = ::unshare(CLONE_NEWNET) == 0;
            if (may) {
                begin();
            }
        }}.join();
        if (!may) {
            GTEST_SKIP() << "no right to make a network namespace";
        }
        ASSERT_EQ(failed_, nullptr);
    }

    // Frames of all shapes with this protocol.
    void compare(std::uint8_t protocol)
    {
        std::mt19937 random{6};
        std::vector<ip_frame> all = shapes();
        std::erase_if(all, [&](const ip_frame& f) { return f.protocol != protocol; });
        for (unsigned round = 0; round < 200; ++round) {
            ip_frame shape = all[round % all.size()];
            shape.tcp_options = random() % 11 * 4;
            shape.tcp_flags = static_cast<std::uint8_t>(random()); // CWR, PSH and FIN among them
            shape.sequence = static_cast<std::uint32_t>(random());
            shape.identifier = static_cast<std::uint16_t>(random());
            const auto size = static_cast<std::uint16_t>(100 + random() % 1300);
            shape.payload = size + 1 + random() % (size * 20U);
            const frame f = shape.build(true);
            split_packet p =
                split_packet::random(f, std::min(f.size(), dataplane::longest_head), random);
            ASSERT_EQ(dataplane::infer_offload(p.get(), true, kind_of(shape), size),
                      offload_fault::none);
            const std::vector<frame> ours = test::cut(p.get(), {});
            const std::vector<frame> theirs = cut(f, shape, size, ours.size());
            ASSERT_EQ(theirs.size(), ours.size()) << round;
            for (std::size_t i = 0; i < ours.size(); ++i) {
                ASSERT_EQ(ours[i], theirs[i]) << i << " of " << ours.size() << ", " << round;
            }
        }
    }

private:
    // <linux/virtio_net.h>'s, which no C++ compiler takes.
    struct virtio_net_hdr {
        std::uint8_t flags;
        std::uint8_t gso_type;
        std::uint16_t hdr_len;
        std::uint16_t gso_size;
        std::uint16_t csum_start;
        std::uint16_t csum_offset;
    };

    // As many frames as come of it, up to `count`.
    std::vector<frame> cut(const frame& f, const ip_frame& shape, std::uint16_t size,
                           std::size_t count)
    {
        virtio_net_hdr h{};
        h.flags = virtio_offload::needs_checksum;
        h.gso_type = shape.protocol == 17 ? virtio_offload::gso_udp
                     : shape.ipv6         ? virtio_offload::gso_tcp_ipv6
                                          : virtio_offload::gso_tcp_ipv4;
        h.hdr_len = static_cast<std::uint16_t>(shape.header_length());
        h.gso_size = size;
        h.csum_start = static_cast<std::uint16_t>(shape.transport());
        h.csum_offset = static_cast<std::uint16_t>(shape.field() - shape.transport());
        frame copy = f;
        const std::array<iovec, 2> parts{{{&h, sizeof h}, {copy.data(), copy.size()}}};
        std::vector<frame> all;
        if (::writev(socket_.get(), parts.data(), parts.size()) !=
            static_cast<ssize_t>(sizeof h + copy.size())) {
            return all;
        }
        while (all.size() < count) {
            constexpr int patience = 2000;
            pollfd p{.fd = tap_.get(), .events = POLLIN, .revents = 0};
            frame one(1 << 16);
            const ssize_t got =
                ::poll(&p, 1, patience) > 0 ? ::read(tap_.get(), one.data(), one.size()) : -1;
            if (got < 0) {
                break;
            }
            one.resize(static_cast<std::size_t>(got));
            if (std::equal(one.begin() + 6, one.begin() + 12, f.begin() + 6)) { // not its own
                all.push_back(std::move(one));
            }
        }
        return all;
    }

    void begin()
    {
        const auto named = [] {
            ifreq r{};
            std::memcpy(r.ifr_name, "cut0", sizeof "cut0");
            return r;
        };
        tap_ = dataplane::file_descriptor{::open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
        ifreq made = named();
        made.ifr_flags = IFF_TAP | IFF_NO_PI;
        if (!tap_ || ::ioctl(tap_.get(), TUNSETIFF, &made) != 0) {
            failed_ = "no tap";
            return;
        }
        socket_ = dataplane::file_descriptor{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)};
        ifreq up = named();
        up.ifr_flags = IFF_UP;
        ifreq number = named();
        const int on = 1;
        sockaddr_ll where{};
        where.sll_family = AF_PACKET;
        if (::ioctl(socket_.get(), SIOCSIFFLAGS, &up) != 0 ||
            ::ioctl(socket_.get(), SIOCGIFINDEX, &number) != 0 ||
            ::setsockopt(socket_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0) {
            failed_ = "no packet socket";
            return;
        }
        where.sll_ifindex = number.ifr_ifindex;
        if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0) {
            failed_ = "the packet socket is not bound";
        }
    }

    dataplane::file_descriptor tap_;
    dataplane::file_descriptor socket_;
    const char* failed_{nullptr};
};

TEST_F(against_linux, tcp_is_cut_alike)
{
    compare(6);
}

TEST_F(against_linux, udp_is_cut_alike)
{
    utsname kernel{};
    ASSERT_EQ(::uname(&kernel), 0);
    unsigned major = 0;
    unsigned minor = 0;
    ASSERT_EQ(std::sscanf(kernel.release, "%u.%u", &major, &minor), 2);
    if (std::pair{major, minor} < std::pair{6U, 2U}) {
        GTEST_SKIP() << "Linux cuts datagrams that others leave since 6.2; this is " << major << "."
                     << minor;
    }
    compare(17);
}

} // namespace
} // namespace strait::test
