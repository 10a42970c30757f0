// SPDX-License-Identifier: BSD-3-Clause
// The configuration that workers see: immutable, replaced as a whole, sharing with the one before
// it whatever did not change. Built by control, published by the engine (engine.hh).
#pragma once

#include "dataplane/mac_table.hh"
#include "dataplane/multicast/settings.hh"
#include "dataplane/types.hh"
#include "dataplane/vlan.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace strait::ports {
class rx_queue;
class tx_queue;
} // namespace strait::ports
namespace strait::flow {
class option_map;
struct live_pipeline;
} // namespace strait::flow
namespace strait::endpoint {
struct config;
} // namespace strait::endpoint
namespace strait::guard {
struct port_guard;
class seen_addresses;
} // namespace strait::guard
namespace strait::multicast {
class group_table;
} // namespace strait::multicast
namespace strait::tunnel {
struct settings;
class table;
} // namespace strait::tunnel

namespace strait::dataplane {

class bpdu_channel;
class policer;
struct queue_counters;
class shaper;
class storm_control;
struct tap_set;

struct bridge_config {
    bridge_index index{};
    std::string name;
    std::shared_ptr<mac_table> macs;
    bool forward_bpdu{false};
    bool dhcp_snooping{false};
    bool neigh_suppress{false};
    std::vector<port_index> members; // ascending
    // Has flows, or none: then there is L2 switching alone.
    std::shared_ptr<flow::live_pipeline> flows;
    std::shared_ptr<const flow::option_map> options{}; // of its Geneve tunnels; null: none is known
    std::shared_ptr<multicast::group_table> groups{};  // null: no snooping of IGMP and MLD
    bool flood_unregistered{true}; // multicast of groups that nobody is known to listen to
};

// What spanning tree lets a port do (IEEE 802.1D-2004 17.5).
enum class tree_state : std::uint8_t {
    forwarding, // all: so is every port that it does not run on
    learning,   // learn addresses
    discarding, // nothing: BPDUs are no part of it
};

// One queue pair of a port and the worker that owns both directions.
struct queue_config {
    ports::rx_queue* rx{nullptr};
    ports::tx_queue* tx{nullptr};
    worker_index worker{};
    std::shared_ptr<queue_counters> counters{}; // null: nobody counts the queue's own
};

struct port_config {
    port_index index{};
    std::uint32_t incarnation{0}; // tells users of a reused index apart; never 0 for a live port
    std::string name;
    std::uint16_t number{0}; // as flows name it
    bridge_index bridge{};   // no_bridge: a mirror's output port, which nothing else goes to
    bool admin_up{true};
    tree_state tree{tree_state::forwarding};
    bool isolated{false};    // L2 switching takes nothing from it to others that are
    std::uint32_t mtu{1500}; // L3 bytes: Ethernet header and up to two VLAN tags come on top
    vlan_policy vlan{vlan_policy::transparent()};
    std::vector<queue_config> queues;
    std::shared_ptr<const std::atomic<bool>> link; // carrier, as control saw it last; null: there
    std::shared_ptr<policer> ingress;              // null: no limit
    std::shared_ptr<policer> egress;
    std::shared_ptr<storm_control> storm;               // likewise, of what is flooded
    std::shared_ptr<guard::seen_addresses> addresses{}; // in use behind it; null: nobody notes them
    std::shared_ptr<const guard::port_guard> guard{};   // null: what comes is not looked at
    std::shared_ptr<shaper> egress_shaper;              // of its first queue; null: no packet waits
    // Ports without queues: a tunnel's, and a bridge's LOCAL.
    std::shared_ptr<const tunnel::settings> tunnel{};
    bool local{false};
    bool port_security{false}; // as an operator set them; what comes of them is `guard`
    bool dhcp_trusted{false};
    bool takes_bpdus{false}; // spanning tree runs on it: they are the switch's own
    multicast::port_settings multicast{};
    bool judged{false}; // what leaves by it meets the bridge's rules for that (flow/hidden.hh)

    [[nodiscard]] bool has_no_queues() const noexcept { return local || tunnel; }
    // Whether frames come in and go out by it at all.
    [[nodiscard]] bool passes() const noexcept
    {
        return admin_up && tree == tree_state::forwarding;
    }
    // Whether L2 switching takes nothing from this port to that one.
    [[nodiscard]] bool is_apart_from(const port_config& other) const noexcept
    {
        return isolated && other.isolated;
    }
    // Whether L2 switching may send it what came from another port of its bridge.
    [[nodiscard]] bool takes(vlan_id of, const port_config& from) const noexcept
    {
        return passes() && vlan.carries(of) && !from.is_apart_from(*this);
    }
};

struct snapshot {
    // Indexed by port_index and bridge_index; null where there is none.
    std::vector<std::shared_ptr<const port_config>> ports;
    std::vector<std::shared_ptr<const bridge_config>> bridges;
    // The switch's own addresses, and whose packets to them are tunnels'; null: none.
    std::shared_ptr<const endpoint::config> endpoint{};
    std::shared_ptr<const tunnel::table> tunnels{};
    std::shared_ptr<const tap_set> taps;   // null: nobody watches, and there are no mirrors
    std::shared_ptr<bpdu_channel> bpdus{}; // null: spanning tree runs on no bridge

    [[nodiscard]] const port_config* port(port_index index) const noexcept
    {
        const std::size_t i = to_index(index);
        return i < ports.size() ? ports[i].get() : nullptr;
    }
    [[nodiscard]] const bridge_config* bridge(bridge_index index) const noexcept
    {
        const std::size_t i = to_index(index);
        return i < bridges.size() ? bridges[i].get() : nullptr;
    }
};

} // namespace strait::dataplane
