// SPDX-License-Identifier: BSD-3-Clause
// Building and checking the generator's frames: Ethernet, VLAN tags, IPv4, UDP, a mark, the flow's
// number, the frame's, a time stamp and a pattern to the end.

#include "bench/generator/frames.hh"

#include <algorithm>
#include <bit>
#include <cstring>

namespace strait::bench {

namespace {

static_assert(std::endian::native == std::endian::little);
static_assert(offset::pattern <= smallest_frame);

constexpr std::uint16_t big(std::uint16_t value) noexcept
{
    return static_cast<std::uint16_t>(value << 8 | value >> 8);
}

// Locally administered, unicast: 02:53:0a:… and 02:53:0b:…, the flow's number in the last three.
std::uint64_t mac_of(side one, std::uint32_t flow) noexcept
{
    const std::uint64_t head = one == side::a ? 0x0a5302 : 0x0b5302;
    const std::uint64_t tail = (flow & 0xff) << 16 | (flow & 0xff00) | (flow >> 16 & 0xff);
    return head | tail << 24;
}

void write_macs(std::byte* frame, side from, std::uint32_t flow) noexcept
{
    const std::uint64_t destination = mac_of(other(from), flow);
    const std::uint64_t source = mac_of(from, flow);
    put(frame, destination | source << 48);
    put(frame + 8, static_cast<std::uint32_t>(source >> 16));
}

void write_tags(std::byte* at, const vlan_tags& tags) noexcept
{
    constexpr std::uint16_t service = 0x88a8;
    constexpr std::uint16_t customer = 0x8100;
    if (tags.inner != 0) {
        put(at, big(service));
        put(at + 2, big(tags.outer));
        put(at + 4, big(customer));
        put(at + 6, big(tags.inner));
    } else if (tags.outer != 0) {
        put(at, big(customer));
        put(at + 2, big(tags.outer));
    }
}

// The IPv4 header of flow 0 but for length and checksum.
constexpr std::array<std::uint16_t, 10> ip_words(side from, std::uint16_t length) noexcept
{
    const bool is_a = from == side::a;
    return {0x4500,
            length,
            0xffff,
            0x4000,
            0x4011,
            0,
            static_cast<std::uint16_t>(is_a ? 0x0a0a : 0x0a0b),
            0,
            static_cast<std::uint16_t>(is_a ? 0x0a0b : 0x0a0a),
            0};
}

// For the sum of a header's words to be what it is with the addresses of ip_words(): the one's
// complement of what these have more.
std::uint16_t compensation(const flow_fields& fields) noexcept
{
    constexpr std::uint32_t usual = 0x0a0a + 0x0a0b + 0xffff; // addresses and identification
    const auto halves = [](std::uint32_t address) { return (address >> 16) + (address & 0xffff); };
    std::uint32_t sum = halves(fields.source) + halves(fields.destination);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    const std::uint32_t missing = usual + (0xffff - sum);
    const std::uint32_t once = (missing & 0xffff) + (missing >> 16);
    return static_cast<std::uint16_t>((once & 0xffff) + (once >> 16));
}

// Same for both sides: the sum does not depend on which address is source and which destination.
std::uint16_t checksum(std::uint16_t length) noexcept
{
    std::uint32_t sum = 0;
    for (const std::uint16_t word : ip_words(side::a, length)) {
        sum += word;
    }
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(~sum);
}

void write_fields(std::byte* frame, const flow_fields& fields) noexcept
{
    put(frame + offset::ip_id, big(compensation(fields)));
    put(frame + offset::ip_source,
        __builtin_bswap64(std::uint64_t{fields.source} << 32 | fields.destination));
    put(frame + offset::udp,
        __builtin_bswap32(std::uint32_t{fields.source_port} << 16 | fields.destination_port));
}

constexpr std::byte pattern_at(std::size_t position, side from) noexcept
{
    const std::size_t salt = from == side::a ? 0x35 : 0xca;
    return static_cast<std::byte>((position * 7 + (position >> 8) * 13 + salt) & 0xff);
}

const std::array<std::array<std::byte, largest_frame>, 2>& patterns() noexcept
{
    static const auto both = [] {
        std::array<std::array<std::byte, largest_frame>, 2> made{};
        for (std::size_t i = 0; i < largest_frame; ++i) {
            made[0][i] = pattern_at(i, side::a);
            made[1][i] = pattern_at(i, side::b);
        }
        return made;
    }();
    return both;
}

// A bijection that leaves no pattern.
std::uint32_t scattered(std::uint32_t number) noexcept
{
    number ^= number >> 16;
    number *= 0x7feb352dU;
    number ^= number >> 15;
    number *= 0x846ca68bU;
    return number ^ number >> 16;
}

} // namespace

flow_fields fields_of(flow_kind kind, side from, std::uint32_t flow) noexcept
{
    const bool is_a = from == side::a;
    const std::uint32_t source = is_a ? 0x0a0a0000 : 0x0a0b0000;
    switch (kind) {
    case flow_kind::macs:
        return {source | (flow & 0xffff), is_a ? 0x0a0b0000U : 0x0a0a0000U, 9000, 9001};
    case flow_kind::nw_dst:
        return {source, (is_a ? 0x10000000U : 0x20000000U) + flow, 9000, 9001};
    case flow_kind::answered:
        if (!is_a) {
            const flow_fields to = fields_of(flow_kind::five_tuple, side::a, flow);
            return {to.destination, to.source, to.destination_port, to.source_port};
        }
        break;
    case flow_kind::five_tuple:
        break;
    }
    // Destination and its port tell flows apart; what the source is follows from the number.
    const std::uint32_t far = scattered(flow);
    const std::uint32_t near = scattered(~far);
    return {source | near >> 16, (is_a ? 0x0a0b0000U : 0x0a0a0000U) | far >> 16,
            static_cast<std::uint16_t>(near), static_cast<std::uint16_t>(far)};
}

frame_size make_frame_size(std::uint16_t bytes, std::uint16_t tags) noexcept
{
    const auto ip_length = static_cast<std::uint16_t>(bytes - tags - offset::ip);
    return {bytes, big(ip_length), big(checksum(ip_length)),
            big(static_cast<std::uint16_t>(bytes - tags - offset::udp))};
}

void build_frame(std::span<std::byte> to, side from, const frame_size& size,
                 const vlan_tags& tags) noexcept
{
    std::byte* const frame = to.data() + tags.bytes();
    const auto& pattern = patterns()[static_cast<std::size_t>(from)];
    std::copy_n(pattern.begin(), to.size() - tags.bytes(), frame);
    put(frame + offset::ether_type, big(0x0800));
    const auto words = ip_words(from, 0);
    for (std::size_t i = 0; i < words.size(); ++i) {
        put(frame + offset::ip + i * 2, big(words[i]));
    }
    put(frame + offset::udp + 6, std::uint16_t{0});
    put(frame + offset::magic, frame_mark);
    write_macs(to.data(), from, 0);
    write_tags(to.data() + offset::ether_type, tags);
    write_fields(frame, fields_of(flow_kind::macs, from, 0));
    put(frame + offset::flow, std::uint32_t{0});
    set_size(frame, size);
    set_stamp(frame, 0);
    set_sequence(frame, 0);
}

void set_flow(std::byte* frame, side from, flow_kind kind, std::uint32_t flow,
              std::size_t tags) noexcept
{
    if (kind == flow_kind::macs) {
        write_macs(frame, from, flow);
    }
    write_fields(frame + tags, fields_of(kind, from, flow));
    put(frame + tags + offset::flow, flow);
}

void set_size(std::byte* frame, const frame_size& size) noexcept
{
    put(frame + offset::ip_length, size.ip_length);
    put(frame + offset::ip_checksum, size.ip_checksum);
    put(frame + offset::udp_length, size.udp_length);
}

verdict check_frame(std::span<const std::byte> frame, const expectation& expected) noexcept
{
    const std::size_t tags = expected.tags.bytes();
    if (frame.size() < smallest_frame + tags || !has_mark(frame.data() + tags)) {
        return verdict::foreign;
    }
    const auto size =
        std::find_if(expected.sizes.begin(), expected.sizes.end(),
                     [&](const frame_size& one) { return one.bytes == frame.size(); });
    const std::byte* const untagged = frame.data() + tags;
    const std::uint32_t flow = flow_of(untagged);
    if (size == expected.sizes.end() || flow >= expected.flows) {
        return verdict::corrupt;
    }
    std::array<std::byte, offset::pattern + vlan_tags{1, 1}.bytes()> room{};
    const std::span head{room.data(), offset::pattern + tags};
    build_frame(head, expected.from, *size, expected.tags);
    set_flow(head.data(), expected.from, expected.kind, flow, tags);
    set_stamp(head.data() + tags, stamp_of(untagged));
    set_sequence(head.data() + tags, sequence_of(untagged));
    if (expected.turned) {
        std::swap_ranges(head.begin() + offset::destination, head.begin() + offset::source,
                         head.begin() + offset::source);
    }
    if (std::memcmp(head.data(), frame.data(), head.size()) != 0) {
        return verdict::corrupt;
    }
    const auto& pattern = patterns()[static_cast<std::size_t>(expected.from)];
    return std::equal(untagged + offset::pattern, frame.data() + frame.size(),
                      pattern.begin() + offset::pattern)
               ? verdict::good
               : verdict::corrupt;
}

} // namespace strait::bench
