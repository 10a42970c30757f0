// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods that change and show flows.
#include "control/flow_trace.hh"
#include "control/methods_flows.hh"
#include "control/parameters.hh"
#include "control/service.hh"
#include "dataplane/flow/cache.hh"

#include <boost/json/array.hpp>

#include <algorithm>

namespace strait::control {

namespace json = boost::json;

namespace {

json::object to_json(const flow_summary& s)
{
    return {{"added", s.added}, {"modified", s.modified}, {"removed", s.removed}};
}

std::int64_t milliseconds(flow::instant t)
{
    return static_cast<std::int64_t>(t.count());
}

json::object to_json(const flow::rule& r, const port_names& names, flow::instant now)
{
    const flow_spec spec = spec_of(r);
    return {{"table", r.table()},
            {"priority", r.priority()},
            {"cookie", r.cookie()},
            {"match", format_match(spec.match, &names)},
            {"actions", format_actions(spec.actions, spec.match, &names)},
            {"idle_timeout", spec.idle_timeout},
            {"hard_timeout", spec.hard_timeout},
            {"packets", r.packets()},
            {"bytes", r.bytes()},
            {"age_ms", milliseconds(now - r.settings().created)},
            {"idle_ms", milliseconds(now - r.last_used())}};
}

} // namespace

void service::add_flow_methods()
{
    const auto change = [this](flow_command loose, flow_command strict) {
        return [this, loose, strict](const object& p) {
            return flow_change_all(p, is_set(p, "strict") ? strict : loose);
        };
    };
    rpc_.add("flow.add", change(flow_command::add, flow_command::add));
    rpc_.add("flow.mod", change(flow_command::modify, flow_command::modify_strict));
    rpc_.add("flow.del", change(flow_command::remove, flow_command::remove_strict));
    rpc_.add("flow.replace", [this](const object& p) { return flow_replace(p); });
    rpc_.add("flow.diff", [this](const object& p) { return flow_diff(p); });
    rpc_.add("flow.list", [this](const object& p) { return flow_list(p); });
    rpc_.add("flow.top", [this](const object& p) { return flow_top_list(p); });
    rpc_.add("flow.begin", [this](const object& p) { return flow_begin(p); });
    rpc_.add("flow.put", [this](const object& p) { return flow_put(p); });
    rpc_.add("flow.commit", [this](const object& p) { return flow_commit(p); });
    rpc_.when_left([this](client_id who) {
        std::erase_if(bundles_, [who](const auto& b) { return b.second.client == who; });
        std::erase_if(tops_, [who](const auto& t) { return t.first.first == who; });
    });
    rpc_.add("trace", [this](const object& p) { return trace_frame(p); });
    rpc_.add("cache.stats", [this](const object&) { return cache_stats(); });
}

// The bridge that is named, or the only one.
outcome<const virtual_switch::bridge*> service::flow_bridge(const object& p) const
{
    if (const auto name = text_of(p, "bridge")) {
        return switch_.find_bridge(*name);
    }
    if (switch_.bridges().size() != 1) {
        return failure{switch_.bridges().empty() ? failure_kind::not_found : failure_kind::invalid,
                       switch_.bridges().empty()
                           ? "there is no bridge; make one first: bridge add NAME"
                           : "there are " + std::to_string(switch_.bridges().size()) +
                                 " bridges; say which with --bridge"};
    }
    return &switch_.bridges().begin()->second;
}

// For text that is written: with the ports' names if that is asked for.
port_names service::shown_names(const std::string& bridge, const object& p) const
{
    port_names names = switch_.port_names_of(bridge);
    return is_set(p, "names") ? names : names.without_ports();
}

// Puts the lines of a text into a bundle.
outcome<void> service::put_flows(const virtual_switch::bridge& b, bridge_flows::bundle& bundle,
                                 const object& p, flow_command command) const
{
    if (!p.contains("flows")) { // of flow.del: all of them
        flow_change all{command, {}, 0};
        all.flow.table = flow::all_tables;
        return b.flows->apply(bundle, all);
    }
    const port_names names = switch_.port_names_of(b.name);
    std::optional<failure> refused;
    const auto take = [&](flow_change&& change) -> ports::result<void> {
        if (auto done = b.flows->apply(bundle, change); done.has_error()) {
            refused = done.error();
            return ports::error{done.error().message};
        }
        return {};
    };
    const auto read =
        read_flows({.text = text_of(p, "flows").value(),
                    .file = text_of(p, "file").value_or("flows"),
                    .first_line = static_cast<std::size_t>(number_of(p, "first_line").value_or(1)),
                    .command = command},
                   names, take);
    if (read.has_error()) {
        return failure{refused ? refused->kind : failure_kind::invalid, read.error().message};
    }
    return {};
}

service::result service::flow_change_all(const object& p, flow_command command)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    auto bundle = (*bridge)->flows->begin();
    if (auto put = put_flows(**bridge, bundle, p, command); put.has_error()) {
        return put.error();
    }
    return commit(**bridge, std::move(bundle));
}

service::result service::commit(const virtual_switch::bridge& b, bridge_flows::bundle bundle)
{
    const auto done = b.flows->commit(std::move(bundle));
    if (done.has_error()) {
        return done.error();
    }
    return json::value(to_json(*done));
}

service::result service::flow_replace(const object& p)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    auto bundle = (*bridge)->flows->begin_empty();
    if (auto put = put_flows(**bridge, bundle, p, flow_command::add); put.has_error()) {
        return put.error();
    }
    return commit(**bridge, std::move(bundle));
}

service::result service::flow_diff(const object& p) const
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    auto bundle = (*bridge)->flows->begin_empty();
    if (auto put = put_flows(**bridge, bundle, p, flow_command::add); put.has_error()) {
        return put.error();
    }
    const auto differs = (*bridge)->flows->compare(bundle);
    const port_names shown = shown_names((*bridge)->name, p);
    const auto lines = [&](const std::vector<flow::rule_ptr>& rules) {
        json::array out;
        for (const auto& r : rules) {
            out.emplace_back(format_flow(spec_of(*r), &shown));
        }
        std::ranges::sort(out, {},
                          [](const json::value& v) { return std::string_view{v.get_string()}; });
        return out;
    };
    return json::value{{"only_here", lines(differs.removed)}, {"only_there", lines(differs.added)}};
}

service::result service::flow_list(const object& p) const
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    const port_names names = switch_.port_names_of((*bridge)->name);
    std::vector<flow_spec> filters(1);
    filters.front().table = flow::all_tables;
    if (const auto text = text_of(p, "filter")) {
        auto parsed = parse_flow(*text, flow_command::list, names);
        if (parsed.has_error()) {
            return failure{failure_kind::invalid, parsed.error().message};
        }
        filters = std::move(*parsed);
    }
    const auto limit = static_cast<std::size_t>(number_of(p, "limit").value_or(usual_flow_limit));
    const flow::instant now = std::chrono::seconds{switch_.engine().now()};
    (*bridge)->flows->count_switched();
    const port_names shown = shown_names((*bridge)->name, p);
    json::array list;
    std::size_t total = 0;
    for (const flow_spec& filter : filters) {
        (*bridge)->flows->for_each(filter, [&](const flow::rule& r) {
            if (total++ < limit) {
                list.push_back(to_json(r, shown, now));
            }
        });
    }
    return json::value{{"bridge", (*bridge)->name}, {"total", total}, {"flows", std::move(list)}};
}

service::result service::flow_top_list(const object& p)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    const virtual_switch::bridge& b = **bridge;
    std::erase_if(tops_,
                  [this](const auto& t) { return !switch_.bridges().contains(t.first.second); });
    const std::pair whose{rpc_.caller(), b.name};
    if (!tops_.contains(whose) && tops_.size() >= most_tops) {
        return failure{failure_kind::limit, std::to_string(most_tops) +
                                                " connections look at flows that carry most "
                                                "already, and no more may"};
    }
    constexpr std::int64_t usual_count = 20;
    const auto top = tops_[whose].look(
        *b.flows, text_of(p, "by") == "bytes" ? flow_top::order::bytes : flow_top::order::packets,
        static_cast<std::size_t>(number_of(p, "count").value_or(usual_count)),
        std::chrono::steady_clock::now());
    const port_names shown = shown_names(b.name, p);
    constexpr double second = 1e6; // microseconds
    const auto interval = static_cast<double>(top.interval.count());
    json::array list;
    for (const flow_top::one& o : top.flows) {
        json::object one = to_json(*o.rule, shown, b.flows->time());
        one["packets_per_second"] = static_cast<double>(o.packets) * second / interval;
        one["bytes_per_second"] = static_cast<double>(o.bytes) * second / interval;
        list.push_back(std::move(one));
    }
    return json::value{{"bridge", b.name},
                       {"interval_us", top.interval.count()},
                       {"total", top.total},
                       {"flows", std::move(list)}};
}

service::result service::flow_begin(const object& p)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    const auto now = std::chrono::steady_clock::now();
    std::erase_if(bundles_, [now](const auto& b) { return now - b.second.used > patience; });
    if (bundles_.size() >= most_bundles) {
        return failure{failure_kind::limit, "there are " + std::to_string(most_bundles) +
                                                " bundles under way; one that nothing is put into "
                                                "for a minute is given up"};
    }
    const std::int64_t id = ++last_bundle_;
    bundles_.emplace(id, open_bundle{(*bridge)->name,
                                     is_set(p, "replace") ? (*bridge)->flows->begin_empty()
                                                          : (*bridge)->flows->begin(),
                                     rpc_.caller(), now});
    return json::value{{"bundle", id}};
}

outcome<service::open_bundle*> service::find_bundle(const object& p)
{
    const auto found = bundles_.find(number_of(p, "bundle").value());
    if (found == bundles_.end() || found->second.client != rpc_.caller()) {
        return failure{failure_kind::not_found, "this connection has no such bundle; it was "
                                                "refused, committed, given up or another's"};
    }
    if (!switch_.bridges().contains(found->second.bridge)) {
        bundles_.erase(found);
        return failure{failure_kind::not_found, "the bundle's bridge was removed"};
    }
    found->second.used = std::chrono::steady_clock::now();
    return &found->second;
}

service::result service::flow_put(const object& p)
{
    const auto found = find_bundle(p);
    if (found.has_error()) {
        return found.error();
    }
    constexpr auto commands = std::to_array<std::pair<std::string_view, flow_command>>(
        {{"add", flow_command::add},
         {"modify", flow_command::modify},
         {"modify_strict", flow_command::modify_strict},
         {"delete", flow_command::remove},
         {"delete_strict", flow_command::remove_strict}});
    const std::string word = text_of(p, "command").value_or("add");
    const auto command =
        std::ranges::find(commands, word, &std::pair<std::string_view, flow_command>::first);
    const auto& bridge = switch_.bridges().at((*found)->bridge);
    auto put = put_flows(bridge, (*found)->changes, p, command->second);
    if (put.has_error()) {
        bundles_.erase(number_of(p, "bundle").value());
        return put.error();
    }
    return json::value{{"put", true}};
}

service::result service::flow_commit(const object& p)
{
    const auto found = find_bundle(p);
    if (found.has_error()) {
        return found.error();
    }
    const auto& bridge = switch_.bridges().at((*found)->bridge);
    bridge_flows::bundle changes = std::move((*found)->changes);
    bundles_.erase(number_of(p, "bundle").value());
    return commit(bridge, std::move(changes));
}

service::result service::trace_frame(const object& p) const
{
    const auto port = switch_.find_port(text_of(p, "port").value());
    if (port.has_error()) {
        return port.error();
    }
    const auto frame =
        parse_frame(text_of(p, "packet").value(), switch_.port_names_of((*port)->request.bridge));
    if (frame.has_error()) {
        return failure{failure_kind::invalid, frame.error().message};
    }
    const auto states = parse_ct_states(text_of(p, "ct_next").value_or(""));
    if (states.has_error()) {
        return failure{failure_kind::invalid, "ct_next: " + states.error().message};
    }
    return json::value(trace(switch_, **port, *frame, *states));
}

service::result service::cache_stats() const
{
    json::array workers;
    for (std::size_t i = 0; i < switch_.engine().worker_count(); ++i) {
        const auto& c = switch_.engine()
                            .flow_cache(dataplane::worker_index{static_cast<std::uint16_t>(i)})
                            .counters;
        workers.push_back({{"worker", i},
                           {"entries", c.entries.read()},
                           {"bytes", c.bytes.read()},
                           {"hits", c.hits.read()},
                           {"misses", c.misses.read()},
                           {"stale", c.stale.read()},
                           {"evictions", c.evictions.read()},
                           {"uncached", c.uncached.read()},
                           {"miss_cycles", c.miss_cycles.read()},
                           {"waits", c.waits.read()}});
    }
    return json::value{{"workers", std::move(workers)}};
}

} // namespace strait::control
