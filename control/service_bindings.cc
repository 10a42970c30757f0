// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about bindings.
#include "control/ip_text.hh"
#include "control/parameters.hh"
#include "control/service.hh"

#include <boost/json/array.hpp>

#include <algorithm>

namespace strait::control {

namespace json = boost::json;

namespace {

using clock = bindings::clock;

failure invalid(std::string why)
{
    return {failure_kind::invalid, std::move(why)};
}

// An address, or a prefix with no bit behind it.
outcome<endpoint::ip_prefix> read_one(const std::string& text)
{
    if (const auto address = parse_address(text)) {
        return whole(*address);
    }
    const auto prefix = parse_prefix(text);
    if (!prefix) {
        return invalid((text.empty() ? "an empty word" : text) +
                       " is no address or prefix; give them like 10.0.0.5,fd00::5,fd00:1::/64");
    }
    endpoint::ip_prefix network = *prefix;
    const unsigned first = std::min<unsigned>(network.length, 64);
    const unsigned second = network.length - first;
    const auto mask = [](unsigned bits) {
        return bits == 0 ? 0 : ~std::uint64_t{0} << (64 - bits);
    };
    network.address.high &= mask(first);
    network.address.low &= mask(second);
    if (network.address.high != prefix->address.high ||
        network.address.low != prefix->address.low) {
        return invalid(text + " has bits behind its prefix; the network is " + to_text(network) +
                       ", the address alone " + to_text(prefix->address));
    }
    return network;
}

outcome<std::vector<endpoint::ip_prefix>> read_addresses(const json::object& p)
{
    std::vector<endpoint::ip_prefix> out;
    const auto given = text_of(p, "addresses");
    if (!given) {
        return out;
    }
    for (const std::string& one : split_list(*given)) {
        const auto read = read_one(one);
        if (read.has_error()) {
            return read.error();
        }
        if (std::ranges::find(out, *read) != out.end()) {
            return invalid(one + " is given twice");
        }
        out.push_back(*read);
    }
    return out;
}

} // namespace

void service::add_binding_methods()
{
    rpc_.add("binding.add", [this](const object& p) { return binding_add(p); });
    rpc_.add("binding.del", [this](const object& p) { return binding_del(p); });
    rpc_.add("binding.list", [this](const object& p) { return binding_list(p); });
}

service::result service::binding_add(const object& p)
{
    const auto at = read_addresses(p);
    if (at.has_error()) {
        return at.error();
    }
    auto done = switch_.add_binding(text_of(p, "port").value(), number_as<std::uint16_t>(p, "vlan"),
                                    *dataplane::mac_address::parse(text_of(p, "mac").value()), *at);
    if (done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"added", true}});
}

service::result service::binding_del(const object& p)
{
    const auto at = read_addresses(p);
    if (at.has_error()) {
        return at.error();
    }
    const std::string port = text_of(p, "port").value();
    const auto mac = text_of(p, "mac");
    const auto vlan = number_as<std::uint16_t>(p, "vlan");
    if (!mac && vlan) {
        return invalid("--vlan is of a MAC's binding; give the MAC with it");
    }
    const bool may_lack = is_set(p, "if_exists");
    if (may_lack && !switch_.ports().contains(port)) {
        return json::value(json::object{{"removed", 0}});
    }
    const auto done = switch_.remove_binding(
        port, mac ? dataplane::mac_address::parse(*mac) : std::nullopt, vlan, *at);
    if (done.has_error()) {
        return done.error();
    }
    if (*done == 0 && !may_lack) {
        return failure{failure_kind::not_found, "port " + port +
                                                    " has no such binding; binding list " + port +
                                                    " shows those that it has"};
    }
    return json::value(json::object{{"removed", *done}});
}

service::result service::binding_list(const object& p) const
{
    const auto only = text_of(p, "port");
    if (only) {
        if (const auto found = switch_.find_port(*only); found.has_error()) {
            return found.error();
        }
    }
    const auto now = clock::now();
    json::array list;
    for (const auto& [name, stations] : switch_.all_bindings().all()) {
        if (only && name != *only) {
            continue;
        }
        const virtual_switch::port& port = switch_.ports().at(name);
        for (const bindings::station& s : stations) {
            const std::uint16_t vlan = s.vlan.value_or(virtual_switch::untagged_vlan(port));
            const json::object row{{"port", name},
                                   {"bridge", port.request.bridge},
                                   {"vlan", vlan == 0 ? json::value(nullptr) : json::value(vlan)},
                                   {"mac", s.mac.to_string()},
                                   {"address", nullptr},
                                   {"type", s.leased ? "dhcp" : "static"},
                                   {"expires", nullptr}};
            if (s.addresses.empty()) {
                list.emplace_back(row);
            }
            for (const bindings::address& a : s.addresses) {
                json::object one = row;
                one["address"] = a.is.length == 128 ? to_text(a.is.address) : to_text(a.is);
                one["type"] = a.leased ? "dhcp" : "static";
                if (a.until) {
                    const auto left =
                        std::chrono::duration_cast<std::chrono::seconds>(*a.until - now);
                    one["expires"] = std::max<std::int64_t>(left.count(), 0);
                }
                list.emplace_back(std::move(one));
            }
        }
    }
    return json::value(std::move(list));
}

} // namespace strait::control
