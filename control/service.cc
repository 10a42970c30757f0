// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods that change and show bridges and ports.
#include "control/service.hh"

#include "control/mtu_conflict.hh"
#include "control/multicast_json.hh"
#include "control/parameters.hh"
#include "control/seen_stations.hh"
#include "control/tree_json.hh"
#include "dataplane/shaper.hh"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

namespace strait::control {

namespace json = boost::json;

namespace {

// Of a parameter that is always there.
std::string text(const json::object& p, std::string_view name)
{
    return std::string{std::string_view{p.at(name).as_string()}};
}

// A limit as it was, but for what is given.
std::optional<dataplane::port_rate> rate(const json::object& p, const std::string& direction,
                                         const dataplane::port_rate& before)
{
    const auto value = [&](std::string_view what, std::uint32_t otherwise) {
        return number_as<std::uint32_t>(p, direction + std::string{what}).value_or(otherwise);
    };
    const dataplane::port_rate now{.kbps = value("_rate", before.kbps),
                                   .burst_kbit = value("_burst", before.burst_kbit),
                                   .packets = value("_packet_rate", before.packets),
                                   .burst_packets = value("_packet_burst", before.burst_packets)};
    return now == before ? std::nullopt : std::optional{now};
}

json::value to_json(const dataplane::port_rate& r)
{
    if (!r.limits()) {
        return nullptr;
    }
    return {{"kbps", r.kbps},
            {"burst_kbit", r.kbps == 0 ? 0 : r.usual_burst_kbit()},
            {"packets", r.packets},
            {"burst_packets", r.packets == 0 ? 0 : r.usual_burst_packets()}};
}

json::value to_json(const dataplane::storm_limits& s)
{
    if (!s.limits()) {
        return nullptr;
    }
    return {{"broadcast", s.broadcast},
            {"multicast", s.multicast},
            {"unknown_unicast", s.unknown_unicast}};
}

// Limits as they were, but for what is given.
std::optional<dataplane::storm_limits> storm(const json::object& p,
                                             const dataplane::storm_limits& before)
{
    const auto value = [&](std::string_view what, std::uint32_t otherwise) {
        return number_as<std::uint32_t>(p, what).value_or(otherwise);
    };
    const dataplane::storm_limits now{.broadcast = value("storm_broadcast", before.broadcast),
                                      .multicast = value("storm_multicast", before.multicast),
                                      .unknown_unicast =
                                          value("storm_unknown_unicast", before.unknown_unicast)};
    return now == before ? std::nullopt : std::optional{now};
}

// A port's rate that packets wait for, as it was but for what is given; without a rate no class
// stays.
outcome<std::optional<dataplane::shaping>> shape(const json::object& p,
                                                 const dataplane::shaping& before)
{
    dataplane::shaping now = before;
    now.kbps = number_as<std::uint32_t>(p, "shape_rate").value_or(before.kbps);
    now.burst_kbit = number_as<std::uint32_t>(p, "shape_burst").value_or(before.burst_kbit);
    if (now.kbps == 0 && p.contains("shape_burst")) {
        return failure{failure_kind::invalid, "a burst needs a rate: give --shape-rate with it"};
    }
    if (now == before) {
        return std::optional<dataplane::shaping>{};
    }
    return std::optional{now.kbps == 0 ? dataplane::shaping{} : now};
}

json::value to_json(const dataplane::shaping& s)
{
    if (s.kbps == 0) {
        return nullptr;
    }
    return {{"kbps", s.kbps}, {"burst_kbit", burst_kbit_of(s)}};
}

dataplane::shaping shaping_of(const virtual_switch::port& p)
{
    return p.shaper ? p.shaper->settings() : dataplane::shaping{};
}

json::object removed(bool was_there)
{
    return {{"removed", was_there}};
}

// Of a bridge; one of the parameter's choices.
std::optional<loop_guard> loop_guard_of(const json::object& p)
{
    if (!p.contains("loop_guard")) {
        return std::nullopt;
    }
    const std::string word = text(p, "loop_guard");
    return word == "damp" ? loop_guard::damp : word == "off" ? loop_guard::off : loop_guard::report;
}

// Of a bridge.
outcome<std::optional<dataplane::mac_address>> own_mac(const json::object& p)
{
    if (!p.contains("mac")) {
        return std::optional<dataplane::mac_address>{};
    }
    const auto mac = dataplane::mac_address::parse(text(p, "mac"));
    if (mac->is_multicast() || mac->is_zero()) {
        return failure{failure_kind::invalid, "--mac " + mac->to_string() +
                                                  " is no address of a station: it is " +
                                                  (mac->is_zero() ? "zero" : "multicast")};
    }
    return mac;
}

// As it is typed: people read these sentences, programs their kind.
std::string option(std::string_view name)
{
    parameter p;
    p.name = name;
    return label(p, wording::command_line);
}

// A sentence if the parameters say what only a trunk has; for ports that are none.
std::optional<failure> refuse_of_trunks(const json::object& p)
{
    if (p.contains("native")) {
        return failure{failure_kind::invalid, "--native is the VLAN of untagged frames on a trunk; "
                                              "give it with --trunk"};
    }
    if (p.contains("tag_type")) {
        return failure{failure_kind::invalid,
                       "--tag-type is by which tags a trunk tells VLANs; give it with --trunk"};
    }
    return std::nullopt;
}

// What the parameters say of it; nothing if they do not.
std::optional<bool> has_service_tags(const json::object& p)
{
    return p.contains("tag_type") ? std::optional{text(p, "tag_type") == "802.1ad"} : std::nullopt;
}

// What the parameters say of VLANs; nothing if they say nothing but perhaps `native`.
outcome<std::optional<vlan_settings>> vlans(const json::object& p)
{
    const bool access = p.contains("vlan");
    const bool customer = p.contains("qinq");
    const bool trunk = p.contains("trunk");
    const bool none = is_set(p, "no_vlan");
    if (access + customer + trunk + none > 1) {
        return failure{failure_kind::invalid,
                       std::string{"a port is an access port (--vlan), a customer's (--qinq)"} +
                           (none ? ", a trunk (--trunk) or none of them (--no-vlan)"
                                 : " or a trunk (--trunk)") +
                           "; give one of them"};
    }
    if (access || customer || none) {
        if (auto why = refuse_of_trunks(p)) {
            return std::move(*why);
        }
    }
    std::optional<vlan_settings> out;
    if (access || customer || trunk || none) {
        out.emplace();
        out->access = number_as<std::uint16_t>(p, "vlan");
        out->customer = number_as<std::uint16_t>(p, "qinq");
        if (trunk) {
            out->service_tags = has_service_tags(p).value_or(false);
            out->trunk = expand_vlans(p.at("trunk"));
            out->native = number_as<std::uint16_t>(p, "native");
        }
    }
    return out;
}

json::value or_null(const std::optional<std::int64_t>& n)
{
    return n ? json::value(*n) : json::value(nullptr);
}

json::value to_json(const ports::port_detail& detail)
{
    return std::visit(
        [](const auto& value) -> json::value {
            using type = std::decay_t<decltype(value)>;
            if constexpr (std::is_same_v<type, std::vector<std::string>>) {
                return json::array(value.begin(), value.end());
            } else {
                return json::value(value);
            }
        },
        detail);
}

// As it is compared with others'.
port_mtu mtu_of(const virtual_switch::port& p)
{
    const bool has_vlans = p.vlan.access || p.vlan.customer || p.vlan.trunk;
    return {p.request.name, p.config->mtu,
            has_vlans ? std::optional{p.config->vlan.allowed} : std::nullopt, p.config->isolated,
            p.config->bridge != dataplane::no_bridge};
}

// What a port's device can do at most; nothing: it does not say.
std::optional<std::uint64_t> most_mtu(const virtual_switch::port& p)
{
    for (const auto& [name, value] : p.device->details()) {
        const auto* const most = std::get_if<std::int64_t>(&value);
        if (name == "max_mtu" && most != nullptr) {
            return static_cast<std::uint64_t>(*most);
        }
    }
    return std::nullopt;
}

// The parameters of the port's own type, with what they are when not given.
json::object type_options(const json::object& p)
{
    json::object options;
    for (const auto& parameter : find_method(methods(), "port.add")->parameters) {
        if (!parameter.port_types.empty() && p.contains(parameter.name)) {
            options[parameter.name] = p.at(parameter.name);
        }
    }
    const auto otherwise = [&](std::string_view name, json::value value) {
        if (!options.contains(name)) {
            options[name] = std::move(value);
        }
    };
    const std::string type = text(p, "type");
    if (type == "vhost-user") {
        otherwise("mode", "server");
        otherwise("queues", 1);
    } else if (type == "nic" || type == "bond") {
        constexpr std::int64_t usual_ring = 1024;
        otherwise("ring_size", usual_ring);
        if (type == "bond") {
            otherwise("bond_mode", "active-backup");
        } else {
            otherwise("queues", 1);
        }
    } else if (type == "xen") {
        constexpr std::int64_t most_queues = 16;
        otherwise("handle", 0);
        otherwise("max_queues", most_queues);
    } else if (type == "host") {
        otherwise("interface", json::value(text(p, "name")));
    }
    return options;
}

// Nothing when the port is what is asked for, as far as that cannot be changed.
std::optional<failure> difference(const virtual_switch::port& p, const port_request& asked)
{
    const auto exists = [&](const std::string& how) {
        return failure{failure_kind::exists, "port " + asked.name + " exists already " + how +
                                                 "; remove it first to make another"};
    };
    const auto differs = [&](std::string_view what, const std::string& is) {
        return exists("with " + option(what) + " " + is);
    };
    if (p.request.bridge != asked.bridge) {
        return differs("bridge", p.request.bridge);
    }
    if (p.request.type != asked.type) {
        return differs("type", p.request.type);
    }
    if (asked.number && p.number != *asked.number) {
        return differs("number", std::to_string(p.number));
    }
    for (const auto& made : p.request.options) {
        const auto* other = asked.options.if_contains(made.key());
        if (other == nullptr || *other != made.value()) {
            const auto& value = made.value();
            return differs(made.key(), value.is_string()
                                           ? std::string{std::string_view{value.get_string()}}
                                           : json::serialize(value));
        }
    }
    for (const auto& given : asked.options) {
        if (!p.request.options.contains(given.key())) {
            return exists("without " + option(given.key()));
        }
    }
    return std::nullopt;
}

} // namespace

service::service(virtual_switch& sw, xen_adoption& adoption, capture_list& captures,
                 mirror_list& mirrors, host_facts facts)
    : switch_{sw},
      adoption_{adoption},
      captures_{captures},
      mirrors_{mirrors},
      acls_{sw},
      facts_{std::move(facts)}
{
    add_bridge_methods();
    add_port_methods();
    add_mac_methods();
    add_multicast_methods();
    add_tree_methods();
    add_xen_methods();
    add_binding_methods();
    add_endpoint_methods();
    add_option_methods();
    add_flow_methods();
    add_group_methods();
    add_capture_methods();
    add_mirror_methods();
    add_shaper_methods();
    add_acl_methods();
    add_connection_methods();
    add_config_methods();
    add_event_methods();
    add_queue_methods();
    add_other_methods();
    rpc_.when_called([this] { (void)switch_.keep_trees(); });
    if (const auto names = rpc_.missing(); !names.empty()) {
        throw std::logic_error{"no handler for method " + std::string{names.front()}};
    }
    for (const method& m : methods()) {
        if (m.changes && m.keeps == kept::undecided) {
            throw std::logic_error{"nobody has said whether what " + std::string{m.name} +
                                   " changes is kept"};
        }
    }
}

void service::keep_in(std::unique_ptr<store_writer> writer)
{
    config_.keep_in(std::move(writer));
    rpc_.set_keeper(&config_);
}

void service::add_bridge_methods()
{
    rpc_.add("bridge.add", [this](const object& p) { return bridge_add(p); });
    rpc_.add("bridge.del", [this](const object& p) { return bridge_del(p); });
    rpc_.add("bridge.set", [this](const object& p) { return bridge_set(p); });
    rpc_.add("bridge.list", [this](const object&) -> result {
        json::array list;
        for (const auto& [name, b] : switch_.bridges()) {
            list.push_back(describe(b));
        }
        return json::value(std::move(list));
    });
}

void service::add_port_methods()
{
    rpc_.add("port.add", [this](const object& p) { return port_add(p); });
    rpc_.add("port.del", [this](const object& p) { return port_del(p); });
    rpc_.add("port.set", [this](const object& p) { return port_set(p); });
    rpc_.add("port.rename", [this](const object& p) { return port_rename(p); });
    rpc_.add("port.show", [this](const object& p) -> result {
        const auto found = switch_.find_port(text(p, "name"));
        if (found.has_error()) {
            return found.error();
        }
        return json::value(describe_all({*found}).front());
    });
    rpc_.add("port.list", [this](const object& p) -> result {
        std::string only;
        if (p.contains("bridge")) {
            only = text(p, "bridge");
            if (const auto found = switch_.find_bridge(only); found.has_error()) {
                return found.error();
            }
        }
        std::vector<const virtual_switch::port*> ports;
        for (const auto& [name, port] : switch_.ports()) {
            if (only.empty() || port.request.bridge == only) {
                ports.push_back(&port);
            }
        }
        return json::value(describe_all(ports));
    });
}

json::object service::describe(const virtual_switch::bridge& b) const
{
    json::array members;
    for (const auto& [name, p] : switch_.ports()) {
        if (p.request.bridge == b.name) {
            members.emplace_back(name);
        }
    }
    const auto& macs = *b.config->macs;
    return {{"name", b.name},
            {"ports", std::move(members)},
            {"forward_bpdu", b.config->forward_bpdu},
            {"mac_ageing", macs.ageing()},
            {"mac_table_size", b.mac_table_size},
            {"mac", b.mac.to_string()},
            {"macs", macs.size(switch_.engine().now())},
            {"flow_limit", b.flows->limit()},
            {"flows", b.flows->size()},
            {"dhcp_snooping", b.config->dhcp_snooping},
            {"neigh_suppress", b.config->neigh_suppress},
            {"neigh_answers", b.answered->load(std::memory_order_relaxed)},
            {"mcast_snooping", b.multicast.snooping},
            {"mcast_drop_unregistered", b.multicast.drop_unregistered},
            {"mcast_ageing", b.multicast.ageing},
            {"mcast_table_size", b.multicast.table_size},
            {"mcast", describe_groups(b)},
            {"loop_guard", name_of(b.loop_guard)},
            {"loop_hold", b.loop_hold},
            {"mac_holds", macs.holds()},
            {"rstp_settings", settings_object(b.tree_settings)},
            {"rstp", describe_tree(switch_, b)}};
}

json::object service::describe(const virtual_switch::port& p) const
{
    json::array queues;
    for (std::size_t i = 0; i < p.config->queues.size(); ++i) {
        queues.push_back(
            {{"queue", i}, {"worker", dataplane::to_index(p.config->queues[i].worker)}});
    }
    json::object details;
    for (const auto& [name, value] : p.device->details()) {
        details[name] = to_json(value);
    }
    json::value trunk = nullptr;
    if (p.vlan.trunk) {
        trunk = json::array(p.vlan.trunk->begin(), p.vlan.trunk->end());
    }
    return {{"name", p.request.name},
            {"number", p.number},
            {"bridge", p.request.bridge},
            {"type", p.request.type},
            {"admin", p.config->admin_up ? "up" : "down"},
            {"link", p.device->link_up() ? "up" : "down"},
            {"mtu", p.config->mtu},
            {"vlan", or_null(p.vlan.access)},
            {"qinq", or_null(p.vlan.customer)},
            {"trunk", std::move(trunk)},
            {"native", or_null(p.vlan.native)},
            {"tag_type", p.vlan.service_tags ? "802.1ad" : "802.1q"},
            {"ingress", to_json(p.ingress)},
            {"egress", to_json(p.egress)},
            {"storm", to_json(p.storm)},
            {"isolated", p.config->isolated},
            {"mac_limit", or_null(p.mac_limit == 0 ? std::nullopt : std::optional{p.mac_limit})},
            {"mcast", to_json(p.config->multicast)},
            {"port_security", p.config->port_security},
            {"dhcp_trust", p.config->dhcp_trusted},
            {"rstp_settings", virtual_switch::may_have_tree(p.request.type)
                                  ? json::value(settings_object(p.tree))
                                  : json::value(nullptr)},
            {"rstp", describe_tree(switch_, p)},
            {"shape", to_json(shaping_of(p))},
            {"options", p.request.options},
            {"queues", std::move(queues)},
            {"details", std::move(details)}};
}

json::array service::describe_all(const std::vector<const virtual_switch::port*>& ports) const
{
    const seen_stations seen{switch_, ports};
    json::array list;
    for (const auto* const p : ports) {
        json::object o = describe(*p);
        o["seen"] = seen.behind(*p);
        list.push_back(std::move(o));
    }
    return list;
}

json::object service::describe_changed(const virtual_switch::port& p,
                                       const object& parameters) const
{
    json::array warnings;
    // Who changes something else has heard of it, or asks doctor.
    const bool matters = std::ranges::any_of(
        std::array{"bridge", "mtu", "vlan", "qinq", "trunk", "native", "no_vlan", "isolated"},
        [&parameters](const char* name) { return parameters.contains(name); });
    if (matters && has_comparable_mtu(p.request.type)) {
        std::vector<port_mtu> others;
        for (const auto& [name, other] : switch_.ports()) {
            if (other.request.bridge == p.request.bridge && other.config->mtu != p.config->mtu &&
                has_comparable_mtu(other.request.type)) {
                others.push_back(mtu_of(other));
            }
        }
        const port_mtu own = mtu_of(p);
        for (const auto& conflict :
             {conflict_as_small(own, others), conflict_as_large(own, others)}) {
            if (conflict) {
                const auto most = most_mtu(switch_.ports().at(conflict->small->name));
                warnings.emplace_back(sentence_of(*conflict, p.request.bridge, most) + ": " +
                                      mend_of(*conflict, most));
            }
        }
    }
    json::object out = describe(p);
    out["warnings"] = std::move(warnings);
    return out;
}

service::result service::bridge_add(const object& p)
{
    bridge_request request;
    request.name = text(p, "name");
    if (is_set(p, "may_exist")) {
        if (const auto there = switch_.bridges().find(request.name);
            there != switch_.bridges().end()) {
            const auto size = number_of(p, "mac_table_size");
            if (size && static_cast<std::size_t>(*size) != there->second.mac_table_size) {
                return failure{failure_kind::exists,
                               "bridge " + request.name + " exists already with room for " +
                                   std::to_string(there->second.mac_table_size) +
                                   " MACs; remove it first to make another"};
            }
            return bridge_set(p);
        }
    }
    request.forward_bpdu = is_set(p, "forward_bpdu");
    request.mac_ageing =
        number_as<dataplane::seconds_t>(p, "mac_ageing").value_or(request.mac_ageing);
    request.mac_table_size =
        number_as<std::size_t>(p, "mac_table_size").value_or(request.mac_table_size);
    request.flow_limit = number_as<std::size_t>(p, "flow_limit").value_or(request.flow_limit);
    request.dhcp_snooping = is_set(p, "dhcp_snooping");
    request.neigh_suppress = is_set(p, "neigh_suppress");
    request.multicast = multicast_of(p, request.multicast);
    request.tree = tree_of(p, request.tree);
    request.loop_guard = loop_guard_of(p).value_or(request.loop_guard);
    request.loop_hold = number_as<dataplane::seconds_t>(p, "loop_hold").value_or(request.loop_hold);
    const auto mac = own_mac(p);
    if (mac.has_error()) {
        return mac.error();
    }
    if (auto done = switch_.add_bridge(request); done.has_error()) {
        return done.error();
    }
    if (*mac) {
        (void)switch_.set_bridge(request.name, {.mac = *mac});
    }
    return json::value(describe(switch_.bridges().at(request.name)));
}

service::result service::bridge_del(const object& p)
{
    const std::string name = text(p, "name");
    if (is_set(p, "if_exists") && !switch_.bridges().contains(name)) {
        return json::value(removed(false));
    }
    const bool with_ports = is_set(p, "with_ports");
    if (adoption_.rules().contains(name) && !with_ports) {
        return failure{failure_kind::in_use, "bridge " + name +
                                                 " adopts Xen guests; end that first (straitctl "
                                                 "xen release) or give --with-ports"};
    }
    if (auto done = switch_.remove_bridge(name, with_ports); done.has_error()) {
        return done.error();
    }
    (void)adoption_.release(name);
    mirrors_.forget_bridge(name);
    return json::value(removed(true));
}

service::result service::bridge_set(const object& p)
{
    const std::string name = text(p, "name");
    bridge_change change;
    change.forward_bpdu = truth(p, "forward_bpdu");
    change.mac_ageing = number_as<dataplane::seconds_t>(p, "mac_ageing");
    const auto mac = own_mac(p);
    if (mac.has_error()) {
        return mac.error();
    }
    change.mac = *mac;
    change.flow_limit = number_as<std::size_t>(p, "flow_limit");
    change.dhcp_snooping = truth(p, "dhcp_snooping");
    change.neigh_suppress = truth(p, "neigh_suppress");
    if (const auto there = switch_.bridges().find(name); there != switch_.bridges().end()) {
        const bridge_multicast& before = there->second.multicast;
        const bridge_multicast now = multicast_of(p, before);
        change.multicast = now == before ? std::nullopt : std::optional{now};
        change.tree = tree_of(p, there->second.tree_settings);
    }
    change.loop_guard = loop_guard_of(p);
    change.loop_hold = number_as<dataplane::seconds_t>(p, "loop_hold");
    if (auto done = switch_.set_bridge(name, change); done.has_error()) {
        return done.error();
    }
    return json::value(describe(switch_.bridges().at(name)));
}

service::result service::port_add(const object& p)
{
    port_request request;
    request.name = text(p, "name");
    request.bridge = text(p, "bridge");
    request.type = text(p, "type");
    request.options = type_options(p);
    request.number = number_as<std::uint16_t>(p, "number");
    if (is_set(p, "may_exist")) {
        if (const auto there = switch_.ports().find(request.name); there != switch_.ports().end()) {
            if (auto other = difference(there->second, request)) {
                return std::move(*other);
            }
            return port_set(p);
        }
    }
    auto vlan = vlans(p);
    if (vlan.has_error()) {
        return vlan.error();
    }
    if (!*vlan) {
        if (auto why = refuse_of_trunks(p)) {
            return std::move(*why);
        }
    }
    request.vlan = (*vlan).value_or(vlan_settings{});
    request.mtu = number_as<std::uint32_t>(p, "mtu").value_or(request.mtu);
    request.admin_up = !p.contains("admin") || text(p, "admin") == "up";
    request.ingress = rate(p, "ingress", {}).value_or(request.ingress);
    request.egress = rate(p, "egress", {}).value_or(request.egress);
    request.storm = storm(p, {}).value_or(request.storm);
    request.isolated = is_set(p, "isolated");
    request.mac_limit = number_as<std::uint32_t>(p, "mac_limit").value_or(0);
    request.multicast = multicast_of(p, request.multicast);
    request.tree = tree_of(p, request.tree);
    request.port_security = is_set(p, "port_security");
    request.dhcp_trusted = is_set(p, "dhcp_trust");
    auto shaped = shape(p, {});
    if (shaped.has_error()) {
        return shaped.error();
    }
    request.shaping = *shaped;
    if (auto done = switch_.add_port(request); done.has_error()) {
        return done.error();
    }
    return json::value(describe_changed(switch_.ports().at(request.name), p));
}

service::result service::port_del(const object& p)
{
    const std::string name = text(p, "name");
    if (is_set(p, "if_exists") && !switch_.ports().contains(name)) {
        switch_.forget_port(name);
        return json::value(removed(false));
    }
    if (const auto found = switch_.find_port(name);
        found.has_value() && (*found)->request.type == local_type) {
        return failure{failure_kind::in_use,
                       "port " + name +
                           " is the bridge's own, and goes with its last address: "
                           "address del " +
                           name + " ADDRESS"};
    }
    if (auto done = switch_.remove_port(name); done.has_error()) {
        return done.error();
    }
    return json::value(removed(true));
}

service::result service::port_rename(const object& p)
{
    const std::string from = text(p, "name");
    const std::string to = text(p, "to");
    if (adoption_.has_adopted(from)) {
        return failure{failure_kind::in_use,
                       "port " + from +
                           " was made for a Xen guest's device, and is named after that"};
    }
    if (switch_.bridges().contains(to)) {
        return failure{failure_kind::exists, to + " is a bridge's name, and that of its own port"};
    }
    if (switch_.ports().contains(from)) {
        if (auto may = config_.may_rename(from, to); may.has_error()) {
            return may.error();
        }
    }
    if (auto done = switch_.rename_port(from, to); done.has_error()) {
        return done.error();
    }
    acls_.rename_port(from, to);
    mirrors_.rename_port(from, to);
    config_.once_kept([this, to] { switch_.settle_name(to); });
    return json::value(describe(switch_.ports().at(to)));
}

service::result service::port_set(const object& p)
{
    const std::string name = text(p, "name");
    auto vlan = vlans(p);
    if (vlan.has_error()) {
        return vlan.error();
    }
    port_change change;
    change.vlan = *vlan;
    if (!change.vlan) {
        change.native = number_as<std::uint16_t>(p, "native");
        change.service_tags = has_service_tags(p);
    }
    change.mtu = number_as<std::uint32_t>(p, "mtu");
    if (p.contains("admin")) {
        change.admin_up = text(p, "admin") == "up";
    }
    if (const auto there = switch_.ports().find(name); there != switch_.ports().end()) {
        change.ingress = rate(p, "ingress", there->second.ingress);
        change.egress = rate(p, "egress", there->second.egress);
        change.storm = storm(p, there->second.storm);
        change.multicast = multicast_of(p, there->second.config->multicast);
        change.tree = tree_of(p, there->second.tree);
        auto shaped = shape(p, shaping_of(there->second));
        if (shaped.has_error()) {
            return shaped.error();
        }
        change.shaping = *shaped;
    }
    change.isolated = truth(p, "isolated");
    change.mac_limit = number_as<std::uint32_t>(p, "mac_limit");
    change.port_security = truth(p, "port_security");
    change.dhcp_trusted = truth(p, "dhcp_trust");
    if (auto done = switch_.set_port(name, change); done.has_error()) {
        return done.error();
    }
    return json::value(describe_changed(switch_.ports().at(name), p));
}

} // namespace strait::control
