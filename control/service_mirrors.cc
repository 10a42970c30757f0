// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods that make and show mirrors.
#include "control/flow_options.hh"
#include "control/parameters.hh"
#include "control/service.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <string_view>

namespace strait::control {

namespace json = boost::json;

namespace {

json::value names_or_null(const std::vector<std::string>& names)
{
    return names.empty() ? json::value(nullptr)
                         : json::value(json::array(names.begin(), names.end()));
}

template <typename T>
json::value or_null(const std::optional<T>& value)
{
    return value ? json::value(*value) : json::value(nullptr);
}

json::object to_json(const mirror_list::mirror& m)
{
    const mirror_request& r = m.request;
    const mirror_list::totals t = mirror_list::count(m);
    return {
        {"name", r.name},
        {"bridge", r.bridge},
        {"select",
         {{"all", r.all},
          {"src_ports", names_or_null(r.source_ports)},
          {"dst_ports", names_or_null(r.destination_ports)},
          {"vlans", r.vlans ? json::value(json::array(r.vlans->begin(), r.vlans->end())) : nullptr},
          {"flow", r.flow.empty() ? json::value(nullptr) : json::value(r.flow)}}},
        {"output",
         {{"port", or_null(r.output_port)},
          {"vlan", or_null(r.output_vlan)},
          {"file", or_null(r.output_file)}}},
        {"snaplen", or_null(r.snaplen)},
        {"packets", t.packets},
        {"bytes", t.bytes},
        {"drops", t.drops},
        {"error", m.error.empty() ? json::value(nullptr) : json::value(m.error)}};
}

outcome<void> check_output(const mirror_request& r)
{
    if (r.output_port.has_value() + r.output_vlan.has_value() + r.output_file.has_value() != 1) {
        return failure{failure_kind::invalid,
                       "a mirror sends to one place; give one of --output-port, --output-vlan and "
                       "--output-file"};
    }
    if (r.output_file && !r.output_file->starts_with('/')) {
        return failure{failure_kind::invalid, "--output-file is " + *r.output_file +
                                                  "; it must be a whole path, from / on, since the "
                                                  "daemon writes it"};
    }
    return {};
}

outcome<void> check_selection(const mirror_request& r)
{
    const bool ports = !r.source_ports.empty() || !r.destination_ports.empty();
    if (r.all && ports) {
        return failure{failure_kind::invalid,
                       "--select-all has every port; give it, or --select-src-port and "
                       "--select-dst-port"};
    }
    if (!r.all && !ports && !r.vlans && r.flows.empty()) {
        return failure{failure_kind::invalid,
                       "a mirror without packets; give --select-all, --select-src-port, "
                       "--select-dst-port, --select-vlan or --select-flow"};
    }
    return {};
}

} // namespace

void service::add_mirror_methods()
{
    rpc_.add("mirror.add", [this](const object& p) { return mirror_add(p); });
    rpc_.add("mirror.del", [this](const object& p) { return mirror_del(p); });
    rpc_.add("mirror.list", [this](const object&) { return mirror_list_all(); });
}

service::result service::mirror_add(const object& p)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    mirror_request r;
    r.name = text_of(p, "name").value();
    r.bridge = (*bridge)->name;
    r.all = is_set(p, "select_all");
    auto sources = listed_names(p, "select_src_port", "--select-src-port", "port");
    auto destinations = listed_names(p, "select_dst_port", "--select-dst-port", "port");
    if (sources.has_error() || destinations.has_error()) {
        return sources.has_error() ? sources.error() : destinations.error();
    }
    r.source_ports = std::move(*sources);
    r.destination_ports = std::move(*destinations);
    if (p.contains("select_vlan")) {
        r.vlans = expand_vlans(p.at("select_vlan"));
    }
    if (const auto flow = text_of(p, "select_flow")) {
        auto matches = parse_match(*flow, switch_.port_names_of(r.bridge));
        if (matches.has_error()) {
            return failure{failure_kind::invalid, "--select-flow: " + matches.error().message};
        }
        if (std::ranges::any_of(*matches, names_options)) {
            return failure{failure_kind::invalid,
                           "--select-flow: mirrors do not know options of Geneve; a flow that "
                           "matches them can output to the mirror's port"};
        }
        r.flow = *flow;
        r.flows = std::move(*matches);
    }
    r.output_port = text_of(p, "output_port");
    r.output_vlan = number_as<std::uint16_t>(p, "output_vlan");
    r.output_file = text_of(p, "output_file");
    r.snaplen = number_as<std::uint32_t>(p, "snaplen");
    for (const auto& right : {check_output(r), check_selection(r)}) {
        if (right.has_error()) {
            return right.error();
        }
    }
    const std::string name = r.name;
    if (auto added = mirrors_.add(std::move(r)); added.has_error()) {
        return added.error();
    }
    return json::value{{"name", name}};
}

service::result service::mirror_del(const object& p)
{
    const std::string name = text_of(p, "name").value();
    const bool removed = mirrors_.remove(name);
    if (!removed && !is_set(p, "if_exists")) {
        return failure{failure_kind::not_found, "there is no mirror " + name};
    }
    return json::value{{"removed", removed}};
}

service::result service::mirror_list_all() const
{
    json::array list;
    for (const auto& [name, m] : mirrors_.all()) {
        list.push_back(to_json(m));
    }
    return json::value(std::move(list));
}

} // namespace strait::control
