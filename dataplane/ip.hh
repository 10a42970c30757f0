// SPDX-License-Identifier: BSD-3-Clause
// IP and what it carries, as numbers: protocols, lengths of headers, and Internet checksums kept
// right when a word of what they cover changes (RFC 1624). Who reads and writes headers is in
// offload.cc and flow/.
#pragma once

#include <cstddef>
#include <cstdint>

namespace strait::dataplane {

inline constexpr std::uint8_t protocol_icmp = 1;
inline constexpr std::uint8_t protocol_igmp = 2;
inline constexpr std::uint8_t protocol_tcp = 6;
inline constexpr std::uint8_t protocol_udp = 17;
inline constexpr std::uint8_t protocol_authentication = 51;
inline constexpr std::uint8_t protocol_icmpv6 = 58;
inline constexpr std::uint8_t protocol_pim = 103;
inline constexpr std::uint8_t protocol_sctp = 132;
inline constexpr std::uint8_t ipv6_hop_by_hop = 0;
inline constexpr std::uint8_t ipv6_routing = 43;
inline constexpr std::uint8_t ipv6_fragment = 44;
inline constexpr std::uint8_t ipv6_destination = 60;

inline constexpr std::size_t min_ipv4_header = 20;
inline constexpr std::size_t ipv6_header = 40;
inline constexpr std::size_t min_tcp_header = 20;
inline constexpr std::size_t udp_header = 8;
inline constexpr std::size_t sctp_header = 12;
inline constexpr std::size_t icmp_header = 8; // ICMPv6's and IGMP's too

// Where headers have their checksums.
inline constexpr std::uint16_t ipv4_checksum = 10;
inline constexpr std::uint16_t tcp_checksum = 16;
inline constexpr std::uint16_t udp_checksum = 6;
inline constexpr std::uint16_t icmp_checksum = 2; // ICMPv6's too
inline constexpr std::uint16_t sctp_checksum = 8; // CRC32c, of four bytes

// The 16-bit ones' complement sum of what was added up.
[[nodiscard]] constexpr std::uint16_t fold(std::uint64_t sum) noexcept
{
    sum = (sum & 0xffff'ffff) + (sum >> 32);
    sum = (sum & 0xffff'ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

// What changes of bytes come to in a sum of them. Values are as they lie in memory, at even offsets
// from where the sum begins.
class sum_change {
public:
    constexpr void replace(std::uint16_t old, std::uint16_t now) noexcept
    {
        sum_ += std::uint64_t{static_cast<std::uint16_t>(~old)} + now;
    }
    constexpr void replace(std::uint32_t old, std::uint32_t now) noexcept
    {
        sum_ += std::uint64_t{~old} + now;
    }
    constexpr void replace(std::uint64_t old, std::uint64_t now) noexcept
    {
        replace(static_cast<std::uint32_t>(old), static_cast<std::uint32_t>(now));
        replace(static_cast<std::uint32_t>(old >> 32), static_cast<std::uint32_t>(now >> 32));
    }
    constexpr sum_change& operator+=(const sum_change& other) noexcept
    {
        sum_ += other.sum_;
        return *this;
    }
    [[nodiscard]] constexpr bool empty() const noexcept { return sum_ == 0; }

    // A checksum field, that is the sum's complement.
    [[nodiscard]] constexpr std::uint16_t checksum(std::uint16_t field) const noexcept
    {
        return static_cast<std::uint16_t>(~sum(static_cast<std::uint16_t>(~field)));
    }
    // The sum itself, as offload intents have it in the field.
    [[nodiscard]] constexpr std::uint16_t sum(std::uint16_t field) const noexcept
    {
        return fold(sum_ + field);
    }

private:
    std::uint64_t sum_{0};
};

} // namespace strait::dataplane
