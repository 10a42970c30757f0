// SPDX-License-Identifier: BSD-3-Clause
// Which options of Geneve bridges know. Workers have a bridge's from two places that change one
// after the other: its tunnels from the configuration, its flows from their own tables. That is no
// harm, for no flow names one that comes or goes.
#include "control/flow_options.hh"
#include "control/log.hh"
#include "control/switch.hh"

namespace strait::control {

namespace {

bool is(const flow::option& known, const flow::option& asked)
{
    return asked.length == 0 || (known.option_class == asked.option_class &&
                                 known.type == asked.type && known.length == asked.length);
}

} // namespace

void virtual_switch::set_options(bridge& b, const flow::option_map& options)
{
    auto config = std::make_shared<dataplane::bridge_config>(*b.config);
    config->options = options.empty() ? nullptr : std::make_shared<const flow::option_map>(options);
    b.config = config;
    auto next = draft();
    put(*next, b.config);
    publish(std::move(next));
    b.flows->set_options(b.config->options);
}

outcome<void> virtual_switch::add_options(const std::string& bridge_name,
                                          const std::vector<flow::option>& added)
{
    const auto found = bridges_.find(bridge_name);
    if (found == bridges_.end()) {
        return find_bridge(bridge_name).error();
    }
    const auto& known = found->second.config->options;
    flow::option_map options = known ? *known : flow::option_map{};
    for (const flow::option& o : added) {
        if (auto done = add_option(options, o); done.has_error()) {
            return done;
        }
    }
    set_options(found->second, options);
    for (const flow::option& o : added) {
        log(log_level::info, "control",
            "bridge " + bridge_name + ": option of Geneve " + format_option(o) + " added");
    }
    return {};
}

outcome<std::size_t> virtual_switch::remove_options(const std::string& bridge_name,
                                                    const std::vector<flow::option>& removed,
                                                    bool may_lack)
{
    const auto found = bridges_.find(bridge_name);
    if (found == bridges_.end()) {
        return find_bridge(bridge_name).error();
    }
    const auto& known = found->second.config->options;
    flow::option_map options = known ? *known : flow::option_map{};
    const auto references = found->second.flows->count_options();
    std::size_t count = 0;
    for (const flow::option& o : removed) {
        const std::string name = "tun_metadata" + std::to_string(o.index);
        const flow::option* const there = options.at(o.index);
        if (there == nullptr || !is(*there, o)) {
            if (may_lack) {
                continue;
            }
            return failure{failure_kind::not_found,
                           there == nullptr
                               ? "bridge " + bridge_name + " knows no " + name
                               : name + " is another option, " + format_option(*there)};
        }
        if (const std::size_t users = references[o.index]; users > 0) {
            return failure{failure_kind::in_use, name + " is in " + std::to_string(users) +
                                                     (users == 1 ? " flow or group's bucket"
                                                                 : " flows and groups' buckets") +
                                                     "; remove these first"};
        }
        options.remove(o.index);
        ++count;
    }
    if (count > 0) {
        set_options(found->second, options);
        log(log_level::info, "control",
            "bridge " + bridge_name + ": " + std::to_string(count) + " options of Geneve removed");
    }
    return count;
}

} // namespace strait::control
