// SPDX-License-Identifier: BSD-3-Clause
// The handler of the method about events.
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

} // namespace strait::control
