// SPDX-License-Identifier: BSD-3-Clause
// Building and checking the generator's frames: Ethernet, IPv4, UDP, a mark, the flow's number, a
// time stamp and a pattern to the end.

#include "bench/generator/frames.hh"

#include <algorithm>
#include <bit>
#include <cstring>

namespace strait::bench {

namespace {

static_assert(std::endian::native == std::endian::little);
static_assert(offset::pattern <= smallest_frame);

constexpr std::uint32_t mark = 0x54525453; // "STRT"

constexpr std::uint16_t big(std::uint16_t value) noexcept
{
    return static_cast<std::uint16_t>(value << 8 | value >> 8);
}

template <typename T>
void put(std::byte* at, T value) noexcept
{
    std::memcpy(at, &value, sizeof(value));
}

template <typename T>
T get(const std::byte* at) noexcept
{
    T value;
    std::memcpy(&value, at, sizeof(value));
    return value;
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

void write_flow(std::byte* frame, side from, std::uint32_t flow) noexcept
{
    write_macs(frame, from, flow);
    const auto low = big(static_cast<std::uint16_t>(flow));
    put(frame + offset::ip_id, static_cast<std::uint16_t>(~low));
    put(frame + offset::ip_source + 2, low);
    put(frame + offset::flow, flow);
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

} // namespace

frame_size make_frame_size(std::uint16_t bytes) noexcept
{
    const auto ip_length = static_cast<std::uint16_t>(bytes - offset::ip);
    return {bytes, big(ip_length), big(checksum(ip_length)),
            big(static_cast<std::uint16_t>(bytes - offset::udp))};
}

void build_frame(std::span<std::byte> to, side from, const frame_size& size) noexcept
{
    std::byte* frame = to.data();
    const auto& pattern = patterns()[static_cast<std::size_t>(from)];
    std::copy_n(pattern.begin(), to.size(), frame);
    put(frame + offset::ether_type, big(0x0800));
    const auto words = ip_words(from, 0);
    for (std::size_t i = 0; i < words.size(); ++i) {
        put(frame + offset::ip + i * 2, big(words[i]));
    }
    put(frame + offset::udp, big(9000));
    put(frame + offset::udp + 2, big(9001));
    put(frame + offset::udp + 6, std::uint16_t{0});
    put(frame + offset::magic, mark);
    write_flow(frame, from, 0);
    set_size(frame, size);
    set_stamp(frame, 0);
}

void set_flow(std::byte* frame, side from, std::uint32_t flow) noexcept
{
    write_flow(frame, from, flow);
}

void set_size(std::byte* frame, const frame_size& size) noexcept
{
    put(frame + offset::ip_length, size.ip_length);
    put(frame + offset::ip_checksum, size.ip_checksum);
    put(frame + offset::udp_length, size.udp_length);
}

void set_stamp(std::byte* frame, std::uint64_t cycles) noexcept
{
    put(frame + offset::stamp, cycles);
}

std::uint64_t stamp_of(const std::byte* frame) noexcept
{
    return get<std::uint64_t>(frame + offset::stamp);
}

verdict check_frame(std::span<const std::byte> frame, side from, std::span<const frame_size> sizes,
                    std::uint32_t flows) noexcept
{
    if (frame.size() < smallest_frame || get<std::uint32_t>(frame.data() + offset::magic) != mark) {
        return verdict::foreign;
    }
    const auto size = std::find_if(sizes.begin(), sizes.end(), [&](const frame_size& one) {
        return one.bytes == frame.size();
    });
    const auto flow = get<std::uint32_t>(frame.data() + offset::flow);
    if (size == sizes.end() || flow >= flows) {
        return verdict::corrupt;
    }
    std::array<std::byte, offset::pattern> head{};
    build_frame(head, from, *size);
    set_flow(head.data(), from, flow);
    set_stamp(head.data(), stamp_of(frame.data()));
    if (std::memcmp(head.data(), frame.data(), head.size()) != 0) {
        return verdict::corrupt;
    }
    const auto& pattern = patterns()[static_cast<std::size_t>(from)];
    return std::equal(frame.begin() + offset::pattern, frame.end(),
                      pattern.begin() + offset::pattern)
               ? verdict::good
               : verdict::corrupt;
}

} // namespace strait::bench
