// SPDX-License-Identifier: BSD-3-Clause
// The machines of clause 17, each as a function that makes one transition if there is one to make;
// names of states, variables and procedures are the standard's, spelt as this project does. As IEEE
// 802.1Q-2011 corrects it (13.29.17), an inferior designated port that learns is disputed. And a
// port that hears itself does not forward: the standard says only that such BPDUs are left out.
#include "control/stp/bridge.hh"

#include <algorithm>
#include <limits>

namespace strait::stp {

namespace {

constexpr std::uint16_t migrate_time = 3; // table 17-1

enum class information : std::uint8_t { disabled, aged, mine, received };
enum class migration : std::uint8_t { checking, selecting_stp, sensing };
enum class topology : std::uint8_t { inactive, learning, active };
// What a received BPDU says (17.21.8).
enum class heard : std::uint8_t {
    superior_designated,
    repeated_designated,
    inferior_designated,
    not_designated,
    other,
};

void count_down(std::uint16_t& timer) noexcept
{
    timer = timer > 0 ? static_cast<std::uint16_t>(timer - 1) : std::uint16_t{0};
}

} // namespace

// 17.19; timers in seconds (17.17).
struct bridge::port {
    port_number number{0};
    port_settings settings;
    std::uint64_t mbps{0};
    bool full_duplex{true};
    std::uint32_t path_cost{0};
    bool point_to_point{true};
    bool enabled{false};
    port_id id{0};

    std::uint16_t edge_delay_while{0};
    std::uint16_t forward_while{0}; // fdWhile
    std::uint16_t hello_when{0};
    std::uint16_t migration_delay_while{0}; // mdelayWhile
    std::uint16_t recent_backup_while{0};   // rbWhile
    std::uint16_t information_while{0};     // rcvdInfoWhile
    std::uint16_t recent_root_while{0};     // rrWhile
    std::uint16_t change_while{0};          // tcWhile
    std::uint16_t sent_lately{0};           // txCount
    std::uint16_t change_noted_while{0};    // until a further change that is heard of is another

    bool agree{false};
    bool agreed{false};
    bool disputed{false};
    bool forward{false};
    bool forwarding{false};
    bool learn{false};
    bool learning{false};
    bool check{false}; // mcheck
    bool new_information{false};
    bool edge{false};
    bool proposed{false};
    bool proposing{false};
    bool received_bpdu{false};
    bool received_message{false};
    bool received_rapid{false};
    bool received_stp{false};
    bool received_change{false};         // rcvdTc
    bool received_acknowledgment{false}; // rcvdTcAck
    bool received_notification{false};   // rcvdTcn
    bool reroot{false};
    bool reselect{false};
    bool selected{false};
    bool sends_rapid{true};
    bool sync{false};
    bool synced{false};
    bool acknowledge{false}; // tcAck
    bool propagate{false};   // tcProp
    bool update{false};      // updtInfo
    information info{information::disabled};
    stp::role role{stp::role::disabled};
    stp::role selected_role{stp::role::disabled};
    migration version_machine{migration::checking};
    topology change_machine{topology::inactive};
    bool current{false}; // the information machine is past AGED
    bool settled{false}; // the role machine is past DISABLE_PORT or BLOCK_PORT

    bpdu message;
    priority_vector message_priority;
    times message_times;
    priority_vector priority; // portPriority
    times timers;             // portTimes
    priority_vector designated;
    times designated_times;

    std::uint64_t received{0};
    std::uint64_t sent{0};
    std::uint64_t refused{0};
    std::uint64_t became_forwarding{0};

    [[nodiscard]] bool is(stp::role r) const noexcept { return role == r; }
    [[nodiscard]] bool is_settled() const noexcept { return selected && !update; }
    void work_out(bool up) noexcept
    {
        enabled = up;
        path_cost = settings.path_cost != 0 ? settings.path_cost : path_cost_of(mbps);
        point_to_point = settings.link == stp::point_to_point::found
                             ? full_duplex
                             : settings.link == stp::point_to_point::yes;
        id = static_cast<port_id>(settings.priority << 8 | number);
    }
    void ask_for_roles() noexcept
    {
        reselect = true;
        selected = false;
    }
};

std::uint32_t path_cost_of(std::uint64_t mbps) noexcept
{
    constexpr std::uint64_t of_one_mbps = 20'000'000;
    constexpr std::uint64_t usual_mbps = 1000;
    return static_cast<std::uint32_t>(
        std::max<std::uint64_t>(of_one_mbps / (mbps == 0 ? usual_mbps : mbps), 1));
}

bridge::bridge(const bridge_settings& settings, dataplane::mac_address address)
    : settings_{settings}, address_{address}
{
    reselect_all();
    select_roles();
}

bridge::~bridge() = default;

// BEGIN: of all of a port's machines.
void bridge::begin(port& p) noexcept
{
    port fresh;
    fresh.number = p.number;
    fresh.settings = p.settings;
    fresh.mbps = p.mbps;
    fresh.full_duplex = p.full_duplex;
    fresh.received = p.received;
    fresh.sent = p.sent;
    fresh.refused = p.refused;
    fresh.became_forwarding = p.became_forwarding;
    fresh.work_out(p.enabled);
    fresh.edge = p.settings.admin_edge;
    fresh.edge_delay_while = edge_delay();
    fresh.migration_delay_while = migrate_time;
    fresh.sends_rapid = settings_.rapid;
    fresh.new_information = true;
    fresh.forward_while = settings_.max_age;
    fresh.recent_root_while = settings_.forward_delay;
    fresh.sync = true;
    fresh.reroot = true;
    fresh.designated_times = fresh.timers = root_times_;
    fresh.ask_for_roles();
    p = fresh;
}

void bridge::reselect_all() noexcept
{
    id_ = {settings_.priority, address_};
    for (auto& [number, p] : ports_) {
        p->ask_for_roles();
    }
}

void bridge::set(const bridge_settings& settings)
{
    if (settings == settings_) {
        return;
    }
    const bool begins = settings.rapid != settings_.rapid;
    settings_ = settings;
    for (auto& [number, p] : ports_) {
        p->sent_lately = 0;
        if (begins) {
            begin(*p);
        }
    }
    reselect_all();
    select_roles();
    run();
}

void bridge::set_address(dataplane::mac_address address)
{
    address_ = address;
    reselect_all();
    select_roles();
    run();
}

void bridge::add_port(port_number number, const port_settings& settings)
{
    auto p = std::make_unique<port>();
    p->number = number;
    p->settings = settings;
    begin(*p);
    ports_[number] = std::move(p);
    run();
}

void bridge::set_port(port_number number, const port_settings& settings)
{
    port& p = *ports_.at(number);
    if (settings == p.settings) {
        return;
    }
    if (settings.admin_edge != p.settings.admin_edge) {
        p.edge = settings.admin_edge;
        p.edge_delay_while = edge_delay();
    }
    p.settings = settings;
    p.work_out(p.enabled);
    p.ask_for_roles();
    run();
}

void bridge::remove_port(port_number number)
{
    if (ports_.erase(number) == 0) {
        return;
    }
    std::erase_if(messages_, [number](const auto& m) { return m.first == number; });
    std::erase(flushes_, number);
    std::erase_if(change_notes_, [number](const auto& c) { return c.first == number; });
    reselect_all();
    if (ports_.empty()) {
        select_roles();
    }
    run();
}

void bridge::set_link(port_number number, bool up, std::uint64_t mbps, bool full_duplex)
{
    port& p = *ports_.at(number);
    if (up == p.enabled && mbps == p.mbps && full_duplex == p.full_duplex) {
        return;
    }
    p.mbps = mbps;
    p.full_duplex = full_duplex;
    const std::uint32_t cost = p.path_cost;
    p.work_out(up);
    if (p.path_cost != cost) {
        p.ask_for_roles();
    }
    run();
}

void bridge::check_migration(port_number number)
{
    port& p = *ports_.at(number);
    p.check = settings_.rapid;
    run();
}

void bridge::receive(port_number number, const bpdu& b)
{
    port& p = *ports_.at(number);
    ++p.received;
    // 9.3.4 a: what a loop at this very port brings back tells nothing.
    const bool tells = b.is != bpdu::kind::topology_change && b.sent_by == role::designated;
    if (tells && b.priority.bridge.address() == address_ && number_of(b.priority.port) == number) {
        if (p.enabled) {
            p.edge = false;
            p.edge_delay_while = edge_delay();
            p.agreed = false;
            p.disputed = p.learn || p.forward;
            p.forward_while = p.designated_times.forward_delay;
            run();
        }
        return;
    }
    // 17.21.23. What a bridge that is no more said goes round no longer.
    if (tells && b.timers.message_age >= b.timers.max_age) {
        ++p.refused;
        const bool known = p.info == information::received &&
                           p.priority.bridge == b.priority.bridge &&
                           p.priority.port == b.priority.port;
        p.information_while = known ? std::uint16_t{0} : p.information_while;
        run();
        return;
    }
    p.message = b;
    p.received_bpdu = true;
    run();
}

void bridge::count_refused(port_number number) noexcept
{
    if (const auto found = ports_.find(number); found != ports_.end()) {
        ++found->second->refused;
        found->second->edge_delay_while = edge_delay(); // somebody is there
    }
}

// 17.20.4, where a hello takes no longer than two seconds. With longer ones a port must not be
// taken for an edge before it could hear one.
std::uint16_t bridge::edge_delay() const noexcept
{
    return std::max<std::uint16_t>(migrate_time, static_cast<std::uint16_t>(settings_.hello + 1));
}

// 17.22.
void bridge::tick()
{
    ++now_;
    for (auto& [number, p] : ports_) {
        for (std::uint16_t* const timer :
             {&p->hello_when, &p->change_while, &p->forward_while, &p->information_while,
              &p->recent_root_while, &p->recent_backup_while, &p->migration_delay_while,
              &p->edge_delay_while, &p->sent_lately, &p->change_noted_while}) {
            count_down(*timer);
        }
    }
    run();
}

std::vector<std::pair<port_number, bpdu>> bridge::take_messages()
{
    return std::exchange(messages_, {});
}

std::vector<port_number> bridge::take_flushes()
{
    std::ranges::sort(flushes_);
    flushes_.erase(std::unique(flushes_.begin(), flushes_.end()), flushes_.end());
    return std::exchange(flushes_, {});
}

std::vector<std::pair<port_number, bool>> bridge::take_changes()
{
    return std::exchange(change_notes_, {});
}

state bridge::state_of(port_number number) const noexcept
{
    const auto found = ports_.find(number);
    if (found == ports_.end()) {
        return state::discarding;
    }
    const port& p = *found->second;
    return p.forwarding ? state::forwarding : p.learning ? state::learning : state::discarding;
}

port_view bridge::view(port_number number) const
{
    const port& p = *ports_.at(number);
    return {.id = p.id,
            .role = p.role,
            .state = state_of(number),
            .enabled = p.enabled,
            .edge = p.edge,
            .point_to_point = p.point_to_point,
            .rapid = p.sends_rapid,
            .path_cost = p.path_cost,
            .designated = p.enabled ? p.priority : priority_vector{},
            .received = p.received,
            .sent = p.sent,
            .refused = p.refused,
            .became_forwarding = p.became_forwarding};
}

bridge_view bridge::view() const
{
    return {.id = id_,
            .root = root_priority_.root,
            .cost = root_priority_.cost,
            .root_port = root_port_,
            .timers = root_times_,
            .topology_changes = changes_,
            .since_change = changed_at_ ? std::optional{now_ - *changed_at_} : std::nullopt,
            .topology_changes_now = std::ranges::any_of(
                ports_, [](const auto& p) { return p.second->change_while != 0; })};
}

// The machines' variables only ever come to rest; the bound is there for whatever else may be.
void bridge::run()
{
    const std::size_t most = 1000 * (ports_.size() + 1);
    std::size_t rounds = 0;
    for (bool moved = true; moved && rounds < most; ++rounds) {
        moved = step_roles();
        for (auto& [number, p] : ports_) {
            moved = step(*p) || moved;
        }
        if (moved) {
            continue;
        }
        // What is sent tells of all that has come of it.
        for (auto& [number, p] : ports_) {
            moved = step_transmit(*p) || moved;
        }
    }
    most_rounds_ = std::max(most_rounds_, rounds);
}

bool bridge::step(port& p)
{
    bool moved = step_port_receive(p);
    moved = step_migration(p) || moved;
    moved = step_edge(p) || moved;
    moved = step_information(p) || moved;
    moved = step_roles() || moved;
    moved = step_transitions(p) || moved;
    moved = step_state(p) || moved;
    return step_topology(p) || moved;
}

// 17.23.
bool bridge::step_port_receive(port& p)
{
    if (!p.enabled) {
        const bool moves = p.received_bpdu || p.edge_delay_while != edge_delay();
        p.received_bpdu = p.received_rapid = p.received_stp = p.received_message = false;
        p.edge_delay_while = edge_delay();
        return moves;
    }
    if (!p.received_bpdu || p.received_message) {
        return false;
    }
    (p.message.is == bpdu::kind::rapid ? p.received_rapid : p.received_stp) = true;
    p.edge = p.received_bpdu = false;
    p.received_message = true;
    p.edge_delay_while = edge_delay();
    return true;
}

// 17.24.
bool bridge::step_migration(port& p)
{
    const auto check = [&] {
        p.version_machine = migration::checking;
        p.check = false;
        p.sends_rapid = settings_.rapid;
        p.migration_delay_while = migrate_time;
        return true;
    };
    const auto sense = [&] {
        p.version_machine = migration::sensing;
        p.received_rapid = p.received_stp = false;
        return true;
    };
    switch (p.version_machine) {
    case migration::checking:
        if (p.migration_delay_while != migrate_time && !p.enabled) {
            return check();
        }
        return p.migration_delay_while == 0 && sense();
    case migration::selecting_stp:
        return (p.migration_delay_while == 0 || !p.enabled || p.check) && sense();
    case migration::sensing:
        break;
    }
    if (!p.enabled || p.check || (settings_.rapid && !p.sends_rapid && p.received_rapid)) {
        return check();
    }
    if (p.sends_rapid && p.received_stp) {
        p.version_machine = migration::selecting_stp;
        p.sends_rapid = false;
        p.migration_delay_while = migrate_time;
        return true;
    }
    return false;
}

// 17.25.
bool bridge::step_edge(port& p)
{
    if (p.edge) {
        p.edge = p.enabled || p.settings.admin_edge;
        return !p.edge;
    }
    p.edge = (!p.enabled && p.settings.admin_edge) ||
             (p.enabled && p.edge_delay_while == 0 && p.settings.auto_edge && p.sends_rapid &&
              p.proposing);
    return p.edge;
}

// 17.27.
bool bridge::step_information(port& p)
{
    if (!p.enabled && p.info != information::disabled) {
        p.current = false;
        p.received_message = false;
        p.proposing = p.proposed = p.agree = p.agreed = p.disputed = false;
        p.information_while = 0;
        p.info = information::disabled;
        p.ask_for_roles();
        return true;
    }
    const auto age = [&] {
        p.current = false;
        p.info = information::aged;
        p.ask_for_roles();
        return true;
    };
    if (p.info == information::disabled) {
        p.received_message = p.received_message && p.enabled;
        return p.enabled && age();
    }
    if (p.selected && p.update) {
        const bool as_good = p.info == information::mine && p.designated <= p.priority;
        p.current = true;
        p.proposing = p.proposed = false;
        p.agreed = p.agreed && as_good;
        p.synced = p.synced && p.agreed;
        p.priority = p.designated;
        p.timers = p.designated_times;
        p.update = false;
        p.info = information::mine;
        p.new_information = true;
        return true;
    }
    if (!p.current || p.update) {
        return false;
    }
    if (p.received_message) {
        receive_information(p);
        return true;
    }
    return p.info == information::received && p.information_while == 0 && age();
}

namespace {

// Better, or from the same port as what is known (17.6).
[[nodiscard]] bool is_superior(const priority_vector& m, const priority_vector& known) noexcept
{
    return m < known || (m.bridge.address() == known.bridge.address() &&
                         number_of(m.port) == number_of(known.port));
}

[[nodiscard]] heard what_is_heard(const bpdu& b, const priority_vector& known,
                                  const times& known_times) noexcept
{
    if (b.is == bpdu::kind::topology_change) {
        return heard::other;
    }
    switch (b.sent_by) {
    case role::designated:
        if (b.priority == known && b.timers == known_times) {
            return heard::repeated_designated;
        }
        return is_superior(b.priority, known) ? heard::superior_designated
                                              : heard::inferior_designated;
    case role::root:
    case role::alternate:
    case role::backup:
        return b.priority >= known ? heard::not_designated : heard::other;
    case role::disabled:
        break;
    }
    return heard::other;
}

} // namespace

void bridge::receive_information(port& p)
{
    const bpdu& b = p.message;
    const auto set_flags = [&] {
        p.received_change = p.received_change || b.topology_changes;
        p.received_acknowledgment = p.received_acknowledgment || b.acknowledges;
    };
    const auto keep_alive = [&] {
        p.information_while = static_cast<std::uint16_t>(3 * p.timers.hello);
    };
    p.received_message = false;
    switch (what_is_heard(b, p.priority, p.timers)) {
    case heard::superior_designated:
        p.agreed = p.proposing = p.disputed = false;
        p.proposed = p.proposed || b.proposes;
        set_flags();
        p.agree = p.agree && p.info == information::received && b.priority <= p.priority;
        p.priority = b.priority;
        p.timers = b.timers;
        keep_alive();
        p.info = information::received;
        p.ask_for_roles();
        break;
    case heard::repeated_designated:
        p.proposed = p.proposed || b.proposes;
        set_flags();
        keep_alive();
        break;
    case heard::inferior_designated:
        if (b.is == bpdu::kind::rapid && b.learns) {
            p.disputed = true;
            p.agreed = false;
        }
        break;
    case heard::not_designated:
        // Who agrees has the root that was proposed: else it is an answer to what was said before.
        p.agreed = settings_.rapid && p.point_to_point && b.is == bpdu::kind::rapid && b.agrees &&
                   b.priority.root == p.priority.root;
        p.proposing = p.proposing && !p.agreed;
        set_flags();
        break;
    case heard::other:
        p.received_notification = p.received_notification || b.is == bpdu::kind::topology_change;
        break;
    }
}

// 17.28.
bool bridge::step_roles() noexcept
{
    if (std::ranges::none_of(ports_, [](const auto& p) { return p.second->reselect; })) {
        return false;
    }
    select_roles();
    return true;
}

// 17.21.25.
void bridge::select_roles() noexcept
{
    root_priority_ = {id_, 0, id_, 0};
    root_port_ = 0;
    root_times_ = {.message_age = 0,
                   .max_age = settings_.max_age,
                   .hello = settings_.hello,
                   .forward_delay = settings_.forward_delay};
    port_id best = 0;
    for (auto& [number, p] : ports_) {
        p->reselect = false;
        if (p->info != information::received || p->priority.bridge.address() == id_.address()) {
            continue;
        }
        priority_vector path = p->priority;
        path.cost = path.cost > std::numeric_limits<std::uint32_t>::max() - p->path_cost
                        ? std::numeric_limits<std::uint32_t>::max()
                        : path.cost + p->path_cost;
        if (path < root_priority_ || (path == root_priority_ && root_port_ != 0 && p->id < best)) {
            root_priority_ = path;
            root_port_ = number;
            best = p->id;
            root_times_ = p->timers;
            ++root_times_.message_age;
        }
    }
    for (auto& [number, p] : ports_) {
        p->designated = {root_priority_.root, root_priority_.cost, id_, p->id};
        p->designated_times = root_times_;
        p->designated_times.hello = settings_.hello;
        const bool better = p->designated < p->priority;
        p->selected = true;
        switch (p->info) {
        case information::disabled:
            p->selected_role = role::disabled;
            break;
        case information::aged:
            p->selected_role = role::designated;
            p->update = true;
            break;
        case information::mine:
            p->selected_role = role::designated;
            p->update =
                p->update || p->priority != p->designated || p->timers != p->designated_times;
            break;
        case information::received:
            p->selected_role = number == root_port_                            ? role::root
                               : better                                        ? role::designated
                               : p->priority.bridge.address() == id_.address() ? role::backup
                                                                               : role::alternate;
            p->update = number != root_port_ && better;
            break;
        }
    }
}

std::uint16_t bridge::forward_delay(const port& p) noexcept
{
    return p.sends_rapid ? p.designated_times.hello : p.designated_times.forward_delay;
}

bool bridge::all_synced(const port& asking) const noexcept
{
    return std::ranges::all_of(ports_, [&](const auto& entry) {
        const port& p = *entry.second;
        return p.selected && p.role == p.selected_role && !p.update &&
               (&p == &asking || p.synced || p.is(role::root));
    });
}

bool bridge::rerooted(const port& but) const noexcept
{
    return std::ranges::all_of(ports_, [&](const auto& p) {
        return p.second.get() == &but || p.second->recent_root_while == 0;
    });
}

void bridge::set_sync_tree() noexcept
{
    for (auto& [number, p] : ports_) {
        p->sync = true;
    }
}

void bridge::set_reroot_tree() noexcept
{
    for (auto& [number, p] : ports_) {
        p->reroot = true;
    }
}

// 17.29.
bool bridge::step_transitions(port& p)
{
    if (!p.is_settled()) {
        return false;
    }
    if (p.selected_role != p.role) {
        const bool blocks = p.selected_role == role::alternate || p.selected_role == role::backup ||
                            p.selected_role == role::disabled;
        p.role = p.selected_role;
        p.settled = !blocks;
        if (blocks) {
            p.learn = p.forward = false;
        }
        if (p.is(role::root)) {
            p.recent_root_while = p.designated_times.forward_delay;
        }
        return true;
    }
    switch (p.role) {
    case role::disabled:
        return step_disabled(p);
    case role::root:
        return step_root(p);
    case role::designated:
        return step_designated(p);
    case role::alternate:
    case role::backup:
        break;
    }
    return step_alternate(p);
}

bool bridge::step_disabled(port& p)
{
    if (p.learning || p.forwarding) {
        return false;
    }
    const std::uint16_t wait = p.designated_times.max_age;
    if (p.settled && p.forward_while == wait && !p.sync && !p.reroot && p.synced) {
        return false;
    }
    p.settled = true;
    p.forward_while = wait;
    p.synced = true;
    p.recent_root_while = 0;
    p.sync = p.reroot = false;
    return true;
}

bool bridge::step_root(port& p)
{
    if (p.proposed && !p.agree) {
        set_sync_tree();
        p.proposed = false;
        return true;
    }
    if ((!p.agree && all_synced(p)) || (p.proposed && p.agree)) {
        p.proposed = p.sync = false;
        p.agree = true;
        p.new_information = true;
        return true;
    }
    if (!p.forward && !p.reroot) {
        set_reroot_tree();
        return true;
    }
    if (p.reroot && p.forward) {
        p.reroot = false;
        return true;
    }
    const bool may =
        p.forward_while == 0 || (settings_.rapid && rerooted(p) && p.recent_backup_while == 0);
    if (may && !p.learn) {
        p.forward_while = forward_delay(p);
        p.learn = true;
        return true;
    }
    if (may && !p.forward) {
        p.forward_while = 0;
        p.forward = true;
        return true;
    }
    if (p.recent_root_while != p.designated_times.forward_delay) {
        p.recent_root_while = p.designated_times.forward_delay;
        return true;
    }
    return false;
}

bool bridge::step_designated(port& p)
{
    if (!p.forward && !p.agreed && !p.proposing && !p.edge) {
        p.proposing = true;
        p.edge_delay_while = p.point_to_point ? edge_delay() : p.designated_times.max_age;
        p.new_information = true;
        return true;
    }
    if ((!p.learning && !p.forwarding && !p.synced) || (p.agreed && !p.synced) ||
        (p.edge && !p.synced) || (p.sync && p.synced)) {
        p.recent_root_while = 0;
        p.synced = true;
        p.sync = false;
        return true;
    }
    if (p.recent_root_while == 0 && p.reroot) {
        p.reroot = false;
        return true;
    }
    if (((p.sync && !p.synced) || (p.reroot && p.recent_root_while != 0) || p.disputed) &&
        !p.edge && (p.learn || p.forward)) {
        p.learn = p.forward = p.disputed = false;
        p.forward_while = forward_delay(p);
        return true;
    }
    const bool may = (p.forward_while == 0 || p.agreed || p.edge) &&
                     (p.recent_root_while == 0 || !p.reroot) && !p.sync;
    if (may && !p.learn) {
        p.learn = true;
        p.forward_while = forward_delay(p);
        return true;
    }
    if (may && !p.forward) {
        p.forward = true;
        p.forward_while = 0;
        p.agreed = p.sends_rapid;
        return true;
    }
    return false;
}

bool bridge::step_alternate(port& p)
{
    if (!p.settled) {
        if (p.learning || p.forwarding) {
            return false;
        }
        p.settled = true;
        p.forward_while = forward_delay(p);
        p.synced = true;
        p.recent_root_while = 0;
        p.sync = p.reroot = false;
        return true;
    }
    if (p.proposed && !p.agree) {
        set_sync_tree();
        p.proposed = false;
        return true;
    }
    if ((!p.agree && all_synced(p)) || (p.proposed && p.agree)) {
        p.proposed = false;
        p.agree = true;
        p.new_information = true;
        return true;
    }
    const auto backup_while = static_cast<std::uint16_t>(2 * p.designated_times.hello);
    if (p.is(role::backup) && p.recent_backup_while != backup_while) {
        p.recent_backup_while = backup_while;
        return true;
    }
    if (p.forward_while != forward_delay(p) || p.sync || p.reroot || !p.synced) {
        p.forward_while = forward_delay(p);
        p.synced = true;
        p.recent_root_while = 0;
        p.sync = p.reroot = false;
        return true;
    }
    return false;
}

// 17.30.
bool bridge::step_state(port& p)
{
    if (!p.learn && !p.forward) {
        const bool moves = p.learning || p.forwarding;
        p.learning = p.forwarding = false;
        return moves;
    }
    if (p.learn && !p.learning) {
        p.learning = true;
        return true;
    }
    if (p.forward && !p.forwarding) {
        p.forwarding = true;
        ++p.became_forwarding;
        return true;
    }
    return false;
}

void bridge::set_propagation(const port& but) noexcept
{
    for (auto& [number, p] : ports_) {
        p->propagate = p->propagate || p.get() != &but;
    }
}

// 17.21.7, newTcWhile().
void bridge::begin_change(port& p) noexcept
{
    if (p.change_while != 0) {
        return;
    }
    if (p.sends_rapid) {
        p.change_while = static_cast<std::uint16_t>(p.designated_times.hello + 1);
        p.new_information = true;
    } else {
        p.change_while =
            static_cast<std::uint16_t>(root_times_.max_age + root_times_.forward_delay);
    }
}

void bridge::note_change(port& p, bool found)
{
    if (!found) {
        // One change is told for some seconds.
        const bool told = p.change_noted_while != 0;
        p.change_noted_while = static_cast<std::uint16_t>(root_times_.hello + 1);
        if (told) {
            return;
        }
    }
    ++changes_;
    changed_at_ = now_;
    change_notes_.emplace_back(p.number, found);
}

// 17.31.
bool bridge::step_topology(port& p)
{
    const bool active_role = p.is(role::root) || p.is(role::designated);
    const auto forget = [&] {
        p.received_change = p.received_notification = p.received_acknowledgment = p.propagate =
            false;
    };
    const bool told =
        p.received_change || p.received_notification || p.received_acknowledgment || p.propagate;
    switch (p.change_machine) {
    case topology::inactive:
        if (!p.learn) {
            return false;
        }
        p.change_machine = topology::learning;
        forget();
        return true;
    case topology::learning:
        if (active_role && p.forward && !p.edge) {
            p.change_machine = topology::active;
            begin_change(p);
            set_propagation(p);
            p.new_information = true;
            note_change(p, true);
            return true;
        }
        if (!active_role && !p.learn && !p.learning && !told) {
            p.change_machine = topology::inactive;
            flushes_.push_back(p.number);
            p.change_while = 0;
            p.acknowledge = false;
            return true;
        }
        if (told) {
            forget();
        }
        return told;
    case topology::active:
        break;
    }
    if (!active_role || p.edge) {
        p.change_machine = topology::learning;
        forget();
        return true;
    }
    if (p.received_notification || p.received_change) {
        if (p.received_notification) {
            begin_change(p);
        }
        p.received_notification = p.received_change = false;
        p.acknowledge = p.acknowledge || p.is(role::designated);
        set_propagation(p);
        note_change(p, false);
        return true;
    }
    if (p.propagate) {
        begin_change(p);
        flushes_.push_back(p.number);
        p.propagate = false;
        return true;
    }
    if (p.received_acknowledgment) {
        p.change_while = 0;
        p.received_acknowledgment = false;
        return true;
    }
    return false;
}

// 17.26.
bool bridge::step_transmit(port& p)
{
    if (!p.enabled) {
        const bool moves = !p.new_information || p.sent_lately != 0 || p.hello_when != 0;
        p.new_information = true;
        p.sent_lately = p.hello_when = 0;
        return moves;
    }
    if (!p.is_settled()) {
        return false;
    }
    if (p.hello_when == 0) {
        p.new_information = p.new_information || p.is(role::designated) ||
                            (p.is(role::root) && p.change_while != 0);
        p.hello_when = p.designated_times.hello;
        return true;
    }
    if (!p.new_information || p.sent_lately >= settings_.hold_count) {
        return false;
    }
    if (!p.sends_rapid && !p.is(role::designated) && !p.is(role::root)) {
        return false;
    }
    p.new_information = false;
    const bpdu notification{.is = bpdu::kind::topology_change};
    messages_.emplace_back(p.number, p.sends_rapid            ? rapid(p)
                                     : p.is(role::designated) ? configuration(p)
                                                              : notification);
    ++p.sent_lately;
    ++p.sent;
    p.acknowledge = p.acknowledge && !p.sends_rapid && !p.is(role::designated);
    p.hello_when = p.designated_times.hello;
    return true;
}

bpdu bridge::configuration(const port& p) noexcept
{
    return {.is = bpdu::kind::configuration,
            .topology_changes = p.change_while != 0,
            .acknowledges = p.acknowledge,
            .priority = p.designated,
            .timers = p.designated_times};
}

bpdu bridge::rapid(const port& p) noexcept
{
    return {.is = bpdu::kind::rapid,
            .topology_changes = p.change_while != 0,
            .proposes = p.proposing,
            .agrees = p.agree,
            .learns = p.learning,
            .forwards = p.forwarding,
            .sent_by = p.role,
            .priority = p.designated,
            .timers = p.designated_times};
}

std::optional<bpdu> bridge::hello(port_number number) const
{
    const auto found = ports_.find(number);
    if (found == ports_.end() || !found->second->enabled || !found->second->is(role::designated)) {
        return std::nullopt;
    }
    const port& p = *found->second;
    bpdu b = p.sends_rapid ? rapid(p) : configuration(p);
    b.topology_changes = b.topology_changes && !p.sends_rapid;
    b.acknowledges = false;
    return b;
}

} // namespace strait::stp
