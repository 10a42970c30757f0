// SPDX-License-Identifier: BSD-3-Clause
// Between a bridge's tables and lines.
#include "control/config_lines.hh"

#include "control/flow_group_text.hh"
#include "control/flow_meter_text.hh"
#include "control/flow_text.hh"

#include <algorithm>
#include <optional>
#include <utility>

namespace strait::control {

namespace {

using ports::result;

// What tells a flow from others: its table, priority and match.
std::string flow_key(std::string_view prefix, const flow::rule& r, const port_names& names)
{
    return std::string{prefix} + std::to_string(r.table()) + ' ' + std::to_string(r.priority()) +
           ' ' + format_match(r.match(), &names);
}

std::string number_key(std::string_view prefix, std::uint32_t number)
{
    return std::string{prefix} + std::to_string(number);
}

template <typename Object>
std::vector<const Object*> by_number(const flow::id_map<Object>& all)
{
    std::vector<const Object*> out;
    all.for_each([&out](const Object& o) { out.push_back(&o); });
    std::ranges::sort(out, {}, &Object::id);
    return out;
}

failure invalid(const ports::error& e)
{
    return {failure_kind::invalid, e.message};
}

// The one change that a line is, to a bundle.
outcome<void> add_line(const bridge_flows& flows, bridge_flows::bundle& to, line_kind kind,
                       const std::string& text)
{
    if (kind == line_kind::meters) {
        auto read = parse_meter(text, meter_command::add);
        return read.has_error() ? outcome<void>{invalid(read.error())} : flows.apply(to, *read);
    }
    if (kind == line_kind::groups) {
        auto read = parse_group(text, group_command::add, flows.names());
        return read.has_error() ? outcome<void>{invalid(read.error())} : flows.apply(to, *read);
    }
    auto read = parse_flow(text, flow_command::add, flows.names());
    if (read.has_error()) {
        return invalid(read.error());
    }
    for (flow_spec& f : *read) {
        if (auto done = flows.apply(to, flow_change{flow_command::add, std::move(f), 0});
            done.has_error()) {
            return done;
        }
    }
    return {};
}

using line_failed = std::function<void(line_kind, const config_line&, const failure&)>;

// Groups may lead into one another: as long as one finds its place, others may.
void add_one_by_one(bridge_flows& flows, line_kind kind, std::vector<config_line> left,
                    const line_failed& failed)
{
    for (std::size_t before = left.size() + 1; left.size() < before;) {
        before = left.size();
        std::erase_if(left, [&](const config_line& line) {
            return add_config_line(flows, kind, line.text).has_value();
        });
    }
    for (const config_line& line : left) {
        if (const auto done = add_config_line(flows, kind, line.text); done.has_error()) {
            failed(kind, line, done.error());
        }
    }
}

} // namespace

std::string_view name_of(line_kind kind) noexcept
{
    return kind == line_kind::meters ? "meters" : kind == line_kind::groups ? "groups" : "flows";
}

std::string line_prefix(line_kind kind, std::string_view bridge)
{
    return std::string{name_of(kind)} + ' ' + std::string{bridge} + ' ';
}

void put_changes(store_changes& to, const std::string& bridge, const changed_flows& what)
{
    const std::string meters = line_prefix(line_kind::meters, bridge);
    for (const std::uint32_t id : what.meter_ids) {
        const auto* const m = what.meters.find(id);
        m != nullptr ? to.put(number_key(meters, id), format_meter(m->settings()))
                     : to.erase(number_key(meters, id));
    }
    const std::string groups = line_prefix(line_kind::groups, bridge);
    for (const std::uint32_t id : what.group_ids) {
        const auto* const g = what.groups.find(id);
        g != nullptr ? to.put(number_key(groups, id), format_group(g->settings(), &what.names))
                     : to.erase(number_key(groups, id));
    }
    const std::string flows = line_prefix(line_kind::flows, bridge);
    for (const flow::rule_ptr& r : what.rules) {
        const auto* const table = what.tables.find(r->table());
        const flow::rule* const now =
            table == nullptr ? nullptr : table->find_exact(r->match(), r->priority());
        now != nullptr
            ? to.put(flow_key(flows, *now, what.names), format_flow(spec_of(*now), &what.names))
            : to.erase(flow_key(flows, *r, what.names));
    }
}

void erase_all(store_changes& to, const std::string& bridge)
{
    for (const line_kind kind : line_kinds) {
        to.erase_all(line_prefix(kind, bridge));
    }
}

void put_all(store_changes& to, const std::string& bridge, const bridge_flows& flows)
{
    erase_all(to, bridge);
    std::vector<flow::rule_ptr> rules;
    flows.for_each_in_no_order([&rules](const flow::rule& r) { rules.emplace_back(&r); });
    std::vector<std::uint32_t> groups;
    flows.groups().for_each([&groups](const flow::bucket_group& g) { groups.push_back(g.id()); });
    std::vector<std::uint32_t> meters;
    flows.meters().for_each([&meters](const flow::packet_meter& m) { meters.push_back(m.id()); });
    put_changes(
        to, bridge,
        {flows.tables(), rules, flows.groups(), groups, flows.meters(), meters, flows.names()});
}

std::vector<std::string> list_lines(line_kind kind, const bridge_flows& flows)
{
    std::vector<std::string> out;
    if (kind == line_kind::meters) {
        for (const flow::packet_meter* const m : by_number(flows.meters())) {
            out.push_back(format_meter(m->settings()));
        }
        return out;
    }
    if (kind == line_kind::groups) {
        for (const flow::bucket_group* const g : by_number(flows.groups())) {
            out.push_back(format_group(g->settings(), &flows.names()));
        }
        return out;
    }
    struct one {
        flow::table_id table;
        flow::priority_t priority;
        std::string text;
    };
    std::vector<one> all;
    flows.for_each_in_no_order([&](const flow::rule& r) {
        all.push_back({r.table(), r.priority(), format_flow(spec_of(r), &flows.names())});
    });
    std::ranges::sort(all, [](const one& a, const one& b) {
        return a.table != b.table         ? a.table < b.table
               : a.priority != b.priority ? a.priority > b.priority
                                          : a.text < b.text;
    });
    for (one& o : all) {
        out.push_back(std::move(o.text));
    }
    return out;
}

outcome<void> add_config_line(bridge_flows& flows, line_kind kind, const std::string& text)
{
    auto bundle = flows.begin();
    if (auto done = add_line(flows, bundle, kind, text); done.has_error()) {
        return done;
    }
    if (kind == line_kind::flows) {
        const auto done = flows.commit(std::move(bundle));
        return done.has_error() ? outcome<void>{done.error()} : outcome<void>{};
    }
    const auto done = flows.commit_objects(std::move(bundle));
    return done.has_error() ? outcome<void>{done.error()} : outcome<void>{};
}

void restore_lines(bridge_flows& flows, const std::array<std::vector<config_line>, 3>& lines,
                   const std::function<void(line_kind, const config_line&, const failure&)>& failed)
{
    // What they name is there before them. A line that is refused changes nothing in its bundle.
    for (const line_kind kind : line_kinds) {
        const auto& all = lines[static_cast<std::size_t>(kind)];
        auto bundle = kind == line_kind::flows ? flows.begin_empty() : flows.begin();
        for (const config_line& line : all) {
            if (const auto done = add_line(flows, bundle, kind, line.text); done.has_error()) {
                failed(kind, line, done.error());
            }
        }
        if (kind == line_kind::flows) {
            if (const auto done = flows.commit(std::move(bundle)); done.has_error()) {
                for (const config_line& line : all) {
                    failed(kind, line, done.error());
                }
            }
        } else if (!all.empty() && flows.commit_objects(std::move(bundle)).has_error()) {
            add_one_by_one(flows, kind, all, failed);
        }
    }
}

} // namespace strait::control
