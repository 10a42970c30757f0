// SPDX-License-Identifier: BSD-3-Clause
// Looks at what is new, again and again, from where the last look ended.
#include "control/events_client.hh"

#include "control/parameters.hh"
#include "control/print_parts.hh"

#include <boost/json/serialize.hpp>

#include <chrono>
#include <thread>

namespace strait::control {

namespace json = boost::json;

bool follows_events(const method& m, const json::object& parameters)
{
    return m.name == "events" && is_set(parameters, "follow");
}

void follow_events(client& connection, json::object parameters,
                   const std::function<bool(const json::value&)>& show)
{
    constexpr std::chrono::milliseconds interval{200};
    for (;;) {
        const json::value found = connection.call("events", parameters);
        const json::object& result = as_object(found);
        const bool has_some =
            as_count(member(result, "missed")) > 0 || !as_array(member(result, "events")).empty();
        if (has_some && !show(found)) {
            return;
        }
        parameters["after"] = member(result, "last");
        std::this_thread::sleep_for(interval);
    }
}

std::string event_lines(const json::value& result)
{
    const json::object& o = as_object(result);
    std::string out;
    if (as_count(member(o, "missed")) > 0) {
        out += json::serialize(json::object{{"missed", member(o, "missed")}}) + '\n';
    }
    for (const json::value& e : as_array(member(o, "events"))) {
        out += json::serialize(e) + '\n';
    }
    return out;
}

} // namespace strait::control
