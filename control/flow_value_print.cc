// SPDX-License-Identifier: BSD-3-Clause
// Writing values of fields (flow_values.hh).
#include "control/flow_flags.hh"
#include "control/flow_values.hh"

#include <array>
#include <charconv>

#include <arpa/inet.h>

namespace strait::control {

using flow::wide;

namespace {

// A number's characters, without allocation.
void append_in_base(std::string& out, std::uint64_t value, int base)
{
    std::array<char, 20> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value, base).ptr;
    out.append(text.data(), end);
}

// The length of a prefix of `bits` bits, if the mask is one.
std::optional<unsigned> prefix_of(wide mask, unsigned bits)
{
    const auto run = run_of(mask);
    return run && run->first + run->bits == bits ? std::optional{run->bits} : std::nullopt;
}

void append_address(std::string& out, value_form form, wide address)
{
    if (form == value_form::ipv4) {
        append_ipv4_address(out, static_cast<std::uint32_t>(address.low));
    } else if (form == value_form::ipv6) {
        append_ipv6_address(out, address);
    } else {
        append_ethernet_address(out, address.low);
    }
}

void append_masked_address(std::string& out, value_form form, unsigned bits,
                           const masked_value& value)
{
    append_address(out, form, value.value);
    if (value.mask == wide::ones(bits)) {
        return;
    }
    out += '/';
    const auto prefix = prefix_of(value.mask, bits);
    if (form != value_form::ethernet && prefix) {
        append_decimal(out, *prefix);
    } else {
        append_address(out, form, value.mask);
    }
}

} // namespace

void append_decimal(std::string& out, std::uint64_t value)
{
    append_in_base(out, value, 10);
}

void append_hexadecimal(std::string& out, wide value)
{
    if (value.is_zero()) {
        out += '0';
        return;
    }
    out += "0x";
    if (value.high != 0) {
        append_in_base(out, value.high, 16);
        constexpr unsigned digits = 16;
        append_padded(out, value.low, digits);
    } else {
        append_in_base(out, value.low, 16);
    }
}

void append_padded(std::string& out, std::uint64_t value, unsigned digits)
{
    std::string plain;
    append_in_base(plain, value, 16);
    out.append(plain.size() < digits ? digits - plain.size() : 0, '0');
    out += plain;
}

void append_ethernet_address(std::string& out, std::uint64_t address)
{
    for (int shift = 40; shift >= 0; shift -= 8) {
        append_padded(out, address >> shift & 0xff, 2);
        if (shift > 0) {
            out += ':';
        }
    }
}

void append_ipv4_address(std::string& out, std::uint32_t address)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        append_decimal(out, address >> shift & 0xff);
        if (shift > 0) {
            out += '.';
        }
    }
}

void append_ipv6_address(std::string& out, wide address)
{
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const std::uint64_t half = i < 8 ? address.high : address.low;
        bytes[i] = static_cast<std::uint8_t>(half >> (56 - 8 * (i % 8)));
    }
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET6, bytes.data(), text.data(), text.size());
    out += text.data();
}

void append_value(std::string& out, value_form form, unsigned bits, const masked_value& value,
                  const port_names* ports)
{
    const bool exact = value.mask == wide::ones(bits);
    switch (form) {
    case value_form::ethernet:
    case value_form::ipv4:
    case value_form::ipv6:
        append_masked_address(out, form, bits, value);
        return;
    case value_form::port:
    case value_form::port_32:
        append_port(out, static_cast<flow::port_number>(value.value.low), ports);
        return;
    case value_form::fragment:
        append_fragment(out, value);
        return;
    case value_form::tcp_flags:
    case value_form::ct_flags:
    case value_form::tunnel_flags:
        append_flags(out, form, bits, value);
        return;
    case value_form::decimal:
        if (exact) {
            append_decimal(out, value.value.low);
        } else {
            out += "0x";
            append_padded(out, value.value.low, 1);
            out += "/0x";
            append_padded(out, value.mask.low, 1);
        }
        return;
    case value_form::hexadecimal:
        break;
    }
    append_hexadecimal(out, value.value);
    if (!exact) {
        out += '/';
        append_hexadecimal(out, value.mask);
    }
}

} // namespace strait::control
