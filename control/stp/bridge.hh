// SPDX-License-Identifier: BSD-3-Clause
// The rapid spanning tree protocol of one bridge (IEEE 802.1D-2004 clause 17): its ports' roles and
// states, from what is received and how time passes. No thread, no clock and no socket is here: who
// owns it calls tick() once a second, hands in what came, and after each call puts ports' states
// into effect, flushes what is to be flushed, and then sends what is to be sent, in that order:
// what is sent may promise that a port does not forward.
#pragma once

#include "control/stp/bpdu.hh"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace strait::stp {

struct bridge_settings {
    // The least settings and the greatest (table 17-1, but for the hello time, whose greatest is
    // IEEE 802.1D-1998's).
    static constexpr std::uint16_t priority_step = 4096;
    static constexpr std::uint16_t most_priority = 61440;
    static constexpr std::uint16_t least_hello = 1, most_hello = 10;
    static constexpr std::uint16_t least_max_age = 6, most_max_age = 40;
    static constexpr std::uint16_t least_forward_delay = 4, most_forward_delay = 30;
    static constexpr std::uint16_t least_hold_count = 1, most_hold_count = 10;

    std::uint16_t priority{32768}; // a multiple of priority_step
    std::uint16_t hello{2};        // seconds
    std::uint16_t max_age{20};
    std::uint16_t forward_delay{15};
    std::uint16_t hold_count{6}; // BPDUs that a port sends in a second
    bool rapid{true};            // false: as an STP bridge

    // 17.14: 2 x (forward_delay - 1) >= max_age >= 2 x (hello + 1).
    [[nodiscard]] bool times_fit() const noexcept
    {
        return 2 * (forward_delay - 1) >= max_age && max_age >= 2 * (hello + 1);
    }
    bool operator==(const bridge_settings&) const noexcept = default;
};

enum class point_to_point : std::uint8_t {
    found, // as the link is: with two ends, which what is full duplex has
    yes,
    no,
};

struct port_settings {
    static constexpr std::uint8_t priority_step = 16;
    static constexpr std::uint8_t most_priority = 240;
    static constexpr std::uint32_t most_cost = 200'000'000;

    std::uint8_t priority{128}; // a multiple of priority_step
    std::uint32_t path_cost{0}; // 0: by the link's speed
    bool admin_edge{false};     // there is no bridge behind it
    bool auto_edge{true};       // nor if none is heard of in three seconds
    point_to_point link{point_to_point::found};

    bool operator==(const port_settings&) const noexcept = default;
};

// Table 17-3: in proportion to the time that a bit takes. Mbit/s; 0: not known, as of 1 Gbit/s.
[[nodiscard]] std::uint32_t path_cost_of(std::uint64_t mbps) noexcept;

enum class state : std::uint8_t { discarding, learning, forwarding };

// What is told of a port.
struct port_view {
    stp::port_id id;
    stp::role role;
    stp::state state;
    bool enabled; // its link and its bridge let it
    bool edge;
    bool point_to_point;
    bool rapid; // its peer does not speak STP alone
    std::uint32_t path_cost;
    priority_vector designated; // what the LAN's designated port says
    std::uint64_t received;     // BPDUs
    std::uint64_t sent;
    std::uint64_t refused;           // that were damaged, not understood or too old
    std::uint64_t became_forwarding; // how often it came to forward
};

struct bridge_view {
    bridge_id id;
    bridge_id root;
    std::uint32_t cost;    // of the way there
    port_number root_port; // 0: it is the root
    times timers;          // as the root has them
    std::uint64_t topology_changes;
    std::optional<std::uint64_t> since_change; // seconds; none: there was none
    bool topology_changes_now;
};

class bridge {
public:
    bridge(const bridge_settings& settings, dataplane::mac_address address);
    ~bridge();
    bridge(const bridge&) = delete;
    bridge& operator=(const bridge&) = delete;

    void set(const bridge_settings& settings);
    void set_address(dataplane::mac_address address);
    [[nodiscard]] const bridge_settings& settings() const noexcept { return settings_; }

    // The number is 1 to most_port_number, and nobody's.
    void add_port(port_number number, const port_settings& settings);
    void set_port(port_number number, const port_settings& settings);
    void remove_port(port_number number);
    [[nodiscard]] bool has_port(port_number number) const noexcept
    {
        return ports_.contains(number);
    }
    // The link is up and the port may be used, or not; with its speed in Mbit/s, 0 if it is not
    // known.
    void set_link(port_number number, bool up, std::uint64_t mbps, bool full_duplex = true);
    // Has the port find out anew whether its peer speaks more than STP (17.19.13).
    void check_migration(port_number number);

    void receive(port_number number, const bpdu& b);
    void count_refused(port_number number) noexcept;
    void tick(); // a second has passed

    // What is to be done since the last call.
    [[nodiscard]] std::vector<std::pair<port_number, bpdu>> take_messages();
    [[nodiscard]] std::vector<port_number> take_flushes();
    // Ports at which topology changes were found (true) or heard of (false).
    [[nodiscard]] std::vector<std::pair<port_number, bool>> take_changes();

    // What a designated port says each hello time, as things are now; nothing: it is none. That the
    // topology changes is left to who sees its time pass, but to peers with STP alone, which go by
    // the last that they heard of it.
    [[nodiscard]] std::optional<bpdu> hello(port_number number) const;

    [[nodiscard]] stp::state state_of(port_number number) const noexcept;
    [[nodiscard]] port_view view(port_number number) const;
    [[nodiscard]] bridge_view view() const;
    // How often all machines were gone through until they came to rest: the most of any time.
    [[nodiscard]] std::size_t most_rounds() const noexcept { return most_rounds_; }

private:
    struct port;

    [[nodiscard]] std::uint16_t edge_delay() const noexcept; // seconds
    void begin(port& p) noexcept;
    void reselect_all() noexcept;
    void run(); // machines, until none has anything to do
    [[nodiscard]] bool step(port& p);
    [[nodiscard]] bool step_port_receive(port& p);
    [[nodiscard]] bool step_migration(port& p);
    [[nodiscard]] bool step_edge(port& p);
    [[nodiscard]] bool step_information(port& p);
    [[nodiscard]] bool step_roles() noexcept;
    [[nodiscard]] bool step_transitions(port& p);
    [[nodiscard]] bool step_disabled(port& p);
    [[nodiscard]] bool step_root(port& p);
    [[nodiscard]] bool step_designated(port& p);
    [[nodiscard]] bool step_alternate(port& p);
    [[nodiscard]] bool step_state(port& p);
    [[nodiscard]] bool step_topology(port& p);
    [[nodiscard]] bool step_transmit(port& p);

    void receive_information(port& p);
    void select_roles() noexcept;
    [[nodiscard]] bool all_synced(const port& asking) const noexcept;
    [[nodiscard]] bool rerooted(const port& but) const noexcept;
    void set_sync_tree() noexcept;
    void set_reroot_tree() noexcept;
    void set_propagation(const port& but) noexcept;
    void begin_change(port& p) noexcept;
    void note_change(port& p, bool found);
    [[nodiscard]] static std::uint16_t forward_delay(const port& p) noexcept;
    [[nodiscard]] static bpdu configuration(const port& p) noexcept;
    [[nodiscard]] static bpdu rapid(const port& p) noexcept;

    bridge_settings settings_;
    dataplane::mac_address address_;
    bridge_id id_;
    priority_vector root_priority_;
    port_number root_port_{0};
    times root_times_;
    std::map<port_number, std::unique_ptr<port>> ports_;
    std::size_t most_rounds_{0};
    std::uint64_t now_{0}; // ticks
    std::uint64_t changes_{0};
    std::optional<std::uint64_t> changed_at_;
    std::vector<std::pair<port_number, bpdu>> messages_;
    std::vector<port_number> flushes_;
    std::vector<std::pair<port_number, bool>> change_notes_;
};

} // namespace strait::stp
