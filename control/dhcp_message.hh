// SPDX-License-Identifier: BSD-3-Clause
// What DHCP messages (RFC 2131, 8415) say of leases, read from frames that guests and servers sent.
// What comes of it is dhcp_snooper.hh's business.
#pragma once

#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/types.hh"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

namespace strait::control {

inline constexpr std::uint32_t lease_for_ever = 0xffff'ffff; // seconds

// Between a client and its server; relays' messages are none of these.
struct dhcp4_message {
    enum class kind : std::uint8_t {
        discover = 1,
        offer,
        request,
        decline,
        acknowledge,
        refuse, // DHCPNAK
        release,
        inform,
    };
    kind type{};
    std::uint32_t transaction{0};
    dataplane::mac_address client;
    endpoint::ip_address current; // ciaddr; not set: 0.0.0.0, as with the next
    endpoint::ip_address yours;   // yiaddr
    std::optional<endpoint::ip_address> requested;
    std::optional<std::uint32_t> lease; // seconds
};

struct dhcp6_message {
    enum class kind : std::uint8_t {
        solicit = 1,
        advertise,
        request,
        confirm,
        renew,
        rebind,
        reply,
        release,
        decline,
        reconfigure,
        inform,
    };
    struct address {
        endpoint::ip_address is;
        std::uint32_t valid{0}; // seconds
    };
    static constexpr std::size_t most_addresses = 16;

    kind type{};
    std::uint32_t transaction{0}; // 24 bits
    // Of IA_NA and IA_TA that have not failed.
    std::vector<address> addresses;
};

// A UDP datagram's content. Nothing: it is no such message, or malformed.
[[nodiscard]] std::optional<dhcp4_message> read_dhcp4(std::span<const std::byte> content);
[[nodiscard]] std::optional<dhcp6_message> read_dhcp6(std::span<const std::byte> content);

struct dhcp_frame {
    dataplane::mac_address source;
    endpoint::ip_address from;
    endpoint::ip_address to;
    std::variant<dhcp4_message, dhcp6_message> message;
};
// An Ethernet frame, which may be cut short. Nothing: it has no such message.
[[nodiscard]] std::optional<dhcp_frame> read_dhcp_frame(std::span<const std::byte> frame);

} // namespace strait::control
