// SPDX-License-Identifier: BSD-3-Clause
// What tells one flow's packets from another's where a port has several rings: IP addresses and
// ports, and a hash of them.
#pragma once

#include "dataplane/packet.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace strait::dataplane {

// Of a frame's outer IP header, behind any VLAN tags. Words in host order, as DPDK's rte_softrss
// wants them.
struct ip_tuple {
    std::array<std::uint32_t, 9> words{};
    std::uint32_t addresses{0}; // words of them
    bool ipv6{false};
    bool tcp{false};
    bool ports{false}; // in the word behind the addresses; not of fragments
};

// Of a packet's private head. Nothing where it has no IP header. Any thread.
[[nodiscard]] std::optional<ip_tuple> find_ip_tuple(const packet& p) noexcept;

// Packets of one flow always give the same number. Any thread.
[[nodiscard]] std::uint32_t flow_hash(const packet& p) noexcept;

} // namespace strait::dataplane
