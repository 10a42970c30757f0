// SPDX-License-Identifier: BSD-3-Clause
// Offloads: what a guest may leave undone in a frame, checked against the frame's headers where it
// comes in; and doing in software what the far side does not take. Reads and writes private heads
// only; payload is read by copy. The intent itself is in packet.hh; who does what when, in
// worker.cc.
#pragma once

#include "dataplane/ip.hh"
#include "dataplane/packet.hh"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace strait::dataplane {

// No TCP makes smaller segments: Linux's smallest MSS is 48, of which options take 40 at most.
// Datagrams of UDP are as small as a program likes, so of these it is 1.
inline constexpr std::uint16_t min_segment_size = 8;
// What one packet may be cut into: 64 KiB at an MSS of 256. RFC 9293 assumes 536 for any path.
inline constexpr std::uint32_t max_segments_of_packet = 256;
// Ethernet to TCP or UDP: two tags (22), the longest IPv4 and TCP headers (60 each), and some for
// IPv6's extension headers. A slot's head has room for it and for two more tags.
inline constexpr std::size_t max_header_length = 160;

// UDP's segments are datagrams, of the version that the frame has.
enum class segmentation : std::uint8_t { none, tcp_ipv4, tcp_ipv6, udp };

[[nodiscard]] constexpr segmentation segmentation_of(const offload_intent& intent) noexcept
{
    if (intent.segment_size == 0) {
        return segmentation::none;
    }
    constexpr offloads datagrams =
        offloads::udp_segmentation_ipv4 | offloads::udp_segmentation_ipv6;
    if ((intent.required & datagrams) != offloads::none) {
        return segmentation::udp;
    }
    return contains(intent.required, offloads::segmentation_ipv6) ? segmentation::tcp_ipv6
                                                                  : segmentation::tcp_ipv4;
}

// What leaves by a wire in the end: each segment has the headers.
struct wire_cost {
    std::uint32_t packets;
    std::uint32_t bytes;
};
[[nodiscard]] inline wire_cost on_wire(std::uint32_t length, const offload_intent& todo) noexcept
{
    if (todo.segment_size == 0 || length <= todo.header_length) [[likely]] {
        return {1, length};
    }
    const std::uint32_t segments =
        (length - todo.header_length + todo.segment_size - 1) / todo.segment_size;
    return {segments, length + (segments - 1) * todo.header_length};
}

// Why a packet cannot have what its sender left undone. The packet is then to be dropped
// (drop_reason::bad_offload): as it stands it is no correct frame.
enum class offload_fault : std::uint8_t {
    none,
    truncated,         // the frame ends inside its headers
    beyond_head,       // headers are longer than the head, or than max_header_length
    protocol,          // not TCP or UDP over IP, not the one to be segmented, or malformed
    fragment,          // of a datagram: what there is of it cannot be summed
    version,           // segments of IPv4 asked for of a frame of IPv6, or the other way round
    segment_size,      // less than min_segment_size, or of UDP 0
    too_many_segments, // more than max_segments_of_packet
    place,             // the checksum is not inside the frame, or not at an even offset
    complete,          // segments asked for of a frame whose checksum is not left blank
    header_length,     // said to be beyond the frame's end
    not_negotiated,    // work that this sender has not been offered to leave
    kind               // of segmentation: unknown
};
[[nodiscard]] std::string_view to_string(offload_fault fault) noexcept;

// For netif (xen/include/public/io/netif.h), where no offsets travel: whether the TCP or UDP
// checksum field holds only the pseudo-header's sum, and what segments to cut (`size`: payload
// bytes, ignored for `none`). Sets p.offload. Segments of a frame whose checksum is not blank do
// happen: the field then becomes blank. Payload that fits one segment is not cut.
[[nodiscard]] offload_fault infer_offload(packet& p, bool checksum_blank, segmentation kind,
                                          std::uint16_t size) noexcept;

// Of a whole frame of TCP or UDP whose payload is local and was changed: its checksum is left to be
// filled, and segments of `size` bytes to be cut (of TCP; 0: none), whatever the intent was before.
[[nodiscard]] offload_fault leave_unfinished(packet& p, std::uint16_t size) noexcept;

// Whether TCP's or UDP's checksum is right, of a packet without intent and with local payload.
// `end`: of what IP says is its own in the frame, and lies there. False as well: there is none, or
// it cannot be told (a fragment, a routing header).
[[nodiscard]] bool has_right_checksum(const packet& p, std::size_t end) noexcept;

// What a virtio driver says of a frame (VIRTIO 1.3, 5.1.6.2): as it stands in the header, in host
// order, with nothing checked.
struct virtio_offload {
    static constexpr std::uint8_t needs_checksum = 1; // of flags; others are ignored
    static constexpr std::uint8_t gso_none = 0;       // of gso_type
    static constexpr std::uint8_t gso_tcp_ipv4 = 1;
    static constexpr std::uint8_t gso_tcp_ipv6 = 4;
    static constexpr std::uint8_t gso_udp = 5;    // into datagrams, of either version
    static constexpr std::uint8_t gso_ecn = 0x80; // with either of TCP's

    std::uint8_t flags;
    std::uint8_t gso_type;
    std::uint16_t header_length; // a hint: drivers say how much of the frame they have in one piece
    std::uint16_t gso_size;
    std::uint16_t checksum_start; // from the frame's first byte
    std::uint16_t checksum_offset;
};

// Sets p.offload to what the driver claims, if it may (`negotiated`) and the headers bear it out.
// A checksum anywhere else in the head than where TCP or UDP have theirs is allowed too (a
// tunnel's, say), but nobody downstream could be told of it: it is filled at once, for which the
// payload must be local. After beyond_head a longer head may do.
[[nodiscard]] offload_fault checked_intent(packet& p, const virtio_offload& claim,
                                           offloads negotiated) noexcept;

// Whether the checksum to fill is TCP's, not UDP's.
[[nodiscard]] constexpr bool is_tcp(const offload_intent& intent) noexcept
{
    return intent.checksum_offset == tcp_checksum;
}

// The pseudo-header's sum without the length, as devices want it of what they are to segment: a
// word of the frame.
[[nodiscard]] std::uint16_t pseudo_sum_without_length(const packet& p) noexcept;

// Whether the packet must be finished or cut before it goes to someone who takes `taken`.
[[nodiscard]] inline bool needs_work(const packet& p, offloads taken) noexcept
{
    return !contains(taken, p.offload.required);
}

// Fills the checksum of a packet with an intent without segments and with local payload, of which
// every byte is read once; the intent is then empty.
void finish_checksum(packet& p) noexcept;

// Cuts a packet with an intent of segments and with local payload, which is not copied: the
// segments refer to where it lies and must be transmitted before the packet is released. Each is a
// complete frame, or, for who takes checksums, one with that to fill.
class segmenter {
public:
    // `whole` stays as it is, and must outlive this.
    segmenter(const packet& whole, offloads taken) noexcept;

    [[nodiscard]] bool done() const noexcept { return left_ == 0; }
    // Appends as many segments to `b` as are left and fit, `most` at most; returns how many. An
    // empty burst has always room for one.
    [[nodiscard]] std::size_t cut(burst& b, std::size_t most) noexcept;

private:
    void make(burst& b) noexcept;
    void write_network_header(std::byte* at, std::uint32_t size) noexcept;
    void write_tcp_header(std::byte* at, std::uint32_t size) noexcept;

    const packet& whole_;
    const bool ipv6_;
    const bool udp_;
    const bool leaves_checksum_;
    std::uint32_t left_;         // payload bytes not yet in a segment
    std::uint32_t sequence_{0};  // TCP's, of the next segment
    std::uint32_t head_at_;      // where payload goes on in the head, if before its end
    std::uint16_t segment_{0};   // where it goes on behind that
    std::size_t segment_at_{0};  // and at which byte
    std::uint32_t network_sum_;  // of the IPv4 header without what changes
    std::uint16_t pseudo_sum_;   // of the pseudo-header without its length
    std::uint16_t identifier_;   // IPv4's, of the next segment
    std::uint8_t flags_{0};      // TCP's, of the next segment, but for what only the last has
    std::uint8_t last_flags_{0}; // FIN and PSH
};

} // namespace strait::dataplane
