// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods that make, show and attach rule sets.
#include "control/parameters.hh"
#include "control/service.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <utility>

namespace strait::control {

namespace json = boost::json;

namespace {

std::size_t count_of(const acl_set& set, bool sends)
{
    return static_cast<std::size_t>(std::ranges::count(set.rules, sends, &acl_rule::sends));
}

json::array names_of(const std::vector<std::string>& names)
{
    return json::array(names.begin(), names.end());
}

} // namespace

void service::add_acl_methods()
{
    rpc_.add("acl.set", [this](const object& p) { return acl_put(p); });
    rpc_.add("acl.del", [this](const object& p) { return acl_del(p); });
    rpc_.add("acl.list", [this](const object&) { return acl_list_all(); });
    rpc_.add("acl.show", [this](const object& p) { return acl_show(p); });
    rpc_.add("acl.attach", [this](const object& p) { return acl_attach(p, true); });
    rpc_.add("acl.detach", [this](const object& p) { return acl_attach(p, false); });
}

service::result service::acl_put(const object& p)
{
    const std::string name = text_of(p, "name").value();
    auto rules =
        read_acl({.text = p.at("rules").as_string(), .file = text_of(p, "file").value_or("rules")});
    if (rules.has_error()) {
        return failure{failure_kind::invalid, rules.error().message};
    }
    const std::size_t count = rules->size();
    if (auto done = acls_.put(name, !is_set(p, "stateless"), std::move(*rules)); done.has_error()) {
        return done.error();
    }
    return json::value{{"name", name}, {"rules", count}};
}

service::result service::acl_del(const object& p)
{
    const std::string name = text_of(p, "name").value();
    const auto removed = acls_.remove(name);
    if (removed.has_error()) {
        return removed.error();
    }
    if (!*removed && !is_set(p, "if_exists")) {
        return failure{failure_kind::not_found, "there is no rule set " + name};
    }
    return json::value{{"removed", *removed}};
}

service::result service::acl_list_all() const
{
    json::array list;
    for (const auto& [name, set] : acls_.all()) {
        list.push_back({{"name", name},
                        {"stateful", set->stateful},
                        {"rules_from", count_of(*set, true)},
                        {"rules_to", count_of(*set, false)},
                        {"ports", names_of(acls_.ports_with(name))}});
    }
    return json::value(std::move(list));
}

service::result service::acl_show(const object& p) const
{
    const std::string name = text_of(p, "name").value();
    const auto found = acls_.all().find(name);
    if (found == acls_.all().end()) {
        return failure{failure_kind::not_found, "there is no rule set " + name};
    }
    const acl_set& set = *found->second;
    const auto counts = acls_.count();
    json::array rules;
    for (std::size_t i = 0; i < set.rules.size(); ++i) {
        const auto counted = counts.find(set.ids[i]);
        const auto [packets, bytes] =
            counted == counts.end() ? acl_list::traffic{} : counted->second;
        rules.push_back({{"rule", set.rules[i].text}, {"packets", packets}, {"bytes", bytes}});
    }
    return json::value{{"name", name},
                       {"stateful", set.stateful},
                       {"ports", names_of(acls_.ports_with(name))},
                       {"rules", std::move(rules)}};
}

service::result service::acl_attach(const object& p, bool attaches)
{
    const auto names = listed_names(p, "names", "NAME", "rule set");
    if (names.has_error()) {
        return names.error();
    }
    const std::string port = text_of(p, "port").value();
    if (auto done = attaches ? acls_.attach(*names, port) : acls_.detach(*names, port);
        done.has_error()) {
        return done.error();
    }
    return json::value{{"port", port}};
}

} // namespace strait::control
