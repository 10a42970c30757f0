// SPDX-License-Identifier: BSD-3-Clause
// The named model of the switch: bridges and ports as operators know them, over the engine's
// indices and snapshots. It allocates indices and numbers, assigns queues to workers, publishes
// each change and undoes it wholly when a part of it fails. JSON and the port types are not here.
#pragma once

#include "control/bindings.hh"
#include "control/bridge_flows.hh"
#include "control/dhcp_snooper.hh"
#include "control/endpoints.hh"
#include "control/event_log.hh"
#include "control/failure.hh"
#include "control/hello_repeater.hh"
#include "control/log.hh"
#include "control/stp/bridge.hh"
#include "control/tap_request.hh"
#include "dataplane/bpdu_channel.hh"
#include "dataplane/engine.hh"
#include "dataplane/guard/guard.hh"
#include "dataplane/multicast/group_table.hh"
#include "dataplane/policer.hh"
#include "dataplane/shaping.hh"
#include "dataplane/storm.hh"
#include "ports/port.hh"

#include <boost/json/object.hpp>

#include <atomic>
#include <bitset>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace strait::control {

inline constexpr std::uint16_t max_port_number = 65279;
inline constexpr std::uint32_t default_mtu = 1500;
inline constexpr std::string_view local_type = "local"; // of bridges' own ports

// What an operator says of a port's VLANs: nothing, access, customer or trunk, never two of them.
struct vlan_settings {
    std::optional<std::uint16_t> access{};
    std::optional<std::uint16_t> customer{};           // the service VLAN
    std::optional<std::vector<std::uint16_t>> trunk{}; // ascending
    std::optional<std::uint16_t> native{};             // with trunk only
    bool service_tags{false};                          // with trunk only: 802.1ad's

    [[nodiscard]] dataplane::vlan_policy policy() const;
    bool operator==(const vlan_settings&) const = default;
};

// What an operator says of IGMP and MLD snooping on a bridge.
struct bridge_multicast {
    bool snooping{false};
    bool drop_unregistered{false};
    dataplane::seconds_t ageing{multicast::group_table::usual_ageing};
    std::size_t table_size{multicast::group_table::usual_groups};

    bool operator==(const bridge_multicast&) const noexcept = default;
};

// What an operator says of spanning tree on a bridge, and on a port.
struct bridge_tree {
    bool runs{false};
    stp::bridge_settings settings{};

    bool operator==(const bridge_tree&) const noexcept = default;
};
struct port_tree {
    bool runs{true};         // where it runs on the bridge, and can on such a port
    std::uint16_t number{0}; // in the port's identifier; 0: any
    stp::port_settings settings{};

    bool operator==(const port_tree&) const noexcept = default;
};

struct port_request {
    std::string name;
    std::string bridge;
    std::string type;
    boost::json::object options; // the type's own parameters, checked
    std::optional<std::uint16_t> number{};
    vlan_settings vlan;
    std::uint32_t mtu{default_mtu};
    bool admin_up{true};
    bool isolated{false};
    dataplane::port_rate ingress{};
    dataplane::port_rate egress{};
    dataplane::storm_limits storm{};
    std::uint32_t mac_limit{0};
    bool port_security{false};
    bool dhcp_trusted{false};
    std::optional<dataplane::shaping> shaping{};
    multicast::port_settings multicast{};
    port_tree tree{};
};

// What is not set stays.
struct port_change {
    std::optional<vlan_settings> vlan{};
    std::optional<std::uint16_t> native{}; // of the trunk that the port is already
    std::optional<bool> service_tags{};    // likewise
    std::optional<std::uint32_t> mtu{};
    std::optional<bool> admin_up{};
    std::optional<bool> isolated{};
    std::optional<dataplane::port_rate> ingress{};
    std::optional<dataplane::port_rate> egress{};
    std::optional<dataplane::storm_limits> storm{};
    std::optional<std::uint32_t> mac_limit{};
    std::optional<bool> port_security{};
    std::optional<bool> dhcp_trusted{};
    std::optional<dataplane::shaping> shaping{};
    std::optional<multicast::port_settings> multicast{};
    std::optional<port_tree> tree{};
};

// What is done about a MAC that moves between ports all the time, as a loop makes it.
enum class loop_guard : std::uint8_t {
    off,    // it is told of as any that moves
    report, // an event tells of it
    damp,   // it is held where it was, for a time
};

// "damp"
[[nodiscard]] constexpr std::string_view name_of(loop_guard g) noexcept
{
    return g == loop_guard::damp ? "damp" : g == loop_guard::off ? "off" : "report";
}

struct bridge_request {
    std::string name;
    bool forward_bpdu{false};
    dataplane::seconds_t mac_ageing{300};
    std::size_t mac_table_size{65536};
    std::size_t flow_limit{usual_flow_limit_of_bridges};
    bool dhcp_snooping{false};
    bool neigh_suppress{false};
    bridge_multicast multicast{};
    control::loop_guard loop_guard{control::loop_guard::report};
    dataplane::seconds_t loop_hold{30};
    bridge_tree tree{};
};

struct bridge_change {
    std::optional<bool> forward_bpdu{};
    std::optional<dataplane::mac_address> mac{};
    std::optional<dataplane::seconds_t> mac_ageing{};
    std::optional<std::size_t> flow_limit{};
    std::optional<bool> dhcp_snooping{};
    std::optional<bool> neigh_suppress{};
    std::optional<bridge_multicast> multicast{};
    std::optional<control::loop_guard> loop_guard{};
    std::optional<dataplane::seconds_t> loop_hold{}; // at least 1
    std::optional<bridge_tree> tree{};
};

// How the switch makes ports of one type.
struct port_type {
    // What the port needs for itself, "socket /run/a.sock": no two ports share one.
    std::function<std::vector<std::string>(const port_request&)> claims;
    std::function<ports::result<std::unique_ptr<ports::port>>(const port_request&)> make;
    // What a port of this name left that was a switch's before this one, and is none of this one's.
    std::function<void(const std::string& name)> forget{};
};

// Sums over the workers since the port was added.
struct port_totals {
    std::uint64_t rx_packets{0};
    std::uint64_t rx_bytes{0};
    std::uint64_t tx_packets{0};
    std::uint64_t tx_bytes{0};
    std::array<std::uint64_t, dataplane::drop_reason_count> drops{};
};

// The same of one of its queue pairs.
struct queue_totals {
    std::uint64_t rx_packets{0};
    std::uint64_t tx_packets{0};
    std::array<std::uint64_t, dataplane::drop_reason_count> drops{};
};

// All calls from the control thread.
class virtual_switch {
public:
    // Events of a bridge's MACs, and of a port's guest, that are told in such a time; the others
    // are counted.
    static constexpr unsigned most_told = 20;
    static constexpr std::chrono::seconds told_window{10};

    struct bridge {
        std::string name;
        dataplane::bridge_index index;
        std::size_t mac_table_size;
        std::shared_ptr<const dataplane::bridge_config> config; // what is published
        std::unique_ptr<bridge_flows> flows;
        dataplane::mac_address mac; // its own
        control::loop_guard loop_guard{control::loop_guard::report};
        dataplane::seconds_t loop_hold{bridge_request{}.loop_hold}; // with damp
        bridge_flows::traffic received; // by ports that were up then, those that are gone, too
        // Questions for neighbours that the switch answered.
        std::shared_ptr<std::atomic<std::uint64_t>> answered{
            std::make_shared<std::atomic<std::uint64_t>>(0)};
        // Events: how many MACs are told of, what was not told of, and when it is.
        line_limit moves_told{most_told, told_window};
        std::uint64_t moves_untold{0};
        line_limit count_told{1, told_window};
        bridge_flows::totals flows_told{};
        line_limit flows_tell{1, told_window};
        bridge_multicast multicast{};
        bridge_tree tree_settings{};
        std::unique_ptr<stp::bridge> tree{}; // null: it does not run
        // What events have told of it.
        stp::bridge_id told_root{};
        stp::port_number told_root_port{0};
        // When its topology changed last, or was told to have.
        std::optional<std::chrono::system_clock::time_point> tree_changed_at{};
        line_limit trees_told{most_told, told_window};
    };
    struct port {
        port_request request; // as it was made
        std::vector<std::string> claims;
        std::uint16_t number;
        vlan_settings vlan;
        std::shared_ptr<const dataplane::port_config> config; // what is published
        port_totals base; // what the index had counted before this port
        port_totals seen; // and what of it is in the bridge's `received`, or was not for it
        bool link_up{false};
        std::shared_ptr<std::atomic<bool>> link;  // the same, for workers
        ports::port::guests guests{};             // as events tell of them
        line_limit told{most_told, told_window};  // of those that its guest causes
        port_totals cleared;                      // when its counters were
        std::vector<queue_totals> cleared_queues; // likewise; fewer than it has: none was
        dataplane::port_rate ingress;
        dataplane::port_rate egress;
        dataplane::storm_limits storm;
        std::uint32_t mac_limit; // 0: none
        std::unique_ptr<ports::port> device;
        std::shared_ptr<dataplane::shaper> shaper; // null: it never had a rate to wait for
        port_tree tree;
        stp::port_number tree_number{0};          // 0: spanning tree does not run on it
        stp::role told_role{stp::role::disabled}; // by events
        std::map<std::size_t, dataplane::worker_index> pins{}; // by queue pair
        // By queue pair, as measured last: its cycles then, and its part of its worker's time
        // before; none: not yet.
        std::vector<std::uint64_t> measured_cycles{};
        std::vector<double> loads{};
    };

    virtual_switch(dataplane::engine& engine, std::map<std::string, port_type> types);
    // Stops every port, unpublishes everything, destroys the ports.
    ~virtual_switch();
    virtual_switch(const virtual_switch&) = delete;
    virtual_switch& operator=(const virtual_switch&) = delete;

    // Between the two calls nothing is published and no port serves; the second publishes all and
    // starts every port. It returns those that failed, which are there all the same.
    void hold_back() noexcept { holding_back_ = true; }
    struct port_failure {
        std::string port;
        std::string message;
    };
    [[nodiscard]] std::vector<port_failure> release();
    // Those whose device is gone: they are to be removed.
    [[nodiscard]] std::vector<port_failure> lost_ports() const;

    outcome<void> add_bridge(const bridge_request& request);
    outcome<void> set_bridge(const std::string& name, const bridge_change& change);
    outcome<void> remove_bridge(const std::string& name, bool with_ports);

    outcome<void> add_port(const port_request& request);
    outcome<void> set_port(const std::string& name, const port_change& change);
    outcome<void> remove_port(const std::string& name);
    // The port stays what it is, with its guest, counters, number and all that names it here: its
    // stations, mirrors' and captures' taps. Refused if the name is another's.
    outcome<void> rename_port(const std::string& from, const std::string& to);
    // What a port keeps outside the process by the name that it had goes: its new one is kept.
    void settle_name(const std::string& name) noexcept;
    // Refuses rates of classes that the port does not have, and what no pool has room for.
    outcome<void> set_shaping(const std::string& name, const dataplane::shaping& to);
    // Nothing if ports of this type may be shaped.
    [[nodiscard]] static std::optional<failure> not_to_be_shaped(const port_request& request);
    // Whether what leaves by a port, which there is, meets the rules of its bridge for that.
    void set_judged(const std::string& name, bool judged);
    // Calls it for each bridge that is new, which has but its first flow.
    void when_bridge_comes(std::function<void(bridge&)> call) { bridge_comes_ = std::move(call); }
    // Another whenever something was published.
    [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
    // Calls it for each port that goes, while its number is still its own; workers know it no more.
    void when_port_goes(std::function<void(const port&)> call) { port_goes_ = std::move(call); }
    // Of a port that there is not: what an earlier switch kept for it, its guest's next port would
    // find.
    void forget_port(const std::string& name) noexcept;

    // What has happened here.
    [[nodiscard]] event_log& events() noexcept { return events_; }
    [[nodiscard]] const event_log& events() const noexcept { return events_; }
    // By name.
    [[nodiscard]] const std::map<std::string, bridge>& bridges() const noexcept { return bridges_; }
    [[nodiscard]] const std::map<std::string, port>& ports() const noexcept { return ports_; }
    // The port, which must be on the bridge if one is named.
    [[nodiscard]] outcome<const port*> find_port_on(const std::optional<std::string>& bridge_name,
                                                    const std::string& name) const;
    [[nodiscard]] outcome<const bridge*> find_bridge(const std::string& name) const;
    [[nodiscard]] outcome<const port*> find_port(const std::string& name) const;

    // The ports of a bridge, as flows may call them.
    [[nodiscard]] port_names port_names_of(const std::string& bridge_name) const;
    // The VLAN that untagged frames of a port belong to, 0 for none.
    [[nodiscard]] static std::uint16_t untagged_vlan(const port& p) noexcept;
    // True when an entry of that MAC was there before. No VLAN: that of untagged frames.
    outcome<bool> add_mac(const std::string& port, dataplane::mac_address mac,
                          std::optional<std::uint16_t> vlan);
    outcome<bool> remove_mac(const std::string& bridge, dataplane::mac_address mac,
                             std::uint16_t vlan);
    // Those that add_mac() made and that are still there, by bridge, VLAN and MAC.
    struct static_mac {
        std::string port;
        dataplane::mac_address mac;
        std::uint16_t vlan; // 0: none
    };
    [[nodiscard]] std::vector<static_mac> static_macs() const;
    // Learned entries only; each that is given narrows it.
    outcome<void> flush_macs(const std::optional<std::string>& bridge,
                             const std::optional<std::string>& port,
                             std::optional<std::uint16_t> vlan);

    // The switch's own addresses. The first of a bridge makes its LOCAL port, named as the bridge.
    outcome<void> add_address(const endpoints::address& a);
    outcome<bool> remove_address(const std::string& name, const endpoint::ip_prefix& at);
    outcome<void> add_route(const endpoints::route& r);
    bool remove_route(const endpoint::ip_prefix& to);
    [[nodiscard]] const endpoints& own_endpoints() const noexcept { return endpoints_; }
    // Of a port's stations; without a VLAN that of its untagged frames.
    outcome<void> add_binding(const std::string& port, std::optional<std::uint16_t> vlan,
                              dataplane::mac_address mac,
                              const std::vector<endpoint::ip_prefix>& at);
    // How many MACs and addresses went: see bindings::remove().
    outcome<std::size_t> remove_binding(const std::string& port,
                                        std::optional<dataplane::mac_address> mac,
                                        std::optional<std::uint16_t> vlan,
                                        const std::vector<endpoint::ip_prefix>& at);
    [[nodiscard]] const bindings& all_bindings() const noexcept { return bindings_; }
    // Ports whose bindings have changed since the last call.
    [[nodiscard]] std::set<std::string> take_changed_bindings() { return bindings_.take_changed(); }
    void look_again_at_bindings(const std::string& of) { bindings_.note_change(of); }
    // Leases that an earlier switch saw, where there is still something that looks at them.
    struct known_lease {
        std::string port;
        std::optional<std::uint16_t> vlan;
        dataplane::mac_address mac;
        endpoint::ip_address address;
        std::optional<bindings::clock::time_point> until;
    };
    void restore_leases(const std::vector<known_lease>& leases);
    // DHCP messages that workers showed; whether there may be more.
    bool look_at_dhcp(bindings::clock::time_point now);
    // Rung when there are some.
    [[nodiscard]] dataplane::doorbell& dhcp_bell() noexcept { return dhcp_->bell; }
    // Ends leases whose time is up.
    void look_at_leases(bindings::clock::time_point now);
    // Now and then, so that ports at their limit of addresses may have new ones.
    void look_at_macs() noexcept;
    // Ends memberships of multicast groups, and what is known of routers, when it was not confirmed
    // in time.
    void look_at_groups() noexcept;
    // What was learned of groups and routers; each that is given narrows it.
    outcome<void> flush_groups(const std::optional<std::string>& bridge,
                               const std::optional<std::string>& port);

    // Options of Geneve that a bridge's flows may name: all of these or, after an error, none.
    outcome<void> add_options(const std::string& bridge, const std::vector<flow::option>& added);
    // All of these, or none: by their indices, and as they are if they have a length. How many
    // there were; fewer than asked for may be only if they `may_lack`.
    outcome<std::size_t> remove_options(const std::string& bridge,
                                        const std::vector<flow::option>& removed, bool may_lack);

    // Shows packets to whom it asks for, from now on until it is removed. Ports that it names may
    // come and go; a port that it sends to has nothing else to carry while it is there.
    tap_id add_tap(tap_request request);
    // After it no worker uses its outlet.
    void remove_tap(tap_id id);

    using steady_time = std::chrono::steady_clock::time_point;

    // The queue pair is that worker's from here on, whatever the load. Without loss and in order.
    outcome<void> pin_queue(const std::string& name, std::size_t queue, std::size_t worker);
    // Whether it was pinned. It stays where it is until a balance moves it.
    outcome<bool> unpin_queue(const std::string& name, std::size_t queue);
    struct queue_move {
        std::string port;
        std::size_t queue;
        dataplane::worker_index from;
        dataplane::worker_index to;
    };
    // Moves what is not pinned, so that the worker that has most to do, by what was measured last,
    // has less. What was moved. Refused before anything was measured.
    outcome<std::vector<queue_move>> balance_queues();
    // Measures, now and then, and has it done by itself where it is worth it.
    void look_at_queues(steady_time now = std::chrono::steady_clock::now());
    void set_balancing(bool on) noexcept { balancing_ = on; }
    [[nodiscard]] std::uint64_t queue_moves() const noexcept { return queue_moves_; }

    [[nodiscard]] port_totals totals(const port& p) const;
    // The same since its counters were cleared.
    [[nodiscard]] port_totals since_cleared(const port& p) const;
    // Of each of its queue pairs, since the port's counters were cleared.
    [[nodiscard]] static std::vector<queue_totals> totals_of_queues(const port& p);
    // They begin with 0 again, the queues', too. Returns what they were.
    port_totals clear_counters(const std::string& name);
    [[nodiscard]] dataplane::engine& engine() const noexcept { return engine_; }

    // BPDUs that came; true: more may be there. Rung when some come.
    [[nodiscard]] bool look_at_bpdus();
    [[nodiscard]] dataplane::doorbell& bpdu_bell() noexcept { return bpdus_->bell(); }
    // A second has passed.
    void look_at_trees();
    // Both, if they are due: by a timer, and between the steps of what holds the control thread for
    // long. When the next second is due.
    steady_time keep_trees(steady_time now = std::chrono::steady_clock::now());
    // Has a port find out anew whether its peer speaks RSTP.
    outcome<void> check_migration(const std::string& name);
    // Gives ports, which there are, these numbers in their bridges' trees, 0: any; all at once, so
    // that they may be one another's. No two of a bridge's ports are to have the same then.
    void set_tree_numbers(const std::map<std::string, stp::port_number>& numbers);
    // Of a port that spanning tree runs on; nothing: it does not.
    [[nodiscard]] std::optional<stp::port_view> tree_of(const port& p) const;
    // What a port's BPDUs come from, where spanning tree runs on it.
    [[nodiscard]] dataplane::mac_address bpdu_source(const bridge& b, const port& p) const;
    // Whether it can run on ports of this type.
    [[nodiscard]] static bool may_have_tree(std::string_view type) noexcept;
    // Whether the addresses in use behind ports of this type are noted: a guest is there, or the
    // host itself, and no network.
    [[nodiscard]] static bool notes_addresses(std::string_view type) noexcept;

    // Notices links and guests that came or went: tells of them and forgets what was learned on a
    // lost link.
    void look_at_links(steady_time now = std::chrono::steady_clock::now());
    // Tells of MACs that have moved, and of flows that have changed.
    void look_at_changes(steady_time now = std::chrono::steady_clock::now());
    // Ends flows whose time is up.
    void look_at_flows();

private:
    using snapshot = dataplane::snapshot;

    [[nodiscard]] std::unique_ptr<snapshot> draft() const;
    void publish(std::unique_ptr<snapshot> next, bool moves_queues = false);
    static void put(snapshot& next, std::shared_ptr<const dataplane::port_config> config);
    static void put(snapshot& next, std::shared_ptr<const dataplane::bridge_config> config);
    static void erase_port(snapshot& next, dataplane::port_index index);

    void number_ports(bridge& b);
    // Adds up what came since the last time.
    void receive(bridge& b, port& p) const;
    void look_at_guests(port& p, steady_time now);
    void tell_of_guest(port& p, event_kind kind, steady_time now, boost::json::object details = {});
    void tell_of_moves(bridge& b, steady_time now);
    void tell_of_flows(bridge& b, steady_time now);
    bridge_flows::traffic received(bridge& b);
    [[nodiscard]] outcome<std::uint16_t> choose_number(const port_request& request) const;
    [[nodiscard]] outcome<dataplane::port_index> free_port_index() const;
    [[nodiscard]] std::vector<dataplane::queue_config>
    assign_queues(const ports::port& device) const;
    [[nodiscard]] outcome<port*> port_with_queue(const std::string& name, std::size_t queue);
    // Every one at once; `why` is for those who read of it.
    void move_queues(const std::vector<queue_move>& moves, std::string_view why);
    void measure_queues();
    [[nodiscard]] std::vector<queue_move> plan_moves(double gain) const;
    [[nodiscard]] std::shared_ptr<dataplane::policer>
    make_policer(const dataplane::port_rate& rate) const;
    [[nodiscard]] std::shared_ptr<dataplane::storm_control>
    make_storm_control(const dataplane::storm_limits& limits) const;
    [[nodiscard]] std::optional<failure> refuse_shaping(const port_request& request,
                                                        const dataplane::shaping& s) const;
    [[nodiscard]] static std::shared_ptr<dataplane::shaper>
    make_shaper(const std::vector<dataplane::queue_config>& queues, const dataplane::shaping& s);
    [[nodiscard]] static std::string waited_in_vain(const port& p);
    [[nodiscard]] port_totals counted(dataplane::port_index index) const;
    // Of VLANs that add_mac() would refuse on the port; how many there were.
    std::size_t remove_static_macs_not_carried(const port& p);
    [[nodiscard]] static std::shared_ptr<dataplane::bridge_config>
    with_member(const dataplane::bridge_config& from, dataplane::port_index index);
    [[nodiscard]] static std::shared_ptr<dataplane::bridge_config>
    without_member(const dataplane::bridge_config& from, dataplane::port_index index);
    void withdraw(const port& p);
    // Addresses, routes and tunnels as they are now, without a port that goes.
    void put_endpoints(snapshot& next, const port* without) const;
    void publish_endpoints();
    // Groups that were learned stay where the table does.
    static void put_multicast(dataplane::bridge_config& to, const bridge_multicast& settings,
                              const bridge_multicast& before);
    // What was learned on a port that is not what it was.
    void forget_learned(const port& p) const;
    // Which addresses are in use behind it.
    static void forget_addresses(const port& p) noexcept;
    // What is wrong with it, as a sentence.
    [[nodiscard]] static std::optional<failure> refuse_tree(const bridge_tree& t, bool forwards);
    [[nodiscard]] static std::optional<failure> refuse_tree(const port_request& request,
                                                            const port_tree& t);
    [[nodiscard]] std::optional<failure> refuse_tree_number(const std::string& bridge,
                                                            const std::string& port,
                                                            const port_tree& t) const;
    void start_or_stop_tree(bridge& b, const bridge_tree& to);
    // Whether it runs there now, by all that has a say in it.
    [[nodiscard]] bool has_tree(const bridge& b, const port& p) const;
    // Of a port that comes to its bridge: until the tree lets it, it does not forward.
    void begin_in_tree(const bridge& b, const port& p, dataplane::port_config& config) const;
    [[nodiscard]] stp::port_number free_tree_number(const bridge& b, const port& p) const;
    // Takes the port out of its bridge's tree, if it is no more to be there, or not by this number.
    void leave_tree(bridge& b, port& p) const;
    // Enters the port into its bridge's tree, takes it out, or tells that of what has changed.
    void look_at_tree_port(bridge& b, port& p);
    // Puts into effect what came of it.
    void settle_tree(bridge& b);
    void tell_of_tree(bridge& b);
    void send_bpdu(const bridge& b, stp::port_number number, const stp::bpdu& message);
    [[nodiscard]] hello_repeater::hello frame_of(const bridge& b, const port& p,
                                                 const stp::bpdu& message) const;
    // Any thread.
    void hand_over(const hello_repeater::hello& frame);
    // What is repeated if the control thread is not back in time.
    void renew_hellos(const bridge& b);
    [[nodiscard]] port* find_tree_port(const bridge& b, stp::port_number number);
    void keep_own_macs(const bridge& b);
    void forget_own_macs(const bridge& b);

    void put_guards(snapshot& next);
    [[nodiscard]] std::shared_ptr<const guard::port_guard>
    make_guard(const dataplane::port_config& p, const dataplane::bridge_config& on,
               const std::shared_ptr<const guard::directory>& known);
    [[nodiscard]] outcome<void> check_binding(const port& p, std::optional<std::uint16_t> vlan,
                                              dataplane::mac_address mac,
                                              const std::vector<endpoint::ip_prefix>& at) const;
    // Whether workers are to know of it.
    [[nodiscard]] bool see_dhcp(const dataplane::tap_record& r, bindings::clock::time_point now);
    // A lease of somebody else's; without an address all of the MAC's.
    struct in_the_way {
        std::string port;
        std::optional<std::uint16_t> vlan;
        dataplane::mac_address mac;
        std::optional<endpoint::ip_address> address;
    };
    [[nodiscard]] std::optional<std::vector<in_the_way>>
    make_way(const dhcp_snooper::change& c, dataplane::vlan_id vlan,
             bindings::clock::time_point now) const;
    [[nodiscard]] bool bind(const dhcp_snooper::change& c, bindings::clock::time_point now);

    void set_options(bridge& b, const flow::option_map& options);
    void put_taps(snapshot& next) const;
    [[nodiscard]] bool is_output(const std::string& bridge_name,
                                 const std::string& port_name) const;
    // Makes of the bridge's port of this name, if there is one, what the taps say that it is.
    void reserve_or_free(const std::string& bridge_name, const std::string& port_name);

    dataplane::engine& engine_;
    std::map<std::string, port_type> types_;
    retired_flows retired_flows_;
    std::map<std::string, bridge> bridges_;
    std::map<std::string, port> ports_;
    endpoints endpoints_;
    bindings bindings_;
    dhcp_snooper snooper_;
    std::shared_ptr<guard::dhcp_outlet> dhcp_;
    std::map<std::uint32_t, std::shared_ptr<dataplane::policer>> dhcp_limits_; // by incarnation
    std::shared_ptr<dataplane::bpdu_channel> bpdus_;
    std::map<std::uint32_t, std::shared_ptr<dataplane::bpdu_limit>> bpdu_limits_; // likewise
    using mac_place = std::tuple<std::string, std::uint16_t, std::uint64_t>; // bridge, VLAN, MAC
    std::map<mac_place, std::string> static_macs_;                           // their ports
    std::bitset<dataplane::max_ports> used_ports_;
    std::bitset<dataplane::max_bridges> used_bridges_;
    std::uint32_t last_incarnation_{0};
    std::map<tap_id, tap_request> taps_;
    tap_id last_tap_{0};
    std::function<void(const port&)> port_goes_;
    std::function<void(bridge&)> bridge_comes_;
    event_log events_;
    std::uint64_t version_{0};
    bool holding_back_{false};
    std::unique_ptr<snapshot> held_; // what release() will publish
    steady_time next_tree_second_{std::chrono::steady_clock::now() + std::chrono::seconds{1}};
    bool balancing_{true};
    steady_time next_measure_{};
    std::uint64_t measured_at_{0}; // TSC; 0: never
    // By worker: its busy cycles then, and the part of its time before that was no queue's.
    std::vector<std::uint64_t> measured_busy_{};
    std::vector<double> other_loads_{};
    unsigned unbalanced_{0}; // measurements in a row after which a balance was worth it
    std::uint64_t queue_moves_{0};
    hello_repeater hellos_{[this](const hello_repeater::hello& h) { hand_over(h); }}; // goes first
};

} // namespace strait::control
