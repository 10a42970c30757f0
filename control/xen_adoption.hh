// SPDX-License-Identifier: BSD-3-Clause
// Ports for Xen guests as their tool stack makes and removes them: a rule says which bridge's vifs
// are to be adopted; everything else is in the guest's own configuration.
#pragma once

#include "control/failure.hh"
#include "control/switch.hh"
#include "ports/xen-netback/backend.hh"

#include <boost/asio/io_context.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace strait::control {

// What a vif's bridge= says, in the words of Xen's own script for Open vSwitch: "br0", "br0.20"
// (access), "br0:10:20" (trunk), "br0.5:10:20" (trunk with native VLAN).
struct bridge_key {
    std::string bridge;
    vlan_settings vlan;
};
[[nodiscard]] ports::result<bridge_key> parse_bridge_key(std::string_view key);

// All calls from the control thread.
class xen_adoption {
public:
    struct rule {
        bool others{false}; // also vifs whose bridge= names no bridge with a rule
    };
    struct state {
        xen::found_vif vif;
        std::string port;  // that serves it; empty: none
        std::string error; // why it has none, though a rule wants it
    };

    // `b` is null where there is no hypervisor; all outlive it.
    xen_adoption(boost::asio::io_context& io, virtual_switch& sw, xen::backend* b);
    ~xen_adoption();
    xen_adoption(const xen_adoption&) = delete;
    xen_adoption& operator=(const xen_adoption&) = delete;

    // Ports of what is there are made at once, others as they come.
    outcome<void> adopt(const std::string& bridge, rule r);
    // Its adopted ports are removed. False: there was no such rule.
    outcome<bool> release(const std::string& bridge);

    [[nodiscard]] const std::map<std::string, rule>& rules() const noexcept { return rules_; }
    [[nodiscard]] std::vector<state> vifs() const;
    // Whether it is one that was made for a vif.
    [[nodiscard]] bool has_adopted(const std::string& port) const;
    // Whether it is known yet which vifs there are.
    [[nodiscard]] bool has_looked() const noexcept { return looked_; }
    // Asked for the number of a port before it is made; nothing: the lowest free one.
    using number_giver =
        std::function<std::optional<std::uint16_t>(const std::string& port, const std::string& on)>;
    void ask_for_numbers(number_giver ask) { number_of_ = std::move(ask); }
    // The port of this vif; the failure says why it has none.
    [[nodiscard]] outcome<std::string> serving(xen::vif_id id) const;

private:
    struct adopted {
        std::string port;
        std::string bridge;
        std::string key; // of the vif, when the port was made
        std::string error;
    };

    void found(std::vector<xen::found_vif> vifs);
    void reconcile();
    void decline(const xen::found_vif& vif);
    void make(const xen::found_vif& vif, const bridge_key& key, adopted& a);
    void remove(const adopted& a);
    [[nodiscard]] std::optional<bridge_key> wanted(const xen::found_vif& vif,
                                                   std::string& why) const;
    [[nodiscard]] std::string port_of(xen::vif_id id) const;

    boost::asio::io_context& io_;
    virtual_switch& switch_;
    xen::backend* const backend_;
    std::shared_ptr<xen_adoption*> self_; // for what waits in io_ when this is gone
    std::map<std::string, rule> rules_;   // by bridge
    std::vector<xen::found_vif> found_;
    bool looked_{false};
    number_giver number_of_;
    std::map<xen::vif_id, adopted> adopted_;
};

} // namespace strait::control
