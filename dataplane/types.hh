// SPDX-License-Identifier: BSD-3-Clause
// Strong types that the whole switch shares: identities of ports, bridges, workers and VLANs,
// MAC addresses, big-endian integers. No behaviour beyond conversion lives here.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace strait::dataplane {

static_assert(std::endian::native == std::endian::little, "Strait runs on x86-64");

// Dense index of a port in a snapshot's table, 0 to max_ports - 1. Reused after a port is
// removed; the number an operator sees is control's business.
enum class port_index : std::uint16_t {};
// Dense index of a bridge, 0 to max_bridges - 1.
enum class bridge_index : std::uint16_t {};
// Index of a worker, 0 to max_workers - 1.
enum class worker_index : std::uint16_t {};

// Time in whole seconds since the switch started.
using seconds_t = std::uint32_t;

inline constexpr std::size_t max_ports = 1024;
inline constexpr std::size_t max_bridges = 256;
inline constexpr std::size_t max_workers = 64;
inline constexpr port_index no_port{0xffff};
inline constexpr bridge_index no_bridge{0xffff};

template <typename Index>
[[nodiscard]] constexpr std::size_t to_index(Index index) noexcept
{
    return static_cast<std::size_t>(index);
}

// A VLAN identifier, IEEE 802.1Q: 1 to 4094. 0 stands for "no VLAN": untagged traffic of a
// bridge whose ports carry no VLAN configuration.
class vlan_id {
public:
    constexpr vlan_id() noexcept = default;
    constexpr explicit vlan_id(std::uint16_t value) noexcept : value_{value} {}
    [[nodiscard]] constexpr std::uint16_t value() const noexcept { return value_; }
    auto operator<=>(const vlan_id&) const noexcept = default;

private:
    std::uint16_t value_{0};
};

inline constexpr std::uint16_t max_vlan = 4094;

// MTUs: IPv4's least, and what still has a 16-bit length with an Ethernet header in front.
inline constexpr std::uint16_t min_mtu = 68;
inline constexpr std::uint16_t max_mtu = 65'521;

// An unsigned integer in network byte order, as it stands in a frame.
template <typename T>
class big_endian {
public:
    constexpr big_endian() noexcept = default;
    constexpr big_endian(T host) noexcept : raw_{swap(host)} {}  // NOLINT(google-explicit-*)
    constexpr operator T() const noexcept { return swap(raw_); } // NOLINT(google-explicit-*)

private:
    static constexpr T swap(T v) noexcept
    {
        if constexpr (sizeof(T) == 2) {
            return __builtin_bswap16(v);
        } else if constexpr (sizeof(T) == 4) {
            return __builtin_bswap32(v);
        } else {
            return __builtin_bswap64(v);
        }
    }
    T raw_{};
};
using be16 = big_endian<std::uint16_t>;
using be32 = big_endian<std::uint32_t>;

// A 48-bit MAC address. value() holds the first byte on the wire in its lowest 8 bits, so that
// eight bytes of a frame can be loaded and masked.
class mac_address {
public:
    constexpr mac_address() noexcept = default;
    constexpr explicit mac_address(std::uint64_t value) noexcept : value_{value & mask} {}

    // "aa:bb:cc:dd:ee:ff" (or with '-'); nothing when the text is anything else.
    [[nodiscard]] static std::optional<mac_address> parse(std::string_view text);
    [[nodiscard]] std::string to_string() const;

    [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }
    [[nodiscard]] constexpr bool is_multicast() const noexcept { return (value_ & 1) != 0; }
    [[nodiscard]] constexpr bool is_broadcast() const noexcept { return value_ == mask; }
    [[nodiscard]] constexpr bool is_zero() const noexcept { return value_ == 0; }
    // 01:80:c2:00:00:00 to :0f, which a bridge does not forward (IEEE 802.1D-2004 table 7-10).
    [[nodiscard]] constexpr bool is_reserved_multicast() const noexcept
    {
        return (value_ & 0xf0ff'ffff'ffffULL) == 0x0000'00c2'8001ULL;
    }
    [[nodiscard]] std::array<std::uint8_t, 6> bytes() const noexcept
    {
        std::array<std::uint8_t, 6> out{};
        std::memcpy(out.data(), &value_, out.size());
        return out;
    }
    auto operator<=>(const mac_address&) const noexcept = default;

    static constexpr std::uint64_t mask = 0xffff'ffff'ffffULL;

private:
    std::uint64_t value_{0};
};

} // namespace strait::dataplane
