// SPDX-License-Identifier: BSD-3-Clause
// The table of shorthands.
#include "control/flow_shorthands.hh"

#include <algorithm>
#include <array>

namespace strait::control {

namespace {

// Of the same type, those with a protocol first.
constexpr std::array<shorthand, 17> table{{
    {"icmp", 0x0800, 1},
    {"tcp", 0x0800, 6},
    {"udp", 0x0800, 17},
    {"sctp", 0x0800, 132},
    {"ip", 0x0800, 0},
    {"ipv4", 0x0800, 0},
    {"ip4", 0x0800, 0},
    {"icmp6", 0x86dd, 58},
    {"tcp6", 0x86dd, 6},
    {"udp6", 0x86dd, 17},
    {"sctp6", 0x86dd, 132},
    {"ipv6", 0x86dd, 0},
    {"arp", 0x0806, 0},
    {"rarp", 0x8035, 0},
    {"mpls", 0x8847, 0},
    {"mplsm", 0x8848, 0},
    {"eth", 0, 0},
}};

} // namespace

std::span<const shorthand> shorthands() noexcept
{
    return table;
}

const shorthand* find_shorthand(std::string_view name) noexcept
{
    const auto* found = std::ranges::find(table, name, &shorthand::name);
    return found == table.end() ? nullptr : found;
}

const shorthand* shorthand_for(std::uint16_t ethernet_type, std::uint8_t protocol) noexcept
{
    const auto* found = std::ranges::find_if(table, [=](const shorthand& s) {
        return s.ethernet_type == ethernet_type && ethernet_type != 0 &&
               (s.protocol == 0 || s.protocol == protocol);
    });
    return found == table.end() ? nullptr : found;
}

} // namespace strait::control
