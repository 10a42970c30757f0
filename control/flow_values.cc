// SPDX-License-Identifier: BSD-3-Clause
// Reading values of fields.
#include "control/flow_values.hh"

#include "control/flow_flags.hh"

#include <array>
#include <bit>
#include <charconv>

#include <arpa/inet.h>

namespace strait::control {

using flow::wide;

namespace {

std::optional<unsigned> digit(char c) noexcept
{
    if (c >= '0' && c <= '9') {
        return static_cast<unsigned>(c - '0');
    }
    if (c >= 'a' && c <= 'f') {
        return static_cast<unsigned>(c - 'a') + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return static_cast<unsigned>(c - 'A') + 10;
    }
    return std::nullopt;
}

// value * base + more. Hexadecimal numbers have 128 bits, others 64.
std::optional<wide> shifted(wide value, unsigned base, unsigned more) noexcept
{
    if (base == 16) {
        const bool fits = value.high >> 60 == 0;
        return fits ? std::optional{(value << 4) | wide{more}} : std::nullopt;
    }
    std::uint64_t out = 0;
    if (__builtin_mul_overflow(value.low, std::uint64_t{base}, &out) ||
        __builtin_add_overflow(out, std::uint64_t{more}, &out)) {
        return std::nullopt;
    }
    return wide{out};
}

std::string what_form(value_form form)
{
    switch (form) {
    case value_form::ethernet:
        return "an Ethernet address like 00:11:22:33:44:55";
    case value_form::ipv4:
        return "an IPv4 address like 10.0.0.1, with a mask like /24 or /255.255.255.0 or without";
    case value_form::ipv6:
        return "an IPv6 address like fe80::1, with a mask like /64 or /ffff:: or without";
    default:
        return "a number, decimal or hexadecimal with 0x in front, with a mask behind a slash or "
               "without";
    }
}

flow_fault wrong_form(value_form form, std::string_view name, std::string_view text)
{
    return {text, shown(text) + " is no value of " + std::string{name} + "; it must be " +
                      what_form(form)};
}

// An address of its form, as a number.
std::optional<wide> parse_address(value_form form, std::string_view text) noexcept
{
    switch (form) {
    case value_form::ethernet:
        if (const auto address = parse_ethernet_address(text)) {
            return wide{*address};
        }
        return std::nullopt;
    case value_form::ipv4:
        if (const auto address = parse_ipv4_address(text)) {
            return wide{*address};
        }
        return std::nullopt;
    default:
        return parse_ipv6_address(text);
    }
}

flow_result<wide> parse_address_mask(value_form form, unsigned bits, std::string_view name,
                                     std::string_view text)
{
    if (form != value_form::ethernet && text.size() <= 3) {
        unsigned prefix = 0;
        const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), prefix);
        if (code == std::errc{} && end == text.data() + text.size()) {
            if (prefix > bits) {
                return flow_fault{text, "a prefix of " + std::to_string(prefix) +
                                            " bits is longer than the " + std::to_string(bits) +
                                            " of " + std::string{name}};
            }
            return prefix == 0 ? wide{} : wide::ones(prefix) << (bits - prefix);
        }
    }
    if (const auto mask = parse_address(form, text)) {
        return *mask;
    }
    return wrong_form(form, name, text);
}

flow_fault too_large(std::string_view text, std::string_view name, unsigned bits)
{
    std::string most;
    append_hexadecimal(most, wide::ones(bits));
    return {text, shown(text) + " is too large for " + std::string{name} + ", which has " +
                      std::to_string(bits) + (bits == 1 ? " bit" : " bits") + ": " + most +
                      " at most"};
}

flow_result<wide> parse_plain(unsigned bits, std::string_view name, std::string_view text,
                              value_form form)
{
    const auto number = parse_integer(text);
    if (!number) {
        return wrong_form(form, name, text);
    }
    if (exceeds(*number, bits)) {
        return too_large(text, name, bits);
    }
    return *number;
}

flow_result<masked_value> parse_port_value(value_form form, unsigned bits, std::string_view text,
                                           const port_names& ports)
{
    // OpenFlow 1.1's numbers of what is reserved.
    constexpr std::uint64_t first_reserved_32 = 0xffff'fff8;
    if (form == value_form::port_32) {
        const auto number = parse_integer(text);
        if (number && number->high == 0 && number->low >= first_reserved_32 &&
            number->low <= 0xffff'ffff) {
            return masked_value{wide{number->low & 0xffff}, wide::ones(bits)};
        }
    }
    const auto port = parse_port(text, ports);
    if (port.has_error()) {
        return port.error();
    }
    return masked_value{wide{*port}, wide::ones(bits)};
}

} // namespace

std::optional<wide> parse_integer(std::string_view text) noexcept
{
    unsigned base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        base = 16;
        text.remove_prefix(2);
    } else if (text.size() > 1 && text.front() == '0') {
        base = 8;
    }
    if (text.empty()) {
        return std::nullopt;
    }
    wide value;
    for (const char c : text) {
        const auto next = digit(c);
        if (!next || *next >= base) {
            return std::nullopt;
        }
        const auto more = shifted(value, base, *next);
        if (!more) {
            return std::nullopt;
        }
        value = *more;
    }
    return value;
}

flow_result<std::uint64_t> parse_number(std::string_view text, std::uint64_t maximum,
                                        std::string_view what)
{
    const auto number = parse_integer(text);
    if (!number || number->high != 0 || number->low > maximum) {
        return flow_fault{text, shown(text) + " is no " + std::string{what} +
                                    "; it must be a number from 0 to " + std::to_string(maximum)};
    }
    return number->low;
}

std::optional<std::uint64_t> parse_ethernet_address(std::string_view text) noexcept
{
    constexpr unsigned octets = 6;
    std::uint64_t address = 0;
    for (unsigned i = 0; i < octets; ++i) {
        const std::size_t length = i + 1 < octets ? text.find(':') : text.size();
        if (length == 0 || length > 2 || length > text.size()) {
            return std::nullopt;
        }
        unsigned octet = 0;
        for (const char c : text.substr(0, length)) {
            const auto next = digit(c);
            if (!next) {
                return std::nullopt;
            }
            octet = octet * 16 + *next;
        }
        address = address << 8 | octet;
        text.remove_prefix(i + 1 < octets ? length + 1 : length);
    }
    return address;
}

std::optional<std::uint32_t> parse_ipv4_address(std::string_view text) noexcept
{
    constexpr unsigned octets = 4;
    std::uint32_t address = 0;
    for (unsigned i = 0; i < octets; ++i) {
        const std::size_t length = i + 1 < octets ? text.find('.') : text.size();
        if (length == 0 || length > 3 || length > text.size()) {
            return std::nullopt;
        }
        unsigned octet = 0;
        const auto [end, code] = std::from_chars(text.data(), text.data() + length, octet);
        if (code != std::errc{} || end != text.data() + length || octet > 0xff) {
            return std::nullopt;
        }
        address = address << 8 | octet;
        text.remove_prefix(i + 1 < octets ? length + 1 : length);
    }
    return address;
}

std::optional<wide> parse_ipv6_address(std::string_view text) noexcept
{
    std::array<char, INET6_ADDRSTRLEN + 1> copy{};
    if (text.empty() || text.size() >= copy.size() || text.find('\0') != std::string_view::npos) {
        return std::nullopt;
    }
    text.copy(copy.data(), text.size());
    std::array<std::uint8_t, 16> bytes{};
    if (::inet_pton(AF_INET6, copy.data(), bytes.data()) != 1) {
        return std::nullopt;
    }
    wide out;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto& half = i < 8 ? out.high : out.low;
        half = half << 8 | bytes[i];
    }
    return out;
}

flow_result<masked_value> parse_value(value_form form, unsigned bits, std::string_view name,
                                      std::string_view text, const port_names& ports)
{
    if (text == "*") {
        return masked_value{};
    }
    if (text.empty()) {
        return flow_fault{text, std::string{name} + " has no value; it must be " + what_form(form)};
    }
    switch (form) {
    case value_form::port:
    case value_form::port_32:
        return parse_port_value(form, bits, text, ports);
    case value_form::fragment:
        return parse_fragment(text);
    case value_form::tcp_flags:
    case value_form::ct_flags:
    case value_form::tunnel_flags:
        return parse_flags(form, bits, name, text);
    default:
        break;
    }
    const bool is_address =
        form == value_form::ethernet || form == value_form::ipv4 || form == value_form::ipv6;
    const std::size_t slash = text.find('/');
    const std::string_view before = text.substr(0, slash);
    masked_value out{{}, wide::ones(bits)};
    if (is_address) {
        const auto address = parse_address(form, before);
        if (!address) {
            return wrong_form(form, name, text);
        }
        out.value = *address;
    } else {
        const auto number = parse_plain(bits, name, before, form);
        if (number.has_error()) {
            return number.error();
        }
        out.value = *number;
    }
    if (slash != std::string_view::npos) {
        const std::string_view behind = text.substr(slash + 1);
        const auto mask = is_address ? parse_address_mask(form, bits, name, behind)
                                     : parse_plain(bits, name, behind, form);
        if (mask.has_error()) {
            return mask.error();
        }
        out.mask = *mask;
    }
    out.value = out.value & out.mask;
    return out;
}

std::vector<masked_value> cover_range(std::uint16_t first, std::uint16_t last)
{
    std::vector<masked_value> out;
    std::uint32_t at = first;
    while (at <= last) {
        // The largest block that begins here and does not go beyond the end.
        std::uint32_t block = at == 0 ? 0x10000 : at & -at;
        while (at + block - 1 > last) {
            block >>= 1;
        }
        out.push_back({wide{at}, wide{0x10000 - block}});
        at += block;
    }
    return out;
}

bool exceeds(wide value, unsigned bits) noexcept
{
    return !(value & ~wide::ones(bits)).is_zero();
}

std::optional<bit_run> run_of(wide mask) noexcept
{
    if (mask.is_zero()) {
        return std::nullopt;
    }
    const auto first = static_cast<unsigned>(mask.low != 0 ? std::countr_zero(mask.low)
                                                           : 64 + std::countr_zero(mask.high));
    const auto bits = static_cast<unsigned>(std::popcount(mask.low) + std::popcount(mask.high));
    if (!(mask == (wide::ones(bits) << first))) {
        return std::nullopt;
    }
    return bit_run{first, bits};
}

} // namespace strait::control
