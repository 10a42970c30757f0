// SPDX-License-Identifier: BSD-3-Clause
#include "control/event_log.hh"

#include "control/utf8.hh"

#include <algorithm>
#include <iterator>
#include <utility>

namespace strait::control {

std::string_view name_of(event_kind kind) noexcept
{
    switch (kind) {
    case event_kind::daemon_ready:
        return "daemon_ready";
    case event_kind::config_applied:
        return "config_applied";
    case event_kind::bridge_added:
        return "bridge_added";
    case event_kind::bridge_removed:
        return "bridge_removed";
    case event_kind::port_added:
        return "port_added";
    case event_kind::port_removed:
        return "port_removed";
    case event_kind::port_renamed:
        return "port_renamed";
    case event_kind::port_enabled:
        return "port_enabled";
    case event_kind::port_disabled:
        return "port_disabled";
    case event_kind::port_lost:
        return "port_lost";
    case event_kind::port_found:
        return "port_found";
    case event_kind::flows_changed:
        return "flows_changed";
    case event_kind::queue_moved:
        return "queue_moved";
    case event_kind::link_up:
        return "link_up";
    case event_kind::link_down:
        return "link_down";
    case event_kind::guest_attached:
        return "guest_attached";
    case event_kind::guest_left:
        return "guest_left";
    case event_kind::port_flapping:
        return "port_flapping";
    case event_kind::mac_moved:
        return "mac_moved";
    case event_kind::mac_flapping:
        return "mac_flapping";
    case event_kind::mac_held:
        return "mac_held";
    case event_kind::macs_moved:
        return "macs_moved";
    case event_kind::rstp_root_changed:
        return "rstp_root_changed";
    case event_kind::rstp_role_changed:
        return "rstp_role_changed";
    case event_kind::rstp_topology_changed:
        break;
    }
    return "rstp_topology_changed";
}

void event_log::add(event_kind kind, std::string bridge, std::string port,
                    boost::json::object details)
{
    for (auto& [name, value] : details) {
        if (auto* const text = value.if_string()) { // what devices and the kernel say, too
            *text = as_utf8(std::string_view{*text}.substr(0, longest_text));
        }
    }
    auto& ring = kind < event_kind::link_up ? others_ : by_guests_;
    if (ring.size() == room_) {
        ring.pop_front();
    }
    ring.push_back({++last_, std::chrono::system_clock::now(), kind, std::move(bridge),
                    std::move(port), std::move(details)});
}

event_log::look event_log::since(std::uint64_t after) const
{
    look out{0, {}};
    const auto take = [after, &out](const std::deque<event>& ring) {
        const auto first = std::ranges::upper_bound(ring, after, {}, &event::sequence);
        const auto middle = static_cast<std::ptrdiff_t>(out.events.size());
        std::transform(first, ring.end(), std::back_inserter(out.events),
                       [](const event& e) { return &e; });
        std::ranges::inplace_merge(out.events, out.events.begin() + middle, {}, &event::sequence);
    };
    take(others_);
    take(by_guests_);
    out.missed = last_ - std::min(after, last_) - out.events.size();
    return out;
}

} // namespace strait::control
