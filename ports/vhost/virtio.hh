// SPDX-License-Identifier: BSD-3-Clause
// Virtio's structures in guest memory and their constants: Virtual I/O Device (VIRTIO) 1.1,
// sections 2.6 (split), 2.7 (packed), 5.1 (network device). Little endian, as the host.
#pragma once

#include <cstddef>
#include <cstdint>

namespace strait::vhost {

// Feature bits that the engine, the control plane or the VMM decides by.
namespace feature {
inline constexpr unsigned checksum = 0;       // of frames that the guest sends
inline constexpr unsigned guest_checksum = 1; // of those it receives; so below, too
inline constexpr unsigned mtu = 3;
inline constexpr unsigned mac = 5;
inline constexpr unsigned guest_tso4 = 7;
inline constexpr unsigned guest_tso6 = 8;
inline constexpr unsigned guest_ecn = 9;
inline constexpr unsigned guest_ufo = 10;
inline constexpr unsigned host_tso4 = 11;
inline constexpr unsigned host_tso6 = 12;
inline constexpr unsigned host_ecn = 13;
inline constexpr unsigned host_ufo = 14;
inline constexpr unsigned mergeable_buffers = 15;
inline constexpr unsigned status = 16;
inline constexpr unsigned control_queue = 17;
inline constexpr unsigned control_receive = 18;
inline constexpr unsigned guest_announce = 21;
inline constexpr unsigned multiqueue = 22;
inline constexpr unsigned control_mac = 23;
inline constexpr unsigned log_all = 26; // vhost's own: the front end has writes logged
inline constexpr unsigned any_layout = 27;
inline constexpr unsigned indirect = 28;
inline constexpr unsigned event_index = 29;
inline constexpr unsigned protocol_features = 30; // vhost-user's own
inline constexpr unsigned version_1 = 32;
inline constexpr unsigned ring_packed = 34;
inline constexpr unsigned in_order = 35;
inline constexpr unsigned guest_uso4 = 54; // UDP into datagrams; VIRTIO 1.3
inline constexpr unsigned guest_uso6 = 55;
inline constexpr unsigned host_uso = 56; // of either version
} // namespace feature

[[nodiscard]] constexpr bool has_feature(std::uint64_t features, unsigned bit) noexcept
{
    return (features >> bit & 1) != 0;
}

namespace descriptor_flag {
inline constexpr std::uint16_t next = 1;
inline constexpr std::uint16_t write = 2; // by the device
inline constexpr std::uint16_t indirect = 4;
inline constexpr std::uint16_t available = 1U << 7; // packed rings
inline constexpr std::uint16_t used = 1U << 15;     // packed rings
} // namespace descriptor_flag

struct split_descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
};
static_assert(sizeof(split_descriptor) == 16);

struct packed_descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t id;
    std::uint16_t flags;
};
static_assert(sizeof(packed_descriptor) == 16);

struct used_element {
    std::uint32_t id;
    std::uint32_t length;
};

// Split rings: 16-bit words of the available and used areas.
inline constexpr std::uint16_t no_interrupt = 1; // avail->flags
inline constexpr std::uint16_t no_notify = 1;    // used->flags

// Packed rings: event suppression structure.
namespace event {
inline constexpr std::uint16_t enable = 0;
inline constexpr std::uint16_t disable = 1;
inline constexpr std::uint16_t descriptor = 2;
} // namespace event

// In front of every frame. Without mergeable buffers and VERSION_1 it lacks the last field.
struct net_header {
    std::uint8_t flags;
    std::uint8_t gso_type;
    std::uint16_t header_length;
    std::uint16_t gso_size;
    std::uint16_t checksum_start;
    std::uint16_t checksum_offset;
    std::uint16_t buffers;
};
static_assert(sizeof(net_header) == 12);
inline constexpr std::size_t legacy_net_header = 10;

} // namespace strait::vhost
