// SPDX-License-Identifier: BSD-3-Clause
// DHCP messages, right and wrong, for tests.
#pragma once

#include "control/dhcp_message.hh"
#include "tests/unit/dataplane/guard/frames.hh"

#include <optional>
#include <span>

namespace strait::control::testing_support {

using guard::testing_support::bytes;
using guard::testing_support::operator+;
using guard::testing_support::address_of;
using guard::testing_support::mac_of;
using guard::testing_support::u16;
using guard::testing_support::u32;

inline std::span<const std::byte> as_span(const bytes& b)
{
    return std::as_bytes(std::span{b});
}

// A message of DHCPv4, as it is put together.
struct message4 {
    std::uint8_t operation{1};
    std::uint32_t transaction{0x1234'5678};
    bytes client{2, 0, 0, 0, 0, 1};
    bytes current = bytes(4);
    bytes yours = bytes(4);
    bytes sname = bytes(64);
    bytes file = bytes(128);
    bytes options{};

    [[nodiscard]] bytes build() const
    {
        return bytes{operation, 1, 6, 0} + u32(transaction) + bytes(4) + current + yours +
               bytes(8) + client + bytes(10) + sname + file + bytes{0x63, 0x82, 0x53, 0x63} +
               options;
    }
};

inline bytes option4(std::uint8_t code, const bytes& value)
{
    return bytes{code, static_cast<std::uint8_t>(value.size())} + value;
}
inline bytes type4(dhcp4_message::kind k)
{
    return option4(53, {static_cast<std::uint8_t>(k)});
}
inline bytes option6(unsigned code, const bytes& value)
{
    return u16(code) + u16(static_cast<unsigned>(value.size())) + value;
}
inline bytes address6(const bytes& address, std::uint32_t valid, const bytes& options = {})
{
    return option6(5, address + u32(valid) + u32(valid) + options);
}
inline bytes association6(const bytes& options)
{
    return option6(3, u32(1) + u32(0) + u32(0) + options);
}
inline bytes message6(dhcp6_message::kind k, std::uint32_t transaction, const bytes& options)
{
    return u32(static_cast<std::uint32_t>(k) << 24 | transaction) + options;
}

} // namespace strait::control::testing_support
