// SPDX-License-Identifier: BSD-3-Clause
// What a port does with VLANs, IEEE 802.1Q: access, or trunk with an allowed list and a native
// VLAN. Immutable once in a snapshot; the packet side is in forward.cc.
#pragma once

#include "dataplane/types.hh"

#include <bitset>

namespace strait::dataplane {

struct vlan_policy {
    enum class mode : std::uint8_t {
        trunk, // tagged frames of `allowed`; untagged ones belong to `native`
        access // untagged frames belong to `native`; tagged ones are dropped
    };
    mode port_mode{mode::trunk};
    // Of a trunk: 0 means untagged frames are VLAN 0, carried only if allowed contains 0.
    vlan_id native{};
    // Bit 0: untagged traffic of a trunk without native VLAN. The native VLAN is always set.
    std::bitset<4096> allowed{};

    // Carries everything as it is: what a port does that was given no VLAN settings.
    [[nodiscard]] static vlan_policy transparent();
    [[nodiscard]] static vlan_policy access(vlan_id vlan);

    [[nodiscard]] bool carries(vlan_id vlan) const noexcept { return allowed[vlan.value()]; }
    // Whether frames of `vlan` leave with a tag.
    [[nodiscard]] bool sends_tagged(vlan_id vlan) const noexcept { return vlan != native; }
    bool operator==(const vlan_policy&) const = default;
};

inline vlan_policy vlan_policy::transparent()
{
    vlan_policy p;
    p.allowed.set();
    p.allowed.reset(4095);
    return p;
}

inline vlan_policy vlan_policy::access(vlan_id vlan)
{
    vlan_policy p;
    p.port_mode = mode::access;
    p.native = vlan;
    p.allowed.set(vlan.value());
    return p;
}

} // namespace strait::dataplane
