// SPDX-License-Identifier: BSD-3-Clause
// Zones of connections: those that flows name, and one of each port for the rule sets that it has,
// which no flow can name.
#pragma once

#include <cstddef>
#include <cstdint>

namespace strait::conntrack {

// 0 to 0xffff are flows'; of ports behind them, each at its port_index.
using zone_id = std::uint32_t;
inline constexpr zone_id first_port_zone = 0x10000;
inline constexpr std::size_t zone_count = std::size_t{2} * first_port_zone;

[[nodiscard]] constexpr zone_id make_zone(std::uint16_t number, bool of_port) noexcept
{
    return number | (of_port ? first_port_zone : zone_id{0});
}
[[nodiscard]] constexpr bool is_of_port(zone_id zone) noexcept
{
    return zone >= first_port_zone;
}
[[nodiscard]] constexpr std::uint16_t number_of(zone_id zone) noexcept
{
    return static_cast<std::uint16_t>(zone);
}

} // namespace strait::conntrack
