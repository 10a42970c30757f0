// SPDX-License-Identifier: BSD-3-Clause
// A packet as a worker sees it, and the burst that carries it. What the switch reads of a packet
// (its head) is private memory; the rest (its payload) may still be the sender's, to be copied
// once at transmit. Such a packet is borrowed until its receive queue is released, at the end of
// the burst; who keeps it longer calls own(). Parsing is in parse.hh, what to do about an intent in
// offload.hh, queues in ports/port.hh.
#pragma once

#include "dataplane/guest_span.hh"
#include "dataplane/types.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

struct rte_mbuf;
struct rte_mempool;

namespace strait::dataplane {

struct remote_payload;

// What a far side takes unfinished, or what a packet asks of it: a set.
enum class offloads : std::uint8_t {
    none = 0,
    checksum_ipv4 = 1 << 0, // TCP's and UDP's
    checksum_ipv6 = 1 << 1,
    segmentation_ipv4 = 1 << 2, // TCP's
    segmentation_ipv6 = 1 << 3,
    segmentation_ecn = 1 << 4,      // with either: the CWR flag is the first segment's alone
    udp_segmentation_ipv4 = 1 << 5, // into datagrams; not fragments of one
    udp_segmentation_ipv6 = 1 << 6,
};
[[nodiscard]] constexpr offloads operator|(offloads a, offloads b) noexcept
{
    return static_cast<offloads>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr offloads& operator|=(offloads& a, offloads b) noexcept
{
    return a = a | b;
}
[[nodiscard]] constexpr offloads operator&(offloads a, offloads b) noexcept
{
    return static_cast<offloads>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}
inline constexpr offloads all_segmentation =
    offloads::segmentation_ipv4 | offloads::segmentation_ipv6 | offloads::udp_segmentation_ipv4 |
    offloads::udp_segmentation_ipv6;
inline constexpr offloads all_offloads = offloads::checksum_ipv4 | offloads::checksum_ipv6 |
                                         all_segmentation | offloads::segmentation_ecn;
// Whether all of `what` is in `set`.
[[nodiscard]] constexpr bool contains(offloads set, offloads what) noexcept
{
    return (set & what) == what;
}

// What is left to do to a packet before it is a correct frame on a wire. Ports translate it to and
// from their own form. It is made by offload.hh alone, which checks what a guest claims: all that
// it points at lies in the packet's head. Offsets are from the frame's first byte, and follow it
// when a tag goes in or out.
struct offload_intent {
    // The TCP or UDP header; 0: no checksum to fill. The field holds the pseudo-header's sum,
    // whose length is that of all the frame has behind this offset.
    std::uint16_t checksum_start{0};
    std::uint16_t checksum_offset{0};  // of the field, from checksum_start
    std::uint16_t segment_size{0};     // TCP or UDP payload bytes a segment; 0: do not segment
    std::uint16_t header_length{0};    // bytes in front of the TCP or UDP payload
    std::uint16_t network_start{0};    // the IP header
    offloads required{offloads::none}; // of who takes the packet as it is

    [[nodiscard]] bool empty() const noexcept { return required == offloads::none; }
};
static_assert(sizeof(offload_intent) == 12);

// In place of whether a frame is tagged: it leaves every port as it stands, whatever VLANs the port
// has.
inline constexpr std::uint8_t as_it_is = 2;
// packet::origin of what the switch says itself, which is a copy of nothing.
inline constexpr std::uint8_t no_origin = 0xff;

struct packet {
    std::byte* data;             // the frame's first byte; head_length bytes are private here
    std::uint32_t length;        // of the frame in bytes, without FCS
    std::uint16_t head_length;   // 14 or more unless the frame is shorter
    std::uint16_t segment_count; // payload beyond the head, in order
    const guest_span* segments;
    rte_mbuf* mbuf;         // owned: head and segments lie in this chain; else null
    remote_payload* remote; // the payload, if this process cannot address it: no segments then
    port_index in_port;
    vlan_id vlan;               // after classification
    std::uint16_t priority;     // PCP and DEI of its tag, in place (0xf000)
    std::uint8_t tagged : 2;    // with its VLAN's tag: vlan_policy::tag_mark; as_it_is
    std::uint8_t tags : 6;      // number of tags in front of its EtherType as it stands
    std::uint8_t origin;        // where taps are: in its burst; that of what it is a copy of, or
                                // no_origin
    std::uint16_t destinations; // transmits to come, counted down if several; see own()
    std::uint16_t note;         // of packet_note's parts
    offload_intent offload;
};

// packet::note: the number of what flows know of its tunnel (tunnel/notes.hh), 0 for nothing, and
// above it the queue of a shaped port that they chose (shaper.hh).
namespace packet_note {
inline constexpr unsigned tunnel_bits = 12;
inline constexpr std::uint16_t tunnel = (1 << tunnel_bits) - 1;
inline constexpr std::uint16_t queue = static_cast<std::uint16_t>(~tunnel);

[[nodiscard]] constexpr std::uint16_t with_queue(std::uint16_t note, unsigned queue_id) noexcept
{
    return static_cast<std::uint16_t>((note & tunnel) | queue_id << tunnel_bits);
}
} // namespace packet_note

// Bytes of a guest's packet that are copied to private memory before anything looks at them.
inline constexpr std::size_t head_copy = 128;
// What lengthen_head() makes of them: a tunnel's headers with those of what it carries.
inline constexpr std::size_t longest_head = 192;
// Room in front of the head for headers to be pushed, and for a port's own header.
inline constexpr std::size_t head_room = 128;

// A packet and the private memory of its head. In a slot, `data` may move within `room`+`head`.
struct alignas(64) packet_slot : packet {
    alignas(64) std::array<std::byte, head_room> room;
    std::array<std::byte, longest_head> head;
};
static_assert(sizeof(packet) <= 64 && sizeof(packet_slot) == 384);

// Of a port with several rings in a queue: the place of the one that packets came by, and how many
// its guest spreads its packets over there. What comes from elsewhere is as from a port of one.
struct origin_ring {
    std::uint8_t number{0};
    std::uint8_t of{1};
};

// Up to `capacity` packets of one receive queue. Lives in a worker, never on a stack.
struct burst {
    static constexpr std::size_t capacity = 64;
    static constexpr std::size_t segment_capacity = 2048;
    // Longest chain of payload segments of one packet.
    static constexpr std::size_t max_segments = 288;

    std::size_t count{0};
    std::size_t segments_used{0};
    std::size_t bytes_used{0};
    origin_ring from; // all of it; a queue says so who has several rings
    std::array<packet_slot, capacity> slots;
    std::array<guest_span, segment_capacity> segments;
    std::array<std::byte, 4096> bytes; // of payload that is not as it came

    [[nodiscard]] std::span<packet_slot> packets() noexcept { return {slots.data(), count}; }
    void clear() noexcept
    {
        count = 0;
        segments_used = 0;
        bytes_used = 0;
        from = {};
    }
};

// An mbuf chain with a copy of the packet as it stands, all of it in the pool's memory, whose place
// a device can be told; null when the pool is empty. If the packet is owned and this is its last
// destination, its own mbuf instead: then packet.mbuf becomes null. A packet with remote payload is
// made local first: null, too, when that fails. The intent is not in the mbuf.
[[nodiscard]] rte_mbuf* own(packet& p, rte_mempool* pool) noexcept;

// Makes packets with remote payload local; others are left as they are. Each becomes owned, with
// the head it had: what was read of it is not read again. All are copied in as few calls as can be,
// since each may be a system call. A packet whose `remote` is not null afterwards is as it was:
// remote->unreadable says that its sender is to blame, and then it is not tried again; else the
// pool is empty.
void localise(std::span<packet* const> packets, rte_mempool* pool) noexcept;

// Copies more of a packet's payload behind its head, where it lies in its slot: as much as there is
// room for. The payload lies in segments of `b`, or is remote: then it costs a call of its copier,
// and remote->unreadable may be set. What was read before is not read again.
void lengthen_head(packet_slot& p, burst& b) noexcept;
// Of several packets of one burst: what is remote, in as few calls as can be.
void lengthen_heads(std::span<packet_slot* const> packets, burst& b) noexcept;

// Another packet with the same frame in the next slot of `to`, for who changes headers after the
// packet has gone somewhere as it was. Its head is its own, its payload is `from`'s, which from
// then on has one destination more than it will ever be sent to: its mbuf stays where it is until
// both are done with. Remote payload is made local first. Null: `to` is full, or there is no memory
// for that, or it cannot be read (localise()).
// `most_head` bytes of the head at most: half of the room is left for what flows still push.
inline constexpr std::size_t cloned_head = longest_head + head_room / 2;
[[nodiscard]] packet_slot* clone_packet(packet& from, burst& to, rte_mempool* pool,
                                        std::size_t most_head = cloned_head) noexcept;

// A packet that goes nowhere else, with all that it owns, to the next slot of `to`; null: that is
// full.
[[nodiscard]] packet_slot* move_packet(packet_slot& from, burst& to) noexcept;

// Fills `p` from an mbuf chain received or handed over; the mbuf stays owned by the packet. False
// when the chain has more than burst::max_segments segments, or its headers cannot be made
// contiguous: the mbuf is then still the caller's.
[[nodiscard]] bool from_mbuf(packet_slot& p, rte_mbuf* m, burst& b) noexcept;
// Bytes in front of its frame that are its own.
[[nodiscard]] std::size_t room_before(const packet_slot& p) noexcept;

// Copies `size` bytes of the frame from `offset` on, wherever they lie. Bounds: the caller's.
// False, and zeros in place of the payload, if it is remote and cannot be read.
bool copy_frame(const packet& p, std::size_t offset, void* to, std::size_t size) noexcept;

} // namespace strait::dataplane
