// SPDX-License-Identifier: BSD-3-Clause
// Words for what packets are: tcp is dl_type=0x0800,nw_proto=6.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace strait::control {

struct shorthand {
    std::string_view name;
    std::uint16_t ethernet_type; // 0: any
    std::uint8_t protocol;       // 0: any
};

[[nodiscard]] std::span<const shorthand> shorthands() noexcept;
// Null if there is none of that name.
[[nodiscard]] const shorthand* find_shorthand(std::string_view name) noexcept;
// The one that says most of packets of this type and protocol; null if there is none.
[[nodiscard]] const shorthand* shorthand_for(std::uint16_t ethernet_type,
                                             std::uint8_t protocol) noexcept;

} // namespace strait::control
