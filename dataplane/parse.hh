// SPDX-License-Identifier: BSD-3-Clause
// What L2 switching reads of a frame, and a tag put in and taken out in place. Works on a packet's
// private head only. L3 and above are offload.cc's business, and that of flows (flow/extract.hh).
#pragma once

#include "dataplane/packet.hh"
#include "dataplane/types.hh"
#include "dataplane/vlan.hh"

#include <cstring>

namespace strait::dataplane {

inline constexpr std::uint32_t ethernet_header = 14; // bytes, without tags and FCS
inline constexpr std::uint32_t tag_length = 4;
inline constexpr std::uint16_t ethertype_ipv4 = 0x0800;
inline constexpr std::uint16_t ethertype_ipv6 = 0x86dd;
inline constexpr std::uint16_t ethertype_arp = 0x0806;
inline constexpr std::uint16_t ethertype_rarp = 0x8035;

struct ethernet {
    mac_address destination;
    mac_address source;
    std::uint16_t type; // host order; of the outer tag if there is one
};

template <typename T>
[[nodiscard]] inline T load(const std::byte* at) noexcept
{
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

template <typename T>
inline void store(std::byte* at, T value) noexcept
{
    std::memcpy(at, &value, sizeof value);
}

// The frame has at least ethernet_header bytes. Reads 14.
[[nodiscard]] inline ethernet parse_ethernet(const std::byte* frame) noexcept
{
    return {mac_address{load<std::uint64_t>(frame)}, mac_address{load<std::uint64_t>(frame + 6)},
            load<be16>(frame + 12)};
}

// The outer tag's control information: PCP, DEI, VID. The frame has at least 16 bytes.
[[nodiscard]] inline std::uint16_t outer_tag(const std::byte* frame) noexcept
{
    return load<be16>(frame + ethernet_header);
}

// Moves what an intent points at when the frame's first byte has moved by `bytes`.
inline void move_intent(offload_intent& intent, int bytes) noexcept
{
    if (intent.empty()) {
        return;
    }
    const auto move = [bytes](std::uint16_t& offset) noexcept {
        offset = static_cast<std::uint16_t>(offset + bytes);
    };
    move(intent.checksum_start);
    move(intent.header_length);
    move(intent.network_start);
}

// Takes the outer tag out: the addresses move up by four bytes.
inline void pop_tag(packet& p) noexcept
{
    std::byte addresses[12];
    std::memcpy(addresses, p.data, sizeof addresses);
    p.data += tag_length;
    std::memcpy(p.data, addresses, sizeof addresses);
    p.length -= tag_length;
    p.head_length = static_cast<std::uint16_t>(p.head_length - tag_length);
    p.tagged = 0;
    --p.tags;
    move_intent(p.offload, -int{tag_length});
}

// Puts a tag in, 802.1Q's unless `type` says otherwise: the addresses move down by four bytes, into
// the room every head has.
inline void push_tag(packet& p, std::uint16_t control_information,
                     std::uint16_t type = ethertype_vlan) noexcept
{
    std::byte addresses[12];
    std::memcpy(addresses, p.data, sizeof addresses);
    p.data -= tag_length;
    std::memcpy(p.data, addresses, sizeof addresses);
    const be16 tag[2] = {type, control_information};
    std::memcpy(p.data + sizeof addresses, tag, sizeof tag);
    p.length += tag_length;
    p.head_length = static_cast<std::uint16_t>(p.head_length + tag_length);
    p.tagged = type == ethertype_vlan ? 1 : 0;
    ++p.tags;
    move_intent(p.offload, int{tag_length});
}

} // namespace strait::dataplane
