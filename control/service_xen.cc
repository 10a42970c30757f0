// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about Xen guests.
#include "control/service.hh"

#include "control/parameters.hh"
#include "control/port_types.hh"

#include <boost/json/array.hpp>

namespace strait::control {

namespace json = boost::json;

namespace {

std::string bridge_of(const json::object& p)
{
    return std::string{std::string_view{p.at("bridge").as_string()}};
}

} // namespace

void service::add_xen_methods()
{
    rpc_.add("xen.adopt", [this](const object& p) { return xen_adopt(p); });
    rpc_.add("xen.release", [this](const object& p) { return xen_release(p); });
    rpc_.add("xen.check", [this](const object& p) { return xen_check(p); });
    rpc_.add("xen.list", [this](const object&) { return xen_list(); });
}

service::result service::xen_adopt(const object& p)
{
    if (facts_.hypervisor.empty()) {
        return failure{failure_kind::invalid, facts_.no_hypervisor};
    }
    const xen_adoption::rule rule{.others = is_set(p, "others")};
    if (auto done = adoption_.adopt(bridge_of(p), rule); done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"adopted", true}});
}

service::result service::xen_release(const object& p)
{
    const std::string name = bridge_of(p);
    if (!adoption_.rules().contains(name) && !is_set(p, "if_exists")) {
        return failure{failure_kind::not_found, switch_.bridges().contains(name)
                                                    ? "bridge " + name + " adopts no Xen guests"
                                                    : "there is no bridge " + name};
    }
    const auto done = adoption_.release(name);
    if (done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"released", *done}});
}

service::result service::xen_check(const object& p) const
{
    if (facts_.hypervisor.empty()) {
        return failure{failure_kind::invalid, facts_.no_hypervisor};
    }
    auto port = adoption_.serving(vif_of(p));
    if (port.has_error()) {
        return port.error();
    }
    return json::value(json::object{{"port", *port}});
}

service::result service::xen_list() const
{
    const auto or_null = [](const std::string& text) {
        return text.empty() ? json::value(nullptr) : json::value(text);
    };
    json::array bridges;
    for (const auto& [name, rule] : adoption_.rules()) {
        bridges.emplace_back(name);
    }
    json::array vifs;
    for (const auto& s : adoption_.vifs()) {
        vifs.push_back(json::object{
            {"vif", s.vif.id.to_string()},
            {"domain", static_cast<std::int64_t>(s.vif.id.domain)},
            {"handle", static_cast<std::int64_t>(s.vif.id.handle)},
            {"mac", s.vif.mac},
            {"bridge", s.vif.bridge},
            {"port", or_null(s.port)},
            {"error", or_null(s.error)},
        });
    }
    return json::value(json::object{{"hypervisor", or_null(facts_.hypervisor)},
                                    {"adopting", std::move(bridges)},
                                    {"vifs", std::move(vifs)}});
}

} // namespace strait::control
