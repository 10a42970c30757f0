// SPDX-License-Identifier: BSD-3-Clause
// The generator's frames: how one looks for a flow, a size and a side, and whether a frame that
// arrived is one of them, byte for byte. No rings live here.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace strait::bench {

// The end a frame starts from.
enum class side : std::uint8_t { a = 0, b = 1 };

constexpr side other(side one) noexcept
{
    return one == side::a ? side::b : side::a;
}

// What tells the flows of a side apart: MAC addresses, the IP destination alone, or the IP
// addresses and the UDP ports; with `answered` the same, and a flow of side b is the answer to that
// of side a with its number.
enum class flow_kind : std::uint8_t { macs, nw_dst, five_tuple, answered };

// How many flows of a kind a side can have.
constexpr std::uint64_t most_flows(flow_kind kind) noexcept
{
    constexpr std::uint64_t of_three_bytes = 1ULL << 24;
    return kind == flow_kind::macs     ? of_three_bytes
           : kind == flow_kind::nw_dst ? 1ULL << 28
                                       : 1ULL << 32;
}

// What a flow's frames have in their IP and UDP headers, in host order.
struct flow_fields {
    std::uint32_t source;
    std::uint32_t destination;
    std::uint16_t source_port;
    std::uint16_t destination_port;
};

// No two flows of a kind have the same. A few cycles: it is asked for each frame.
flow_fields fields_of(flow_kind kind, side from, std::uint32_t flow) noexcept;

// VLAN tags of an end's frames (IEEE 802.1Q, clause 9): none, one, or a service tag with a
// customer's behind it (802.1ad). Priority is 0.
struct vlan_tags {
    std::uint16_t outer = 0; // 0: no tag; 1 to 4094
    std::uint16_t inner = 0; // 0: one tag at most

    [[nodiscard]] constexpr std::uint16_t bytes() const noexcept
    {
        return static_cast<std::uint16_t>((outer != 0 ? 4 : 0) + (inner != 0 ? 4 : 0));
    }
    bool operator==(const vlan_tags&) const = default;
};

// Which headers an end's frames have: Ethernet, these tags, IPv4 or IPv6, UDP or TCP.
struct frame_form {
    vlan_tags tags{};
    bool ipv6 = false;
    bool tcp = false;
    // Who takes the frame is to fill in its checksum: there is but the pseudo header's sum in it
    // (virtio 1.3, section 5.1.6.2).
    bool partial = false;
    // Of more than two ends: flow i is of path i % paths, and each path has MAC addresses of its
    // own, between side a's one and one of side b's; in a ring all ends are of side a, and path p
    // leads from the end p to the next. 0: there are two ends.
    std::uint16_t paths = 0;
    bool ring = false;

    // By how many bytes the ports, and what is behind the ports' header, stand further back than in
    // the plainest frame: IPv4 and UDP without a tag.
    [[nodiscard]] constexpr std::uint16_t before_ports() const noexcept
    {
        return static_cast<std::uint16_t>(tags.bytes() + (ipv6 ? 20 : 0));
    }
    [[nodiscard]] constexpr std::uint16_t before_mark() const noexcept
    {
        return static_cast<std::uint16_t>(before_ports() + (tcp ? 12 : 0));
    }
    // Whether there is a checksum over all of a frame: with UDP in IPv4 there is none (RFC 768).
    [[nodiscard]] constexpr bool has_checksum() const noexcept { return ipv6 || tcp; }
};

inline constexpr std::uint16_t most_before_mark =
    frame_form{.tags = {1, 1}, .ipv6 = true, .tcp = true}.before_mark();

// One size of frame, with the fields of its headers that follow from it, in network order.
struct frame_size {
    std::uint16_t bytes;
    std::uint16_t ip_length;
    std::uint16_t ip_checksum;
    std::uint16_t udp_length;
    // Of what TCP's or UDP's checksum covers, all that is the same in each frame of this size:
    // 16-bit words as they lie in memory (RFC 1071, section 2).
    std::uint32_t constant_sum;
    std::uint32_t pseudo_sum; // of that the pseudo header's share, without the flow's addresses
};

// `bytes` is the length of a frame without its check sequence: 60 and what its form puts before the
// mark, to 65,535.
frame_size make_frame_size(std::uint16_t bytes, const frame_form& form = {},
                           side from = side::a) noexcept;

// Offsets in a plain frame of the fields written for each frame. VLAN tags stand before the
// Ethernet type: they shift all but the MAC addresses. Ports are shifted by before_ports(), the
// mark and all that follows by before_mark().
namespace offset {
inline constexpr std::size_t destination = 0;
inline constexpr std::size_t source = 6;
inline constexpr std::size_t ether_type = 12;
inline constexpr std::size_t ip = 14;
inline constexpr std::size_t ip_length = ip + 2;
inline constexpr std::size_t ip_id = ip + 4;
inline constexpr std::size_t ip_checksum = ip + 10;
inline constexpr std::size_t ip_source = ip + 12;
inline constexpr std::size_t ip_destination = ip + 16;
inline constexpr std::size_t udp = ip + 20;
inline constexpr std::size_t udp_length = udp + 4;
inline constexpr std::size_t magic = udp + 8;
inline constexpr std::size_t flow = magic + 4;
inline constexpr std::size_t sequence = flow + 4;
inline constexpr std::size_t stamp = sequence + 4;
inline constexpr std::size_t pattern = stamp + 6;
} // namespace offset

// Bytes of a TCP segment's headers.
constexpr std::uint16_t before_tcp_payload(const frame_form& form) noexcept
{
    constexpr std::size_t tcp_header = 20;
    return static_cast<std::uint16_t>(offset::udp + form.before_ports() + tcp_header);
}

inline constexpr std::size_t smallest_frame = 60;
inline constexpr std::size_t largest_frame = 9600; // but for those that are to be segmented
inline constexpr std::size_t largest_segmented = 65535;

// Writes a whole frame of flow 0 with number 0 and stamp 0 from `from`: `to` is as long as `size`
// says, or the head of it that ends with the stamp.
void build_frame(std::span<std::byte> to, side from, const frame_size& size,
                 const frame_form& form = {}) noexcept;

// Turns a built frame into one of another flow. With MAC addresses flow i goes from the i-th of
// `from`'s side to the i-th of the other side; else with those of its path. IPv4's identification
// changes so that the header's checksum stays; IPv6's addresses are fd53::/96 with IPv4's behind
// it.
void set_flow(std::byte* frame, side from, flow_kind kind, std::uint32_t flow,
              const frame_form& form = {}) noexcept;

// Turns a built frame into one of another size; the caller changes the length it is sent with.
void set_size(std::byte* frame, const frame_size& size, const frame_form& form = {}) noexcept;

// After all else of a frame was written, if its form has a checksum.
void set_checksum(std::byte* frame, const frame_size& size, const frame_form& form) noexcept;

// What is written and read for each frame, inline: a call each would be felt. `frame` is what is
// behind `before_mark()` bytes of one.

inline constexpr std::uint32_t frame_mark = 0x54525453; // "STRT"

// The first three bytes of a side's MAC addresses as they lie in memory: 02:53:0a and 02:53:0b,
// locally administered, unicast. The flow's or path's number is in the others.
constexpr std::uint32_t mac_head(side one) noexcept
{
    return one == side::a ? 0x0a5302 : 0x0b5302;
}

template <typename T>
void put(std::byte* at, T value) noexcept
{
    std::memcpy(at, &value, sizeof(value));
}
template <typename T>
[[nodiscard]] T get(const std::byte* at) noexcept
{
    T value;
    std::memcpy(&value, at, sizeof(value));
    return value;
}

// A stamp has 48 bits: a day of cycles. Setting it clears half of the frame's number.
inline constexpr std::uint64_t stamp_mask = (std::uint64_t{1} << 48) - 1;
inline void set_stamp(std::byte* frame, std::uint64_t cycles) noexcept
{
    put(frame + offset::stamp - 2, cycles << 16);
}
[[nodiscard]] inline std::uint64_t stamp_of(const std::byte* frame) noexcept
{
    return get<std::uint64_t>(frame + offset::stamp - 2) >> 16;
}

// A frame's number in its flow.
inline void set_sequence(std::byte* frame, std::uint32_t number) noexcept
{
    put(frame + offset::sequence, number);
}
[[nodiscard]] inline std::uint32_t sequence_of(const std::byte* frame) noexcept
{
    return get<std::uint32_t>(frame + offset::sequence);
}

// What a frame says of its flow, which may not exist; and whether it is one of the generator's.
[[nodiscard]] inline std::uint32_t flow_of(const std::byte* frame) noexcept
{
    return get<std::uint32_t>(frame + offset::flow);
}
[[nodiscard]] inline bool has_mark(const std::byte* frame) noexcept
{
    return get<std::uint32_t>(frame + offset::magic) == frame_mark;
}

// Whether a frame's source address is one of the side's.
[[nodiscard]] inline bool is_from(const std::byte* frame, side one) noexcept
{
    return (get<std::uint32_t>(frame + offset::source) & 0xffffff) == mac_head(one);
}

enum class verdict : std::uint8_t { good, corrupt, foreign };

// What may arrive of one side.
struct expectation {
    side from;
    std::span<const frame_size> sizes;
    flow_kind kind;
    std::uint64_t flows; // their numbers are below
    bool turned = false; // the switch exchanges the MAC addresses, as testpmd's macswap does
    frame_form form{};   // in which they arrive; the sizes are of it
};

// Says whether `frame` is as expected in each byte but its number and stamp. A frame without the
// generator's mark is foreign, as a neighbour's would be.
verdict check_frame(std::span<const std::byte> frame, const expectation& expected) noexcept;

} // namespace strait::bench
