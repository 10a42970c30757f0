// SPDX-License-Identifier: BSD-3-Clause
// Bindings by the names of ports to what workers see of them, whenever either changes; and DHCP
// messages to bindings.
#include "control/switch.hh"

#include "control/ip_text.hh"
#include "control/log.hh"
#include "dataplane/parse.hh"

#include <algorithm>

#include <rte_cycles.h>

namespace strait::control {

using dataplane::bridge_config;
using dataplane::mac_address;
using dataplane::port_config;
using dataplane::to_index;
using dataplane::vlan_id;
using endpoint::ip_prefix;

namespace {

constexpr std::uint8_t whole_length = 128;

vlan_id vlan_of(const bindings::station& s, const port_config& p)
{
    return s.vlan ? vlan_id{*s.vlan} : p.vlan.native;
}

vlan_id vlan_of(std::span<const std::byte> frame, const port_config& at)
{
    dataplane::packet p{};
    p.data = const_cast<std::byte*>(frame.data()); // is only read
    p.head_length = static_cast<std::uint16_t>(std::min<std::size_t>(frame.size(), 0xffff));
    return dataplane::vlan_at(p, at);
}
// Whose neighbours have to hear of it from itself: what the switch answers does not say so.
bool is_router(const bindings::station& s)
{
    return std::ranges::find(s.addresses, guard::any_ipv6, &bindings::address::is) !=
           s.addresses.end();
}

bool guards(const bridge_config& b, const dataplane::snapshot& next)
{
    return b.dhcp_snooping || b.neigh_suppress ||
           std::ranges::any_of(b.members, [&next](dataplane::port_index i) {
               return next.ports[to_index(i)]->port_security;
           });
}

} // namespace

void virtual_switch::put_guards(snapshot& next)
{
    for (const auto& b : next.bridges) {
        if (!b) {
            continue;
        }
        const bool tree = std::ranges::any_of(b->members, [&next](dataplane::port_index i) {
            return next.ports[to_index(i)]->takes_bpdus;
        });
        const bool guarded = guards(*b, next) || tree;
        std::vector<guard::directory::neighbour> neighbours;
        std::vector<guard::directory::owner> owners;
        for (const dataplane::port_index i : b->members) {
            const port_config& p = *next.ports[to_index(i)];
            const auto* const stations = guarded ? bindings_.of(p.name) : nullptr;
            if (stations == nullptr) {
                continue;
            }
            for (const bindings::station& s : *stations) {
                const vlan_id vlan = vlan_of(s, p);
                if (!p.vlan.carries(vlan)) {
                    continue;
                }
                owners.push_back({s.mac, vlan, i});
                const bool router = is_router(s);
                for (const bindings::address& a : s.addresses) {
                    if (a.is.length == whole_length && (a.is.address.is_v4() || !router)) {
                        neighbours.push_back({a.is.address, vlan, i, s.mac});
                    }
                }
            }
        }
        const auto known =
            std::make_shared<const guard::directory>(std::move(neighbours), std::move(owners));
        for (const dataplane::port_index i : b->members) {
            auto& p = next.ports[to_index(i)];
            auto made = guarded && !p->local ? make_guard(*p, *b, known) : nullptr;
            if (made || p->guard) {
                auto config = std::make_shared<port_config>(*p);
                config->guard = std::move(made);
                p = std::move(config);
            }
        }
    }
}

// Null: there is nothing to look at.
std::shared_ptr<const guard::port_guard>
virtual_switch::make_guard(const port_config& p, const bridge_config& on,
                           const std::shared_ptr<const guard::directory>& known)
{
    constexpr dataplane::port_rate dhcp_rate{.packets = 50};
    auto out = std::make_shared<guard::port_guard>();
    out->security = p.port_security;
    out->suppresses = on.neigh_suppress && !p.tunnel;
    out->bridge = known;
    out->answered = bridges_.contains(on.name) ? bridges_.at(on.name).answered
                                               : std::make_shared<std::atomic<std::uint64_t>>(0);
    if (on.dhcp_snooping) {
        out->dhcp = p.dhcp_trusted ? guard::dhcp_role::trusted : guard::dhcp_role::snooped;
        out->outlet = dhcp_;
        auto& limit = dhcp_limits_[p.incarnation];
        if (!limit) {
            limit = make_policer(dhcp_rate);
        }
        out->dhcp_limit = limit;
    }
    if (p.takes_bpdus) {
        out->bpdus = bpdus_;
        auto& limit = bpdu_limits_[p.incarnation];
        if (!limit) {
            limit = std::make_shared<dataplane::bpdu_limit>(rte_get_tsc_hz(),
                                                            engine_.worker_count(), rte_rdtsc());
        }
        out->bpdu_limit = limit;
    }
    out->open = out->dhcp == guard::dhcp_role::snooped;
    out->full = bindings_.is_full(p.name);
    if (const auto* const stations = bindings_.of(p.name)) {
        for (const bindings::station& s : *stations) {
            out->open = out->open && s.leased;
            if (!p.vlan.carries(vlan_of(s, p))) {
                continue;
            }
            out->stations.push_back({.mac = s.mac,
                                     .vlan = vlan_of(s, p),
                                     .first = static_cast<std::uint32_t>(out->addresses.size()),
                                     .count = static_cast<std::uint32_t>(s.addresses.size())});
            for (const bindings::address& a : s.addresses) {
                out->addresses.push_back(a.is);
            }
        }
    }
    const bool looks =
        out->security || out->suppresses || out->bpdus || out->dhcp != guard::dhcp_role::none;
    return looks ? out : nullptr;
}

outcome<void> virtual_switch::check_binding(const port& p, std::optional<std::uint16_t> vlan,
                                            mac_address mac, const std::vector<ip_prefix>& at) const
{
    const auto refuse = [](std::string why) { return failure{failure_kind::invalid, why}; };
    if (mac.is_multicast() || mac.is_zero()) {
        return refuse(mac.to_string() + " is no address of a station: it is " +
                      (mac.is_zero() ? "zero" : "multicast"));
    }
    const vlan_id id{vlan.value_or(untagged_vlan(p))};
    if (!p.config->vlan.carries(id)) {
        return refuse("port " + p.request.name + " does not carry " +
                      (id.value() == 0 ? "untagged frames; give --vlan"
                                       : "VLAN " + std::to_string(id.value())));
    }
    for (const ip_prefix& a : at) {
        if (a.length == whole_length && !a.address.is_unicast()) {
            return refuse(to_text(a.address) + " is no address of a station");
        }
    }
    const auto ends = [](const std::string& name, const bindings::station& s) {
        return " already; binding del " + name + " " + s.mac.to_string() +
               (s.vlan ? " --vlan " + std::to_string(*s.vlan) : "") + " ends that";
    };
    for (const auto& [name, other] : ports_) {
        const auto* const stations = bindings_.of(name);
        if (stations == nullptr || other.request.bridge != p.request.bridge) {
            continue;
        }
        for (const bindings::station& s : *stations) {
            const bool same = name == p.request.name && s.mac == mac;
            if (vlan_of(s, *other.config) != id || same) {
                continue;
            }
            if (s.mac == mac) {
                return failure{failure_kind::in_use,
                               mac.to_string() + " is bound to port " + name + ends(name, s)};
            }
            for (const bindings::address& a : s.addresses) {
                if (a.is.length == whole_length && std::ranges::find(at, a.is) != at.end()) {
                    return failure{failure_kind::in_use, to_text(a.is.address) + " is bound to " +
                                                             s.mac.to_string() + " on port " +
                                                             name + ends(name, s)};
                }
            }
        }
    }
    return {};
}

outcome<void> virtual_switch::add_binding(const std::string& port_name,
                                          std::optional<std::uint16_t> vlan, mac_address mac,
                                          const std::vector<ip_prefix>& at)
{
    const auto found = find_port(port_name);
    if (found.has_error()) {
        return found.error();
    }
    const port& p = **found;
    if (p.config->has_no_queues()) {
        return failure{failure_kind::invalid,
                       "port " + port_name + " is " +
                           (p.config->local ? "the bridge's own" : "a tunnel's") +
                           "; bindings are of guests' ports"};
    }
    if (vlan == untagged_vlan(p)) {
        vlan.reset();
    }
    if (auto right = check_binding(p, vlan, mac, at); right.has_error()) {
        return right;
    }
    if (auto added = bindings_.add(port_name, vlan, mac, at); added.has_error()) {
        return added;
    }
    publish(draft());
    return {};
}

outcome<std::size_t> virtual_switch::remove_binding(const std::string& port_name,
                                                    std::optional<mac_address> mac,
                                                    std::optional<std::uint16_t> vlan,
                                                    const std::vector<ip_prefix>& at)
{
    const auto found = find_port(port_name);
    if (found.has_error()) {
        return found.error();
    }
    if (vlan == untagged_vlan(**found)) {
        vlan.reset();
    }
    const std::size_t removed = bindings_.remove(port_name, mac, vlan, at);
    if (removed > 0) {
        publish(draft());
    }
    return removed;
}

bool virtual_switch::look_at_dhcp(bindings::clock::time_point now)
{
    constexpr std::size_t at_once = 256;
    bool changed = false;
    std::size_t seen = 0;
    for (; seen < at_once; ++seen) {
        // In the order in which workers saw them: a question is in front of its answer.
        dataplane::tap_ring* oldest = nullptr;
        const dataplane::tap_record* record = nullptr;
        for (const auto& ring : dhcp_->rings) {
            const dataplane::tap_record* const r = ring->front();
            if (r != nullptr && (record == nullptr || r->tsc < record->tsc)) {
                oldest = ring.get();
                record = r;
            }
        }
        if (record == nullptr) {
            break;
        }
        changed = see_dhcp(*record, now) || changed;
        oldest->pop();
    }
    if (changed) {
        publish(draft());
    }
    return seen == at_once;
}

bool virtual_switch::see_dhcp(const dataplane::tap_record& r, bindings::clock::time_point now)
{
    const auto found = std::ranges::find_if(
        ports_, [&r](const auto& p) { return p.second.config->incarnation == r.incarnation; });
    const auto bytes = dataplane::tap_ring::bytes_of(r);
    const auto frame = read_dhcp_frame(bytes);
    if (found == ports_.end() || !frame) { // of a port that went; or nobody can read it
        return false;
    }
    const port_config& p = *found->second.config;
    const vlan_id vlan = vlan_of(bytes, p);
    const auto tag = vlan == p.vlan.native ? std::nullopt : std::optional{vlan.value()};
    const auto changes = p.dhcp_trusted
                             ? snooper_.server(p.bridge, vlan, *frame, now)
                             : snooper_.client({p.bridge, p.name, tag, vlan}, *frame, now);
    bool changed = false;
    for (const dhcp_snooper::change& c : changes) {
        changed = bind(c, now) || changed;
    }
    return changed;
}

// What ends for a lease, if it may be bound; nothing: it may not, as somebody who is there, or whom
// an operator bound, has the MAC or the address. What servers know a client by, it says itself.
std::optional<std::vector<virtual_switch::in_the_way>>
virtual_switch::make_way(const dhcp_snooper::change& c, vlan_id vlan,
                         bindings::clock::time_point now) const
{
    std::vector<in_the_way> out;
    const auto refuse = [&c](const std::string& whose) {
        log_limited(log_level::warning, "control",
                    "port " + c.where.port + ": no binding of " + to_text(c.address) + " to " +
                        c.mac.to_string() + ", which DHCP leased: " + whose);
        return std::nullopt;
    };
    for (const auto& [name, other] : ports_) {
        const auto* const stations = bindings_.of(name);
        if (stations == nullptr || other.config->bridge != c.where.bridge) {
            continue;
        }
        const bool here = name == c.where.port;
        const bool up = other.config->admin_up && other.link->load(std::memory_order_relaxed);
        for (const bindings::station& s : *stations) {
            if (vlan_of(s, *other.config) != vlan || (here && s.mac == c.mac)) {
                continue;
            }
            if (s.mac == c.mac) {
                if (!s.leased || up) {
                    return refuse("port " + name + " has that MAC");
                }
                out.push_back({name, s.vlan, s.mac, std::nullopt});
                continue;
            }
            const auto a = std::ranges::find(s.addresses, whole(c.address), &bindings::address::is);
            if (a == s.addresses.end()) {
                continue;
            }
            if (!a->leased || (up && (!a->until || *a->until > now))) {
                return refuse(s.mac.to_string() + " on port " + name + " has that address");
            }
            out.push_back({name, s.vlan, s.mac, c.address});
        }
    }
    return out;
}

bool virtual_switch::bind(const dhcp_snooper::change& c, bindings::clock::time_point now)
{
    const auto found = ports_.find(c.where.port);
    if (found == ports_.end() || found->second.config->bridge != c.where.bridge) {
        return false;
    }
    if (!c.lease) {
        return bindings_.end_lease(c.where.port, c.where.vlan, c.mac, c.address);
    }
    const port_config& p = *found->second.config;
    const vlan_id vlan = c.where.vlan ? vlan_id{*c.where.vlan} : p.vlan.native;
    if (!bridges_.at(found->second.request.bridge).config->dhcp_snooping || !p.vlan.carries(vlan)) {
        return false;
    }
    const auto way = make_way(c, vlan, now);
    if (!way) {
        return false;
    }
    for (const in_the_way& w : *way) {
        (void)(w.address ? bindings_.end_lease(w.port, w.vlan, w.mac, *w.address)
                         : bindings_.end_leases(w.port, w.vlan, w.mac));
    }
    const auto until = *c.lease == lease_for_ever
                           ? std::nullopt
                           : std::optional{now + std::chrono::seconds{*c.lease}};
    const auto done = bindings_.lease(c.where.port, c.where.vlan, c.mac, c.address, until);
    if (done == bindings::leased::refused) {
        log_limited(log_level::warning, "control",
                    "port " + c.where.port + ": no binding of " + to_text(c.address) + " to " +
                        c.mac.to_string() + ", which DHCP leased: there is no room");
    }
    return !way->empty() || done == bindings::leased::made;
}

void virtual_switch::restore_leases(const std::vector<known_lease>& leases)
{
    for (const known_lease& l : leases) {
        const auto found = ports_.find(l.port);
        if (found != ports_.end() &&
            bridges_.at(found->second.request.bridge).config->dhcp_snooping) {
            (void)bindings_.lease(l.port, l.vlan, l.mac, l.address, l.until);
        }
    }
    publish(draft());
}

void virtual_switch::look_at_leases(bindings::clock::time_point now)
{
    if (bindings_.expire(now)) {
        publish(draft());
    }
}

} // namespace strait::control
