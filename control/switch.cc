// SPDX-License-Identifier: BSD-3-Clause
// Bridges and ports: adding, changing and removing them, in the order that workers need.
#include "control/switch.hh"

#include "control/flow_options.hh"
#include "control/log.hh"
#include "dataplane/guard/seen_addresses.hh"
#include "dataplane/shaper.hh"

#include <algorithm>
#include <tuple>

#include <rte_cycles.h>

namespace strait::control {

using dataplane::bridge_config;
using dataplane::bridge_index;
using dataplane::port_config;
using dataplane::port_index;
using dataplane::to_index;
using dataplane::vlan_id;
using dataplane::vlan_policy;
using dataplane::worker_index;

vlan_policy vlan_settings::policy() const
{
    if (access) {
        return vlan_policy::access(vlan_id{*access});
    }
    if (customer) {
        return vlan_policy::customer(vlan_id{*customer});
    }
    if (!trunk) {
        return vlan_policy::transparent();
    }
    vlan_policy p;
    if (service_tags) {
        p.tell_by_service_tags();
    }
    for (const std::uint16_t vlan : *trunk) {
        p.allowed.set(vlan);
    }
    if (native) {
        p.native = vlan_id{*native};
        p.allowed.set(*native);
    }
    return p;
}

virtual_switch::virtual_switch(dataplane::engine& engine, std::map<std::string, port_type> types)
    : engine_{engine},
      types_{std::move(types)},
      retired_flows_{engine},
      dhcp_{std::make_shared<guard::dhcp_outlet>(engine.worker_count())},
      bpdus_{std::make_shared<dataplane::bpdu_channel>(engine.worker_count())}
{}

virtual_switch::~virtual_switch()
{
    for (auto& [name, p] : ports_) {
        p.device->stop();
    }
    engine_.publish(std::make_unique<const snapshot>());
}

std::unique_ptr<dataplane::snapshot> virtual_switch::draft() const
{
    return std::make_unique<snapshot>(held_ ? *held_ : engine_.current());
}

void virtual_switch::publish(std::unique_ptr<snapshot> next, bool moves_queues)
{
    ++version_;
    next->bpdus =
        std::ranges::any_of(bridges_, [](const auto& b) { return b.second.tree_settings.runs; })
            ? bpdus_
            : nullptr;
    put_guards(*next);
    put_taps(*next);
    if (holding_back_) {
        held_ = std::move(next);
    } else if (moves_queues) {
        engine_.publish_moved(std::move(next));
    } else {
        engine_.publish(std::move(next));
    }
}

void virtual_switch::put(snapshot& next, std::shared_ptr<const port_config> config)
{
    const std::size_t i = to_index(config->index);
    next.ports.resize(std::max(next.ports.size(), i + 1));
    next.ports[i] = std::move(config);
}

void virtual_switch::put(snapshot& next, std::shared_ptr<const bridge_config> config)
{
    const std::size_t i = to_index(config->index);
    next.bridges.resize(std::max(next.bridges.size(), i + 1));
    next.bridges[i] = std::move(config);
}

void virtual_switch::erase_port(snapshot& next, port_index index)
{
    next.ports[to_index(index)].reset();
    while (!next.ports.empty() && !next.ports.back()) {
        next.ports.pop_back();
    }
}

std::vector<virtual_switch::port_failure> virtual_switch::release()
{
    holding_back_ = false;
    if (held_) {
        engine_.publish(std::move(held_));
    }
    std::vector<port_failure> failed;
    for (auto& [name, p] : ports_) {
        if (auto started = p.device->start(); started.has_error()) {
            failed.push_back({name, started.error().message});
        }
    }
    return failed;
}

std::vector<virtual_switch::port_failure> virtual_switch::lost_ports() const
{
    std::vector<port_failure> lost;
    for (const auto& [name, p] : ports_) {
        if (auto why = p.link_up ? std::string{} : p.device->why_lost(); !why.empty()) {
            lost.push_back({name, std::move(why)});
        }
    }
    return lost;
}

outcome<const virtual_switch::bridge*> virtual_switch::find_bridge(const std::string& name) const
{
    const auto found = bridges_.find(name);
    if (found == bridges_.end()) {
        return failure{failure_kind::not_found, "there is no bridge " + name};
    }
    return &found->second;
}

outcome<const virtual_switch::port*> virtual_switch::find_port(const std::string& name) const
{
    const auto found = ports_.find(name);
    if (found == ports_.end()) {
        return failure{failure_kind::not_found, "there is no port " + name};
    }
    return &found->second;
}

outcome<const virtual_switch::port*>
virtual_switch::find_port_on(const std::optional<std::string>& bridge_name,
                             const std::string& name) const
{
    const auto found = find_port(name);
    if (found.has_value() && bridge_name && (*found)->request.bridge != *bridge_name) {
        return failure{failure_kind::invalid, "port " + name + " is on bridge " +
                                                  (*found)->request.bridge + ", not on " +
                                                  *bridge_name};
    }
    return found;
}

outcome<void> virtual_switch::add_bridge(const bridge_request& request)
{
    if (bridges_.contains(request.name)) {
        return failure{failure_kind::exists, "bridge " + request.name + " exists already"};
    }
    if (auto why = refuse_tree(request.tree, request.forward_bpdu)) {
        return std::move(*why);
    }
    std::size_t index = 0;
    while (index < used_bridges_.size() && used_bridges_[index]) {
        ++index;
    }
    if (index == used_bridges_.size()) {
        return failure{failure_kind::limit, "the switch has " +
                                                std::to_string(dataplane::max_bridges) +
                                                " bridges already, and no room for more"};
    }
    auto config = std::make_shared<bridge_config>();
    config->index = bridge_index{static_cast<std::uint16_t>(index)};
    config->name = request.name;
    config->macs = std::make_shared<dataplane::mac_table>(request.mac_table_size);
    config->macs->set_ageing(request.mac_ageing);
    config->forward_bpdu = request.forward_bpdu;
    config->dhcp_snooping = request.dhcp_snooping;
    config->neigh_suppress = request.neigh_suppress;
    put_multicast(*config, request.multicast, {});
    config->macs->set_hold(request.loop_guard == loop_guard::damp ? request.loop_hold : 0);
    auto flows =
        std::make_unique<bridge_flows>(engine_, retired_flows_, [this, name = request.name] {
            return received(bridges_.at(name));
        });
    flows->set_limit(request.flow_limit);
    config->flows = flows->live();
    auto next = draft();
    put(*next, std::shared_ptr<const bridge_config>{config});
    bridges_[request.name] = {.name = request.name,
                              .index = config->index,
                              .mac_table_size = request.mac_table_size,
                              .config = config,
                              .flows = std::move(flows),
                              .mac = mac_of_bridge(request.name),
                              .loop_guard = request.loop_guard,
                              .loop_hold = request.loop_hold,
                              .received = {},
                              .multicast = request.multicast};
    used_bridges_.set(index);
    publish(std::move(next));
    if (bridge_comes_) {
        bridge_comes_(bridges_.at(request.name));
    }
    start_or_stop_tree(bridges_.at(request.name), request.tree);
    events_.add(event_kind::bridge_added, request.name);
    log(log_level::info, "control", "bridge " + request.name + " added");
    return {};
}

outcome<void> virtual_switch::set_bridge(const std::string& name, const bridge_change& change)
{
    const auto found = bridges_.find(name);
    if (found == bridges_.end()) {
        return find_bridge(name).error();
    }
    bridge& b = found->second;
    if (auto why = refuse_tree(change.tree.value_or(b.tree_settings),
                               change.forward_bpdu.value_or(b.config->forward_bpdu))) {
        return std::move(*why);
    }
    if (change.forward_bpdu || change.dhcp_snooping || change.neigh_suppress || change.multicast) {
        auto config = std::make_shared<bridge_config>(*b.config);
        config->forward_bpdu = change.forward_bpdu.value_or(config->forward_bpdu);
        config->dhcp_snooping = change.dhcp_snooping.value_or(config->dhcp_snooping);
        config->neigh_suppress = change.neigh_suppress.value_or(config->neigh_suppress);
        const bridge_multicast snooping = change.multicast.value_or(b.multicast);
        put_multicast(*config, snooping, b.multicast);
        b.multicast = snooping;
        auto next = draft();
        b.config = config;
        put(*next, b.config);
        publish(std::move(next));
    }
    if (change.mac && *change.mac != b.mac) {
        b.mac = *change.mac;
        publish_endpoints();
        forget_own_macs(b);
        keep_own_macs(b);
        if (b.tree) {
            b.tree->set_address(b.mac);
            settle_tree(b);
        }
    }
    start_or_stop_tree(b, change.tree.value_or(b.tree_settings));
    if (change.mac_ageing) {
        b.config->macs->set_ageing(*change.mac_ageing);
    }
    b.loop_guard = change.loop_guard.value_or(b.loop_guard);
    b.loop_hold = change.loop_hold.value_or(b.loop_hold);
    b.config->macs->set_hold(b.loop_guard == loop_guard::damp ? b.loop_hold : 0);
    b.flows->set_limit(change.flow_limit.value_or(b.flows->limit()));
    log(log_level::info, "control", "bridge " + name + " changed");
    return {};
}

outcome<void> virtual_switch::remove_bridge(const std::string& name, bool with_ports)
{
    const auto found = bridges_.find(name);
    if (found == bridges_.end()) {
        return find_bridge(name).error();
    }
    std::vector<std::string> members;
    for (const auto& [port_name, p] : ports_) {
        if (p.request.bridge == name) {
            members.push_back(port_name);
        }
    }
    if (!members.empty() && !with_ports) {
        const std::string others =
            members.size() > 1 ? " and " + std::to_string(members.size() - 1) + " more" : "";
        return failure{failure_kind::in_use, "bridge " + name + " has ports (" + members.front() +
                                                 others +
                                                 "); remove them first or give --with-ports"};
    }
    endpoints_.remove_bridge(name);
    for (const auto& member : members) {
        if (auto removed = remove_port(member); removed.has_error()) {
            return removed;
        }
    }
    const std::size_t index = to_index(found->second.index);
    engine_.neighbours().flush(&found->second.index);
    auto next = draft();
    next->bridges[index].reset();
    while (!next->bridges.empty() && !next->bridges.back()) {
        next->bridges.pop_back();
    }
    publish(std::move(next));
    used_bridges_.reset(index);
    events_.add(event_kind::bridge_removed, name);
    bridges_.erase(found);
    log(log_level::info, "control", "bridge " + name + " removed");
    return {};
}

outcome<std::uint16_t> virtual_switch::choose_number(const port_request& request) const
{
    if (request.type == local_type) {
        return flow::ports::local; // of its bridge
    }
    std::bitset<max_port_number + 1> used;
    for (const auto& [name, p] : ports_) {
        if (p.number > max_port_number) {
            continue;
        }
        if (request.number == p.number) {
            return failure{failure_kind::in_use, "the number " + std::to_string(p.number) +
                                                     " is port " + name +
                                                     "'s; give another or none"};
        }
        used.set(p.number);
    }
    if (request.number) {
        return *request.number;
    }
    std::uint16_t number = 1;
    while (used[number]) {
        ++number; // ends: there are fewer ports than numbers
    }
    return number;
}

outcome<port_index> virtual_switch::free_port_index() const
{
    for (std::size_t i = 0; i < used_ports_.size(); ++i) {
        if (!used_ports_[i]) {
            return port_index{static_cast<std::uint16_t>(i)};
        }
    }
    return failure{failure_kind::limit, "the switch has " + std::to_string(dataplane::max_ports) +
                                            " ports already, and no room for more"};
}

// Null: there is no limit.
std::shared_ptr<dataplane::policer>
virtual_switch::make_policer(const dataplane::port_rate& rate) const
{
    return rate.limits() ? std::make_shared<dataplane::policer>(rate, rte_get_tsc_hz(),
                                                                engine_.worker_count(), rte_rdtsc())
                         : nullptr;
}

std::shared_ptr<dataplane::storm_control>
virtual_switch::make_storm_control(const dataplane::storm_limits& limits) const
{
    return limits.limits() ? std::make_shared<dataplane::storm_control>(
                                 limits, rte_get_tsc_hz(), engine_.worker_count(), rte_rdtsc())
                           : nullptr;
}

std::shared_ptr<bridge_config> virtual_switch::with_member(const bridge_config& from,
                                                           port_index index)
{
    auto config = std::make_shared<bridge_config>(from);
    config->members.insert(std::lower_bound(config->members.begin(), config->members.end(), index),
                           index);
    return config;
}

std::shared_ptr<bridge_config> virtual_switch::without_member(const bridge_config& from,
                                                              port_index index)
{
    auto config = std::make_shared<bridge_config>(from);
    std::erase(config->members, index);
    return config;
}

namespace {

// Nothing: both may be switched on, if they are. What comes from LOCAL is the switch's own.
std::optional<failure> refuse_guard(const std::string& port, bool tunnel, bool local, bool security,
                                    bool trusted)
{
    if (security && tunnel) {
        return failure{failure_kind::invalid,
                       "port " + port +
                           " is a tunnel's, and the stations behind it are another switch's: "
                           "--port-security is for guests' ports"};
    }
    if (local && (security || trusted)) {
        return failure{failure_kind::invalid,
                       "port " + port + " is the bridge's own, and what comes from it is not " +
                           "looked at: " + (security ? "--port-security" : "--dhcp-trust") +
                           " is for other ports"};
    }
    return std::nullopt;
}

// The same of isolation.
std::optional<failure> refuse_isolation(const std::string& port, bool local, bool isolated)
{
    if (local && isolated) {
        return failure{failure_kind::invalid,
                       "port " + port +
                           " is the bridge's own, which every port reaches: --isolated is for "
                           "other ports"};
    }
    return std::nullopt;
}

} // namespace

outcome<void> virtual_switch::add_port(const port_request& request)
{
    const auto type = types_.find(request.type);
    if (type == types_.end()) {
        return failure{failure_kind::not_found, "there is no port type " + request.type};
    }
    const auto on = bridges_.find(request.bridge);
    if (on == bridges_.end()) {
        return failure{failure_kind::not_found, "there is no bridge " + request.bridge +
                                                    "; make it first: bridge add " +
                                                    request.bridge};
    }
    if (const auto same = ports_.find(request.name); same != ports_.end()) {
        return failure{failure_kind::exists, "port " + request.name +
                                                 " exists already, on bridge " +
                                                 same->second.request.bridge};
    }
    auto claims = type->second.claims(request);
    for (const auto& [name, p] : ports_) {
        for (const auto& claim : claims) {
            if (std::find(p.claims.begin(), p.claims.end(), claim) != p.claims.end()) {
                return failure{failure_kind::in_use, claim + " is held by port " + name};
            }
        }
    }
    const auto number = choose_number(request);
    if (number.has_error()) {
        return number.error();
    }
    const auto index = free_port_index();
    if (index.has_error()) {
        return index.error();
    }
    if (request.shaping) {
        if (auto why = refuse_shaping(request, *request.shaping)) {
            return std::move(*why);
        }
    }
    for (const auto& [name, p] : ports_) { // none is to find what another had by that name
        p.device->settle_name();
    }
    auto made = type->second.make(request);
    if (made.has_error()) {
        return failure{std::move(made).error()};
    }
    if (auto why =
            refuse_guard(request.name, (*made)->tunnel() != nullptr, request.type == local_type,
                         request.port_security, request.dhcp_trusted)) {
        return std::move(*why);
    }
    if (auto why = refuse_isolation(request.name, request.type == local_type, request.isolated)) {
        return std::move(*why);
    }
    if (auto why = refuse_tree(request, request.tree)) {
        return std::move(*why);
    }
    if (auto why = refuse_tree_number(request.bridge, request.name, request.tree)) {
        return std::move(*why);
    }
    port p;
    p.request = request;
    p.claims = std::move(claims);
    p.number = *number;
    p.vlan = request.vlan;
    p.device = std::move(made).value();
    auto config = std::make_shared<port_config>();
    config->index = *index;
    config->incarnation = ++last_incarnation_;
    config->name = request.name;
    config->number = p.number;
    const bool reserved = is_output(request.bridge, request.name);
    config->bridge = reserved ? dataplane::no_bridge : on->second.index;
    config->admin_up = request.admin_up;
    config->isolated = request.isolated;
    config->multicast = request.multicast;
    config->mtu = request.mtu;
    config->vlan = request.vlan.policy();
    config->port_security = request.port_security;
    config->dhcp_trusted = request.dhcp_trusted;
    config->addresses =
        notes_addresses(request.type) ? std::make_shared<guard::seen_addresses>() : nullptr;
    config->queues = assign_queues(*p.device);
    config->tunnel = p.device->tunnel();
    config->local = request.type == local_type;
    p.link = std::make_shared<std::atomic<bool>>(false);
    config->link = p.link;
    p.ingress = request.ingress;
    p.egress = request.egress;
    p.storm = request.storm;
    p.mac_limit = request.mac_limit;
    p.tree = request.tree;
    p.config = config; // for has_tree()
    begin_in_tree(on->second, p, *config);
    on->second.config->macs->set_limit(*index, p.mac_limit);
    config->ingress = make_policer(p.ingress);
    config->egress = make_policer(p.egress);
    config->storm = make_storm_control(p.storm);
    p.shaper = make_shaper(config->queues, request.shaping.value_or(dataplane::shaping{}));
    config->egress_shaper = p.shaper;
    p.config = config;
    p.base = counted(config->index);

    auto next = draft();
    put(*next, p.config);
    if (!reserved) {
        on->second.config = with_member(*on->second.config, config->index);
        put(*next, on->second.config);
    }
    publish(std::move(next));
    used_ports_.set(to_index(config->index));
    p.device->set_admin(request.admin_up);
    if (!holding_back_) {
        if (auto started = p.device->start(); started.has_error()) {
            withdraw(p);
            return failure{std::move(started).error()};
        }
    }
    p.link->store(p.device->link_up(), std::memory_order_relaxed);
    events_.add(event_kind::port_added, request.bridge, request.name,
                {{"type", request.type}, {"number", p.number}});
    log(log_level::info, "control",
        "port " + request.name + " (" + request.type + ", number " + std::to_string(p.number) +
            ") added to bridge " + request.bridge);
    const bool is_tunnel = p.config->tunnel != nullptr;
    ports_.emplace(request.name, std::move(p));
    if (is_tunnel) {
        publish_endpoints();
    }
    number_ports(on->second);
    look_at_tree_port(on->second, ports_.at(request.name));
    settle_tree(on->second);
    return {};
}

port_names virtual_switch::port_names_of(const std::string& bridge_name) const
{
    port_names out;
    for (const auto& [name, p] : ports_) {
        if (p.request.bridge == bridge_name) {
            out.add(p.number, name);
        }
    }
    const auto found = bridges_.find(bridge_name);
    if (found != bridges_.end() && found->second.config->options) {
        out.set_options(std::make_shared<const option_names>(*found->second.config->options));
    }
    return out;
}

// Tells a bridge's flows its ports.
void virtual_switch::number_ports(bridge& b)
{
    auto numbers = std::make_shared<flow::port_numbers>();
    for (const auto& [name, p] : ports_) {
        if (p.request.bridge == b.name) {
            numbers->add(p.number, p.config->index);
        }
    }
    b.flows->set_ports(std::move(numbers));
}

// What a port sends while it is down goes nowhere, and what is no frame is none.
void virtual_switch::receive(bridge& b, port& p) const
{
    const port_totals now = totals(p);
    const auto too_short = [](const port_totals& t) {
        return t.drops[static_cast<std::size_t>(dataplane::drop_reason::frame_too_short)];
    };
    if (p.config->admin_up) {
        b.received.packets +=
            now.rx_packets - p.seen.rx_packets - (too_short(now) - too_short(p.seen));
        b.received.bytes += now.rx_bytes - p.seen.rx_bytes;
    }
    p.seen = now;
}

bridge_flows::traffic virtual_switch::received(bridge& b)
{
    for (auto& [name, p] : ports_) {
        if (p.request.bridge == b.name) {
            receive(b, p);
        }
    }
    return b.received;
}

// Takes a port from the workers; it serves nobody any more when this returns.
void virtual_switch::withdraw(const port& p)
{
    p.device->stop();
    const port_index index = p.config->index;
    bridge& on = bridges_.at(p.request.bridge);
    auto next = draft();
    erase_port(*next, index);
    on.config = without_member(*on.config, index);
    put(*next, on.config);
    put_endpoints(*next, &p);
    publish(std::move(next));
    // No worker learns on it any more; whoever gets its index next finds nothing of it.
    on.config->macs->remove_port(index);
    if (on.config->groups) {
        on.config->groups->flush_port(index);
    }
    used_ports_.reset(to_index(index));
    dhcp_limits_.erase(p.config->incarnation);
    bpdu_limits_.erase(p.config->incarnation);
    p.device->forget();
}

outcome<void> virtual_switch::remove_port(const std::string& name)
{
    const auto found = ports_.find(name);
    if (found == ports_.end()) {
        return find_port(name).error();
    }
    withdraw(found->second);
    bridge& on = bridges_.at(found->second.request.bridge);
    receive(on, found->second);
    tell_of_moves(on, std::chrono::steady_clock::now()); // while its index is its own
    events_.add(event_kind::port_removed, on.name, name);
    const std::string waited = waited_in_vain(found->second);
    if (port_goes_) {
        port_goes_(found->second);
    }
    if (on.tree && found->second.tree_number != 0) {
        on.tree->remove_port(found->second.tree_number);
    }
    ports_.erase(found);
    std::erase_if(static_macs_, [&name](const auto& m) { return m.second == name; });
    bindings_.remove_port(name);
    snooper_.forget_port(name);
    number_ports(on);
    settle_tree(on);
    log(log_level::info, "control", "port " + name + " removed" + waited);
    return {};
}

outcome<void> virtual_switch::rename_port(const std::string& from, const std::string& to)
{
    const auto found = ports_.find(from);
    if (found == ports_.end()) {
        return find_port(from).error();
    }
    if (from == to) {
        return {};
    }
    if (const auto same = ports_.find(to); same != ports_.end()) {
        return failure{failure_kind::exists,
                       "port " + to + " exists already, on bridge " + same->second.request.bridge};
    }
    port& p = found->second;
    if (p.config->local) {
        return failure{failure_kind::in_use,
                       "port " + from + " is the bridge's own, and has the bridge's name"};
    }
    if (auto renamed = p.device->rename(to); renamed.has_error()) {
        return failure{std::move(renamed).error()};
    }
    auto config = std::make_shared<port_config>(*p.config);
    config->name = to;
    p.config = config;
    p.request.name = to;
    auto node = ports_.extract(found);
    node.key() = to;
    ports_.insert(std::move(node));
    for (auto& [place, on] : static_macs_) {
        on = on == from ? to : on;
    }
    bindings_.rename_port(from, to);
    snooper_.rename_port(from, to);
    for (auto& [id, r] : taps_) {
        for (tap_ports* const some : {&r.received, &r.sent, &r.sent_from, &r.dropped}) {
            std::ranges::replace(some->names, from, to);
        }
        r.output_port = r.output_port == from ? to : r.output_port;
    }
    auto next = draft();
    put(*next, std::move(config));
    publish(std::move(next));
    const std::string bridge_name = ports_.at(to).request.bridge;
    events_.add(event_kind::port_renamed, bridge_name, to, {{"from", from}});
    log(log_level::info, "control", "port " + from + " is now " + to);
    return {};
}

void virtual_switch::settle_name(const std::string& name) noexcept
{
    if (const auto found = ports_.find(name); found != ports_.end()) {
        found->second.device->settle_name();
    }
}

void virtual_switch::forget_port(const std::string& name) noexcept
{
    if (ports_.contains(name)) {
        return;
    }
    for (const auto& [ignored, type] : types_) {
        if (type.forget) {
            type.forget(name);
        }
    }
}

outcome<void> virtual_switch::set_port(const std::string& name, const port_change& change)
{
    const auto found = ports_.find(name);
    if (found == ports_.end()) {
        return find_port(name).error();
    }
    port& p = found->second;
    vlan_settings vlan = change.vlan.value_or(p.vlan);
    if (change.native) {
        if (!vlan.trunk) {
            return failure{failure_kind::invalid,
                           "port " + name +
                               " is no trunk, and only a trunk has a native VLAN; "
                               "give --trunk with it"};
        }
        vlan.native = change.native;
    }
    if (change.service_tags) {
        if (!vlan.trunk) {
            return failure{failure_kind::invalid,
                           "port " + name +
                               " is no trunk, and only a trunk tells VLANs by tags; "
                               "give --trunk with --tag-type"};
        }
        vlan.service_tags = *change.service_tags;
    }
    if (auto why = refuse_guard(name, p.config->tunnel != nullptr, p.config->local,
                                change.port_security.value_or(false),
                                change.dhcp_trusted.value_or(false))) {
        return std::move(*why);
    }
    if (auto why = refuse_isolation(name, p.config->local, change.isolated.value_or(false))) {
        return std::move(*why);
    }
    if (change.shaping) {
        if (auto why = refuse_shaping(p.request, *change.shaping)) {
            return std::move(*why);
        }
    }
    if (change.tree) {
        if (auto why = refuse_tree(p.request, *change.tree)) {
            return std::move(*why);
        }
        if (auto why = refuse_tree_number(p.request.bridge, name, *change.tree)) {
            return std::move(*why);
        }
    }
    auto config = std::make_shared<port_config>(*p.config);
    config->vlan = vlan.policy();
    config->admin_up = change.admin_up.value_or(config->admin_up);
    config->isolated = change.isolated.value_or(config->isolated);
    config->multicast = change.multicast.value_or(config->multicast);
    config->port_security = change.port_security.value_or(config->port_security);
    config->dhcp_trusted = change.dhcp_trusted.value_or(config->dhcp_trusted);
    if (change.ingress) {
        config->ingress = make_policer(*change.ingress);
    }
    if (change.egress) {
        config->egress = make_policer(*change.egress);
    }
    if (change.storm) {
        config->storm = make_storm_control(*change.storm);
    }
    if (change.mtu && *change.mtu != config->mtu) {
        // The one part that can fail comes first.
        if (auto set = p.device->set_mtu(*change.mtu); set.has_error()) {
            return failure{std::move(set).error()};
        }
        config->mtu = *change.mtu;
    }
    if (change.shaping && !p.shaper) {
        p.shaper = make_shaper(config->queues, *change.shaping);
        config->egress_shaper = p.shaper;
    } else if (change.shaping) {
        p.shaper->set(*change.shaping); // before those who sleep are woken by what is published
    }
    const bool forget = config->vlan != p.config->vlan || (p.config->admin_up && !config->admin_up);
    if (config->admin_up != p.config->admin_up) {
        events_.add(config->admin_up ? event_kind::port_enabled : event_kind::port_disabled,
                    p.request.bridge, name);
    }
    if (config->vlan != p.config->vlan) { // what was leased there is of no use elsewhere
        bindings_.end_leases(name);
        snooper_.forget_port(name);
    }
    auto next = draft();
    put(*next, config);
    publish(std::move(next));
    p.device->set_admin(config->admin_up);
    receive(bridges_.at(p.request.bridge), p); // as it was until now
    p.config = config;
    p.vlan = std::move(vlan);
    p.ingress = change.ingress.value_or(p.ingress);
    p.egress = change.egress.value_or(p.egress);
    p.storm = change.storm.value_or(p.storm);
    if (change.mac_limit) {
        p.mac_limit = *change.mac_limit;
        bridges_.at(p.request.bridge).config->macs->set_limit(config->index, p.mac_limit);
    }
    if (forget) {
        forget_learned(p);
    }
    p.tree = change.tree.value_or(p.tree);
    look_at_tree_port(bridges_.at(p.request.bridge), p);
    settle_tree(bridges_.at(p.request.bridge));
    const std::size_t gone = remove_static_macs_not_carried(p);
    log(log_level::info, "control",
        "port " + name + " changed" +
            (gone == 0 ? ""
                       : "; static MACs removed with the VLANs that it no longer carries: " +
                             std::to_string(gone)));
    return {};
}

void virtual_switch::set_judged(const std::string& name, bool judged)
{
    port& p = ports_.at(name);
    if (p.config->judged == judged) {
        return;
    }
    auto config = std::make_shared<port_config>(*p.config);
    config->judged = judged;
    auto next = draft();
    put(*next, config);
    publish(std::move(next));
    p.config = config;
}

void virtual_switch::look_at_flows()
{
    retired_flows_.look();
    for (auto& [name, b] : bridges_) {
        b.flows->look();
    }
}

void virtual_switch::look_at_links(steady_time now)
{
    for (auto& [name, p] : ports_) {
        p.device->tend();
        look_at_guests(p, now);
        const bool up = p.device->link_up();
        if (up == p.link_up) {
            look_at_tree_port(bridges_.at(p.request.bridge), p); // its speed may be another
            continue;
        }
        p.link_up = up;
        p.link->store(up, std::memory_order_relaxed);
        if (!up) {
            forget_learned(p);
        }
        tell_of_guest(p, up ? event_kind::link_up : event_kind::link_down, now);
        log(log_level::info, "control", "port " + name + ": link " + (up ? "up" : "down"));
        look_at_tree_port(bridges_.at(p.request.bridge), p);
    }
    for (auto& [name, b] : bridges_) {
        settle_tree(b);
    }
}

} // namespace strait::control
