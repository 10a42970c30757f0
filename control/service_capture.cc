// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about captures: their words to what the switch is asked for.
#include "control/flow_options.hh"
#include "control/parameters.hh"
#include "control/service.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

// Where packets are looked at.
struct view {
    bool from{true}; // of a port: those that come from it
    bool to{true};   // and those that leave by it
    bool as_received{false};
    bool as_sent{false};
};

// `of_port`: not of a match.
outcome<view> view_of(const json::object& p, bool of_port)
{
    const bool before = is_set(p, "before_actions");
    const bool after = is_set(p, "after_actions");
    const auto direction = text_of(p, "direction");
    view v;
    v.from = direction != "out";
    v.to = direction == "out" || direction == "both" || (!direction && (of_port || after));
    if (before && direction == "out") {
        return failure{failure_kind::invalid,
                       "--before-actions shows packets as they come in, and where they will leave "
                       "is not known then; --direction out goes without it"};
    }
    v.as_received = v.from && (before || !after);
    v.as_sent = (v.to && (after || !before)) || after;
    return v;
}

tap_request request_for_port(const std::string& bridge, const std::string& port, const view& v,
                             bool only_after)
{
    tap_request r;
    r.bridge = bridge;
    if (v.as_received) {
        r.received.names = {port};
    }
    if (v.as_sent && v.to) {
        r.sent.names = {port};
    }
    if (v.as_sent && v.from && only_after) {
        r.sent_from.names = {port};
    }
    return r;
}

} // namespace

void service::add_capture_methods()
{
    rpc_.add_stream("capture",
                    [this](const object& p, rpc::takeover& then) { return capture(p, then); });
    rpc_.add("capture.result", [this](const object& p) { return capture_result(p); });
}

service::result service::capture(const object& p, rpc::takeover& then)
{
    const std::string what = text_of(p, "what").value();
    const auto port = switch_.ports().find(what);
    const bool of_port = port != switch_.ports().end();
    const auto v = view_of(p, of_port);
    if (v.has_error()) {
        return v.error();
    }
    tap_writer::settings settings;
    tap_request request;
    if (of_port) {
        const auto right = switch_.find_port_on(text_of(p, "bridge"), what);
        if (right.has_error()) {
            return right.error();
        }
        request =
            request_for_port(port->second.request.bridge, what, *v, is_set(p, "after_actions"));
        if (is_set(p, "drops")) {
            request.dropped.names = {what};
        }
        settings.only_port = what;
    } else {
        const auto bridge = flow_bridge(p);
        if (bridge.has_error()) {
            return bridge.error();
        }
        auto matches = parse_match(what, switch_.port_names_of((*bridge)->name));
        if (matches.has_error()) {
            return failure{failure_kind::invalid, "there is no port of this name, and it is no "
                                                  "match of packets: " +
                                                      matches.error().message};
        }
        if (std::ranges::any_of(*matches, names_options)) {
            return failure{failure_kind::invalid,
                           "captures do not know options of Geneve; name the tunnel's port, and "
                           "filter what is captured"};
        }
        request.bridge = (*bridge)->name;
        request.flows = std::move(*matches);
        request.received.all = v->as_received;
        request.sent.all = v->as_sent;
        request.dropped.all = is_set(p, "drops");
    }
    settings.format = p.contains("write") ? tap_writer::format::pcapng : tap_writer::format::lines;
    settings.count = number_as<std::uint64_t>(p, "count").value_or(0);
    constexpr std::uint32_t all = 262'144;
    const auto id = captures_.prepare(std::move(request), std::move(settings),
                                      number_as<std::uint32_t>(p, "snaplen").value_or(all), then);
    if (id.has_error()) {
        return id.error();
    }
    return json::value{{"capture", *id}};
}

service::result service::capture_result(const object& p) const
{
    const auto r = captures_.result(number_of(p, "capture").value());
    if (r.has_error()) {
        return r.error();
    }
    return json::value{{"packets", r->packets}, {"lost", r->lost}, {"why", r->why}};
}

} // namespace strait::control
