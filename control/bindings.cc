// SPDX-License-Identifier: BSD-3-Clause
// The table. A port has few bindings: they are looked through.
#include "control/bindings.hh"

#include <algorithm>
#include <utility>

namespace strait::control {

using dataplane::mac_address;
using endpoint::ip_address;
using endpoint::ip_prefix;

namespace {

using station = bindings::station;
using address = bindings::address;

template <typename Stations>
auto* find(Stations& stations, std::optional<std::uint16_t> vlan, mac_address mac)
{
    const auto found = std::ranges::find_if(
        stations, [&](const station& s) { return s.mac == mac && s.vlan == vlan; });
    return found == stations.end() ? nullptr : &*found;
}

auto find(std::vector<address>& addresses, const ip_prefix& at)
{
    return std::ranges::find(addresses, at, &address::is);
}

std::size_t count_addresses(const std::vector<station>& stations)
{
    std::size_t n = 0;
    for (const station& s : stations) {
        n += s.addresses.size();
    }
    return n;
}

std::size_t count_leases(const std::vector<station>& stations)
{
    std::size_t n = 0;
    for (const station& s : stations) {
        n += static_cast<std::size_t>(std::ranges::count(s.addresses, true, &address::leased));
    }
    return n;
}

} // namespace

const std::vector<station>* bindings::of(const std::string& port) const
{
    const auto found = ports_.find(port);
    return found == ports_.end() ? nullptr : &found->second;
}

outcome<void> bindings::add(const std::string& port, std::optional<std::uint16_t> vlan,
                            mac_address mac, const std::vector<ip_prefix>& at)
{
    auto stations = ports_.contains(port) ? ports_.at(port) : std::vector<station>{};
    station* s = find(stations, vlan, mac);
    if (s == nullptr) {
        if (stations.size() >= most_stations) {
            return failure{failure_kind::limit, "port " + port + " has " +
                                                    std::to_string(most_stations) +
                                                    " MACs bound to it already, and may have no "
                                                    "more"};
        }
        s = &stations.emplace_back(station{.mac = mac, .vlan = vlan});
    }
    s->leased = false;
    for (const ip_prefix& one : at) {
        if (const auto there = find(s->addresses, one); there != s->addresses.end()) {
            *there = {.is = one};
        } else {
            s->addresses.push_back({.is = one});
        }
    }
    if (count_addresses(stations) > most_addresses) {
        return failure{failure_kind::limit,
                       "port " + port + " may have " + std::to_string(most_addresses) +
                           " addresses bound to it, and with these would have more; a prefix "
                           "like 10.0.0.0/24 is one"};
    }
    leases_ -= ports_.contains(port) ? count_leases(ports_.at(port)) : 0;
    leases_ += count_leases(stations);
    ports_[port] = std::move(stations);
    changed_.insert(port);
    return {};
}

std::size_t bindings::remove(const std::string& port, std::optional<mac_address> mac,
                             std::optional<std::uint16_t> vlan, const std::vector<ip_prefix>& at)
{
    const auto found = ports_.find(port);
    if (found == ports_.end()) {
        return 0;
    }
    changed_.insert(port);
    auto& stations = found->second;
    const auto before = stations.size() + count_addresses(stations);
    leases_ -= count_leases(stations);
    const auto chosen = [&](const station& s) { return !mac || (s.mac == *mac && s.vlan == vlan); };
    if (at.empty()) {
        std::erase_if(stations, chosen);
    } else {
        for (station& s : stations) {
            if (chosen(s)) {
                std::erase_if(s.addresses, [&](const address& a) {
                    return std::ranges::find(at, a.is) != at.end();
                });
            }
        }
        std::erase_if(stations, [](const station& s) { return s.leased && s.addresses.empty(); });
    }
    leases_ += count_leases(stations);
    const auto after = stations.size() + count_addresses(stations);
    if (stations.empty()) {
        ports_.erase(found);
    }
    return before - after;
}

void bindings::remove_port(const std::string& port)
{
    (void)remove(port, std::nullopt, std::nullopt, {});
}

void bindings::rename_port(const std::string& from, const std::string& to)
{
    auto node = ports_.extract(from);
    if (node.empty()) {
        return;
    }
    node.key() = to;
    ports_.insert(std::move(node));
    changed_.insert(from);
    changed_.insert(to);
}

bindings::leased bindings::lease(const std::string& port, std::optional<std::uint16_t> vlan,
                                 mac_address mac, const ip_address& at,
                                 std::optional<clock::time_point> until)
{
    const auto there = ports_.find(port);
    if (there != ports_.end()) {
        if (station* const s = find(there->second, vlan, mac)) {
            if (const auto a = find(s->addresses, whole(at)); a != s->addresses.end()) {
                if (!a->leased) {
                    return leased::given;
                }
                a->until = until;
                changed_.insert(port);
                return leased::renewed;
            }
        }
        if (count_leases(there->second) >= most_leased ||
            count_addresses(there->second) >= most_addresses) {
            return leased::refused;
        }
    }
    if (leases_ >= most_leased_in_all) {
        return leased::refused;
    }
    auto& stations = ports_[port];
    station* s = find(stations, vlan, mac);
    if (s == nullptr) {
        if (stations.size() >= most_stations) {
            return leased::refused;
        }
        s = &stations.emplace_back(station{.mac = mac, .vlan = vlan, .leased = true});
    }
    s->addresses.push_back({.is = whole(at), .leased = true, .until = until});
    ++leases_;
    changed_.insert(port);
    return leased::made;
}

// Those of which `over` tells that they are; how many.
template <typename Over>
std::size_t bindings::end_those(std::vector<station>& stations, const Over& over)
{
    std::size_t ended = 0;
    for (station& s : stations) {
        ended +=
            std::erase_if(s.addresses, [&](const address& a) { return a.leased && over(s, a); });
    }
    std::erase_if(stations, [](const station& s) { return s.leased && s.addresses.empty(); });
    leases_ -= ended;
    return ended;
}

template <typename Over>
bool bindings::end_those(const std::string& port, const Over& over)
{
    const auto found = ports_.find(port);
    if (found == ports_.end()) {
        return false;
    }
    const std::size_t ended = end_those(found->second, over);
    if (ended > 0) {
        changed_.insert(port);
    }
    if (found->second.empty()) {
        ports_.erase(found);
    }
    return ended > 0;
}

bool bindings::end_lease(const std::string& port, std::optional<std::uint16_t> vlan,
                         mac_address mac, const ip_address& at)
{
    return end_those(port, [&](const station& s, const address& a) {
        return s.mac == mac && s.vlan == vlan && a.is == whole(at);
    });
}

bool bindings::end_leases(const std::string& port)
{
    return end_those(port, [](const station&, const address&) { return true; });
}

bool bindings::end_leases(const std::string& port, std::optional<std::uint16_t> vlan,
                          mac_address mac)
{
    return end_those(
        port, [&](const station& s, const address&) { return s.mac == mac && s.vlan == vlan; });
}

bool bindings::is_full(const std::string& port) const
{
    const auto* const stations = of(port);
    return leases_ >= most_leased_in_all ||
           (stations != nullptr &&
            (stations->size() >= most_stations || count_leases(*stations) >= most_leased ||
             count_addresses(*stations) >= most_addresses));
}

bool bindings::expire(clock::time_point now)
{
    if (leases_ == 0) {
        return false;
    }
    std::size_t ended = 0;
    for (auto& [port, stations] : ports_) {
        const std::size_t of_port = end_those(stations, [now](const station&, const address& a) {
            return a.until && *a.until <= now;
        });
        if (of_port > 0) {
            changed_.insert(port);
        }
        ended += of_port;
    }
    std::erase_if(ports_, [](const auto& p) { return p.second.empty(); });
    return ended > 0;
}

} // namespace strait::control
