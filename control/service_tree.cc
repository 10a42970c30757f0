// SPDX-License-Identifier: BSD-3-Clause
// Spanning tree: settings, and what has come of them.
#include "control/parameters.hh"
#include "control/service.hh"
#include "control/stp/text.hh"
#include "control/tree_json.hh"

#include <boost/json/array.hpp>

#include <string>

namespace strait::control {

namespace json = boost::json;

namespace {

template <typename Number>
void take(const json::object& p, std::string_view name, Number& to)
{
    to = number_as<Number>(p, name).value_or(to);
}

json::object vector_object(const stp::priority_vector& v)
{
    return {{"root", stp::to_text(v.root)},
            {"cost", v.cost},
            {"bridge", stp::to_text(v.bridge)},
            {"port", v.port}};
}

} // namespace

bridge_tree tree_of(const json::object& p, const bridge_tree& before)
{
    bridge_tree now = before;
    now.runs = truth(p, "rstp").value_or(before.runs);
    take(p, "rstp_priority", now.settings.priority);
    take(p, "rstp_hello_time", now.settings.hello);
    take(p, "rstp_max_age", now.settings.max_age);
    take(p, "rstp_forward_delay", now.settings.forward_delay);
    take(p, "rstp_hold_count", now.settings.hold_count);
    if (const auto version = text_of(p, "rstp_version")) {
        now.settings.rapid = *version == "rstp";
    }
    return now;
}

port_tree tree_of(const json::object& p, const port_tree& before)
{
    port_tree now = before;
    now.runs = truth(p, "rstp").value_or(before.runs);
    take(p, "rstp_port_num", now.number);
    take(p, "rstp_port_priority", now.settings.priority);
    take(p, "rstp_path_cost", now.settings.path_cost);
    now.settings.admin_edge = truth(p, "rstp_admin_edge").value_or(before.settings.admin_edge);
    now.settings.auto_edge = truth(p, "rstp_auto_edge").value_or(before.settings.auto_edge);
    const auto link = text_of(p, "rstp_point_to_point");
    for (const auto kind :
         {stp::point_to_point::found, stp::point_to_point::yes, stp::point_to_point::no}) {
        now.settings.link = link && *link == stp::to_text(kind) ? kind : now.settings.link;
    }
    return now;
}

json::object settings_object(const bridge_tree& t)
{
    return {{"rstp", t.runs},
            {"rstp_priority", std::int64_t{t.settings.priority}},
            {"rstp_hello_time", std::int64_t{t.settings.hello}},
            {"rstp_max_age", std::int64_t{t.settings.max_age}},
            {"rstp_forward_delay", std::int64_t{t.settings.forward_delay}},
            {"rstp_hold_count", std::int64_t{t.settings.hold_count}},
            {"rstp_version", t.settings.rapid ? "rstp" : "stp"}};
}

json::object settings_object(const port_tree& t)
{
    return {{"rstp", t.runs},
            {"rstp_port_num", std::int64_t{t.number}},
            {"rstp_port_priority", std::int64_t{t.settings.priority}},
            {"rstp_path_cost", std::int64_t{t.settings.path_cost}},
            {"rstp_admin_edge", t.settings.admin_edge},
            {"rstp_auto_edge", t.settings.auto_edge},
            {"rstp_point_to_point", stp::to_text(t.settings.link)}};
}

json::value describe_tree(const virtual_switch& sw, const virtual_switch::port& p)
{
    const auto v = sw.tree_of(p);
    if (!v) {
        return nullptr;
    }
    return {{"port", p.request.name},
            {"id", v->id},
            {"number", stp::number_of(v->id)},
            {"role", stp::to_text(v->role)},
            {"state", stp::to_text(v->state)},
            {"path_cost", v->path_cost},
            {"edge", v->edge},
            {"point_to_point", v->point_to_point},
            {"version", v->rapid ? "rstp" : "stp"},
            {"designated",
             v->enabled ? json::value(vector_object(v->designated)) : json::value(nullptr)},
            {"rx_bpdus", v->received},
            {"tx_bpdus", v->sent},
            {"bad_bpdus", v->refused},
            {"transitions", v->became_forwarding}};
}

json::value describe_tree(const virtual_switch& sw, const virtual_switch::bridge& b)
{
    if (!b.tree) {
        return nullptr;
    }
    const stp::bridge_view v = b.tree->view();
    json::array members;
    json::value root_port = nullptr;
    for (const auto& [name, p] : sw.ports()) {
        if (p.request.bridge == b.name && p.tree_number != 0) {
            members.push_back(describe_tree(sw, p));
            if (p.tree_number == v.root_port) {
                root_port = name;
            }
        }
    }
    return {{"bridge", b.name},
            {"id", stp::to_text(v.id)},
            {"root", stp::to_text(v.root)},
            {"is_root", v.root_port == 0},
            {"root_port", std::move(root_port)},
            {"root_cost", v.cost},
            {"hello_time", v.timers.hello},
            {"max_age", v.timers.max_age},
            {"forward_delay", v.timers.forward_delay},
            {"topology_changes", v.topology_changes},
            {"since_change", v.since_change ? json::value(*v.since_change) : json::value(nullptr)},
            {"topology_changes_now", v.topology_changes_now},
            {"ports", std::move(members)}};
}

void service::add_tree_methods()
{
    rpc_.add("rstp.show", [this](const object& p) -> result {
        const auto only = text_of(p, "bridge");
        if (only) {
            const auto found = switch_.find_bridge(*only);
            if (found.has_error()) {
                return found.error();
            }
            if (!(*found)->tree) {
                return failure{failure_kind::invalid, "spanning tree does not run on bridge " +
                                                          *only + ": bridge set " + *only +
                                                          " --rstp on"};
            }
        }
        json::array list;
        for (const auto& [name, b] : switch_.bridges()) {
            if (b.tree && (!only || name == *only)) {
                list.push_back(describe_tree(switch_, b));
            }
        }
        return json::value(std::move(list));
    });
    rpc_.add("rstp.check", [this](const object& p) -> result {
        if (auto done = switch_.check_migration(text_of(p, "port").value()); done.has_error()) {
            return done.error();
        }
        return json::value{{"checks", true}};
    });
}

} // namespace strait::control
