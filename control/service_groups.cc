// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods that change and show groups and meters.
#include "control/parameters.hh"
#include "control/service.hh"
#include "dataplane/flow/liveness.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <optional>
#include <vector>

namespace strait::control {

namespace json = boost::json;

namespace {

json::value to_json(const object_summary& s)
{
    return {{"added", s.added},
            {"modified", s.modified},
            {"removed", s.removed},
            {"flows_removed", s.flows}};
}

flow_lines lines_of(const json::object& p, std::string_view name)
{
    return {.text = p.at(name).as_string(), .file = text_of(p, "file").value_or(std::string{name})};
}

// Applies what `read` finds in a text, and commits it.
template <typename Change, typename Read>
outcome<json::value> change_objects(bridge_flows& flows, const Read& read)
{
    auto bundle = flows.begin();
    std::optional<failure> refused;
    const auto take = [&](Change&& change) -> ports::result<void> {
        if (auto done = flows.apply(bundle, change); done.has_error()) {
            refused = done.error();
            return ports::error{done.error().message};
        }
        return {};
    };
    if (const auto done = read(take); done.has_error()) {
        return failure{refused ? refused->kind : failure_kind::invalid, done.error().message};
    }
    const auto done = flows.commit_objects(std::move(bundle));
    if (done.has_error()) {
        return done.error();
    }
    return to_json(*done);
}

// In the order of their numbers; the one that is asked for, or all.
template <typename Object>
std::vector<const Object*> in_order(const flow::id_map<Object>& all,
                                    const std::optional<std::int64_t>& id)
{
    std::vector<const Object*> out;
    all.for_each([&](const Object& o) {
        if (!id || o.id() == *id) {
            out.push_back(&o);
        }
    });
    std::ranges::sort(out, {}, &Object::id);
    return out;
}

std::int64_t milliseconds(flow::instant t)
{
    return static_cast<std::int64_t>(t.count());
}

std::size_t count_of(const bridge_flows::references& all, std::uint32_t id)
{
    const auto found = all.find(id);
    return found == all.end() ? 0 : found->second;
}

json::value to_json(const flow::bucket& b, const flow::tally& counted, bool live,
                    const port_names& names)
{
    json::object out{{"bucket_id", b.id}, {"weight", b.weight}};
    std::string port;
    if (b.watch_port) {
        append_port(port, *b.watch_port, &names);
    }
    out["watch_port"] = b.watch_port ? json::value(port) : json::value(nullptr);
    out["watch_group"] = b.watch_group ? json::value(*b.watch_group) : json::value(nullptr);
    out["actions"] = format_actions(b.actions, {}, &names);
    out["live"] = live;
    out["packets"] = counted.packets();
    out["bytes"] = counted.bytes();
    return out;
}

} // namespace

void service::add_group_methods()
{
    const auto groups = [this](group_command command) {
        return [this, command](const object& p) {
            return group_change_all(p, is_set(p, "may_create") ? group_command::add_or_modify
                                                               : command);
        };
    };
    rpc_.add("group.add", groups(group_command::add));
    rpc_.add("group.mod", groups(group_command::modify));
    rpc_.add("group.del", groups(group_command::remove));
    rpc_.add("group.insert-buckets", groups(group_command::insert_buckets));
    rpc_.add("group.remove-buckets", groups(group_command::remove_buckets));
    rpc_.add("group.list", [this](const object& p) { return group_list(p); });
    const auto meters = [this](meter_command command) {
        return [this, command](const object& p) { return meter_change_all(p, command); };
    };
    rpc_.add("meter.add", meters(meter_command::add));
    rpc_.add("meter.mod", meters(meter_command::modify));
    rpc_.add("meter.del", meters(meter_command::remove));
    rpc_.add("meter.list", [this](const object& p) { return meter_list(p); });
}

service::result service::group_change_all(const object& p, group_command command)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    const port_names names = switch_.port_names_of((*bridge)->name);
    return change_objects<group_change>(
        *(*bridge)->flows, [&](const auto& take) -> ports::result<void> {
            if (!p.contains("groups")) { // of group.del
                return take({.command = command, .every = true, .group = {}});
            }
            return read_groups(lines_of(p, "groups"), command, names, take);
        });
}

service::result service::meter_change_all(const object& p, meter_command command)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    return change_objects<meter_change>(
        *(*bridge)->flows, [&](const auto& take) -> ports::result<void> {
            if (!p.contains("meters")) { // of meter.del
                return take({.command = command, .every = true, .meter = {}});
            }
            return read_meters(lines_of(p, "meters"), command, take);
        });
}

service::result service::group_list(const object& p) const
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    const bridge_flows& flows = *(*bridge)->flows;
    const port_names names = shown_names((*bridge)->name, p);
    const auto pipeline = flows.pipeline();
    const auto references = flows.group_references();
    const flow::instant now = std::chrono::seconds{switch_.engine().now()};
    json::array list;
    for (const flow::bucket_group* const g : in_order(flows.groups(), number_of(p, "group"))) {
        json::array buckets;
        for (std::size_t i = 0; i < g->buckets().size(); ++i) {
            const flow::bucket& b = g->buckets()[i];
            const bool live =
                flow::liveness{*pipeline, switch_.engine().current(), (*bridge)->index}(b);
            buckets.push_back(to_json(b, g->counted(i), live, names));
        }
        const auto& select = g->settings().select;
        list.push_back({{"group_id", g->id()},
                        {"type", type_word(g->type())},
                        {"selection_method", method_word(select.by)},
                        {"selection_method_param", select.parameter},
                        {"fields", format_selection_fields(select)},
                        {"buckets", std::move(buckets)},
                        {"text", format_group(g->settings(), &names)},
                        {"references", count_of(references, g->id())},
                        {"packets", g->counted().packets()},
                        {"bytes", g->counted().bytes()},
                        {"age_ms", milliseconds(now - g->created())}});
    }
    return json::value{{"bridge", (*bridge)->name}, {"groups", std::move(list)}};
}

service::result service::meter_list(const object& p) const
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    const bridge_flows& flows = *(*bridge)->flows;
    const auto references = flows.meter_references();
    const flow::instant now = std::chrono::seconds{switch_.engine().now()};
    json::array list;
    for (const flow::packet_meter* const m : in_order(flows.meters(), number_of(p, "meter"))) {
        json::array bands;
        for (std::size_t i = 0; i < m->settings().bands.size(); ++i) {
            const auto& band = m->settings().bands[i];
            bands.push_back({{"type", "drop"},
                             {"rate", band.rate},
                             {"burst_size", band.burst},
                             {"packets", m->dropped(i).packets()},
                             {"bytes", m->dropped(i).bytes()}});
        }
        list.push_back({{"meter", m->id()},
                        {"unit", m->settings().in_packets ? "pktps" : "kbps"},
                        {"bands", std::move(bands)},
                        {"text", format_meter(m->settings())},
                        {"flows", count_of(references, m->id())},
                        {"packets", m->counted().packets()},
                        {"bytes", m->counted().bytes()},
                        {"age_ms", milliseconds(now - m->created())}});
    }
    return json::value{{"bridge", (*bridge)->name}, {"meters", std::move(list)}};
}

} // namespace strait::control
