// SPDX-License-Identifier: BSD-3-Clause
// The requests that bring what there is from one record to another, or away. They are such as an
// operator could make.
#include "control/config_records.hh"
#include "control/endpoints.hh"
#include "control/method_table.hh"
#include "control/methods.hh"
#include "control/multicast_json.hh"
#include "control/parameters.hh"
#include "control/tree_json.hh"

#include <algorithm>
#include <array>
#include <span>

namespace strait::control {

namespace json = boost::json;
using json::object;

namespace {

const json::value* member(const object& o, std::string_view name)
{
    return o.if_contains(name);
}

bool same(const object& a, const object& b, std::string_view name)
{
    const auto* const x = member(a, name);
    const auto* const y = member(b, name);
    return x == nullptr || y == nullptr ? x == y : *x == *y;
}

object named(const object& record, std::string_view name)
{
    return {{name, record.at(name)}};
}

void copy(object& to, const object& from, std::string_view name)
{
    if (const auto* const value = member(from, name)) {
        to[name] = *value;
    }
}

// Sets what differs, to what it is unless given where `to` does not say it.
void put_difference(object& out, const object& from, const object& to, std::string_view name,
                    const json::value& otherwise)
{
    if (!same(from, to, name)) {
        const auto* const value = member(to, name);
        out[name] = value != nullptr ? *value : otherwise;
    }
}

std::vector<std::string> words(const object& record, std::string_view name)
{
    const auto text = text_of(record, name);
    return text ? split_list(*text) : std::vector<std::string>{};
}

std::string joined(std::span<const std::string> all)
{
    std::string out;
    for (const std::string& one : all) {
        out += (out.empty() ? "" : ",") + one;
    }
    return out;
}

// Whether a port can come from one to the other while it stays.
bool is_same_port(const object& from, const object& to)
{
    const auto differs = [&](std::string_view name) { return !same(from, to, name); };
    if (differs("bridge") || differs("type") || differs("number")) {
        return false;
    }
    const auto& parameters = find_method(methods(), "port.add")->parameters;
    return std::ranges::none_of(
        parameters, [&](const parameter& p) { return !p.port_types.empty() && differs(p.name); });
}

} // namespace

config_calls change_bridge(const object& from, const object& to)
{
    if (!same(from, to, "mac_table_size")) {
        return {};
    }
    const std::string name = text_of(to, "name").value();
    object p = named(to, "name");
    put_difference(p, from, to, "forward_bpdu", false);
    put_difference(p, from, to, "mac_ageing", std::int64_t{bridge_request{}.mac_ageing});
    put_difference(p, from, to, "flow_limit", std::int64_t{usual_flow_limit_of_bridges});
    put_difference(p, from, to, "dhcp_snooping", false);
    put_difference(p, from, to, "neigh_suppress", false);
    put_difference(p, from, to, "mcast_snooping", false);
    put_difference(p, from, to, "mcast_drop_unregistered", false);
    put_difference(p, from, to, "mcast_ageing", std::int64_t{bridge_multicast{}.ageing});
    put_difference(p, from, to, "mcast_table_size",
                   static_cast<std::int64_t>(bridge_multicast{}.table_size));
    put_difference(p, from, to, "loop_guard", json::value(name_of(bridge_request{}.loop_guard)));
    put_difference(p, from, to, "loop_hold", std::int64_t{bridge_request{}.loop_hold});
    for (const auto& [setting, usual] : settings_object(bridge_tree{})) {
        put_difference(p, from, to, setting, usual);
    }
    put_difference(p, from, to, "mac", json::value(mac_of_bridge(name).to_string()));
    return {{"bridge.set", std::move(p)}};
}

config_call remove_bridge_call(const config_sources& /*from*/, const object& record)
{
    return {"bridge.del", named(record, "name")};
}

config_calls change_port(const object& from, const object& to)
{
    if (!is_same_port(from, to)) {
        return {};
    }
    object p = named(to, "name");
    constexpr std::array<std::string_view, 5> of_vlans{"vlan", "qinq", "trunk", "native",
                                                       "tag_type"};
    if (!std::ranges::all_of(of_vlans, [&](auto name) { return same(from, to, name); })) {
        if (std::ranges::none_of(std::span{of_vlans}.first(3),
                                 [&](auto name) { return member(to, name) != nullptr; })) {
            p["no_vlan"] = true;
        }
        for (const std::string_view name : of_vlans) {
            copy(p, to, name);
        }
    }
    put_difference(p, from, to, "mtu", std::int64_t{default_mtu});
    put_difference(p, from, to, "admin", "up");
    for (const std::string direction : {"ingress", "egress"}) {
        for (const std::string what : {"_rate", "_burst", "_packet_rate", "_packet_burst"}) {
            put_difference(p, from, to, direction + what, 0);
        }
    }
    for (const std::string_view what : storm_limit_names) {
        put_difference(p, from, to, what, 0);
    }
    put_difference(p, from, to, "shape_rate", 0);
    if (member(to, "shape_rate") != nullptr) {
        put_difference(p, from, to, "shape_burst", 0);
    }
    put_difference(p, from, to, "isolated", false);
    put_difference(p, from, to, "mac_limit", 0);
    put_difference(p, from, to, "mcast_router", "auto");
    for (const std::string_view what : {"mcast_flood", "mcast_flood_reports", "mcast_fast_leave"}) {
        put_difference(p, from, to, what, false);
    }
    put_difference(p, from, to, "mcast_limit", std::int64_t{multicast::port_settings{}.limit});
    put_difference(p, from, to, "port_security", false);
    put_difference(p, from, to, "dhcp_trust", false);
    for (const auto& [setting, usual] : settings_object(port_tree{})) {
        put_difference(p, from, to, setting, usual);
    }
    return {{"port.set", std::move(p)}};
}

config_call remove_port_call(const config_sources& /*from*/, const object& record)
{
    return {"port.del", named(record, "name")};
}

config_call reset_local_port_call(const config_sources& /*from*/, const object& record)
{
    return change_port(record, named(record, "name")).front();
}

config_calls change_class(const object& /*from*/, const object& to)
{
    object p{{"rate", 0},      {"ceil", 0},     {"burst", 0},
             {"priority", 0},  {"limit", 1000}, {"limit_bytes", std::int64_t{2} << 20U},
             {"max_wait", 100}};
    for (const auto& [name, value] : to) {
        p[name] = value;
    }
    return {{"shaper.set", std::move(p)}};
}

config_call remove_class_call(const config_sources& /*from*/, const object& record)
{
    object p = named(record, "port");
    p["class"] = record.at("class");
    if (record.at("class") == json::value(0)) {
        return change_class({}, p).front();
    }
    return {"shaper.del", std::move(p)};
}

config_calls change_pin(const object& /*from*/, const object& to)
{
    return {{"queue.pin", to}};
}

config_call remove_pin_call(const config_sources& /*from*/, const object& record)
{
    object p = named(record, "port");
    p["queue"] = record.at("queue");
    return {"queue.unpin", std::move(p)};
}

config_call remove_address_call(const config_sources& /*from*/, const object& record)
{
    object p = named(record, "bridge");
    p["address"] = record.at("address");
    return {"address.del", std::move(p)};
}

config_call remove_route_call(const config_sources& /*from*/, const object& record)
{
    return {"route.del", named(record, "to")};
}

config_call remove_mac_call(const config_sources& from, const object& record)
{
    const auto port = from.sw.find_port(text_of(record, "port").value());
    object p = named(record, "mac");
    p["bridge"] = port.has_value() ? (*port)->request.bridge : "";
    copy(p, record, "vlan");
    return {"mac.del", std::move(p)};
}

config_calls change_acl(const object& /*from*/, const object& to)
{
    return {{"acl.set", to}};
}

config_call remove_acl_call(const config_sources& /*from*/, const object& record)
{
    return {"acl.del", named(record, "name")};
}

// A port's sets stay as far as they are the same from the first on.
config_calls change_attachment(const object& from, const object& to)
{
    const auto before = words(from, "names");
    const auto after = words(to, "names");
    const auto [b, a] = std::ranges::mismatch(before, after);
    config_calls out;
    if (b != before.end()) {
        out.push_back({"acl.detach",
                       {{"port", to.at("port")}, {"names", joined(std::span{b, before.end()})}}});
    }
    if (a != after.end()) {
        out.push_back({"acl.attach",
                       {{"port", to.at("port")}, {"names", joined(std::span{a, after.end()})}}});
    }
    return out;
}

config_call remove_attachment_call(const config_sources& /*from*/, const object& record)
{
    return {"acl.detach", record};
}

config_calls change_binding(const object& from, const object& to)
{
    const auto before = words(from, "addresses");
    const auto after = words(to, "addresses");
    const auto not_in = [](const std::vector<std::string>& all,
                           const std::vector<std::string>& others) {
        std::vector<std::string> out;
        std::ranges::copy_if(all, std::back_inserter(out), [&others](const std::string& one) {
            return std::ranges::find(others, one) == others.end();
        });
        return joined(out);
    };
    config_calls out;
    for (const auto& [method, addresses] :
         {std::pair<std::string_view, std::string>{"binding.del", not_in(before, after)},
          std::pair<std::string_view, std::string>{"binding.add", not_in(after, before)}}) {
        if (!addresses.empty()) {
            object p = named(to, "port");
            copy(p, to, "mac");
            copy(p, to, "vlan");
            p["addresses"] = addresses;
            out.push_back({method, std::move(p)});
        }
    }
    if (out.empty()) { // the same addresses in another order
        out.push_back({"binding.add", to});
    }
    return out;
}

config_call remove_binding_call(const config_sources& /*from*/, const object& record)
{
    object p = record;
    p.erase("addresses");
    return {"binding.del", std::move(p)};
}

config_calls change_ct_limit(const object& /*from*/, const object& to)
{
    return {{"ct.limit", to}};
}

config_call remove_option_call(const config_sources& /*from*/, const object& record)
{
    return {"tlv-map.del", record};
}

config_call remove_ct_limit_call(const config_sources& /*from*/, const object& record)
{
    object p = record;
    if (p.contains("zone") || p.contains("port")) {
        p.erase("set");
        p["reset"] = true;
    } else {
        p["set"] = 0;
    }
    return {"ct.limit", std::move(p)};
}

config_calls change_adoption(const object& /*from*/, const object& to)
{
    return {{"xen.adopt", to}};
}

config_call remove_adoption_call(const config_sources& /*from*/, const object& record)
{
    return {"xen.release", named(record, "bridge")};
}

config_call remove_mirror_call(const config_sources& /*from*/, const object& record)
{
    return {"mirror.del", named(record, "name")};
}

} // namespace strait::control
