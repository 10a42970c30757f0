// SPDX-License-Identifier: BSD-3-Clause
// What has happened to the switch, its ports, their guests and MACs, in order, the latest of it:
// bounded rings whose members have numbers, so that who asks for what came since knows what he has
// missed.
#pragma once

#include <boost/json/object.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

enum class event_kind : std::uint8_t {
    daemon_ready,   // what was kept is there again, and requests are answered from here on
    config_applied, // a whole document
    bridge_added,
    bridge_removed,
    port_added,
    port_removed,
    port_renamed,
    port_enabled, // by the operator
    port_disabled,
    port_lost,     // what it serves is gone or cannot be served: the port goes until it can be
    port_found,    // it is there again
    flows_changed, // how many of a bridge's
    queue_moved,   // to another worker
    // From here on what guests can cause, as often as they like.
    link_up,
    link_down,
    guest_attached, // its VMM has connected, or its driver where there is no VMM between
    guest_left,
    port_flapping,     // so many more of these four, which are not told one by one
    mac_moved,         // learned on another port than before
    mac_flapping,      // so often in a moment that there is a loop, or that two have the same MAC
    mac_held,          // that, and it stays where it was, for a time
    macs_moved,        // so many more moves, which are not told one by one
    rstp_root_changed, // another bridge is the root, or the way there begins elsewhere
    rstp_role_changed, // of a port in the spanning tree
    rstp_topology_changed,
};
// "port_added"
[[nodiscard]] std::string_view name_of(event_kind kind) noexcept;

struct event {
    std::uint64_t sequence; // 1 is the first since the daemon started
    std::chrono::system_clock::time_point when;
    event_kind kind;
    std::string bridge; // empty: it is about all
    std::string port;   // empty: it is not about one port
    boost::json::object details;
};

// Control thread.
class event_log {
public:
    // Of events that guests cause, and again of all others: those of the ones cost the others no
    // room.
    static constexpr std::size_t usual_room = 2048;
    static constexpr std::size_t longest_text = 256; // bytes of a detail; what is longer is cut

    explicit event_log(std::size_t room = usual_room) noexcept : room_{room} {}

    void add(event_kind kind, std::string bridge, std::string port = {},
             boost::json::object details = {});
    [[nodiscard]] std::uint64_t last() const noexcept { return last_; } // 0: there was none
    // When numbers began with 1.
    [[nodiscard]] std::chrono::system_clock::time_point began() const noexcept { return began_; }

    struct look {
        std::uint64_t missed;             // that came after `after`, and made room for later ones
        std::vector<const event*> events; // until the next add()
    };
    // What came after the event of this number, at most last().
    [[nodiscard]] look since(std::uint64_t after) const;

private:
    std::size_t room_;
    std::chrono::system_clock::time_point began_{std::chrono::system_clock::now()};
    std::uint64_t last_{0};
    std::deque<event> by_guests_;
    std::deque<event> others_;
};

} // namespace strait::control
