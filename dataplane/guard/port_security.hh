// SPDX-License-Identifier: BSD-3-Clause
// Port security: whether what comes from a port is from the stations that are bound to it, in
// Ethernet, IP, ARP and neighbour discovery.
#pragma once

#include "dataplane/drop_reason.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/flow/key.hh"
#include "dataplane/guard/guard.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"

#include <cstdint>
#include <optional>

namespace strait::guard {

// What a packet is to DHCP, by its UDP ports: of either version of IP.
enum class dhcp_side : std::uint8_t { none, client, server };
// Of a packet that extract() read.
[[nodiscard]] dhcp_side side_of(const flow::key& k, const flow::header_layout& at) noexcept;

// Of a port with clients. Nothing: it is none of DHCP's, or a client's that control can follow.
[[nodiscard]] std::optional<dataplane::drop_reason>
check_dhcp(const port_guard& g, const dataplane::port_config& in, const dataplane::packet& p,
           const flow::key& k, const flow::header_layout& at) noexcept;

// Nothing: it may pass. `k` and `at` are what extract() read of it, down to its transport header;
// it came from `in`, whose guard is `g`.
[[nodiscard]] std::optional<dataplane::drop_reason>
check_sender(const port_guard& g, const dataplane::port_config& in, const dataplane::packet& p,
             const flow::key& k, const flow::header_layout& at) noexcept;

} // namespace strait::guard
