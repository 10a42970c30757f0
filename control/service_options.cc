// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about options of Geneve.
#include "control/flow_options.hh"
#include "control/parameters.hh"
#include "control/service.hh"

#include <boost/json/array.hpp>

namespace strait::control {

namespace json = boost::json;

namespace {

std::vector<flow::option> options_of(const virtual_switch::bridge& b)
{
    const auto& known = b.config->options;
    return known ? std::vector<flow::option>{known->all().begin(), known->all().end()}
                 : std::vector<flow::option>{};
}

} // namespace

void service::add_option_methods()
{
    rpc_.add("tlv-map.add", [this](const object& p) { return option_add(p); });
    rpc_.add("tlv-map.del", [this](const object& p) { return option_del(p); });
    rpc_.add("tlv-map.list", [this](const object& p) { return option_list(p); });
}

service::result service::option_add(const object& p)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    const auto options = parse_options(text_of(p, "options").value(), false);
    if (options.has_error()) {
        return failure{failure_kind::invalid, options.error().message};
    }
    if (auto done = switch_.add_options((*bridge)->name, *options); done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"added", options->size()}});
}

service::result service::option_del(const object& p)
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    std::vector<flow::option> which = options_of(**bridge);
    if (const auto text = text_of(p, "options")) {
        auto options = parse_options(*text, true);
        if (options.has_error()) {
            return failure{failure_kind::invalid, options.error().message};
        }
        which = std::move(*options);
    }
    const auto done = switch_.remove_options((*bridge)->name, which, is_set(p, "if_exists"));
    if (done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"removed", *done}});
}

service::result service::option_list(const object& p) const
{
    const auto bridge = flow_bridge(p);
    if (bridge.has_error()) {
        return bridge.error();
    }
    const auto references = (*bridge)->flows->count_options();
    json::array list;
    for (const flow::option& o : options_of(**bridge)) {
        list.push_back({{"field", "tun_metadata" + std::to_string(o.index)},
                        {"class", o.option_class},
                        {"type", o.type},
                        {"length", o.length},
                        {"references", references[o.index]}});
    }
    const auto& known = (*bridge)->config->options;
    return json::value{{"bridge", (*bridge)->name},
                       {"room", known ? known->room() : flow::longest_option_data},
                       {"options", std::move(list)}};
}

} // namespace strait::control
