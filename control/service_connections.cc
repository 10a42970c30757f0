// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods that show and change what connection tracking holds. A worker does it
// when it is asked, for all.
#include "control/connection_jobs.hh"
#include "control/connection_json.hh"
#include "control/flow_text.hh"
#include "control/parameters.hh"
#include "control/service.hh"
#include "dataplane/conntrack/tracker.hh"

#include <boost/json/array.hpp>

#include <optional>

namespace strait::control {

namespace json = boost::json;

namespace {

using conntrack::connection_record;
using conntrack::job;

constexpr std::int64_t usual_limit = 65'536;

// The zone that is asked for by its number, or as a port's own.
outcome<std::optional<conntrack::zone_id>> zone_of(const json::object& p, const virtual_switch& sw)
{
    const auto number = number_as<std::uint16_t>(p, "zone");
    const auto port = text_of(p, "port");
    if (number && port) {
        return failure{failure_kind::invalid,
                       "a port's own zone is none of those with a number; give one of both"};
    }
    if (!port) {
        return number ? std::optional{conntrack::make_zone(*number, false)} : std::nullopt;
    }
    const auto found = sw.find_port(*port);
    if (found.has_error()) {
        return found.error();
    }
    return std::optional{own_zone(**found)};
}

// What connections are meant: a match may be of several.
outcome<std::vector<flow::match>> wanted(const boost::json::object& p, const virtual_switch& sw)
{
    const auto zone = zone_of(p, sw);
    if (zone.has_error()) {
        return zone.error();
    }
    std::vector<flow::match> out(1);
    if (const auto text = text_of(p, "filter")) {
        auto parsed = parse_match(*text);
        if (parsed.has_error()) {
            return failure{failure_kind::invalid, parsed.error().message};
        }
        out = std::move(*parsed);
    }
    for (flow::match& m : out) {
        if (*zone) {
            conntrack::put_zone(m.value, **zone);
            conntrack::put_zone(m.mask, conntrack::zone_count - 1);
        }
    }
    return out;
}

} // namespace

void service::add_connection_methods()
{
    rpc_.add("ct.list", [this](const object& p) { return connection_list(p); });
    rpc_.add("ct.flush", [this](const object& p) { return connection_flush(p); });
    rpc_.add("ct.stats", [this](const object&) { return connection_stats(); });
    rpc_.add("ct.limit", [this](const object& p) { return connection_limit(p); });
}

service::result service::connection_list(const object& p) const
{
    const auto matches = wanted(p, switch_);
    if (matches.has_error()) {
        return matches.error();
    }
    const zone_owners owners = owners_of_zones(switch_);
    const auto limit = static_cast<std::size_t>(number_of(p, "limit").value_or(usual_limit));
    dataplane::engine& engine = switch_.engine();
    std::vector<connection_record> room(1024);
    json::array list;
    bool more = false;
    for (const flow::match& m : *matches) {
        auto j = std::make_unique<job>(job::kind::show, m, room);
        for (have_done(engine, *j);; have_done(engine, *j)) {
            for (std::size_t i = 0; i < j->count() && !more; ++i) {
                more = list.size() == limit;
                if (!more) {
                    list.push_back(to_json(room[i], owners));
                }
            }
            if (j->at_end() || more) {
                break;
            }
            auto next = std::make_unique<job>(job::kind::show, m, room);
            next->go_on_after(*j);
            j = std::move(next);
        }
    }
    return json::value{{"connections", std::move(list)}, {"more", more}};
}

service::result service::connection_flush(const object& p) const
{
    const auto matches = wanted(p, switch_);
    if (matches.has_error()) {
        return matches.error();
    }
    dataplane::engine& engine = switch_.engine();
    std::size_t forgotten = 0;
    for (const flow::match& m : *matches) {
        forgotten += forget_connections(engine, m);
    }
    return json::value{{"forgotten", forgotten}};
}

service::result service::connection_stats() const
{
    json::array workers;
    dataplane::engine& engine = switch_.engine();
    for (std::size_t i = 0; i < engine.worker_count(); ++i) {
        const auto& c =
            engine.tracker(dataplane::worker_index{static_cast<std::uint16_t>(i)}).counters;
        workers.push_back({{"worker", i},
                           {"created", c.created.read()},
                           {"ended", c.ended.read()},
                           {"evicted", c.evicted.read()},
                           {"flushed", c.flushed.read()},
                           {"found", c.found.read()},
                           {"new", c.fresh.read()},
                           {"invalid", c.invalid.read()},
                           {"related", c.related.read()},
                           {"translated", c.translated.read()},
                           {"rewritten", c.rewritten.read()}});
    }
    const conntrack::table& all = engine.connections().connections();
    return json::value{{"connections", all.size()},
                       {"capacity", all.capacity()},
                       {"bytes", all.bytes()},
                       {"workers", std::move(workers)}};
}

service::result service::connection_limit(const object& p) const
{
    conntrack::zones& zones = switch_.engine().connections().limits();
    const auto asked = zone_of(p, switch_);
    if (asked.has_error()) {
        return asked.error();
    }
    const std::optional<conntrack::zone_id> zone = *asked;
    const auto limit = number_as<std::uint32_t>(p, "set");
    if (is_set(p, "reset")) {
        if (limit || !zone) {
            return failure{failure_kind::invalid,
                           "reset is of a zone's own limit: give a zone, and nothing to set"};
        }
        zones.limit(*zone, std::nullopt);
    } else if (limit && zone) {
        zones.limit(*zone, *limit);
    } else if (limit) {
        zones.limit_others(*limit);
    }
    json::array list;
    const auto show = [&](conntrack::zone_id z, const json::value& number,
                          const json::value& port) {
        const auto own = zones.own_limit(z);
        if (own || zone == z) {
            list.push_back({{"zone", number},
                            {"port", port},
                            {"limit", own.value_or(zones.default_limit())},
                            {"connections", zones.used(z)}});
        }
    };
    for (conntrack::zone_id z = 0; z < conntrack::first_port_zone; ++z) {
        show(z, z, {});
    }
    for (const auto& [name, port] : switch_.ports()) {
        show(own_zone(port), {}, json::value(name));
    }
    return json::value{{"default", zones.default_limit()}, {"zones", std::move(list)}};
}

} // namespace strait::control
