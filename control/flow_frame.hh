// SPDX-License-Identifier: BSD-3-Clause
// Frames made of keys: what the switch would read as just that key.
#pragma once

#include "dataplane/flow/key.hh"

#include <cstddef>
#include <vector>

namespace strait::control {

inline constexpr std::size_t shortest_frame = 60; // Ethernet's, without FCS
// An IPv6 packet of 65535 bytes is a longer frame, whose length no key has.
inline constexpr std::size_t longest_packet_length = 0xffff;

// Bytes of a frame's headers, and how long it may be.
[[nodiscard]] std::size_t header_bytes(const flow::key& k);
[[nodiscard]] std::size_t longest_frame(const flow::key& k);

// Of packet_length bytes, or as many as the headers take if that is more: tags, ARP, IPv4 and IPv6
// with TCP, UDP, SCTP, ICMP and neighbour discovery, with lengths and checksums that are right and
// zeros behind them. Fragments have no other part. Of the key, it has all that is in a frame.
[[nodiscard]] std::vector<std::byte> frame_of(const flow::key& k);

} // namespace strait::control
