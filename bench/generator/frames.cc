// SPDX-License-Identifier: BSD-3-Clause
// Building and checking the generator's frames: Ethernet, VLAN tags, IPv4 or IPv6, UDP or TCP, a
// mark, the flow's number, the frame's, a time stamp and a pattern to the end.

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

std::uint64_t mac_of(side one, std::uint32_t flow) noexcept
{
    const std::uint64_t head = mac_head(one);
    const std::uint64_t tail = (flow & 0xff) << 16 | (flow & 0xff00) | (flow >> 16 & 0xff);
    return head | tail << 24;
}

void write_macs(std::byte* frame, std::uint64_t source, std::uint64_t destination) noexcept
{
    put(frame, destination | source << 48);
    put(frame + 8, static_cast<std::uint32_t>(source >> 16));
}

void write_macs(std::byte* frame, side from, std::uint32_t flow) noexcept
{
    write_macs(frame, mac_of(from, flow), mac_of(other(from), flow));
}

void write_macs_of_path(std::byte* frame, side from, std::uint32_t path,
                        const frame_form& form) noexcept
{
    if (form.ring) {
        const std::uint32_t next = path + 1 == form.paths ? 0 : path + 1;
        write_macs(frame, mac_of(from, path), mac_of(from, next));
        return;
    }
    const std::uint64_t one = mac_of(side::a, 0);
    const std::uint64_t of_many = mac_of(side::b, path);
    write_macs(frame, from == side::a ? one : of_many, from == side::a ? of_many : one);
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

constexpr std::uint16_t protocol_of(const frame_form& form) noexcept
{
    return form.tcp ? 6 : 17;
}

// The IPv4 header of flow 0 but for length and checksum.
constexpr std::array<std::uint16_t, 10> ip_words(side from, std::uint16_t length,
                                                 const frame_form& form) noexcept
{
    const bool is_a = from == side::a;
    return {0x4500,
            length,
            0xffff,
            0x4000,
            static_cast<std::uint16_t>(0x4000 | protocol_of(form)),
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

constexpr std::uint16_t folded(std::uint32_t sum) noexcept
{
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(sum);
}

// Same for both sides: the sum does not depend on which address is source and which destination.
std::uint16_t header_checksum(std::uint16_t length, const frame_form& form) noexcept
{
    std::uint32_t sum = 0;
    for (const std::uint16_t word : ip_words(side::a, length, form)) {
        sum += word;
    }
    return static_cast<std::uint16_t>(~folded(sum));
}

// 16-bit words as they lie in memory; an odd byte at the end is one's low half.
std::uint32_t sum_of(const std::byte* at, std::size_t bytes) noexcept
{
    std::uint32_t sum = 0;
    for (; bytes >= 2; bytes -= 2, at += 2) {
        sum += get<std::uint16_t>(at);
    }
    return sum + (bytes != 0 ? std::to_integer<std::uint32_t>(*at) : 0);
}

// The IPv6 header (RFC 8200, section 3): both addresses are this prefix, of 96 bits, and the IPv4
// address of the same flow.
namespace v6 {
constexpr std::size_t payload_length = offset::ip + 4;
constexpr std::size_t next_header = offset::ip + 6;
constexpr std::size_t hop_limit = offset::ip + 7;
constexpr std::size_t source = offset::ip + 8;
constexpr std::size_t destination = offset::ip + 24;
constexpr std::size_t suffix = 12; // in an address
constexpr std::uint16_t prefix = 0xfd53;
} // namespace v6

namespace tcp {
constexpr std::size_t sequence = 4;
constexpr std::size_t acknowledged = 8;
constexpr std::size_t offset_and_flags = 12;
constexpr std::size_t window = 14;
constexpr std::size_t checksum = 16;
constexpr std::size_t urgent = 18;
} // namespace tcp

constexpr std::size_t checksum_behind_ports(const frame_form& form) noexcept
{
    return form.tcp ? tcp::checksum : 6;
}

void write_ip(std::byte* untagged, side from, const frame_form& form) noexcept
{
    if (form.ipv6) {
        put(untagged + offset::ether_type, big(0x86dd));
        std::memset(untagged + offset::ip, 0, v6::source - offset::ip + 32);
        untagged[offset::ip] = std::byte{0x60};
        untagged[v6::next_header] = static_cast<std::byte>(protocol_of(form));
        untagged[v6::hop_limit] = std::byte{64};
        put(untagged + v6::source, big(v6::prefix));
        put(untagged + v6::destination, big(v6::prefix));
        return;
    }
    put(untagged + offset::ether_type, big(0x0800));
    const auto words = ip_words(from, 0, form);
    for (std::size_t i = 0; i < words.size(); ++i) {
        put(untagged + offset::ip + i * 2, big(words[i]));
    }
}

// A segment in the middle of a connection, the same each time.
void write_tcp(std::byte* ports) noexcept
{
    constexpr std::uint16_t five_words_ack_push = 0x5018;
    put(ports + tcp::sequence, __builtin_bswap32(1));
    put(ports + tcp::acknowledged, __builtin_bswap32(1));
    put(ports + tcp::offset_and_flags, big(five_words_ack_push));
    put(ports + tcp::window, std::uint16_t{0xffff});
    put(ports + tcp::urgent, std::uint16_t{0});
}

void write_fields(std::byte* frame, const flow_fields& fields, const frame_form& form) noexcept
{
    std::byte* const untagged = frame + form.tags.bytes();
    if (form.ipv6) {
        put(untagged + v6::source + v6::suffix, __builtin_bswap32(fields.source));
        put(untagged + v6::destination + v6::suffix, __builtin_bswap32(fields.destination));
    } else {
        put(untagged + offset::ip_id, big(compensation(fields)));
        put(untagged + offset::ip_source,
            __builtin_bswap64(std::uint64_t{fields.source} << 32 | fields.destination));
    }
    put(frame + form.before_ports() + offset::udp,
        __builtin_bswap32(std::uint32_t{fields.source_port} << 16 | fields.destination_port));
}

constexpr std::byte pattern_at(std::size_t position, side from) noexcept
{
    const std::size_t salt = from == side::a ? 0x35 : 0xca;
    return static_cast<std::byte>((position * 7 + (position >> 8) * 13 + salt) & 0xff);
}

const std::array<std::array<std::byte, largest_segmented>, 2>& patterns() noexcept
{
    static const auto both = [] {
        std::array<std::array<std::byte, largest_segmented>, 2> made{};
        for (std::size_t i = 0; i < largest_segmented; ++i) {
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

frame_size make_frame_size(std::uint16_t bytes, const frame_form& form, side from) noexcept
{
    const auto untagged = static_cast<std::uint16_t>(bytes - form.tags.bytes());
    const auto transport = static_cast<std::uint16_t>(bytes - form.before_ports() - offset::udp);
    frame_size size{.bytes = bytes,
                    .ip_length = big(transport),
                    .ip_checksum = 0,
                    .udp_length = big(transport),
                    .constant_sum = 0,
                    .pseudo_sum = 0};
    if (!form.ipv6) {
        const auto ip_length = static_cast<std::uint16_t>(untagged - offset::ip);
        size.ip_length = big(ip_length);
        size.ip_checksum = big(header_checksum(ip_length, form));
    }
    if (form.has_checksum()) {
        const std::size_t behind_stamp = bytes - form.before_mark() - offset::pattern;
        size.pseudo_sum = folded(std::uint32_t{big(transport)} + big(protocol_of(form)) +
                                 (form.ipv6 ? 2U * big(v6::prefix) : 0U));
        size.constant_sum =
            folded(size.pseudo_sum +
                   sum_of(patterns()[static_cast<std::size_t>(from)].data() + offset::pattern,
                          behind_stamp));
    }
    return size;
}

void build_frame(std::span<std::byte> to, side from, const frame_size& size,
                 const frame_form& form) noexcept
{
    std::byte* const untagged = to.data() + form.tags.bytes();
    std::byte* const ports = to.data() + form.before_ports() + offset::udp;
    std::byte* const marked = to.data() + form.before_mark();
    std::copy_n(patterns()[static_cast<std::size_t>(from)].begin() + offset::magic,
                to.size() - form.before_mark() - offset::magic, marked + offset::magic);
    write_ip(untagged, from, form);
    if (form.tcp) {
        write_tcp(ports);
    }
    put(ports + checksum_behind_ports(form), std::uint16_t{0});
    write_macs(to.data(), from, 0);
    write_tags(to.data() + offset::ether_type, form.tags);
    write_fields(to.data(), fields_of(flow_kind::macs, from, 0), form);
    put(marked + offset::magic, frame_mark);
    put(marked + offset::flow, std::uint32_t{0});
    set_size(to.data(), size, form);
    set_stamp(marked, 0);
    set_sequence(marked, 0);
    set_checksum(to.data(), size, form);
}

void set_flow(std::byte* frame, side from, flow_kind kind, std::uint32_t flow,
              const frame_form& form) noexcept
{
    if (kind == flow_kind::macs) {
        write_macs(frame, from, flow);
    } else if (form.paths != 0) {
        write_macs_of_path(frame, from, flow % form.paths, form);
    }
    write_fields(frame, fields_of(kind, from, flow), form);
    put(frame + form.before_mark() + offset::flow, flow);
}

void set_size(std::byte* frame, const frame_size& size, const frame_form& form) noexcept
{
    std::byte* const untagged = frame + form.tags.bytes();
    if (form.ipv6) {
        put(untagged + v6::payload_length, size.ip_length);
    } else {
        put(untagged + offset::ip_length, size.ip_length);
        put(untagged + offset::ip_checksum, size.ip_checksum);
    }
    if (!form.tcp) {
        put(frame + form.before_ports() + offset::udp_length, size.udp_length);
    }
}

void set_checksum(std::byte* frame, const frame_size& size, const frame_form& form) noexcept
{
    if (!form.has_checksum()) {
        return;
    }
    std::byte* const ports = frame + form.before_ports() + offset::udp;
    std::byte* const field = ports + checksum_behind_ports(form);
    put(field, std::uint16_t{0});
    const std::byte* const untagged = frame + form.tags.bytes();
    std::uint32_t sum = form.partial ? size.pseudo_sum : size.constant_sum;
    if (form.ipv6) {
        sum += sum_of(untagged + v6::source + v6::suffix, 4);
        sum += sum_of(untagged + v6::destination + v6::suffix, 4);
    } else {
        sum += sum_of(untagged + offset::ip_source, 8);
    }
    if (form.partial) {
        put(field, folded(sum));
        return;
    }
    sum += sum_of(ports, offset::pattern - offset::udp + (form.tcp ? 12 : 0));
    const auto complement = static_cast<std::uint16_t>(~folded(sum));
    // Of UDP 0 would say that there is none (RFC 768).
    put(field, complement == 0 && !form.tcp ? std::uint16_t{0xffff} : complement);
}

verdict check_frame(std::span<const std::byte> frame, const expectation& expected) noexcept
{
    const frame_form& form = expected.form;
    const std::byte* const marked = frame.data() + form.before_mark();
    if (frame.size() < smallest_frame + form.before_mark() || !has_mark(marked)) {
        return verdict::foreign;
    }
    const auto size =
        std::find_if(expected.sizes.begin(), expected.sizes.end(),
                     [&](const frame_size& one) { return one.bytes == frame.size(); });
    const std::uint32_t flow = flow_of(marked);
    if (size == expected.sizes.end() || flow >= expected.flows) {
        return verdict::corrupt;
    }
    std::array<std::byte, offset::pattern + most_before_mark> room{};
    const std::span head{room.data(), offset::pattern + form.before_mark()};
    build_frame(head, expected.from, *size, form);
    set_flow(head.data(), expected.from, expected.kind, flow, form);
    set_stamp(head.data() + form.before_mark(), stamp_of(marked));
    set_sequence(head.data() + form.before_mark(), sequence_of(marked));
    set_checksum(head.data(), *size, form);
    if (expected.turned) {
        std::swap_ranges(head.begin() + offset::destination, head.begin() + offset::source,
                         head.begin() + offset::source);
    }
    if (std::memcmp(head.data(), frame.data(), head.size()) != 0) {
        return verdict::corrupt;
    }
    const auto& pattern = patterns()[static_cast<std::size_t>(expected.from)];
    return std::equal(marked + offset::pattern, frame.data() + frame.size(),
                      pattern.begin() + offset::pattern)
               ? verdict::good
               : verdict::corrupt;
}

} // namespace strait::bench
