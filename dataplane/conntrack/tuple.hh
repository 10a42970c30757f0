// SPDX-License-Identifier: BSD-3-Clause
// What tells a connection: addresses, ports, protocol and zone, as packets of one direction have
// them; packed, so that two words of one packet compare with two of a connection, IPv4's or IPv6's.
// Which packets have which tuple is in parse.hh.
#pragma once

#include "dataplane/conntrack/zone_id.hh"
#include "dataplane/flow/flow_mask.hh"
#include "dataplane/flow/key.hh"
#include "dataplane/ip.hh"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace strait::conntrack {

// As people and programs read it. Of ICMP the source port is the identifier, the destination port
// the type above the code; protocols without ports have zeros.
struct tuple {
    flow::wide source{};
    flow::wide destination{};
    std::uint16_t source_port{0};
    std::uint16_t destination_port{0};
    zone_id zone{0};
    std::uint8_t protocol{0};
    bool ipv6{false};
    bool operator==(const tuple&) const noexcept = default;
};

// Source's and destination's, each its higher half first, as a flow's key has them.
using ipv6_addresses = std::array<std::uint64_t, 4>;

// Of a message of ICMP, the one that answers it, or that it answers; the same: there is none.
[[nodiscard]] constexpr std::uint8_t opposite_type(std::uint8_t type, bool ipv6) noexcept
{
    if (ipv6) {
        return type == 128 || type == 129 ? type ^ 1U : type; // echo
    }
    switch (type) {
    case 0: // echo
        return 8;
    case 8:
        return 0;
    case 13: // timestamp, information
    case 15:
        return type + 1;
    case 14:
    case 16:
        return type - 1;
    case 17: // address mask
        return 18;
    case 18:
        return 17;
    default:
        return type;
    }
}
[[nodiscard]] constexpr bool is_icmp(std::uint8_t protocol) noexcept
{
    return protocol == dataplane::protocol_icmp || protocol == dataplane::protocol_icmpv6;
}

namespace detail {
// Random, so that collisions cannot be prepared by a guest.
extern const std::array<std::uint64_t, 6> seeds;
} // namespace detail

// An IPv6 address in 32 bits: who compares these compares addresses as well.
[[nodiscard]] inline std::uint32_t digest(std::uint64_t high, std::uint64_t low) noexcept
{
    return static_cast<std::uint32_t>(
        flow::word_hash::fold(high ^ detail::seeds[2], low ^ detail::seeds[3]) >> 32);
}

struct packed_tuple {
    static constexpr std::uint64_t in_use = std::uint64_t{1} << 63; // of `rest`: of a connection
    static constexpr std::uint64_t of_ipv6 = std::uint64_t{1} << 62;
    static constexpr unsigned zone_shift = 32;
    static constexpr zone_id zone_mask = zone_count - 1;
    static constexpr unsigned protocol_shift = 52;

    std::uint64_t addresses{0}; // the source's above the destination's; IPv6: digests
    std::uint64_t rest{0};      // source port, destination port, zone, protocol, flags

    [[nodiscard]] static packed_tuple make(std::uint64_t addresses, std::uint32_t ports,
                                           zone_id zone, std::uint8_t protocol, bool ipv6) noexcept
    {
        return {addresses, ports | zone_bits(zone) | std::uint64_t{protocol} << protocol_shift |
                               (ipv6 ? of_ipv6 : 0) | in_use};
    }
    [[nodiscard]] std::uint32_t ports() const noexcept { return static_cast<std::uint32_t>(rest); }
    [[nodiscard]] std::uint16_t source_port() const noexcept
    {
        return static_cast<std::uint16_t>(rest);
    }
    [[nodiscard]] std::uint16_t destination_port() const noexcept
    {
        return static_cast<std::uint16_t>(rest >> 16);
    }
    [[nodiscard]] static constexpr std::uint64_t zone_bits(zone_id zone) noexcept
    {
        return std::uint64_t{zone} << zone_shift;
    }
    [[nodiscard]] zone_id zone() const noexcept { return zone_in(rest); }
    [[nodiscard]] static zone_id zone_in(std::uint64_t rest) noexcept
    {
        return static_cast<zone_id>(rest >> zone_shift) & zone_mask;
    }
    [[nodiscard]] std::uint8_t protocol() const noexcept
    {
        return static_cast<std::uint8_t>(rest >> protocol_shift);
    }
    [[nodiscard]] bool ipv6() const noexcept { return (rest & of_ipv6) != 0; }
    bool operator==(const packed_tuple&) const noexcept = default;

    // Of the packets that answer.
    [[nodiscard]] packed_tuple reversed() const noexcept
    {
        packed_tuple out{std::rotl(addresses, 32), rest & ~std::uint64_t{0xffff'ffff}};
        if (is_icmp(protocol())) [[unlikely]] {
            const auto type = static_cast<std::uint8_t>(destination_port() >> 8);
            out.rest |= source_port() | std::uint32_t{opposite_type(type, ipv6())} << 24 |
                        std::uint32_t{destination_port() & 0xffU} << 16;
        } else {
            out.rest |= std::rotl(ports(), 16);
        }
        return out;
    }
    // The same for both directions of what is not translated.
    [[nodiscard]] std::uint64_t hash() const noexcept
    {
        return hash_by(is_icmp(protocol()) ? source_port() : destination_port());
    }
    // The same, of protocols that have two ports.
    [[nodiscard]] std::uint64_t hash_of_ports() const noexcept
    {
        return hash_by(destination_port());
    }

private:
    [[nodiscard]] std::uint64_t hash_by(std::uint16_t far_port) const noexcept
    {
        const std::uint64_t source = addresses >> 32 << 16 | source_port();
        const std::uint64_t destination = (addresses & 0xffff'ffff) << 16 | far_port;
        const std::uint64_t lower = std::min(source, destination);
        const std::uint64_t higher = std::max(source, destination);
        constexpr std::uint64_t upper = 0xffff;
        constexpr std::uint64_t any = 0x9e37'79b9'7f4a'7c15;
        // What the ends leave free: zone and protocol, family.
        const std::uint64_t first =
            flow::word_hash::fold(lower ^ detail::seeds[0] ^ (rest >> zone_shift & upper) << 48,
                                  higher ^ detail::seeds[1] ^ (rest >> 48) << 48);
        // Of many connections to one server one factor is always the same: products lie close.
        return flow::word_hash::fold(first, any);
    }
};

[[nodiscard]] constexpr ipv6_addresses reversed(const ipv6_addresses& a) noexcept
{
    return {a[2], a[3], a[0], a[1]};
}
[[nodiscard]] inline std::uint64_t digests(const ipv6_addresses& a) noexcept
{
    return std::uint64_t{digest(a[0], a[1])} << 32 | digest(a[2], a[3]);
}

// Both of one tuple.
struct whole_tuple {
    packed_tuple packed;
    ipv6_addresses addresses{}; // of IPv6 alone

    [[nodiscard]] static whole_tuple of(const tuple& t) noexcept;
    [[nodiscard]] tuple open() const noexcept;
    [[nodiscard]] whole_tuple reversed() const noexcept
    {
        return {packed.reversed(), conntrack::reversed(addresses)};
    }
    bool operator==(const whole_tuple& other) const noexcept
    {
        return packed == other.packed && (!packed.ipv6() || addresses == other.addresses);
    }
};

[[nodiscard]] tuple reversed(const tuple& t) noexcept;

} // namespace strait::conntrack
