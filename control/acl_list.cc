// SPDX-License-Identifier: BSD-3-Clause
#include "control/acl_list.hh"

#include "control/connection_jobs.hh"
#include "control/log.hh"
#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/store.hh"

#include <algorithm>
#include <set>
#include <utility>

namespace strait::control {

namespace {

std::size_t matches_of(const acl_set& set)
{
    std::size_t out = 0;
    for (const acl_rule& r : set.rules) {
        out += r.matches.size();
    }
    return out;
}

std::string joined(const std::vector<std::string>& words)
{
    std::string out;
    for (const std::string& w : words) {
        out += (out.empty() ? "" : ", ") + w;
    }
    return out;
}

bool contains(const std::vector<std::string>& words, const std::string& word)
{
    return std::ranges::find(words, word) != words.end();
}

failure no_such_set(const std::string& name)
{
    return {failure_kind::not_found, "there is no rule set " + name + "; make it first: acl set"};
}

} // namespace

acl_list::acl_list(virtual_switch& sw) : switch_{sw}
{
    switch_.when_port_goes([this](const virtual_switch::port& p) { port_goes(p); });
}

acl_list::~acl_list()
{
    switch_.when_port_goes({});
}

std::vector<std::string> acl_list::ports_with(const std::string& name) const
{
    std::vector<std::string> out;
    for (const auto& [port, names] : attached_) {
        if (contains(names, name)) {
            out.push_back(port);
        }
    }
    return out;
}

// Whether a port may have these, the changed one as it will be.
outcome<void> acl_list::check(const std::string& port, const name_list& of_port,
                              const acl_set* changed) const
{
    std::size_t rules = 0;
    const acl_set* first = nullptr;
    for (const std::string& name : of_port) {
        const acl_set* const set =
            changed != nullptr && changed->name == name ? changed : sets_.at(name).get();
        first = first == nullptr ? set : first;
        if (set->stateful != first->stateful) {
            const auto kind = [](const acl_set& s) {
                return s.name + " is " + (s.stateful ? "stateful" : "stateless");
            };
            return failure{failure_kind::invalid, "port " + port +
                                                      " would have sets of both kinds, of which " +
                                                      kind(*first) + " and " + kind(*set) +
                                                      "; a port's sets must be all of one kind"};
        }
        rules += matches_of(*set);
    }
    if (rules > most_rules_of_port) {
        return failure{failure_kind::limit, "port " + port + " would have " +
                                                std::to_string(rules) + " rules; " +
                                                std::to_string(most_rules_of_port) +
                                                " are the most, each mask of a range counted"};
    }
    return {};
}

outcome<void> acl_list::put(const std::string& name, bool stateful, std::vector<acl_rule> rules)
{
    auto set = std::make_shared<acl_set>();
    set->name = name;
    set->stateful = stateful;
    set->rules = std::move(rules);
    const auto old = sets_.find(name);
    // What is said as before goes on counting.
    std::vector<bool> taken(old == sets_.end() ? 0 : old->second->rules.size());
    std::multimap<std::string, std::size_t> before;
    for (std::size_t i = 0; i < taken.size(); ++i) {
        before.emplace(old->second->rules[i].text, i);
    }
    std::uint32_t last = last_id_;
    for (const acl_rule& r : set->rules) {
        const auto found = before.find(r.text);
        set->ids.push_back(found == before.end() ? ++last : old->second->ids[found->second]);
        if (found != before.end()) {
            before.erase(found);
        }
    }
    const std::vector<std::string> ports = ports_with(name);
    for (const std::string& port : ports) {
        if (auto good = check(port, attached_.at(port), set.get()); good.has_error()) {
            return good;
        }
    }
    const bool other_kind = old != sets_.end() && old->second->stateful != stateful;
    last_id_ = last;
    sets_[name] = std::move(set);
    std::set<std::string> bridges;
    for (const std::string& port : ports) {
        bridges.insert(switch_.ports().at(port).request.bridge);
    }
    for (const std::string& bridge : bridges) {
        apply(bridge);
    }
    for (const std::string& port : ports) {
        if (other_kind) {
            forget_connections(switch_.ports().at(port));
        }
    }
    log(log_level::info, "control", "rule set " + name + " set");
    return {};
}

outcome<bool> acl_list::remove(const std::string& name)
{
    if (const auto ports = ports_with(name); !ports.empty()) {
        return failure{failure_kind::in_use, "rule set " + name + " is attached to " +
                                                 joined(ports) + "; detach it first: acl detach"};
    }
    return sets_.erase(name) > 0;
}

outcome<void> acl_list::attach(const name_list& added, const std::string& port)
{
    const auto found = switch_.find_port(port);
    if (found.has_error()) {
        return found.error();
    }
    const auto there = attached_.find(port);
    name_list all = there == attached_.end() ? name_list{} : there->second;
    for (const std::string& name : added) {
        if (!sets_.contains(name)) {
            return no_such_set(name);
        }
        if (contains(all, name)) {
            return failure{failure_kind::exists,
                           "port " + port + " has the rule set " + name + " already"};
        }
        all.push_back(name);
    }
    if (auto good = check(port, all); good.has_error()) {
        return good;
    }
    attached_[port] = std::move(all);
    apply((*found)->request.bridge);
    switch_.set_judged(port, true);
    log(log_level::info, "control",
        "port " + port + " has the rule sets " + joined(attached_[port]));
    return {};
}

outcome<void> acl_list::detach(const name_list& taken, const std::string& port)
{
    const auto found = switch_.find_port(port);
    if (found.has_error()) {
        return found.error();
    }
    const auto there = attached_.find(port);
    name_list left = there == attached_.end() ? name_list{} : there->second;
    for (const std::string& name : taken) {
        if (!sets_.contains(name)) {
            return no_such_set(name);
        }
        if (!contains(left, name)) {
            return failure{failure_kind::not_found,
                           "port " + port + " does not have the rule set " + name};
        }
        std::erase(left, name);
    }
    if (left.empty()) {
        switch_.set_judged(port, false);
        attached_.erase(there);
    } else {
        there->second = std::move(left);
    }
    apply((*found)->request.bridge);
    if (!attached_.contains(port)) {
        forget_connections(**found);
    }
    log(log_level::info, "control", "port " + port + " has no more " + joined(taken));
    return {};
}

void acl_list::apply(const std::string& bridge)
{
    std::vector<acl_port> ports;
    for (const auto& [name, sets] : attached_) {
        const virtual_switch::port& p = switch_.ports().at(name);
        if (p.request.bridge != bridge) {
            continue;
        }
        acl_port one{p.number, p.config->index, {}};
        for (const std::string& set : sets) {
            one.sets.push_back(sets_.at(set));
        }
        ports.push_back(std::move(one));
    }
    bridge_flows& flows = *switch_.bridges().at(bridge).flows;
    std::vector<bridge_flows::new_stage> both;
    for (const flow::stage s : {flow::stage::acl_from, flow::stage::acl_to}) {
        both.push_back({s, ports.empty() ? hidden_stage{} : compile_acls(ports, s)});
    }
    flows.set_stages(std::move(both));
}

// Of the port's own zone: nobody asks for them any more, and who has its index next must not.
void acl_list::forget_connections(const virtual_switch::port& p) const
{
    flow::match which;
    conntrack::put_zone(which.value, own_zone(p));
    conntrack::put_zone(which.mask, conntrack::zone_count - 1);
    (void)control::forget_connections(switch_.engine(), which);
}

void acl_list::rename_port(const std::string& from, const std::string& to)
{
    auto node = attached_.extract(from);
    if (!node.empty()) {
        node.key() = to;
        attached_.insert(std::move(node));
    }
}

void acl_list::port_goes(const virtual_switch::port& p)
{
    switch_.engine().connections().limits().limit(own_zone(p), std::nullopt);
    if (attached_.erase(p.request.name) == 0) {
        return;
    }
    apply(p.request.bridge);
    forget_connections(p);
}

std::unordered_map<std::uint32_t, acl_list::traffic> acl_list::count() const
{
    std::unordered_map<std::uint32_t, traffic> out;
    for (const auto& [name, b] : switch_.bridges()) {
        for (const flow::stage s : {flow::stage::acl_from, flow::stage::acl_to}) {
            for (const flow::rule_ptr& r : b.flows->stage_at(s).rules) {
                traffic& t = out[acl_rule_of(*r)];
                t.packets += r->packets();
                t.bytes += r->bytes();
            }
        }
    }
    return out;
}

} // namespace strait::control
