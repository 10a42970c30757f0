// SPDX-License-Identifier: BSD-3-Clause
#include "control/names_by_index.hh"

#include "control/parameters.hh"

namespace strait::control {

outcome<names_by_index> names_asked_for(const virtual_switch& from,
                                        const std::optional<std::string>& bridge,
                                        const std::optional<std::string>& port)
{
    if (bridge) {
        if (const auto found = from.find_bridge(*bridge); found.has_error()) {
            return found.error();
        }
    }
    if (port) {
        if (const auto found = from.find_port_on(bridge, *port); found.has_error()) {
            return found.error();
        }
    }
    names_by_index names(dataplane::max_ports, nullptr);
    for (const auto& [name, it] : from.ports()) {
        if (!port || name == *port) {
            names[dataplane::to_index(it.config->index)] = &name;
        }
    }
    return names;
}

std::size_t entries_asked_for(const boost::json::object& p)
{
    constexpr std::size_t usual_limit = 65536;
    return number_as<std::size_t>(p, "limit").value_or(usual_limit);
}

} // namespace strait::control
