// SPDX-License-Identifier: BSD-3-Clause
// The switch's own addresses and its routes as operators give them, and what workers see of them.
// Which bridges and ports there are is the switch's business.
#pragma once

#include "control/failure.hh"
#include "dataplane/endpoint/config.hh"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace strait::control {

class endpoints {
public:
    struct address {
        std::string bridge;
        endpoint::ip_prefix at;
        std::uint16_t vlan; // 0: none
    };
    struct route {
        endpoint::ip_prefix to;
        endpoint::ip_address via;
    };
    static constexpr std::size_t most_addresses = 256;
    static constexpr std::size_t most_routes = 1024;

    outcome<void> add(const address& a);
    // False: there is none.
    bool remove(const std::string& bridge, const endpoint::ip_prefix& at);
    void remove_bridge(const std::string& bridge);
    outcome<void> add(const route& r);
    bool remove(const endpoint::ip_prefix& to);

    [[nodiscard]] const std::vector<address>& addresses() const noexcept { return addresses_; }
    [[nodiscard]] const std::vector<route>& routes() const noexcept { return routes_; }
    [[nodiscard]] bool has(const std::string& bridge) const noexcept;

    // What belongs to an address beside it.
    struct place {
        dataplane::bridge_index bridge;
        dataplane::port_index local;
        dataplane::mac_address mac;
    };
    // Null: there are no addresses.
    [[nodiscard]] std::shared_ptr<const endpoint::config>
    build(const std::function<place(const std::string& bridge)>& where) const;

private:
    std::vector<address> addresses_; // in the order in which they came
    std::vector<route> routes_;
};

// A locally administered MAC for a bridge: always the same on this machine, another on others.
[[nodiscard]] dataplane::mac_address mac_of_bridge(const std::string& name);

} // namespace strait::control
