// SPDX-License-Identifier: BSD-3-Clause
// The switch's own addresses, and the tunnels that begin there.
#include "control/ip_text.hh"
#include "control/log.hh"
#include "control/switch.hh"
#include "dataplane/tunnel/ports.hh"

namespace strait::control {

void virtual_switch::put_endpoints(snapshot& next, const port* without) const
{
    next.endpoint = endpoints_.build([this](const std::string& name) {
        const bridge& b = bridges_.at(name);
        const auto local = ports_.find(name);
        return endpoints::place{
            b.index, local != ports_.end() ? local->second.config->index : dataplane::no_port,
            b.mac};
    });
    auto tunnels = std::make_shared<tunnel::table>();
    for (const auto& [name, p] : ports_) {
        if (p.config->tunnel && &p != without) {
            tunnels->add(*p.config->tunnel, p.config->index);
        }
    }
    next.tunnels = tunnels->empty() ? nullptr : std::move(tunnels);
}

void virtual_switch::publish_endpoints()
{
    auto next = draft();
    put_endpoints(*next, nullptr);
    publish(std::move(next));
}

// Frames to the bridge's own MAC go to its own port, whoever else claims it.
void virtual_switch::keep_own_macs(const bridge& b)
{
    const auto local = ports_.find(b.name);
    for (const endpoints::address& a : endpoints_.addresses()) {
        if (a.bridge != b.name || local == ports_.end()) {
            continue;
        }
        const dataplane::mac_table::key key{b.mac, dataplane::vlan_id{a.vlan}};
        if (b.config->macs->add_static(key, local->second.config->index, engine_.now()) ==
            dataplane::mac_table::added::table_full) {
            log(log_level::warning, "control",
                "the MAC table of bridge " + b.name + " has no room for its own " +
                    b.mac.to_string() + ", which is learned like others");
        }
    }
}

void virtual_switch::forget_own_macs(const bridge& b)
{
    const auto local = ports_.find(b.name);
    if (local == ports_.end()) {
        return;
    }
    std::vector<dataplane::mac_table::key> keys;
    b.config->macs->for_each(engine_.now(), [&](const dataplane::mac_entry& e) {
        if (e.port == local->second.config->index && e.is_static) {
            keys.emplace_back(e.mac, e.vlan);
        }
    });
    for (const auto& key : keys) {
        (void)b.config->macs->remove(key, engine_.now());
    }
}

outcome<void> virtual_switch::add_address(const endpoints::address& a)
{
    if (const auto found = find_bridge(a.bridge); found.has_error()) {
        return found.error();
    }
    const bool first = !endpoints_.has(a.bridge);
    if (auto done = endpoints_.add(a); done.has_error()) {
        return done;
    }
    if (first) {
        port_request local;
        local.name = a.bridge;
        local.bridge = a.bridge;
        local.type = local_type;
        if (auto made = add_port(local); made.has_error()) {
            (void)endpoints_.remove(a.bridge, a.at);
            return failure{made.error().kind,
                           "the address needs a port named as its bridge: " + made.error().message};
        }
    }
    publish_endpoints();
    keep_own_macs(bridges_.at(a.bridge));
    log(log_level::info, "control",
        "address " + to_text(a.at) + " added to bridge " + a.bridge +
            (a.vlan == 0 ? "" : ", VLAN " + std::to_string(a.vlan)));
    return {};
}

outcome<bool> virtual_switch::remove_address(const std::string& name, const endpoint::ip_prefix& at)
{
    if (const auto found = find_bridge(name); found.has_error()) {
        return found.error();
    }
    if (!endpoints_.remove(name, at)) {
        return false;
    }
    publish_endpoints();
    forget_own_macs(bridges_.at(name));
    keep_own_macs(bridges_.at(name));
    if (!endpoints_.has(name)) {
        if (auto done = remove_port(name); done.has_error()) {
            return done.error();
        }
    }
    log(log_level::info, "control", "address " + to_text(at) + " removed from bridge " + name);
    return true;
}

outcome<void> virtual_switch::add_route(const endpoints::route& r)
{
    if (auto done = endpoints_.add(r); done.has_error()) {
        return done;
    }
    publish_endpoints();
    log(log_level::info, "control",
        "route to " + to_text(r.to) + " via " + to_text(r.via) + " added");
    return {};
}

bool virtual_switch::remove_route(const endpoint::ip_prefix& to)
{
    if (!endpoints_.remove(to)) {
        return false;
    }
    publish_endpoints();
    log(log_level::info, "control", "route to " + to_text(to) + " removed");
    return true;
}

} // namespace strait::control
