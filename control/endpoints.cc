// SPDX-License-Identifier: BSD-3-Clause
// Addresses and routes.
#include "control/endpoints.hh"

#include "control/ip_text.hh"

#include <algorithm>
#include <array>
#include <fstream>

#include <unistd.h>

namespace strait::control {

using endpoint::ip_address;
using endpoint::ip_prefix;

namespace {

// Without the bits behind the prefix.
ip_prefix network_of(const ip_prefix& p)
{
    const auto mask = [](unsigned bits) noexcept {
        return bits == 0 ? 0 : ~std::uint64_t{0} << (64 - bits);
    };
    const unsigned first = std::min<unsigned>(p.length, 64);
    return {{p.address.high & mask(first), p.address.low & mask(p.length - first)}, p.length};
}

std::uint64_t next_version()
{
    static std::uint64_t last = 0; // the control thread's
    return ++last;
}

} // namespace

outcome<void> endpoints::add(const address& a)
{
    if (!a.at.address.is_unicast()) {
        return failure{failure_kind::invalid,
                       to_text(a.at.address) + " is no address of a host, but " +
                           (a.at.address.is_set() ? "a multicast or broadcast one" : "none")};
    }
    for (const address& other : addresses_) {
        if (other.at.address == a.at.address) {
            return failure{failure_kind::exists, to_text(other.at) + " is an address of bridge " +
                                                     other.bridge + " already"};
        }
    }
    if (addresses_.size() == most_addresses) {
        return failure{failure_kind::limit, "the switch has " + std::to_string(most_addresses) +
                                                " addresses already, and no room for more"};
    }
    addresses_.push_back(a);
    return {};
}

bool endpoints::remove(const std::string& bridge, const ip_prefix& at)
{
    return std::erase_if(addresses_,
                         [&](const address& a) { return a.bridge == bridge && a.at == at; }) > 0;
}

void endpoints::remove_bridge(const std::string& bridge)
{
    std::erase_if(addresses_, [&](const address& a) { return a.bridge == bridge; });
}

outcome<void> endpoints::add(const route& r)
{
    const ip_prefix to = network_of(r.to);
    if (!(to == r.to)) {
        return failure{failure_kind::invalid,
                       to_text(r.to) + " has bits behind its prefix; " + to_text(to) + " has not"};
    }
    if (!r.via.is_unicast() || r.via.is_v4() != r.to.address.is_v4()) {
        return failure{failure_kind::invalid, to_text(r.via) + " is no gateway for " +
                                                  to_text(r.to) + ": it must be a host's address " +
                                                  (r.to.address.is_v4() ? "of IPv4" : "of IPv6")};
    }
    const bool on_link =
        std::ranges::any_of(addresses_, [&r](const address& a) { return a.at.contains(r.via); });
    if (!on_link) {
        return failure{failure_kind::invalid, "no address of the switch is in one network with " +
                                                  to_text(r.via) +
                                                  "; add one first: address add BRIDGE ADDRESS"};
    }
    for (const route& other : routes_) {
        if (other.to == r.to) {
            return failure{failure_kind::exists, "there is a route to " + to_text(r.to) +
                                                     " already, via " + to_text(other.via)};
        }
    }
    if (routes_.size() == most_routes) {
        return failure{failure_kind::limit, "the switch has " + std::to_string(most_routes) +
                                                " routes already, and no room for more"};
    }
    routes_.push_back(r);
    return {};
}

bool endpoints::remove(const ip_prefix& to)
{
    return std::erase_if(routes_, [&](const route& r) { return r.to == to; }) > 0;
}

bool endpoints::has(const std::string& bridge) const noexcept
{
    return std::ranges::any_of(addresses_, [&](const address& a) { return a.bridge == bridge; });
}

std::shared_ptr<const endpoint::config>
endpoints::build(const std::function<place(const std::string&)>& where) const
{
    if (addresses_.empty()) {
        return nullptr;
    }
    auto out = std::make_shared<endpoint::config>();
    out->version = next_version();
    for (const address& a : addresses_) {
        const place p = where(a.bridge);
        const auto index = static_cast<std::uint16_t>(out->interfaces.size());
        out->interfaces.push_back({a.at, dataplane::vlan_id{a.vlan}, p.bridge, p.local, p.mac});
        out->routes.push_back({network_of(a.at), {}, index});
    }
    for (const route& r : routes_) { // one whose gateway went out of reach leads nowhere
        for (std::size_t i = 0; i < addresses_.size(); ++i) {
            if (addresses_[i].at.contains(r.via)) {
                out->routes.push_back({r.to, r.via, static_cast<std::uint16_t>(i)});
                break;
            }
        }
    }
    std::ranges::stable_sort(out->routes, std::greater{},
                             [](const endpoint::route& r) { return r.to.length; });
    return out;
}

dataplane::mac_address mac_of_bridge(const std::string& name)
{
    std::string machine;
    std::ifstream{"/etc/machine-id"} >> machine;
    // As in some containers, and in an image whose first start is still to come (machine-id(5)),
    // which all would have the same then.
    if (machine.empty() || machine == "uninitialized") {
        std::array<char, 256> host{};
        ::gethostname(host.data(), host.size() - 1);
        machine = host.data();
    }
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325; // FNV-1a
    for (const char c : machine + '/' + name) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100'0000'01b3;
    }
    constexpr std::uint64_t local = 0x02;
    constexpr std::uint64_t first_byte = 0xff;
    return dataplane::mac_address{(hash & ~first_byte) | local};
}

} // namespace strait::control
