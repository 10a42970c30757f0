// SPDX-License-Identifier: BSD-3-Clause
// IP addresses and prefixes as text.
#pragma once

#include "dataplane/endpoint/ip_address.hh"

#include <optional>
#include <string>
#include <string_view>

namespace strait::control {

// 10.0.0.1 or fd00::1; nothing for anything else, IPv4 written as IPv6 included.
[[nodiscard]] std::optional<endpoint::ip_address> parse_address(std::string_view text) noexcept;
// 10.0.0.1/24: bits behind the prefix may be set.
[[nodiscard]] std::optional<endpoint::ip_prefix> parse_prefix(std::string_view text) noexcept;
[[nodiscard]] std::string to_text(const endpoint::ip_address& address);
[[nodiscard]] std::string to_text(const endpoint::ip_prefix& prefix);

} // namespace strait::control
