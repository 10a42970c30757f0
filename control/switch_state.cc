// SPDX-License-Identifier: BSD-3-Clause
// The switch's MAC tables and counters as operators see them.
#include "control/switch.hh"

#include "dataplane/guard/seen_addresses.hh"

namespace strait::control {

using dataplane::mac_table;
using dataplane::to_index;
using dataplane::vlan_id;

std::uint16_t virtual_switch::untagged_vlan(const port& p) noexcept
{
    return p.config->vlan.native.value();
}

outcome<bool> virtual_switch::add_mac(const std::string& port_name, dataplane::mac_address mac,
                                      std::optional<std::uint16_t> vlan)
{
    const auto found = find_port(port_name);
    if (found.has_error()) {
        return found.error();
    }
    const port& p = **found;
    if (mac.is_multicast() || mac.is_zero()) {
        return failure{failure_kind::invalid, mac.to_string() +
                                                  " is no address of a station: it is " +
                                                  (mac.is_zero() ? "zero" : "multicast")};
    }
    const vlan_id id{vlan.value_or(untagged_vlan(p))};
    const mac_place place{p.request.bridge, id.value(), mac.value()};
    if (!p.config->vlan.carries(id)) {
        return failure{failure_kind::invalid,
                       "port " + port_name + " does not carry " +
                           (id.value() == 0 ? "untagged frames; give --vlan"
                                            : "VLAN " + std::to_string(id.value()))};
    }
    auto& table = *bridges_.at(p.request.bridge).config->macs;
    switch (table.add_static(mac_table::key{mac, id}, p.config->index, engine_.now())) {
    case mac_table::added::added:
        static_macs_[place] = port_name;
        return false;
    case mac_table::added::replaced:
        static_macs_[place] = port_name;
        return true;
    case mac_table::added::table_full:
        break;
    }
    return failure{failure_kind::limit, "the MAC table of bridge " + p.request.bridge +
                                            " has no room for " + mac.to_string()};
}

outcome<bool> virtual_switch::remove_mac(const std::string& bridge_name, dataplane::mac_address mac,
                                         std::uint16_t vlan)
{
    const auto found = find_bridge(bridge_name);
    if (found.has_error()) {
        return found.error();
    }
    static_macs_.erase({bridge_name, vlan, mac.value()});
    return (*found)->config->macs->remove(mac_table::key{mac, vlan_id{vlan}}, engine_.now());
}

void virtual_switch::look_at_macs() noexcept
{
    for (auto& [name, b] : bridges_) {
        b.config->macs->expire(engine_.now());
    }
}

bool virtual_switch::notes_addresses(std::string_view type) noexcept
{
    return type == "vhost-user" || type == "xen" || type == "host";
}

void virtual_switch::forget_addresses(const port& p) noexcept
{
    if (p.config->addresses) {
        p.config->addresses->forget();
    }
}

std::vector<virtual_switch::static_mac> virtual_switch::static_macs() const
{
    std::vector<static_mac> out;
    for (const auto& [place, on] : static_macs_) {
        out.push_back({on, dataplane::mac_address{std::get<2>(place)}, std::get<1>(place)});
    }
    return out;
}

outcome<void> virtual_switch::flush_macs(const std::optional<std::string>& bridge_name,
                                         const std::optional<std::string>& port_name,
                                         std::optional<std::uint16_t> vlan)
{
    const bridge* only = nullptr;
    if (bridge_name) {
        const auto found = find_bridge(*bridge_name);
        if (found.has_error()) {
            return found.error();
        }
        only = *found;
    }
    if (port_name) {
        const auto found = find_port_on(bridge_name, *port_name);
        if (found.has_error()) {
            return found.error();
        }
        const port& p = **found;
        auto& table = *bridges_.at(p.request.bridge).config->macs;
        if (!vlan) {
            table.flush_port(p.config->index);
            return {};
        }
        const auto now = engine_.now();
        std::vector<mac_table::key> keys;
        table.for_each(now, [&](const dataplane::mac_entry& e) {
            if (e.port == p.config->index && e.vlan.value() == *vlan && !e.is_static) {
                keys.emplace_back(e.mac, e.vlan);
            }
        });
        for (const auto& key : keys) {
            (void)table.remove(key, now);
        }
        return {};
    }
    for (const auto& [name, b] : bridges_) {
        if (only != nullptr && &b != only) {
            continue;
        }
        if (vlan) {
            b.config->macs->flush_vlan(vlan_id{*vlan});
        } else {
            b.config->macs->flush_all();
        }
    }
    return {};
}

std::size_t virtual_switch::remove_static_macs_not_carried(const port& p)
{
    auto& table = *bridges_.at(p.request.bridge).config->macs;
    const auto now = engine_.now();
    std::vector<mac_table::key> keys;
    table.for_each(now, [&](const dataplane::mac_entry& e) {
        if (e.port == p.config->index && e.is_static && !p.config->vlan.carries(e.vlan)) {
            keys.emplace_back(e.mac, e.vlan);
        }
    });
    for (const auto& key : keys) {
        (void)table.remove(key, now);
    }
    std::erase_if(static_macs_, [&p](const auto& m) {
        return m.second == p.request.name && !p.config->vlan.carries(vlan_id{std::get<1>(m.first)});
    });
    return keys.size();
}

port_totals virtual_switch::counted(dataplane::port_index index) const
{
    port_totals sum;
    for (std::size_t w = 0; w < engine_.worker_count(); ++w) {
        const auto& c =
            engine_.counters(dataplane::worker_index{static_cast<std::uint16_t>(w)}, index);
        sum.rx_packets += c.rx_packets.read();
        sum.rx_bytes += c.rx_bytes.read();
        sum.tx_packets += c.tx_packets.read();
        sum.tx_bytes += c.tx_bytes.read();
        for (std::size_t i = 0; i < sum.drops.size(); ++i) {
            sum.drops[i] += c.drops[i].read();
        }
    }
    return sum;
}

namespace {

// Since the port was made.
std::vector<queue_totals> counted_of_queues(const virtual_switch::port& p)
{
    std::vector<queue_totals> out;
    for (const dataplane::queue_config& q : p.config->queues) {
        queue_totals& t = out.emplace_back();
        if (!q.counters) {
            continue;
        }
        t.rx_packets = q.counters->rx_packets.read();
        t.tx_packets = q.counters->tx_packets.read();
        for (std::size_t i = 0; i < t.drops.size(); ++i) {
            t.drops[i] = q.counters->drops[i].read();
        }
    }
    return out;
}

port_totals difference(port_totals now, const port_totals& before)
{
    now.rx_packets -= before.rx_packets;
    now.rx_bytes -= before.rx_bytes;
    now.tx_packets -= before.tx_packets;
    now.tx_bytes -= before.tx_bytes;
    for (std::size_t i = 0; i < now.drops.size(); ++i) {
        now.drops[i] -= before.drops[i];
    }
    return now;
}

} // namespace

port_totals virtual_switch::totals(const port& p) const
{
    return difference(counted(p.config->index), p.base);
}

port_totals virtual_switch::since_cleared(const port& p) const
{
    return difference(totals(p), p.cleared);
}

// Of one look, so that nothing is in neither.
port_totals virtual_switch::clear_counters(const std::string& name)
{
    port& p = ports_.at(name);
    const port_totals now = totals(p);
    p.cleared_queues = counted_of_queues(p);
    return difference(now, std::exchange(p.cleared, now));
}

std::vector<queue_totals> virtual_switch::totals_of_queues(const port& p)
{
    std::vector<queue_totals> now = counted_of_queues(p);
    for (std::size_t i = 0; i < std::min(now.size(), p.cleared_queues.size()); ++i) {
        const queue_totals& before = p.cleared_queues[i];
        now[i].rx_packets -= before.rx_packets;
        now[i].tx_packets -= before.tx_packets;
        for (std::size_t r = 0; r < before.drops.size(); ++r) {
            now[i].drops[r] -= before.drops[r];
        }
    }
    return now;
}

} // namespace strait::control
