// SPDX-License-Identifier: BSD-3-Clause
#include "control/seen_stations.hh"

#include "control/ip_text.hh"
#include "dataplane/guard/seen_addresses.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>

namespace strait::control {

namespace json = boost::json;
using dataplane::mac_entry;

seen_stations::seen_stations(const virtual_switch& sw,
                             const std::vector<const virtual_switch::port*>& ports)
    : now_{sw.engine().now()}
{
    std::set<std::string> bridges;
    for (const auto* const p : ports) {
        if (p->config->addresses) {
            macs_.try_emplace(p->config->index);
            bridges.insert(p->request.bridge);
        }
    }
    // A table may have a million entries.
    std::vector<found_macs*> of(dataplane::max_ports, nullptr);
    for (auto& [index, macs] : macs_) {
        of[dataplane::to_index(index)] = &macs;
    }
    for (const std::string& name : bridges) {
        sw.bridges().at(name).config->macs->for_each(now_, [&of](const mac_entry& e) {
            const std::size_t i = dataplane::to_index(e.port);
            if (i < of.size() && of[i] != nullptr) {
                of[i]->add(e);
            }
        });
    }
    for (auto& [index, macs] : macs_) {
        std::ranges::sort(macs.latest, {}, [](const mac_entry& e) {
            return std::tuple{e.vlan, e.mac};
        });
    }
}

void seen_stations::found_macs::add(const mac_entry& e)
{
    ++total;
    if (latest.size() < most_macs) {
        latest.push_back(e);
    } else if (e.age < oldest) {
        *std::ranges::max_element(latest, {}, &mac_entry::age) = e;
    } else {
        return;
    }
    if (latest.size() == most_macs) {
        oldest = std::ranges::max_element(latest, {}, &mac_entry::age)->age;
    }
}

json::value seen_stations::behind(const virtual_switch::port& p) const
{
    const auto found = macs_.find(p.config->index);
    if (found == macs_.end()) {
        return nullptr;
    }
    json::array macs;
    for (const mac_entry& e : found->second.latest) {
        macs.push_back({{"mac", e.mac.to_string()},
                        {"vlan", e.vlan.value()},
                        {"static", e.is_static},
                        {"age", e.age}});
    }
    json::array addresses;
    for (const auto& a : p.config->addresses->list(now_)) {
        addresses.push_back({{"address", to_text(a.address)},
                             {"vlan", a.vlan.value()},
                             {"mac", a.mac.to_string()},
                             {"age", a.age}});
    }
    return {{"macs", std::move(macs)},
            {"total_macs", found->second.total},
            {"addresses", std::move(addresses)}};
}

} // namespace strait::control
