// SPDX-License-Identifier: BSD-3-Clause
// Values of fields as text, each kind in its own form: addresses, numbers, flags. Which field has
// which kind is in flow_fields.hh.
#pragma once

#include "dataplane/flow/key.hh"

#include "control/flow_ports.hh"
#include "control/flow_words.hh"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

enum class value_form : std::uint8_t {
    decimal,
    hexadecimal,
    ethernet, // 00:11:22:33:44:55
    ipv4,
    ipv6,
    port,
    port_32, // with the numbers of OpenFlow 1.1 for what is reserved
    fragment,
    tcp_flags,
    ct_flags,
    tunnel_flags,
};

// Bits of a value that are asked for or set.
struct masked_value {
    flow::wide value; // no bit outside of the mask
    flow::wide mask;
    bool operator==(const masked_value&) const = default;
};

// Decimal or, with 0 in front, octal, of 64 bits; or hexadecimal with 0x in front, of 128. Nothing
// if it is none of these.
[[nodiscard]] std::optional<flow::wide> parse_integer(std::string_view text) noexcept;
// One that is `maximum` at most; `what` is what messages call it.
[[nodiscard]] flow_result<std::uint64_t> parse_number(std::string_view text, std::uint64_t maximum,
                                                      std::string_view what);
[[nodiscard]] std::optional<std::uint64_t> parse_ethernet_address(std::string_view text) noexcept;
[[nodiscard]] std::optional<std::uint32_t> parse_ipv4_address(std::string_view text) noexcept;
[[nodiscard]] std::optional<flow::wide> parse_ipv6_address(std::string_view text) noexcept;

// A value of `bits` bits in its form, with a mask behind a slash where the form has masks. `name`
// is what messages call the field. "*" is a mask of no bits.
[[nodiscard]] flow_result<masked_value> parse_value(value_form form, unsigned bits,
                                                    std::string_view name, std::string_view text,
                                                    const port_names& ports);

// Values under masks that together have just the numbers from `first` to `last`, each once.
[[nodiscard]] std::vector<masked_value> cover_range(std::uint16_t first, std::uint16_t last);

[[nodiscard]] bool exceeds(flow::wide value, unsigned bits) noexcept;
// How many bits, counted from bit `first`, a mask consists of, if they are all beside each other.
struct bit_run {
    unsigned first;
    unsigned bits;
};
[[nodiscard]] std::optional<bit_run> run_of(flow::wide mask) noexcept;

void append_decimal(std::string& out, std::uint64_t value);
// 0, 0x1f.
void append_hexadecimal(std::string& out, flow::wide value);
// With zeros in front, to `digits`.
void append_padded(std::string& out, std::uint64_t value, unsigned digits);
void append_ethernet_address(std::string& out, std::uint64_t address);
void append_ipv4_address(std::string& out, std::uint32_t address);
void append_ipv6_address(std::string& out, flow::wide address);
// As parse_value() reads it: the mask, too, unless it has all of `bits`.
void append_value(std::string& out, value_form form, unsigned bits, const masked_value& value,
                  const port_names* ports);

} // namespace strait::control
