// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about the switch's own addresses, routes and neighbours.
#include "control/ip_text.hh"
#include "control/parameters.hh"
#include "control/service.hh"

#include <boost/json/array.hpp>

namespace strait::control {

namespace json = boost::json;

namespace {

outcome<endpoint::ip_prefix> prefix_of(const json::object& p, std::string_view name)
{
    const std::string text = text_of(p, name).value();
    const auto prefix = parse_prefix(text);
    if (!prefix) {
        return failure{failure_kind::invalid,
                       text + " is no address with a prefix length, like 10.0.0.1/24 or "
                              "fd00::1/64"};
    }
    return *prefix;
}

json::value vlan_or_null(std::uint16_t vlan)
{
    return vlan == 0 ? json::value(nullptr) : json::value(vlan);
}

} // namespace

void service::add_endpoint_methods()
{
    rpc_.add("address.add", [this](const object& p) { return address_add(p); });
    rpc_.add("address.del", [this](const object& p) { return address_del(p); });
    rpc_.add("address.list", [this](const object&) { return address_list(); });
    rpc_.add("route.add", [this](const object& p) { return route_add(p); });
    rpc_.add("route.del", [this](const object& p) { return route_del(p); });
    rpc_.add("route.list", [this](const object&) { return route_list(); });
    rpc_.add("neighbour.list", [this](const object& p) { return neighbour_list(p); });
    rpc_.add("neighbour.flush", [this](const object& p) { return neighbour_flush(p); });
}

service::result service::address_add(const object& p)
{
    const auto at = prefix_of(p, "address");
    if (at.has_error()) {
        return at.error();
    }
    auto done = switch_.add_address(
        {text_of(p, "bridge").value(), *at, number_as<std::uint16_t>(p, "vlan").value_or(0)});
    if (done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"added", true}});
}

service::result service::address_del(const object& p)
{
    const auto at = prefix_of(p, "address");
    if (at.has_error()) {
        return at.error();
    }
    const std::string bridge = text_of(p, "bridge").value();
    const auto done = switch_.remove_address(bridge, *at);
    if (done.has_error()) {
        return done.error();
    }
    if (!*done && !is_set(p, "if_exists")) {
        return failure{failure_kind::not_found,
                       "bridge " + bridge + " has no address " + to_text(*at)};
    }
    return json::value(json::object{{"removed", *done}});
}

service::result service::address_list() const
{
    json::array list;
    for (const endpoints::address& a : switch_.own_endpoints().addresses()) {
        list.push_back({{"bridge", a.bridge},
                        {"address", to_text(a.at)},
                        {"vlan", vlan_or_null(a.vlan)},
                        {"mac", switch_.bridges().at(a.bridge).mac.to_string()}});
    }
    return json::value(std::move(list));
}

service::result service::route_add(const object& p)
{
    const auto to = prefix_of(p, "to");
    if (to.has_error()) {
        return to.error();
    }
    const std::string text = text_of(p, "via").value();
    const auto via = parse_address(text);
    if (!via) {
        return failure{failure_kind::invalid,
                       "--via is " + text + "; it must be a gateway's address, like 10.0.0.254"};
    }
    if (auto done = switch_.add_route({*to, *via}); done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"added", true}});
}

service::result service::route_del(const object& p)
{
    const auto to = prefix_of(p, "to");
    if (to.has_error()) {
        return to.error();
    }
    const bool removed = switch_.remove_route(*to);
    if (!removed && !is_set(p, "if_exists")) {
        return failure{failure_kind::not_found,
                       "there is no route to " + to_text(*to) + " that was added"};
    }
    return json::value(json::object{{"removed", removed}});
}

// Those that lead somewhere, as workers have them.
service::result service::route_list() const
{
    json::array list;
    const auto& config = switch_.engine().current().endpoint;
    if (!config) {
        return json::value(std::move(list));
    }
    for (const endpoint::route& r : config->routes) {
        const endpoint::interface& out = config->interfaces[r.out];
        const auto* const bridge = switch_.engine().current().bridge(out.bridge);
        list.push_back(
            {{"to", to_text(r.to)},
             {"via", r.via.is_set() ? json::value(to_text(r.via)) : json::value(nullptr)},
             {"bridge", bridge != nullptr ? bridge->name : ""},
             {"source", to_text(out.at.address)}});
    }
    return json::value(std::move(list));
}

service::result service::neighbour_list(const object& p) const
{
    const auto bridge = text_of(p, "bridge");
    if (bridge) {
        if (const auto found = switch_.find_bridge(*bridge); found.has_error()) {
            return found.error();
        }
    }
    json::array list;
    auto& engine = switch_.engine();
    engine.neighbours().for_each(engine.now(), [&](const endpoint::neighbours::listed& n) {
        const auto* const on = engine.current().bridge(n.who.bridge);
        if (on == nullptr || (bridge && on->name != *bridge)) {
            return;
        }
        list.push_back(
            {{"bridge", on->name},
             {"vlan", vlan_or_null(n.who.vlan.value())},
             {"address", to_text(n.who.address)},
             {"mac", n.mac.is_zero() ? json::value(nullptr) : json::value(n.mac.to_string())},
             {"age", n.age}});
    });
    return json::value(std::move(list));
}

service::result service::neighbour_flush(const object& p)
{
    if (const auto bridge = text_of(p, "bridge")) {
        const auto found = switch_.find_bridge(*bridge);
        if (found.has_error()) {
            return found.error();
        }
        switch_.engine().neighbours().flush(&(*found)->index);
    } else {
        switch_.engine().neighbours().flush(nullptr);
    }
    return json::value(json::object{{"flushed", true}});
}

} // namespace strait::control
