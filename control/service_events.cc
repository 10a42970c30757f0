// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about events and the log.
#include "control/eal.hh"
#include "control/log.hh"
#include "control/parameters.hh"
#include "control/service.hh"

#include <boost/json/array.hpp>

namespace strait::control {

namespace json = boost::json;

namespace {

json::value or_null(const std::string& name)
{
    return name.empty() ? json::value(nullptr) : json::value(name);
}

json::object to_json(const event& e)
{
    json::object out{{"sequence", e.sequence},
                     {"time", time_text(e.when)},
                     {"event", name_of(e.kind)},
                     {"bridge", or_null(e.bridge)},
                     {"port", or_null(e.port)}};
    out.insert(e.details.begin(), e.details.end());
    return out;
}

} // namespace

void service::add_event_methods()
{
    rpc_.add("events", [this](const object& p) { return events(p); });
    rpc_.add("log.level", [](const object& p) { return set_log_level(p); });
}

// Ports and bridges that are named may be gone, or yet to come.
service::result service::events(const object& p) const
{
    const event_log& log = switch_.events();
    const auto after = static_cast<std::uint64_t>(number_of(p, "after").value_or(0));
    if (after > log.last()) {
        return failure{failure_kind::invalid, "there is no event " + std::to_string(after) +
                                                  " yet, the last is " +
                                                  std::to_string(log.last()) +
                                                  ": numbers begin with 1 when the daemon starts"};
    }
    const auto bridge = text_of(p, "bridge");
    const auto port = text_of(p, "port");
    const auto look = log.since(after);
    json::array list;
    for (const event* e : look.events) {
        if ((!bridge || e->bridge == *bridge) && (!port || e->port == *port)) {
            list.push_back(to_json(*e));
        }
    }
    return json::value{{"began", time_text(log.began())},
                       {"last", log.last()},
                       {"missed", look.missed},
                       {"events", std::move(list)}};
}

service::result service::set_log_level(const object& p)
{
    if (const auto given = text_of(p, "level")) {
        const log_level level = parse_log_level(*given).value();
        // Said while it can be, by whichever level says more.
        const auto tell = [&given] {
            log(log_level::info, "control", "the log's level is " + *given + " from here on");
        };
        if (level < current_log_level()) {
            tell();
            control::set_log_level(level);
        } else {
            control::set_log_level(level);
            tell();
        }
        follow_log_level();
    }
    return json::value{{"level", name_of(current_log_level())}};
}

} // namespace strait::control
