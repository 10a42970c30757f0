// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods that shape ports.
#include "control/parameters.hh"
#include "control/service.hh"
#include "dataplane/shaper.hh"

#include <boost/json/array.hpp>

#include <string>

namespace strait::control {

namespace json = boost::json;

using dataplane::shaper_class;
using dataplane::shaping;

namespace {

json::object to_json(std::size_t number, const shaper_class& c, const shaping& s,
                     const dataplane::shaper_counters& counts)
{
    return {{"class", number},
            {"rate_kbps", c.rate_kbps},
            {"ceil_kbps", ceil_kbps_of(c, s)},
            {"burst_kbit", ceil_burst_kbit_of(c, s)},
            {"priority", c.priority},
            {"limit", c.limit},
            {"limit_bytes", c.limit_bytes},
            {"max_wait_ms", c.max_wait_ms},
            {"sent_packets", counts.sent_packets.read()},
            {"sent_bytes", counts.sent_bytes.read()},
            {"waiting_packets", counts.waiting_packets.read()},
            {"waiting_bytes", counts.waiting_bytes.read()},
            {"dropped", counts.dropped.read()}};
}

json::object to_json(const virtual_switch::port& p)
{
    const shaping s = p.shaper->settings();
    json::array classes;
    for (std::size_t i = 0; i < s.classes.size(); ++i) {
        if (s.classes[i]) {
            classes.push_back(to_json(i, *s.classes[i], s, p.shaper->counters(i)));
        }
    }
    return {{"port", p.request.name},
            {"kbps", s.kbps},
            {"burst_kbit", burst_kbit_of(s)},
            {"classes", std::move(classes)}};
}

bool is_shaped(const virtual_switch::port& p)
{
    return p.shaper && p.shaper->settings().kbps != 0;
}

} // namespace

void service::add_shaper_methods()
{
    rpc_.add("shaper.set", [this](const object& p) { return shaper_set(p); });
    rpc_.add("shaper.del", [this](const object& p) { return shaper_del(p); });
    rpc_.add("shaper.list", [this](const object& p) { return shaper_list(p); });
}

// One that has a rate.
outcome<const virtual_switch::port*> service::shaped_port(const object& p) const
{
    const auto found = switch_.find_port(*text_of(p, "port"));
    if (found.has_error()) {
        return found.error();
    }
    if (const auto cannot = virtual_switch::not_to_be_shaped((*found)->request)) {
        return *cannot;
    }
    if (!is_shaped(**found)) {
        const std::string& name = (*found)->request.name;
        return failure{failure_kind::invalid, "port " + name +
                                                  " has no rate for classes to share; give it one "
                                                  "first: port set " +
                                                  name + " --shape-rate KBPS"};
    }
    return *found;
}

service::result service::shaper_set(const object& p)
{
    const auto found = shaped_port(p);
    if (found.has_error()) {
        return found.error();
    }
    shaping to = (*found)->shaper->settings();
    auto& c = to.classes[static_cast<std::size_t>(*number_of(p, "class"))];
    shaper_class made = c.value_or(shaper_class{});
    made.rate_kbps = number_as<std::uint32_t>(p, "rate").value_or(made.rate_kbps);
    made.ceil_kbps = number_as<std::uint32_t>(p, "ceil").value_or(made.ceil_kbps);
    made.burst_kbit = number_as<std::uint32_t>(p, "burst").value_or(made.burst_kbit);
    made.priority = number_as<std::uint8_t>(p, "priority").value_or(made.priority);
    made.limit = number_as<std::uint32_t>(p, "limit").value_or(made.limit);
    made.limit_bytes = number_as<std::uint32_t>(p, "limit_bytes").value_or(made.limit_bytes);
    made.max_wait_ms = number_as<std::uint32_t>(p, "max_wait").value_or(made.max_wait_ms);
    c = made;
    if (auto done = switch_.set_shaping((*found)->request.name, to); done.has_error()) {
        return done.error();
    }
    return json::value(to_json(**found));
}

service::result service::shaper_del(const object& p)
{
    const auto found = shaped_port(p);
    if (found.has_error()) {
        return found.error();
    }
    const auto number = static_cast<std::size_t>(*number_of(p, "class"));
    const std::string& name = (*found)->request.name;
    if (number == 0) {
        return failure{failure_kind::invalid,
                       "class 0 takes what is for no other class, and stays; "
                       "shaper set " +
                           name + " 0 changes it"};
    }
    shaping to = (*found)->shaper->settings();
    if (!to.classes[number]) {
        if (is_set(p, "if_exists")) {
            return json::value(json::object{{"removed", false}});
        }
        return failure{failure_kind::not_found,
                       "port " + name + " has no class " + std::to_string(number)};
    }
    to.classes[number].reset();
    if (auto done = switch_.set_shaping(name, to); done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"removed", true}});
}

service::result service::shaper_list(const object& p) const
{
    json::array list;
    if (p.contains("port")) {
        const auto found = shaped_port(p);
        if (found.has_error()) {
            return found.error();
        }
        list.push_back(to_json(**found));
        return json::value(std::move(list));
    }
    for (const auto& [name, port] : switch_.ports()) {
        if (is_shaped(port)) {
            list.push_back(to_json(port));
        }
    }
    return json::value(std::move(list));
}

} // namespace strait::control
