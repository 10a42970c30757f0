// SPDX-License-Identifier: BSD-3-Clause
// What the switch tells of guests, MACs and flows, beside what it does itself.
#include "control/switch.hh"

#include <algorithm>
#include <span>

namespace strait::control {

void virtual_switch::tell_of_guest(port& p, event_kind kind, steady_time now,
                                   boost::json::object details)
{
    if (p.told.pass(now)) {
        events_.add(kind, p.request.bridge, p.request.name, std::move(details));
    }
}

// Whoever came and went between two looks is told of as well, once.
void virtual_switch::look_at_guests(port& p, steady_time now)
{
    const auto is = p.device->attached();
    if (const std::uint64_t more = p.told.left_out(now); more != 0) {
        events_.add(event_kind::port_flapping, p.request.bridge, p.request.name,
                    {{"count", more},
                     {"link", p.link_up ? "up" : "down"},
                     {"guest", is.there ? "attached" : "none"}});
    }
    if (is == p.guests) {
        return;
    }
    const bool others_came = is.came != p.guests.came;
    // Of who was there, or came and went unseen: the next one's are others.
    if (!is.there || is.came > p.guests.came + (p.guests.there ? 0 : 1)) {
        forget_addresses(p);
    }
    if (p.guests.there && (others_came || !is.there)) {
        tell_of_guest(p, event_kind::guest_left, now);
    }
    if (others_came || (is.there && !p.guests.there)) {
        tell_of_guest(p, event_kind::guest_attached, now,
                      is.taken_over ? boost::json::object{{"taken_over", true}}
                                    : boost::json::object{});
    }
    if (others_came && !is.there) {
        tell_of_guest(p, event_kind::guest_left, now);
    }
    p.guests = is;
}

void virtual_switch::tell_of_moves(bridge& b, steady_time now)
{
    constexpr std::uint64_t many = 4; // there and back, twice
    const auto moves = b.config->macs->take_moves();
    const auto name_of = [this](dataplane::port_index index) {
        const auto found = std::ranges::find_if(
            ports_, [index](const auto& p) { return p.second.config->index == index; });
        return found == ports_.end() ? std::string{} : found->first;
    };
    b.moves_untold += moves.count;
    for (const auto& m : std::span{moves.first}.first(moves.size)) {
        if (!b.moves_told.pass(now)) {
            break;
        }
        b.moves_untold -= m.times;
        boost::json::object details{
            {"mac", m.mac.to_string()}, {"vlan", m.vlan.value()}, {"from", name_of(m.from)}};
        if (m.times > 1) {
            details["times"] = m.times;
        }
        const bool flaps = m.times >= many && b.loop_guard != loop_guard::off;
        if (m.held) {
            details["seconds"] = b.loop_hold;
        }
        events_.add(m.held  ? event_kind::mac_held
                    : flaps ? event_kind::mac_flapping
                            : event_kind::mac_moved,
                    b.name, name_of(m.to), std::move(details));
    }
    if (b.moves_untold != 0 && b.count_told.pass(now)) {
        events_.add(event_kind::macs_moved, b.name, {}, {{"count", b.moves_untold}});
        b.moves_untold = 0;
    }
}

void virtual_switch::tell_of_flows(bridge& b, steady_time now)
{
    const auto is = b.flows->so_far();
    const auto was = b.flows_told;
    if (is == was || !b.flows_tell.pass(now)) {
        return;
    }
    boost::json::object details;
    const auto add = [&details](const char* name, std::uint64_t count) {
        if (count != 0) {
            details[name] = count;
        }
    };
    add("added", is.added - was.added);
    add("modified", is.modified - was.modified);
    add("removed", is.removed - was.removed);
    add("expired", is.expired - was.expired);
    events_.add(event_kind::flows_changed, b.name, {}, std::move(details));
    b.flows_told = is;
}

void virtual_switch::look_at_changes(steady_time now)
{
    for (auto& [name, b] : bridges_) {
        tell_of_moves(b, now);
        tell_of_flows(b, now);
    }
}

} // namespace strait::control
