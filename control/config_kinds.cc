// SPDX-License-Identifier: BSD-3-Clause
// The table of kinds; how each is read from the switch is config_records.cc's, how it is changed
// config_calls.cc's.
#include "control/config_kinds.hh"

#include "control/config_records.hh"
#include "control/method_table.hh"
#include "control/parameters.hh"

#include <algorithm>

namespace strait::control {

namespace json = boost::json;
using json::object;

namespace {

std::vector<config_kind> all_kinds()
{
    return {
        {.name = "bridges",
         .one = "bridge",
         .make = "bridge.add",
         .identity = {"name"},
         .list = list_bridges,
         .normal = normal_bridge,
         .remove = remove_bridge_call,
         .change = change_bridge},
        {.name = "ports",
         .one = "port",
         .make = "port.add",
         .identity = {"name"},
         .list = list_ports,
         .normal = normal_port,
         .remove = remove_port_call,
         .change = change_port},
        {.name = "classes",
         .one = "shaper class",
         .make = "shaper.set",
         .identity = {"port", "class"},
         .list = list_classes,
         .normal = normal_class,
         .remove = remove_class_call,
         .change = change_class},
        {.name = "pins",
         .one = "pinned queue",
         .make = "queue.pin",
         .identity = {"port", "queue"},
         .list = list_pins,
         .normal = normal_pin,
         .remove = remove_pin_call,
         .change = change_pin},
        {.name = "addresses",
         .one = "address",
         .make = "address.add",
         .identity = {"bridge", "address"},
         .list = list_addresses,
         .normal = normal_address,
         .remove = remove_address_call,
         .change = nullptr},
        {.name = "local_ports",
         .one = "local port",
         .make = "port.set",
         .identity = {"name"},
         .list = list_local_ports,
         .normal = normal_port,
         .remove = reset_local_port_call,
         .change = change_port},
        {.name = "routes",
         .one = "route",
         .make = "route.add",
         .identity = {"to"},
         .list = list_routes,
         .normal = normal_route,
         .remove = remove_route_call,
         .change = nullptr},
        {.name = "macs",
         .one = "static MAC",
         .make = "mac.add",
         .identity = {"port", "mac", "vlan"},
         .list = list_macs,
         .normal = normal_mac,
         .remove = remove_mac_call,
         .change = nullptr},
        {.name = "acls",
         .one = "rule set",
         .make = "acl.set",
         .identity = {"name"},
         .list = list_acls,
         .normal = normal_acl,
         .remove = remove_acl_call,
         .change = change_acl},
        {.name = "attachments",
         .one = "rule sets of port",
         .make = "acl.attach",
         .identity = {"port"},
         .list = list_attachments,
         .normal = normal_attachment,
         .remove = remove_attachment_call,
         .change = change_attachment},
        {.name = "bindings",
         .one = "binding",
         .make = "binding.add",
         .identity = {"port", "mac", "vlan"},
         .list = list_bindings,
         .normal = normal_binding,
         .remove = remove_binding_call,
         .change = change_binding},
        {.name = "ct_limits",
         .one = "limit of connections",
         .make = "ct.limit",
         .identity = {"zone", "port"},
         .list = list_ct_limits,
         .normal = normal_ct_limit,
         .remove = remove_ct_limit_call,
         .change = change_ct_limit},
        {.name = "options",
         .one = "option of Geneve",
         .make = "tlv-map.add",
         .identity = {"bridge", "options"},
         .list = list_options,
         .normal = normal_option,
         .remove = remove_option_call,
         .change = nullptr,
         .named_by_lines = true},
        {.name = "adoptions",
         .one = "adoption of Xen guests",
         .make = "xen.adopt",
         .identity = {"bridge"},
         .list = list_adoptions,
         .normal = normal_adoption,
         .remove = remove_adoption_call,
         .change = change_adoption},
        {.name = "adopted_ports",
         .one = "adopted port",
         .make = "port.set",
         .identity = {"name"},
         .list = list_adopted_ports,
         .normal = normal_port,
         .remove = nullptr,
         .change = nullptr,
         .declared = false},
        {.name = "mirrors",
         .one = "mirror",
         .make = "mirror.add",
         .identity = {"name"},
         .list = list_mirrors,
         .normal = normal_mirror,
         .remove = remove_mirror_call,
         .change = nullptr},
    };
}

std::string word_of(const json::value& value)
{
    if (const auto* const text = value.if_string()) {
        return std::string{std::string_view{*text}};
    }
    return value.is_number() ? std::to_string(value.to_number<std::int64_t>()) : std::string{};
}

} // namespace

std::span<const config_kind> config_kinds()
{
    static const std::vector<config_kind> all = all_kinds();
    return all;
}

const config_kind* find_config_kind(std::string_view name)
{
    const auto all = config_kinds();
    const auto found = std::ranges::find(all, name, &config_kind::name);
    return found == all.end() ? nullptr : &*found;
}

std::string key_of(const config_kind& kind, const object& record)
{
    std::string key{kind.name};
    for (const std::string_view name : kind.identity) {
        const auto* const value = record.if_contains(name);
        key += ' ';
        key += value != nullptr ? word_of(*value) : "-";
    }
    return key;
}

std::string describe(const config_kind& kind, const object& record)
{
    std::string out{kind.one};
    for (const std::string_view name : kind.identity) {
        if (const auto* const value = record.if_contains(name)) {
            const bool first = name == kind.identity.front() && kind.identity.size() == 1;
            out += ' ';
            out += first || name == "port" || name == "bridge" || name == "mac" || name == "address"
                       ? ""
                       : std::string{name} + ' ';
            out += word_of(*value);
        }
    }
    return out;
}

std::vector<std::string> parents_of(const config_kind& kind, const object& record)
{
    std::vector<std::string> out;
    if (const auto bridge = text_of(record, "bridge")) {
        out.push_back("bridges " + *bridge);
    }
    if (kind.name == "local_ports") {
        out.push_back("bridges " + text_of(record, "name").value_or(""));
    } else if (const auto port = text_of(record, "port")) {
        out.push_back("ports " + *port);
    }
    return out;
}

json::array to_ranges(std::span<const std::uint16_t> vlans)
{
    json::array out;
    for (std::size_t i = 0; i < vlans.size();) {
        const std::uint16_t first = vlans[i];
        std::uint16_t last = first;
        for (++i; i < vlans.size() && vlans[i] == last + 1; ++i) {
            ++last;
        }
        if (first == last) {
            out.emplace_back(std::int64_t{first}); // as a number of a request is
        } else {
            out.emplace_back(std::to_string(first) + '-' + std::to_string(last));
        }
    }
    return out;
}

} // namespace strait::control
