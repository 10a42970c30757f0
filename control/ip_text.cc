// SPDX-License-Identifier: BSD-3-Clause
// Addresses as words and back.
#include "control/ip_text.hh"

#include "control/flow_values.hh"
#include "ports/number.hh"

namespace strait::control {

using endpoint::ip_address;
using endpoint::ip_prefix;

std::optional<ip_address> parse_address(std::string_view text) noexcept
{
    if (const auto v4 = parse_ipv4_address(text)) {
        return ip_address::v4(*v4);
    }
    const auto v6 = parse_ipv6_address(text);
    if (!v6) {
        return std::nullopt;
    }
    const ip_address address{v6->high, v6->low};
    return address.is_v4() ? std::nullopt : std::optional{address};
}

std::optional<ip_prefix> parse_prefix(std::string_view text) noexcept
{
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) {
        return std::nullopt;
    }
    const auto address = parse_address(text.substr(0, slash));
    const auto length = to_number<std::uint8_t>(text.substr(slash + 1));
    if (!address || !length) {
        return std::nullopt;
    }
    constexpr unsigned v4_bits = 32;
    constexpr unsigned v6_bits = 128;
    if (*length > (address->is_v4() ? v4_bits : v6_bits)) {
        return std::nullopt;
    }
    const unsigned offset = address->is_v4() ? ip_prefix::v4_offset : 0U;
    return ip_prefix{*address, static_cast<std::uint8_t>(*length + offset)};
}

std::string to_text(const ip_address& address)
{
    std::string out;
    if (address.is_v4()) {
        append_ipv4_address(out, address.v4());
    } else {
        append_ipv6_address(out, {address.high, address.low});
    }
    return out;
}

std::string to_text(const ip_prefix& prefix)
{
    const unsigned offset = prefix.address.is_v4() ? ip_prefix::v4_offset : 0U;
    return to_text(prefix.address) + "/" + std::to_string(prefix.length - offset);
}

} // namespace strait::control
