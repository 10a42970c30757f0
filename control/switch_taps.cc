// SPDX-License-Identifier: BSD-3-Clause
// Taps by the names of ports to taps by their indices, whenever ports change; and ports that belong
// to a mirror.
#include "control/switch.hh"

#include <algorithm>

namespace strait::control {

using dataplane::bridge_index;
using dataplane::port_config;
using dataplane::to_index;

namespace {

// The ports of a bridge, and those that are named, if they are its or a mirror's.
dataplane::port_set resolve(const tap_ports& ports, bridge_index bridge,
                            const dataplane::snapshot& config)
{
    dataplane::port_set out;
    for (const auto& p : config.ports) {
        if (!p) {
            continue;
        }
        const bool here = p->bridge == bridge;
        const bool named = std::ranges::find(ports.names, p->name) != ports.names.end();
        out[to_index(p->index)] =
            (ports.all && here) || (named && (here || p->bridge == dataplane::no_bridge));
    }
    return out;
}

} // namespace

tap_id virtual_switch::add_tap(tap_request request)
{
    const tap_id id = ++last_tap_;
    const tap_request& r = taps_.emplace(id, std::move(request)).first->second;
    if (r.output_port.empty()) {
        publish(draft());
    } else {
        reserve_or_free(r.bridge, r.output_port);
    }
    return id;
}

void virtual_switch::remove_tap(tap_id id)
{
    const auto found = taps_.find(id);
    if (found == taps_.end()) {
        return;
    }
    const tap_request gone = std::move(found->second);
    taps_.erase(found);
    if (gone.output_port.empty()) {
        publish(draft());
    } else {
        reserve_or_free(gone.bridge, gone.output_port);
    }
}

bool virtual_switch::is_output(const std::string& bridge_name, const std::string& port_name) const
{
    return std::ranges::any_of(taps_, [&](const auto& t) {
        return t.second.output_port == port_name && t.second.bridge == bridge_name;
    });
}

void virtual_switch::reserve_or_free(const std::string& bridge_name, const std::string& port_name)
{
    auto next = draft();
    const auto found = ports_.find(port_name);
    if (found != ports_.end() && found->second.request.bridge == bridge_name) {
        port& p = found->second;
        bridge& on = bridges_.at(bridge_name);
        const bool reserved = is_output(bridge_name, port_name);
        if (reserved != (p.config->bridge == dataplane::no_bridge)) {
            auto config = std::make_shared<port_config>(*p.config);
            config->bridge = reserved ? dataplane::no_bridge : on.index;
            p.config = config; // for has_tree()
            if (!reserved) {
                begin_in_tree(on, p, *config);
            }
            put(*next, p.config);
            on.config = reserved ? without_member(*on.config, config->index)
                                 : with_member(*on.config, config->index);
            put(*next, on.config);
        }
    }
    publish(std::move(next));
    if (found != ports_.end() && found->second.request.bridge == bridge_name) {
        forget_learned(found->second);
        bridge& on = bridges_.at(bridge_name);
        look_at_tree_port(on, found->second);
        settle_tree(on);
    }
}

void virtual_switch::put_taps(snapshot& next) const
{
    next.taps = nullptr;
    if (taps_.empty()) {
        return;
    }
    auto set = std::make_shared<dataplane::tap_set>();
    for (const auto& [id, r] : taps_) {
        if (r.ports_change) {
            r.ports_change(next);
        }
        dataplane::tap t;
        t.outlet = r.outlet;
        const auto on = std::ranges::find_if(
            next.bridges, [&r = r](const auto& b) { return b && b->name == r.bridge; });
        if (on != next.bridges.end()) {
            const bridge_index index = (*on)->index;
            t.filter = {.received = resolve(r.received, index, next),
                        .sent = resolve(r.sent, index, next),
                        .sent_from = resolve(r.sent_from, index, next),
                        .dropped = resolve(r.dropped, index, next),
                        .vlans = r.vlans,
                        .flows = r.flows};
            t.output_bridge = index;
        }
        t.output_vlan = dataplane::vlan_id{r.output_vlan};
        for (const auto& p : next.ports) {
            // Of a mirror's ports the filter has none: a port of that name on another bridge is no
            // mirror's.
            if (p && p->bridge == dataplane::no_bridge && p->name == r.output_port) {
                t.output = p->index;
            }
        }
        set->any_dropped = set->any_dropped || t.filter.dropped.any();
        set->all.push_back(std::move(t));
    }
    next.taps = std::move(set);
}

} // namespace strait::control
