// SPDX-License-Identifier: BSD-3-Clause
// What a port does with VLANs, IEEE 802.1Q: access, trunk, or a customer's port into a service
// VLAN (clause 15.4). Immutable once in a snapshot; the packet side is in forward.cc.
#pragma once

#include "dataplane/types.hh"

#include <bitset>

namespace strait::dataplane {

// Types of tags: a customer's, which most networks call just VLAN tags, and a service's.
inline constexpr std::uint16_t ethertype_vlan = 0x8100;
inline constexpr std::uint16_t ethertype_qinq = 0x88a8;

struct vlan_policy {
    enum class mode : std::uint8_t {
        trunk,   // tagged frames of `allowed`; untagged ones belong to `native`
        access,  // untagged frames belong to `native`; tagged ones are dropped
        customer // all frames belong to `native`; the tags that they have are payload
    };
    mode port_mode{mode::trunk};
    // Of a trunk: 0 means untagged frames are VLAN 0, carried only if allowed contains 0.
    vlan_id native{};
    // Of a trunk: the Ethernet type of the tags by which VLANs are told. Other tags are payload.
    std::uint16_t tag_type{ethertype_vlan};
    // What packet::tagged is with one of them: 1, or 3 with a service's.
    std::uint8_t tag_mark{1};
    // Bit 0: untagged traffic of a trunk without native VLAN. The native VLAN is always set.
    std::bitset<4096> allowed{};

    // Carries everything as it is: what a port does that was given no VLAN settings.
    [[nodiscard]] static vlan_policy transparent();
    [[nodiscard]] static vlan_policy access(vlan_id vlan);
    [[nodiscard]] static vlan_policy customer(vlan_id service);

    [[nodiscard]] bool carries(vlan_id vlan) const noexcept { return allowed[vlan.value()]; }
    // Whether frames of `vlan` leave with a tag: 0, or tag_mark.
    [[nodiscard]] std::uint8_t sends_tagged(vlan_id vlan) const noexcept
    {
        return vlan != native ? tag_mark : std::uint8_t{0};
    }
    void tell_by_service_tags() noexcept
    {
        tag_type = ethertype_qinq;
        tag_mark = 3;
    }
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

inline vlan_policy vlan_policy::customer(vlan_id service)
{
    vlan_policy p = access(service);
    p.port_mode = mode::customer;
    return p;
}

} // namespace strait::dataplane
