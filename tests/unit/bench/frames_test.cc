// SPDX-License-Identifier: BSD-3-Clause
// The load generator's frames: of each kind of flow, right to the checksum, told apart, and found
// out when a byte is another.
#include "bench/generator/frames.hh"

#include <gtest/gtest.h>
#include <rte_ip.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <tuple>
#include <vector>

namespace strait::bench {
namespace {

constexpr std::array kinds = {flow_kind::macs, flow_kind::nw_dst, flow_kind::five_tuple,
                              flow_kind::answered};
constexpr std::array sides = {side::a, side::b};

// Flows at the edges of every number of bytes, and some between.
std::vector<std::uint32_t> some_flows(flow_kind kind)
{
    std::vector<std::uint32_t> out;
    for (unsigned bits = 0; bits <= 32; ++bits) {
        for (const std::int64_t more : {-1, 0, 1, 12345}) {
            const std::int64_t flow = (std::int64_t{1} << bits) + more;
            if (flow >= 0 && flow < static_cast<std::int64_t>(most_flows(kind))) {
                out.push_back(static_cast<std::uint32_t>(flow));
            }
        }
    }
    return out;
}

std::vector<std::byte> frame_of(side from, flow_kind kind, std::uint32_t flow, std::uint16_t bytes,
                                const frame_form& form = {})
{
    std::vector<std::byte> out(bytes);
    const frame_size size = make_frame_size(bytes, form, from);
    build_frame(out, from, size, form);
    set_flow(out.data(), from, kind, flow, form);
    set_checksum(out.data(), size, form);
    return out;
}

// Every one that has a checksum of its own to be right.
std::vector<frame_form> summed_forms()
{
    std::vector<frame_form> out;
    for (const vlan_tags& tags : {vlan_tags{}, vlan_tags{7, 0}, vlan_tags{7, 9}}) {
        out.push_back({.tags = tags, .ipv6 = false, .tcp = true});
        out.push_back({.tags = tags, .ipv6 = true, .tcp = false});
        out.push_back({.tags = tags, .ipv6 = true, .tcp = true});
    }
    return out;
}

// By DPDK, of what is behind the tags.
bool has_right_checksum(std::vector<std::byte> frame, const frame_form& form)
{
    frame.erase(frame.begin(), frame.begin() + 14 + form.tags.bytes());
    const std::size_t ip = form.ipv6 ? 40 : 20;
    const void* const segment = frame.data() + ip;
    return form.ipv6
               ? rte_ipv6_udptcp_cksum_verify(reinterpret_cast<const rte_ipv6_hdr*>(frame.data()),
                                              segment) == 0
               : rte_ipv4_udptcp_cksum_verify(reinterpret_cast<const rte_ipv4_hdr*>(frame.data()),
                                              segment) == 0;
}

std::uint32_t number_at(const std::vector<std::byte>& frame, std::size_t at, std::size_t bytes)
{
    std::uint32_t out = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
        out = out << 8 | std::to_integer<std::uint32_t>(frame[at + i]);
    }
    return out;
}

// RFC 1071 over the header, its checksum included.
std::uint32_t sum_of_header(const std::vector<std::byte>& frame)
{
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < 20; i += 2) {
        sum += number_at(frame, offset::ip + i, 2);
    }
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

TEST(frames, have_a_right_ip_checksum_whatever_their_flow)
{
    for (const flow_kind kind : kinds) {
        for (const side from : sides) {
            for (const std::uint32_t flow : some_flows(kind)) {
                EXPECT_EQ(sum_of_header(frame_of(from, kind, flow, 64)), 0xffffU) << flow;
                EXPECT_EQ(sum_of_header(frame_of(from, kind, flow, 1514)), 0xffffU) << flow;
            }
        }
    }
}

TEST(frames, have_a_right_checksum_of_all_of_them_whatever_they_carry)
{
    for (const frame_form& form : summed_forms()) {
        for (const side from : sides) {
            for (const std::uint16_t bytes : std::array<std::uint16_t, 4>{100, 101, 1514, 9600}) {
                for (const std::uint32_t flow : some_flows(flow_kind::five_tuple)) {
                    auto frame = frame_of(from, flow_kind::five_tuple, flow, bytes, form);
                    EXPECT_TRUE(has_right_checksum(frame, form)) << flow;
                    set_stamp(frame.data() + form.before_mark(), 0xfedc'ba98'7654 + flow);
                    set_sequence(frame.data() + form.before_mark(), ~flow);
                    EXPECT_FALSE(has_right_checksum(frame, form)) << flow;
                    set_checksum(frame.data(), make_frame_size(bytes, form, from), form);
                    EXPECT_TRUE(has_right_checksum(frame, form)) << flow;
                }
            }
        }
    }
}

TEST(frames, whose_checksum_is_left_have_the_pseudo_headers_sum)
{
    for (frame_form form : summed_forms()) {
        form.partial = true;
        const auto frame = frame_of(side::b, flow_kind::five_tuple, 99, 65535, form);
        const std::byte* const ip = frame.data() + 14 + form.tags.bytes();
        const std::uint16_t sum =
            form.ipv6 ? rte_ipv6_phdr_cksum(reinterpret_cast<const rte_ipv6_hdr*>(ip), 0)
                      : rte_ipv4_phdr_cksum(reinterpret_cast<const rte_ipv4_hdr*>(ip), 0);
        std::uint16_t found = 0;
        std::memcpy(&found, frame.data() + 34 + form.before_ports() + (form.tcp ? 16 : 6), 2);
        EXPECT_EQ(found, sum);
    }
}

TEST(frames, of_another_size_have_its_lengths_and_checksum)
{
    for (const frame_form& form : summed_forms()) {
        const auto small = frame_of(side::b, flow_kind::nw_dst, 3, 100, form);
        auto cut = frame_of(side::b, flow_kind::nw_dst, 3, 1514, form);
        const frame_size size = make_frame_size(100, form, side::b);
        set_size(cut.data(), size, form);
        set_checksum(cut.data(), size, form);
        cut.resize(100);
        EXPECT_EQ(cut, small);
    }
}

TEST(frames, of_ipv6_have_their_flows_addresses_behind_a_prefix)
{
    const frame_form form{.tags = {7, 0}, .ipv6 = true, .tcp = false};
    const auto frame = frame_of(side::a, flow_kind::five_tuple, 77, 100, form);
    const flow_fields fields = fields_of(flow_kind::five_tuple, side::a, 77);
    EXPECT_EQ(number_at(frame, 16, 2), 0x86ddU);
    EXPECT_EQ(number_at(frame, 18, 4), 0x60000000U);
    EXPECT_EQ(number_at(frame, 22, 2), 100U - 18 - 40);
    EXPECT_EQ(number_at(frame, 24, 2), 17U << 8 | 64);
    EXPECT_EQ(number_at(frame, 26, 4), 0xfd530000U);
    EXPECT_EQ(number_at(frame, 38, 4), fields.source);
    EXPECT_EQ(number_at(frame, 42, 4), 0xfd530000U);
    EXPECT_EQ(number_at(frame, 54, 4), fields.destination);
    EXPECT_EQ(number_at(frame, 58, 2), fields.source_port);
    EXPECT_EQ(number_at(frame, 60, 2), fields.destination_port);
}

TEST(frames, with_a_checksum_are_found_good_and_each_byte_that_is_another_is_found)
{
    for (const frame_form& form : summed_forms()) {
        const std::array sizes = {make_frame_size(120, form, side::a)};
        const auto good = frame_of(side::a, flow_kind::five_tuple, 77, 120, form);
        const expectation expected{.from = side::a,
                                   .sizes = sizes,
                                   .kind = flow_kind::five_tuple,
                                   .flows = 78,
                                   .form = form};
        EXPECT_EQ(check_frame(good, expected), verdict::good);
        for (std::size_t i = 0; i < good.size(); ++i) {
            auto bad = good;
            bad[i] ^= std::byte{1};
            EXPECT_NE(check_frame(bad, expected), verdict::good) << i;
        }
    }
}

TEST(frames, say_what_is_listed_of_their_flow)
{
    for (const flow_kind kind : kinds) {
        for (const std::uint32_t flow : some_flows(kind)) {
            const flow_fields f = fields_of(kind, side::b, flow);
            const auto frame = frame_of(side::b, kind, flow, 64);
            EXPECT_EQ(number_at(frame, offset::ip_source, 4), f.source);
            EXPECT_EQ(number_at(frame, offset::ip_destination, 4), f.destination);
            EXPECT_EQ(number_at(frame, offset::udp, 2), f.source_port);
            EXPECT_EQ(number_at(frame, offset::udp + 2, 2), f.destination_port);
        }
    }
}

TEST(frames, of_two_flows_are_never_alike)
{
    constexpr std::uint32_t many = 200'000;
    for (const flow_kind kind : {flow_kind::nw_dst, flow_kind::five_tuple}) {
        std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint16_t, std::uint16_t>> seen;
        for (const side from : sides) {
            for (std::uint32_t flow = 0; flow < many; ++flow) {
                const flow_fields f = fields_of(kind, from, flow);
                seen.emplace(f.source, f.destination, f.source_port, f.destination_port);
            }
        }
        EXPECT_EQ(seen.size(), std::size_t{2} * many);
    }
}

TEST(frames, of_five_tuples_leave_no_field_alone)
{
    std::set<std::uint32_t> sources;
    std::set<std::uint32_t> destinations;
    std::set<std::uint16_t> near;
    std::set<std::uint16_t> far;
    for (std::uint32_t flow = 0; flow < 1000; ++flow) {
        const flow_fields f = fields_of(flow_kind::five_tuple, side::a, flow);
        sources.insert(f.source);
        destinations.insert(f.destination);
        near.insert(f.source_port);
        far.insert(f.destination_port);
    }
    for (const std::size_t different :
         {sources.size(), destinations.size(), near.size(), far.size()}) {
        EXPECT_GT(different, 900U);
    }
}

TEST(frames, are_found_good_and_each_byte_that_is_another_is_found)
{
    const std::array sizes = {make_frame_size(64)};
    for (const flow_kind kind : kinds) {
        const auto good = frame_of(side::a, kind, 77, 64);
        const expectation expected{.from = side::a, .sizes = sizes, .kind = kind, .flows = 78};
        EXPECT_EQ(check_frame(good, expected), verdict::good);
        EXPECT_EQ(check_frame(good, {side::a, sizes, kind, 77}), verdict::corrupt); // no such flow
        EXPECT_EQ(check_frame(good, {side::b, sizes, kind, 78}), verdict::corrupt);
        for (std::size_t i = 0; i < good.size(); ++i) {
            auto bad = good;
            bad[i] ^= std::byte{1};
            const bool its_own = i >= offset::sequence && i < offset::pattern; // and the stamp
            const bool mark = i >= offset::magic && i < offset::flow;
            EXPECT_EQ(check_frame(bad, expected), its_own ? verdict::good
                                                  : mark  ? verdict::foreign
                                                          : verdict::corrupt)
                << i;
        }
    }
}

TEST(frames, with_exchanged_addresses_are_good_where_these_are_expected)
{
    const std::array sizes = {make_frame_size(64)};
    const auto as_sent = frame_of(side::a, flow_kind::macs, 5, 64);
    auto turned = as_sent;
    std::swap_ranges(turned.begin(), turned.begin() + 6, turned.begin() + 6);
    for (const bool wanted : {false, true}) {
        const expectation expected{side::a, sizes, flow_kind::macs, 6, wanted};
        EXPECT_EQ(check_frame(as_sent, expected), wanted ? verdict::corrupt : verdict::good);
        EXPECT_EQ(check_frame(turned, expected), wanted ? verdict::good : verdict::corrupt);
    }
}

TEST(frames, with_tags_are_the_same_frames_behind_them)
{
    const auto vlans = [](std::uint16_t outer, std::uint16_t inner) {
        return vlan_tags{outer, inner};
    };
    for (const vlan_tags& tags : {vlans(1, 0), vlans(4094, 0), vlans(100, 10)}) {
        const std::uint16_t more = tags.bytes();
        const auto bytes = static_cast<std::uint16_t>(68 + more);
        const frame_form form{.tags = tags};
        const std::array sizes = {make_frame_size(bytes, form)};
        auto tagged = frame_of(side::a, flow_kind::five_tuple, 77, bytes, form);
        set_stamp(tagged.data() + more, 0x123456789abc);
        set_sequence(tagged.data() + more, 5);

        EXPECT_EQ(number_at(tagged, 12, 2), tags.inner != 0 ? 0x88a8 : 0x8100);
        EXPECT_EQ(number_at(tagged, 14, 2), tags.outer);
        if (tags.inner != 0) {
            EXPECT_EQ(number_at(tagged, 16, 4), 0x81000000U | tags.inner);
        }
        std::vector<std::byte> untagged = tagged;
        untagged.erase(untagged.begin() + 12, untagged.begin() + 12 + more);
        auto plain = frame_of(side::a, flow_kind::five_tuple, 77, 68);
        set_stamp(plain.data(), 0x123456789abc);
        set_sequence(plain.data(), 5);
        EXPECT_EQ(untagged, plain);

        const expectation expected{.from = side::a,
                                   .sizes = sizes,
                                   .kind = flow_kind::five_tuple,
                                   .flows = 78,
                                   .form = form};
        EXPECT_EQ(check_frame(tagged, expected), verdict::good);
        EXPECT_NE(check_frame(plain, expected), verdict::good);
        for (std::size_t i = 12; i < std::size_t{16} + more;
             ++i) { // tags and the IP header's begin
            auto bad = tagged;
            bad[i] ^= std::byte{0x20};
            EXPECT_EQ(check_frame(bad, expected), verdict::corrupt) << i;
        }
    }
}

TEST(frames, carry_their_number_and_stamp)
{
    auto frame = frame_of(side::b, flow_kind::five_tuple, 9, 60);
    set_stamp(frame.data(), 0x1234'5678'9abc'def0);
    set_sequence(frame.data(), 0xfedc'ba98);
    EXPECT_EQ(sequence_of(frame.data()), 0xfedc'ba98U);
    EXPECT_EQ(stamp_of(frame.data()), 0x5678'9abc'def0U);
    EXPECT_EQ(flow_of(frame.data()), 9U);
    EXPECT_TRUE(has_mark(frame.data()));
}

TEST(frames, of_answered_flows_go_both_ways)
{
    for (const std::uint32_t flow : some_flows(flow_kind::answered)) {
        const flow_fields there = fields_of(flow_kind::answered, side::a, flow);
        const flow_fields back = fields_of(flow_kind::answered, side::b, flow);
        EXPECT_EQ(
            std::tie(there.source, there.destination, there.source_port, there.destination_port),
            std::tie(back.destination, back.source, back.destination_port, back.source_port));
    }
}

TEST(frames, of_paths_have_addresses_of_their_ends)
{
    constexpr std::uint16_t paths = 5;
    const auto destination = [](const std::vector<std::byte>& frame) {
        return std::vector(frame.begin(), frame.begin() + 6);
    };
    const auto source = [](const std::vector<std::byte>& frame) {
        return std::vector(frame.begin() + 6, frame.begin() + 12);
    };
    for (const flow_kind kind : {flow_kind::nw_dst, flow_kind::five_tuple, flow_kind::answered}) {
        const frame_form star{.paths = paths};
        const frame_form ring{.paths = paths, .ring = true};
        std::set<std::vector<std::byte>> many;
        const auto one = source(frame_of(side::a, kind, 0, 64, star));
        for (std::uint32_t flow = 0; flow < 3 * paths; ++flow) {
            const auto there = frame_of(side::a, kind, flow, 64, star);
            const auto back = frame_of(side::b, kind, flow, 64, star);
            EXPECT_EQ(source(there), one);
            EXPECT_EQ(destination(back), one);
            EXPECT_EQ(destination(there), source(back));
            EXPECT_EQ(destination(there),
                      destination(frame_of(side::a, kind, flow % paths, 64, star)));
            many.insert(destination(there));
            const auto next = frame_of(side::a, kind, flow + 1, 64, ring);
            EXPECT_EQ(destination(frame_of(side::a, kind, flow, 64, ring)), source(next));
            // Nothing else of a frame differs from one of two ends.
            const auto plain = frame_of(side::a, kind, flow, 64);
            EXPECT_TRUE(std::equal(there.begin() + 12, there.end(), plain.begin() + 12));
            EXPECT_EQ(sum_of_header(there), 0xffffU);
        }
        EXPECT_EQ(many.size(), paths);
        EXPECT_FALSE(many.contains(one));
    }
}

TEST(frames, of_a_path_are_good_and_those_with_anothers_addresses_are_found)
{
    const frame_form form{.paths = 3};
    const frame_size size = make_frame_size(64, form, side::b);
    const auto good = frame_of(side::b, flow_kind::five_tuple, 7, 64, form);
    auto bad = frame_of(side::b, flow_kind::five_tuple, 8, 64, form);
    const expectation expected{.from = side::b,
                               .sizes = {&size, 1},
                               .kind = flow_kind::five_tuple,
                               .flows = 9,
                               .form = form};
    EXPECT_EQ(check_frame(good, expected), verdict::good);
    EXPECT_EQ(check_frame(bad, expected), verdict::good);
    std::copy_n(good.begin(), 12, bad.begin());
    EXPECT_EQ(check_frame(bad, expected), verdict::corrupt);
}

} // namespace
} // namespace strait::bench
