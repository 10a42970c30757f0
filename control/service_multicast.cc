// SPDX-License-Identifier: BSD-3-Clause
// IGMP and MLD snooping: settings, and what was learned.
#include "control/ip_text.hh"
#include "control/multicast_json.hh"
#include "control/names_by_index.hh"
#include "control/parameters.hh"
#include "control/service.hh"

#include <boost/json/array.hpp>

#include <string>
#include <vector>

namespace strait::control {

namespace json = boost::json;
using multicast::group_table;
using multicast::router;

namespace {

std::string_view kind_text(group_table::entry::kind is) noexcept
{
    switch (is) {
    case group_table::entry::kind::group:
        return "group";
    case group_table::entry::kind::router:
        return "router";
    case group_table::entry::kind::querier:
        return "querier";
    case group_table::entry::kind::crowded:
        break;
    }
    return "crowded";
}

json::object to_json(const group_table::entry& e)
{
    const bool group = e.is == group_table::entry::kind::group;
    const bool versioned = group || e.is == group_table::entry::kind::querier;
    return {{"vlan", e.vlan.value()},
            {"type", kind_text(e.is)},
            {"group", group ? json::value(to_text(e.group)) : json::value(nullptr)},
            {"ip", versioned ? json::value(e.six ? 6 : 4) : json::value(nullptr)},
            {"left", e.left}};
}

} // namespace

std::string_view to_text(router r) noexcept
{
    return r == router::learned ? "auto" : r == router::always ? "on" : "off";
}

bridge_multicast multicast_of(const json::object& p, const bridge_multicast& before)
{
    return {
        .snooping = truth(p, "mcast_snooping").value_or(before.snooping),
        .drop_unregistered = truth(p, "mcast_drop_unregistered").value_or(before.drop_unregistered),
        .ageing = number_as<dataplane::seconds_t>(p, "mcast_ageing").value_or(before.ageing),
        .table_size = number_as<std::size_t>(p, "mcast_table_size").value_or(before.table_size)};
}

multicast::port_settings multicast_of(const json::object& p, const multicast::port_settings& before)
{
    multicast::port_settings now{
        .is_router = before.is_router,
        .flood = truth(p, "mcast_flood").value_or(before.flood),
        .flood_reports = truth(p, "mcast_flood_reports").value_or(before.flood_reports),
        .fast_leave = truth(p, "mcast_fast_leave").value_or(before.fast_leave),
        .limit = number_as<std::uint32_t>(p, "mcast_limit").value_or(before.limit)};
    const auto given = text_of(p, "mcast_router");
    for (const router r : {router::learned, router::always, router::never}) {
        now.is_router = given && *given == to_text(r) ? r : now.is_router;
    }
    return now;
}

json::value to_json(const multicast::port_settings& s)
{
    return {{"router", to_text(s.is_router)},
            {"flood", s.flood},
            {"flood_reports", s.flood_reports},
            {"fast_leave", s.fast_leave},
            {"limit", s.limit}};
}

json::value describe_groups(const virtual_switch::bridge& b)
{
    const auto& groups = b.config->groups;
    if (!groups) {
        return nullptr;
    }
    const auto c = groups->counted();
    return {{"groups", groups->size()}, {"queries", c.queries}, {"reports", c.reports},
            {"leaves", c.leaves},       {"refused", c.refused}, {"missed", c.missed}};
}

void service::add_multicast_methods()
{
    rpc_.add("mcast.list", [this](const object& p) { return mcast_list(p); });
    rpc_.add("mcast.flush", [this](const object& p) { return mcast_flush(p); });
}

service::result service::mcast_list(const object& p) const
{
    const std::size_t limit = entries_asked_for(p);
    const auto bridge = text_of(p, "bridge");
    const auto port = text_of(p, "port");
    const auto asked = names_asked_for(switch_, bridge, port);
    if (asked.has_error()) {
        return asked.error();
    }
    const names_by_index& names = *asked;
    const auto vlan = number_as<std::uint16_t>(p, "vlan");
    json::array entries;
    std::size_t total = 0;
    const auto add = [&](const std::string& of, const std::string& on, json::object e) {
        if (++total <= limit) {
            e["bridge"] = of;
            e["port"] = on;
            entries.push_back(std::move(e));
        }
    };
    for (const auto& [name, b] : switch_.bridges()) {
        if (!b.config->groups || (bridge && name != *bridge)) {
            continue;
        }
        b.config->groups->for_each(
            switch_.engine().now(), [&, &of = name](const group_table::entry& e) {
                const std::string* const on = names[dataplane::to_index(e.port)];
                if (on != nullptr && (!vlan || e.vlan.value() == *vlan)) {
                    add(of, *on, to_json(e));
                }
            });
        for (const auto& [port_name, it] : switch_.ports()) {
            if (it.request.bridge == name && (!port || port_name == *port) && !vlan &&
                it.config->multicast.is_router == router::always) {
                add(name, port_name,
                    {{"vlan", 0},
                     {"type", "router"},
                     {"group", nullptr},
                     {"ip", nullptr},
                     {"left", nullptr}});
            }
        }
    }
    return json::value{{"total", total}, {"entries", std::move(entries)}};
}

service::result service::mcast_flush(const object& p)
{
    if (auto done = switch_.flush_groups(text_of(p, "bridge"), text_of(p, "port"));
        done.has_error()) {
        return done.error();
    }
    return json::value{{"flushed", true}};
}

} // namespace strait::control
