// SPDX-License-Identifier: BSD-3-Clause
// The switch's own IP addresses and the routes from them, as workers see them: immutable, a part of
// a snapshot, made by control. Who their neighbours are is in neighbours.hh.
#pragma once

#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/types.hh"

#include <cstdint>
#include <vector>

namespace strait::endpoint {

// An address, on a bridge's LOCAL port.
struct interface {
    ip_prefix at;
    dataplane::vlan_id vlan;
    dataplane::bridge_index bridge{};
    dataplane::port_index local{};
    dataplane::mac_address mac;
    bool operator==(const interface&) const = default;
};

struct route {
    ip_prefix to;
    ip_address via;       // not set: there itself
    std::uint16_t out{0}; // index of the interface
    bool operator==(const route&) const = default;
};

struct config {
    std::vector<interface> interfaces;
    std::vector<route> routes; // longest prefix first; those of the interfaces, too
    std::uint64_t version{0};  // of no other one

    // Null: none leads there.
    [[nodiscard]] const route* find(const ip_address& to) const noexcept
    {
        for (const route& r : routes) {
            if (r.to.contains(to)) {
                return &r;
            }
        }
        return nullptr;
    }
    [[nodiscard]] bool has(const ip_address& address) const noexcept
    {
        for (const interface& i : interfaces) {
            if (i.at.address == address) {
                return true;
            }
        }
        return false;
    }
    // Null: no address of that bridge and VLAN.
    [[nodiscard]] const interface* find(dataplane::bridge_index bridge, dataplane::vlan_id vlan,
                                        const ip_address& address) const noexcept
    {
        for (const interface& i : interfaces) {
            if (i.at.address == address && i.bridge == bridge && i.vlan == vlan) {
                return &i;
            }
        }
        return nullptr;
    }
};

} // namespace strait::endpoint
