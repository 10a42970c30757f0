// SPDX-License-Identifier: BSD-3-Clause
// IGMP and MLD snooping as operators switch it on and see it.
#include "control/switch.hh"

namespace strait::control {

using multicast::group_table;

void virtual_switch::put_multicast(dataplane::bridge_config& to, const bridge_multicast& settings,
                                   const bridge_multicast& before)
{
    if (!settings.snooping) {
        to.groups = nullptr;
    } else if (!to.groups || settings.table_size != before.table_size) {
        // A new one knows no querier, so that all is flooded until it has heard who listens.
        to.groups = std::make_shared<group_table>(settings.table_size);
    }
    if (to.groups) {
        to.groups->set_ageing(settings.ageing);
    }
    to.flood_unregistered = !settings.drop_unregistered;
}

void virtual_switch::forget_learned(const port& p) const
{
    const auto& on = *bridges_.at(p.request.bridge).config;
    on.macs->flush_port(p.config->index);
    if (on.groups) {
        on.groups->flush_port(p.config->index);
    }
    forget_addresses(p);
}

void virtual_switch::look_at_groups() noexcept
{
    for (auto& [name, b] : bridges_) {
        if (b.config->groups) {
            b.config->groups->expire(engine_.now());
        }
    }
}

outcome<void> virtual_switch::flush_groups(const std::optional<std::string>& bridge_name,
                                           const std::optional<std::string>& port_name)
{
    if (port_name) {
        const auto found = find_port_on(bridge_name, *port_name);
        if (found.has_error()) {
            return found.error();
        }
        const port& p = **found;
        if (const auto& groups = bridges_.at(p.request.bridge).config->groups) {
            groups->flush_port(p.config->index);
        }
        return {};
    }
    if (bridge_name) {
        if (const auto found = find_bridge(*bridge_name); found.has_error()) {
            return found.error();
        }
    }
    for (const auto& [name, b] : bridges_) {
        if (b.config->groups && (!bridge_name || name == *bridge_name)) {
            b.config->groups->flush();
        }
    }
    return {};
}

} // namespace strait::control
