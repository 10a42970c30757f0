// SPDX-License-Identifier: BSD-3-Clause
// IP addresses and prefixes of either version as one type: IPv4's are kept mapped into IPv6
// (::ffff:a.b.c.d). Text is control's business.
#pragma once

#include "dataplane/parse.hh"

#include <cstddef>
#include <cstdint>

namespace strait::endpoint {

struct ip_address {
    std::uint64_t high{0}; // the first byte on the wire is the highest
    std::uint64_t low{0};

    static constexpr std::uint64_t mapped = 0xffff;

    [[nodiscard]] static constexpr ip_address v4(std::uint32_t value) noexcept
    {
        return {0, mapped << 32 | value};
    }
    [[nodiscard]] static ip_address load_v4(const std::byte* at) noexcept
    {
        return v4(dataplane::load<dataplane::be32>(at));
    }
    [[nodiscard]] static ip_address load_v6(const std::byte* at) noexcept
    {
        using be64 = dataplane::big_endian<std::uint64_t>;
        return {dataplane::load<be64>(at), dataplane::load<be64>(at + 8)};
    }

    [[nodiscard]] constexpr bool is_set() const noexcept { return (high | low) != 0; }
    [[nodiscard]] constexpr bool is_v4() const noexcept { return high == 0 && low >> 32 == mapped; }
    [[nodiscard]] constexpr std::uint32_t v4() const noexcept
    {
        return static_cast<std::uint32_t>(low);
    }
    // Neither multicast, nor IPv4's broadcast, nor unspecified.
    [[nodiscard]] constexpr bool is_unicast() const noexcept
    {
        if (is_v4()) {
            return v4() != 0 && v4() >> 28 < 0xe;
        }
        return is_set() && high >> 56 != 0xff;
    }

    // As many bytes as its version has.
    void store(std::byte* at) const noexcept
    {
        using be64 = dataplane::big_endian<std::uint64_t>;
        if (is_v4()) {
            dataplane::store(at, dataplane::be32{v4()});
        } else {
            dataplane::store(at, be64{high});
            dataplane::store(at + 8, be64{low});
        }
    }
    constexpr bool operator==(const ip_address&) const noexcept = default;
};

// The first `length` bits, of 128: an IPv4 prefix has 96 more than it is written with.
struct ip_prefix {
    ip_address address; // the bits behind the prefix may be set: a host's address in its network
    std::uint8_t length{0};

    static constexpr std::uint8_t v4_offset = 96;

    [[nodiscard]] constexpr bool contains(const ip_address& other) const noexcept
    {
        if (address.is_v4() != other.is_v4()) {
            return false;
        }
        const auto mask = [](unsigned bits) noexcept {
            return bits == 0 ? 0 : ~std::uint64_t{0} << (64 - bits);
        };
        const unsigned first = length < 64 ? length : 64;
        const unsigned second = length - first;
        return (((address.high ^ other.high) & mask(first)) |
                ((address.low ^ other.low) & mask(second))) == 0;
    }
    constexpr bool operator==(const ip_prefix&) const noexcept = default;
};

} // namespace strait::endpoint
