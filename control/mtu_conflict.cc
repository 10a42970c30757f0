// SPDX-License-Identifier: BSD-3-Clause
#include "control/mtu_conflict.hh"

#include <algorithm>
#include <array>

namespace strait::control {

namespace {

// Whether frames of `large` may be too long for `small`.
bool conflict(const port_mtu& small, const port_mtu& large)
{
    return small.mtu < large.mtu && large.sends && !(small.isolated && large.isolated) &&
           (!small.vlans || !large.vlans || (*small.vlans & *large.vlans).any());
}

// Whether the device can do less than what would mend it.
bool is_bound(const mtu_conflict& c, std::optional<std::uint64_t> most)
{
    return most && *most < c.large->mtu;
}

} // namespace

bool is_tunnel_type(std::string_view type)
{
    static constexpr std::array<std::string_view, 4> types{"vxlan", "geneve", "gre", "nvgre"};
    return std::ranges::find(types, type) != types.end();
}

bool has_comparable_mtu(std::string_view type)
{
    return type != "local" && !is_tunnel_type(type);
}

std::optional<mtu_conflict> conflict_as_small(const port_mtu& port,
                                              std::span<const port_mtu> of_bridge)
{
    const port_mtu* large = nullptr;
    for (const port_mtu& other : of_bridge) {
        if (conflict(port, other) && (large == nullptr || other.mtu > large->mtu)) {
            large = &other;
        }
    }
    return large == nullptr ? std::nullopt : std::optional{mtu_conflict{&port, large}};
}

std::optional<mtu_conflict> conflict_as_large(const port_mtu& port,
                                              std::span<const port_mtu> of_bridge)
{
    const port_mtu* small = nullptr;
    std::size_t count = 0;
    for (const port_mtu& other : of_bridge) {
        if (conflict(other, port)) {
            small = small == nullptr || other.mtu < small->mtu ? &other : small;
            ++count;
        }
    }
    return small == nullptr ? std::nullopt : std::optional{mtu_conflict{small, &port, count - 1}};
}

std::string sentence_of(const mtu_conflict& c, std::string_view bridge,
                        std::optional<std::uint64_t> most)
{
    const std::string large = std::to_string(c.large->mtu);
    std::string out = "on bridge " + std::string{bridge} + " port " + c.large->name +
                      " sends packets of up to " + large + " bytes, and port " + c.small->name +
                      " takes " + std::to_string(c.small->mtu);
    if (is_bound(c, most)) {
        out += ", and can take " + std::to_string(*most) + " at most";
    }
    if (c.more > 0) {
        out += "; " + std::to_string(c.more) + (c.more == 1 ? " other takes" : " others take") +
               " less than " + large + ", too";
    }
    return out;
}

std::string mend_of(const mtu_conflict& c, std::optional<std::uint64_t> most)
{
    const std::string small = std::to_string(c.small->mtu);
    std::string out = "straitctl port set ";
    if (!is_bound(c, most) && c.more == 0) {
        out += c.small->name + " --mtu " + std::to_string(c.large->mtu) + ", or port set ";
    }
    return out + c.large->name + " --mtu " + small + "; guests' own MTU as well";
}

} // namespace strait::control
