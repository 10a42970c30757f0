// SPDX-License-Identifier: BSD-3-Clause
// Spanning tree on bridges: which ports it runs on, BPDUs between it and the workers, and what
// comes of it for ports' states and MACs. The protocol is stp/bridge.hh's.
#include "control/switch.hh"

#include "control/stp/text.hh"

#include <algorithm>
#include <bitset>

namespace strait::control {

using dataplane::tree_state;

namespace {

[[nodiscard]] tree_state state_for_workers(stp::state s) noexcept
{
    return s == stp::state::forwarding ? tree_state::forwarding
           : s == stp::state::learning ? tree_state::learning
                                       : tree_state::discarding;
}

} // namespace

// A guest's port, the host's and a bridge's own have no bridge behind them that could close a loop
// unseen, and a tunnel's far end is another switch's to look after.
bool virtual_switch::may_have_tree(std::string_view type) noexcept
{
    return type == "nic" || type == "bond";
}

std::optional<failure> virtual_switch::refuse_tree(const bridge_tree& t, bool forwards)
{
    if (t.runs && forwards) {
        return failure{failure_kind::invalid,
                       "a bridge takes part in spanning tree (--rstp on) or floods others' BPDUs "
                       "(--forward-bpdu on), not both: turn one of them off"};
    }
    const stp::bridge_settings& s = t.settings;
    if (s.priority % stp::bridge_settings::priority_step != 0) {
        return failure{failure_kind::invalid, "--rstp-priority " + std::to_string(s.priority) +
                                                  " is not a multiple of 4096"};
    }
    if (!s.times_fit()) {
        return failure{failure_kind::invalid,
                       "times of spanning tree do not fit: --rstp-max-age (" +
                           std::to_string(s.max_age) + ") must be 2 x (--rstp-hello-time + 1) (" +
                           std::to_string(2 * (s.hello + 1)) +
                           ") or more, and 2 x (--rstp-forward-delay - 1) (" +
                           std::to_string(2 * (s.forward_delay - 1)) + ") or less"};
    }
    return std::nullopt;
}

std::optional<failure> virtual_switch::refuse_tree(const port_request& request, const port_tree& t)
{
    if (!may_have_tree(request.type) && t != port_tree{}) {
        return failure{failure_kind::invalid,
                       "port " + request.name + " is of type " + request.type +
                           ", and spanning tree runs on ports of NICs and bonds: it always "
                           "forwards"};
    }
    if (t.settings.priority % stp::port_settings::priority_step != 0) {
        return failure{failure_kind::invalid, "--rstp-port-priority " +
                                                  std::to_string(t.settings.priority) +
                                                  " is not a multiple of 16"};
    }
    return std::nullopt;
}

std::optional<failure> virtual_switch::refuse_tree_number(const std::string& bridge_name,
                                                          const std::string& port_name,
                                                          const port_tree& t) const
{
    for (const auto& [name, p] : ports_) {
        if (t.number != 0 && name != port_name && p.request.bridge == bridge_name &&
            p.tree.number == t.number) {
            return failure{failure_kind::in_use, "--rstp-port-num " + std::to_string(t.number) +
                                                     " is port " + name + "'s"};
        }
    }
    return std::nullopt;
}

bool virtual_switch::has_tree(const bridge& b, const port& p) const
{
    return b.tree_settings.runs && p.tree.runs && may_have_tree(p.request.type) &&
           p.config->bridge == b.index;
}

void virtual_switch::begin_in_tree(const bridge& b, const port& p,
                                   dataplane::port_config& config) const
{
    config.takes_bpdus = has_tree(b, p);
    config.tree = config.takes_bpdus ? tree_state::discarding : tree_state::forwarding;
}

void virtual_switch::start_or_stop_tree(bridge& b, const bridge_tree& to)
{
    const bool runs = b.tree_settings.runs;
    b.tree_settings = to;
    if (to.runs && !runs) {
        b.tree = std::make_unique<stp::bridge>(to.settings, b.mac);
        b.told_root = b.tree->view().root;
        b.told_root_port = 0;
        b.tree_changed_at.reset();
    } else if (to.runs) {
        b.tree->set(to.settings);
    } else if (runs) {
        b.tree.reset();
        renew_hellos(b);
    }
    if (to.runs == runs && !to.runs) {
        return;
    }
    for (auto& [name, p] : ports_) {
        if (p.request.bridge == b.name) {
            if (!to.runs) {
                p.tree_number = 0;
            }
            look_at_tree_port(b, p);
        }
    }
    if (to.runs) {
        settle_tree(b);
        return;
    }
    auto next = draft();
    for (auto& [name, p] : ports_) {
        if (p.request.bridge == b.name && p.config->takes_bpdus) {
            auto config = std::make_shared<dataplane::port_config>(*p.config);
            config->takes_bpdus = false;
            config->tree = tree_state::forwarding;
            p.told_role = stp::role::disabled;
            put(*next, config);
            p.config = std::move(config);
        }
    }
    publish(std::move(next));
}

// The port's own, if it can be had.
stp::port_number virtual_switch::free_tree_number(const bridge& b, const port& p) const
{
    std::bitset<stp::most_port_number + 1> used;
    used.set(0);
    for (const auto& [name, other] : ports_) {
        if (other.request.bridge == b.name) {
            used.set(other.tree_number);
            used.set(other.tree.number);
        }
    }
    stp::port_number number = p.number <= stp::most_port_number ? p.number : stp::port_number{1};
    while (used[number]) { // ends: there are fewer ports than numbers
        number = number == stp::most_port_number ? stp::port_number{1}
                                                 : static_cast<stp::port_number>(number + 1);
    }
    return number;
}

void virtual_switch::leave_tree(bridge& b, port& p) const
{
    const bool is_another = p.tree.number != 0 && p.tree.number != p.tree_number;
    if (b.tree && p.tree_number != 0 && (is_another || !has_tree(b, p))) {
        b.tree->remove_port(p.tree_number);
        // It may come back as one that does not forward.
        b.config->macs->flush_port(p.config->index);
        p.tree_number = 0;
        p.told_role = stp::role::disabled;
    }
}

void virtual_switch::look_at_tree_port(bridge& b, port& p)
{
    leave_tree(b, p);
    if (!b.tree || !has_tree(b, p)) {
        return;
    }
    if (p.tree_number == 0) {
        const stp::port_number number = p.tree.number != 0 ? p.tree.number : free_tree_number(b, p);
        port* const other = find_tree_port(b, number); // who had it by chance
        if (other != nullptr) {
            b.tree->remove_port(number);
            other->tree_number = 0;
        }
        p.tree_number = number;
        b.tree->add_port(number, p.tree.settings);
        if (other != nullptr) {
            look_at_tree_port(b, *other);
        }
    } else {
        b.tree->set_port(p.tree_number, p.tree.settings);
    }
    b.tree->set_link(p.tree_number, p.link_up && p.config->admin_up,
                     p.link_up ? p.device->link_speed() : 0);
}

// All leave before one comes: none is heard of by a number that it only has until then.
void virtual_switch::set_tree_numbers(const std::map<std::string, stp::port_number>& numbers)
{
    for (const auto& [name, number] : numbers) {
        port& p = ports_.at(name);
        p.tree.number = number;
        leave_tree(bridges_.at(p.request.bridge), p);
    }
    for (const auto& [name, number] : numbers) {
        port& p = ports_.at(name);
        look_at_tree_port(bridges_.at(p.request.bridge), p);
    }
    for (auto& [name, b] : bridges_) {
        settle_tree(b);
    }
}

virtual_switch::port* virtual_switch::find_tree_port(const bridge& b, stp::port_number number)
{
    for (auto& [name, p] : ports_) {
        if (p.tree_number == number && p.request.bridge == b.name) {
            return &p;
        }
    }
    return nullptr;
}

// Ports first: what is sent may promise that one of them does not forward.
void virtual_switch::settle_tree(bridge& b)
{
    if (!b.tree) {
        return;
    }
    std::unique_ptr<snapshot> next;
    for (auto& [name, p] : ports_) {
        if (p.request.bridge != b.name) {
            continue;
        }
        const bool runs = p.tree_number != 0;
        const tree_state to =
            runs ? state_for_workers(b.tree->state_of(p.tree_number)) : tree_state::forwarding;
        if (p.config->tree == to && p.config->takes_bpdus == runs) {
            continue;
        }
        auto config = std::make_shared<dataplane::port_config>(*p.config);
        config->tree = to;
        config->takes_bpdus = runs;
        next = next ? std::move(next) : draft();
        put(*next, config);
        p.config = std::move(config);
    }
    if (next) {
        publish(std::move(next));
    }
    const auto flushes = b.tree->take_flushes();
    for (const stp::port_number number : flushes) {
        if (const port* const p = find_tree_port(b, number)) {
            b.config->macs->flush_port(p->config->index);
        }
    }
    if (!flushes.empty() && b.config->groups) {
        // Who listens may be elsewhere now: as if nothing had been heard, all is flooded until a
        // querier asks.
        b.config->groups->flush();
    }
    for (const auto& [number, message] : b.tree->take_messages()) {
        send_bpdu(b, number, message);
    }
    renew_hellos(b);
    tell_of_tree(b);
}

// The port's own address (IEEE 802.1D-2004 7.12). Not the bridge's: who learned that from a port
// that does not forward would send there what is for the bridge. Nor another port's, as interfaces
// of two VLANs on one NIC have it. Then one is made of the bridge's.
dataplane::mac_address virtual_switch::bpdu_source(const bridge& b, const port& p) const
{
    const dataplane::mac_address own = p.device->mac();
    const bool is_good = !own.is_zero() && !own.is_multicast() && own != b.mac &&
                         std::ranges::none_of(ports_, [&](const auto& named) {
                             const port& other = named.second;
                             return &other != &p && other.request.bridge == b.name &&
                                    other.tree_number != 0 && other.device->mac() == own;
                         });
    constexpr std::uint64_t local = 0x02;
    return is_good ? own
                   : dataplane::mac_address{(b.mac.value() | local) ^ std::uint64_t{p.tree_number}
                                                                          << 32};
}

void virtual_switch::send_bpdu(const bridge& b, stp::port_number number, const stp::bpdu& message)
{
    const port* const p = find_tree_port(b, number);
    if (p != nullptr && !p->config->queues.empty()) {
        hand_over(frame_of(b, *p, message));
    }
}

hello_repeater::hello virtual_switch::frame_of(const bridge& b, const port& p,
                                               const stp::bpdu& message) const
{
    return {.worker = p.config->queues.front().worker,
            .frame = {.incarnation = p.config->incarnation,
                      .port = p.config->index,
                      .bytes = stp::write(message, bpdu_source(b, p))}};
}

void virtual_switch::hand_over(const hello_repeater::hello& frame)
{
    if (bpdus_->send(frame.worker, frame.frame)) {
        engine_.rcu().bell(frame.worker).ring();
    }
}

void virtual_switch::renew_hellos(const bridge& b)
{
    const stp::bridge_settings& s = b.tree_settings.settings;
    hello_repeater::hellos out{.all = {},
                               .every = std::chrono::seconds{s.hello},
                               .lasts = std::chrono::seconds{s.max_age}};
    for (const auto& [name, p] : ports_) {
        if (b.tree && p.request.bridge == b.name && p.tree_number != 0 &&
            !p.config->queues.empty()) {
            if (const auto hello = b.tree->hello(p.tree_number)) {
                out.all.push_back(frame_of(b, p, *hello));
            }
        }
    }
    hellos_.renew(b.index, std::move(out), std::chrono::steady_clock::now());
}

void virtual_switch::tell_of_tree(bridge& b)
{
    const auto now = std::chrono::steady_clock::now();
    const auto tell = [&](event_kind kind, const std::string& port_name,
                          boost::json::object details) {
        if (b.trees_told.pass(now)) {
            events_.add(kind, b.name, port_name, std::move(details));
        }
    };
    const auto name_of = [&](stp::port_number number) {
        const port* const p = find_tree_port(b, number);
        return p == nullptr ? std::string{} : p->request.name;
    };
    const stp::bridge_view v = b.tree->view();
    if (v.root != b.told_root || v.root_port != b.told_root_port) {
        tell(event_kind::rstp_root_changed, name_of(v.root_port),
             {{"root", stp::to_text(v.root)},
              {"from", stp::to_text(b.told_root)},
              {"cost", v.cost}});
        log(log_level::info, "control",
            "bridge " + b.name + ": the spanning tree's root is " + stp::to_text(v.root) +
                (v.root_port == 0 ? ", this bridge" : ", by port " + name_of(v.root_port)));
        b.told_root = v.root;
        b.told_root_port = v.root_port;
    }
    for (auto& [name, p] : ports_) {
        if (p.request.bridge != b.name || p.tree_number == 0) {
            continue;
        }
        const stp::role role = b.tree->view(p.tree_number).role;
        if (role != p.told_role) {
            tell(event_kind::rstp_role_changed, name,
                 {{"role", stp::to_text(role)}, {"from", stp::to_text(p.told_role)}});
            p.told_role = role;
        }
    }
    for (const auto& [number, found] : b.tree->take_changes()) {
        b.tree_changed_at = std::chrono::system_clock::now();
        tell(event_kind::rstp_topology_changed, name_of(number),
             {{"by", found ? "this bridge" : "another"}});
    }
}

bool virtual_switch::look_at_bpdus()
{
    constexpr std::size_t at_once = 256;
    std::size_t seen = 0;
    for (const auto& ring : bpdus_->received()) {
        for (const dataplane::tap_record* r = ring->front(); r != nullptr && seen < at_once;
             r = ring->front(), ++seen) {
            const auto found = std::ranges::find_if(ports_, [r](const auto& p) {
                return p.second.config->incarnation == r->incarnation;
            });
            if (found != ports_.end() && found->second.tree_number != 0) {
                port& p = found->second;
                bridge& b = bridges_.at(p.request.bridge);
                const std::uint32_t cut_off =
                    r->captured < dataplane::bpdu_channel::most_bytes ? 0 : r->length - r->captured;
                if (const auto message = stp::read(dataplane::tap_ring::bytes_of(*r), cut_off)) {
                    b.tree->receive(p.tree_number, *message);
                } else {
                    b.tree->count_refused(p.tree_number);
                }
            }
            bpdus_->pop(*ring);
        }
    }
    if (seen > 0) {
        for (auto& [name, b] : bridges_) {
            settle_tree(b);
        }
    }
    return seen == at_once;
}

void virtual_switch::look_at_trees()
{
    for (auto& [name, b] : bridges_) {
        if (b.tree) {
            b.tree->tick();
            settle_tree(b);
        }
    }
}

// A second that is late does not make the next one late; one that was missed, as in a machine that
// was stopped, is not made up for: what neighbours said meanwhile has not been looked at.
virtual_switch::steady_time virtual_switch::keep_trees(steady_time now)
{
    while (look_at_bpdus()) { // before anybody is missed
    }
    if (now >= next_tree_second_) {
        constexpr std::chrono::seconds second{1};
        next_tree_second_ += second;
        next_tree_second_ = next_tree_second_ < now ? now + second : next_tree_second_;
        look_at_trees();
    }
    return next_tree_second_;
}

outcome<void> virtual_switch::check_migration(const std::string& name)
{
    const auto found = find_port(name);
    if (found.has_error()) {
        return found.error();
    }
    const port& p = **found;
    if (p.tree_number == 0) {
        return failure{failure_kind::invalid, "spanning tree does not run on port " + name};
    }
    bridge& b = bridges_.at(p.request.bridge);
    b.tree->check_migration(p.tree_number);
    settle_tree(b);
    return {};
}

std::optional<stp::port_view> virtual_switch::tree_of(const port& p) const
{
    const auto& b = bridges_.at(p.request.bridge);
    return b.tree && p.tree_number != 0 ? std::optional{b.tree->view(p.tree_number)} : std::nullopt;
}

} // namespace strait::control
