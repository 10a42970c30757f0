// SPDX-License-Identifier: BSD-3-Clause
// What each message comes to.
#include "control/dhcp_snooper.hh"

#include <algorithm>
#include <utility>

namespace strait::control {

using dataplane::bridge_index;

namespace {

std::tuple<std::uint64_t, std::uint64_t> id_of(dataplane::mac_address mac)
{
    return {0, mac.value()};
}
std::tuple<std::uint64_t, std::uint64_t> id_of(const endpoint::ip_address& a)
{
    return {a.high, a.low};
}

} // namespace

dhcp_snooper::changes dhcp_snooper::client(const place& from, const dhcp_frame& f,
                                           clock::time_point now)
{
    const auto gives_up = [&](dataplane::mac_address mac, const endpoint::ip_address& a) {
        return change{from, mac, a, std::nullopt};
    };
    changes out;
    if (const auto* const m = std::get_if<dhcp4_message>(&f.message)) {
        using kind = dhcp4_message::kind;
        const auto asks_for = m->requested.value_or(m->current);
        if (m->type == kind::discover || m->type == kind::request) {
            open({from.bridge, from.network, false, m->transaction, id_of(m->client)},
                 {from, m->client, asks_for, now});
        } else if (m->type == kind::release && m->current.is_set()) {
            out.push_back(gives_up(m->client, m->current));
        } else if (m->type == kind::decline && m->requested) {
            out.push_back(gives_up(m->client, *m->requested));
        }
        return out;
    }
    using kind = dhcp6_message::kind;
    const auto& m = std::get<dhcp6_message>(f.message);
    switch (m.type) {
    case kind::solicit: // which may be answered at once
    case kind::request:
    case kind::renew:
    case kind::rebind:
        open({from.bridge, from.network, true, m.transaction, id_of(f.from)},
             {from, f.source, {}, now});
        break;
    case kind::release:
    case kind::decline:
        for (const auto& a : m.addresses) {
            out.push_back(gives_up(f.source, a.is));
        }
        break;
    default:
        break;
    }
    return out;
}

dhcp_snooper::changes dhcp_snooper::server(bridge_index bridge, dataplane::vlan_id network,
                                           const dhcp_frame& f, clock::time_point now)
{
    changes out;
    if (const auto* const m = std::get_if<dhcp4_message>(&f.message)) {
        using kind = dhcp4_message::kind;
        const bool grants = m->type == kind::acknowledge;
        if (!grants && m->type != kind::refuse) {
            return out;
        }
        const asked* const a =
            find({bridge, network, false, m->transaction, id_of(m->client)}, now);
        if (a == nullptr) {
            return out;
        }
        if (grants && m->yours.is_unicast() && m->lease) {
            out.push_back({a->where, a->mac, m->yours,
                           *m->lease == 0 ? std::nullopt : std::optional{*m->lease}});
        } else if (!grants && a->claims.is_set()) {
            out.push_back({a->where, a->mac, a->claims, std::nullopt});
        }
        return out;
    }
    const auto& m = std::get<dhcp6_message>(f.message);
    if (m.type != dhcp6_message::kind::reply) {
        return out;
    }
    if (const asked* const a = find({bridge, network, true, m.transaction, id_of(f.to)}, now)) {
        for (const auto& one : m.addresses) {
            if (one.is.is_unicast() && !one.is.is_v4()) {
                out.push_back({a->where, a->mac, one.is,
                               one.valid == 0 ? std::nullopt : std::optional{one.valid}});
            }
        }
    }
    return out;
}

void dhcp_snooper::open(const transaction& t, asked a)
{
    // The first that said so: who sees a client ask does not know of it before that.
    if (const asked* const there = find(t, a.when); there != nullptr) {
        if (there->where.port != a.where.port) {
            return;
        }
        close(t);
    }
    auto& of_port = by_port_[a.where.port];
    if (of_port.size() >= most_of_port) {
        open_.erase(of_port.front());
        of_port.pop_front();
    }
    of_port.push_back(t);
    open_.insert_or_assign(t, std::move(a));
}

void dhcp_snooper::close(const transaction& t)
{
    const auto found = open_.find(t);
    if (found == open_.end()) {
        return;
    }
    const auto of_port = by_port_.find(found->second.where.port);
    of_port->second.remove(t);
    if (of_port->second.empty()) {
        by_port_.erase(of_port);
    }
    open_.erase(found);
}

const dhcp_snooper::asked* dhcp_snooper::find(const transaction& t, clock::time_point now)
{
    const auto found = open_.find(t);
    if (found == open_.end()) {
        return nullptr;
    }
    if (now - found->second.when > patience) {
        close(t);
        return nullptr;
    }
    return &found->second;
}

void dhcp_snooper::rename_port(const std::string& from, const std::string& to)
{
    auto node = by_port_.extract(from);
    if (node.empty()) {
        return;
    }
    for (const transaction& t : node.mapped()) {
        open_.at(t).where.port = to;
    }
    node.key() = to;
    by_port_.insert(std::move(node));
}

void dhcp_snooper::forget_port(const std::string& port)
{
    const auto found = by_port_.find(port);
    if (found == by_port_.end()) {
        return;
    }
    for (const transaction& t : found->second) {
        open_.erase(t);
    }
    by_port_.erase(found);
}

} // namespace strait::control
