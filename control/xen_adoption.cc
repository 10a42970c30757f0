// SPDX-License-Identifier: BSD-3-Clause
// The ports of adopted vifs are brought in line with rules and vifs whenever either changes.
#include "control/xen_adoption.hh"

#include "control/log.hh"
#include "control/port_types.hh"
#include "control/xen_host.hh"
#include "ports/number.hh"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

namespace strait::control {

namespace {

std::optional<std::uint16_t> to_vlan(std::string_view text)
{
    const auto n = to_number<std::uint16_t>(text);
    return n && *n >= 1 && *n <= dataplane::max_vlan ? n : std::nullopt;
}

} // namespace

ports::result<bridge_key> parse_bridge_key(std::string_view key)
{
    const auto wrong = [&](std::string_view part) {
        return ports::error{"bridge=" + std::string{key} + ": \"" + std::string{part} +
                            "\" is no VLAN from 1 to 4094; right are BRIDGE, BRIDGE.VLAN, "
                            "BRIDGE:VLAN:VLAN and BRIDGE.NATIVE:VLAN:VLAN"};
    };
    bridge_key out;
    const auto colon = key.find(':');
    const std::string_view front = key.substr(0, colon);
    const auto dot = front.rfind('.');
    out.bridge = front.substr(0, dot);
    std::optional<std::uint16_t> first;
    if (dot != std::string_view::npos) {
        first = to_vlan(front.substr(dot + 1));
        if (!first) {
            return wrong(front.substr(dot + 1));
        }
    }
    if (colon == std::string_view::npos) {
        out.vlan.access = first;
        return out;
    }
    std::string_view rest = key.substr(colon + 1);
    auto& trunk = out.vlan.trunk.emplace();
    while (true) {
        const auto end = std::min(rest.find(':'), rest.size());
        const auto vlan = to_vlan(rest.substr(0, end));
        if (!vlan) {
            return wrong(rest.substr(0, end));
        }
        trunk.push_back(*vlan);
        if (end == rest.size()) {
            break;
        }
        rest.remove_prefix(end + 1);
    }
    out.vlan.native = first;
    if (first) {
        trunk.push_back(*first);
    }
    std::ranges::sort(trunk);
    trunk.erase(std::unique(trunk.begin(), trunk.end()), trunk.end());
    return out;
}

xen_adoption::xen_adoption(boost::asio::io_context& io, virtual_switch& sw, xen::backend* b)
    : io_{io}, switch_{sw}, backend_{b}, self_{std::make_shared<xen_adoption*>(this)}
{
    if (backend_ != nullptr) {
        backend_->listen([this, self = self_](const std::vector<xen::found_vif>& vifs) {
            boost::asio::post(io_, [self, vifs] {
                if (*self != nullptr) {
                    (*self)->found(vifs);
                }
            });
        });
    }
}

xen_adoption::~xen_adoption()
{
    if (backend_ != nullptr) {
        backend_->listen(nullptr);
    }
    *self_ = nullptr;
}

outcome<void> xen_adoption::adopt(const std::string& bridge, rule r)
{
    if (const auto there = switch_.find_bridge(bridge); there.has_error()) {
        return there.error();
    }
    if (r.others) {
        const auto other = std::ranges::find_if(rules_, [&](const auto& entry) {
            return entry.first != bridge && entry.second.others;
        });
        if (other != rules_.end()) {
            return failure{failure_kind::exists, "bridge " + other->first +
                                                     " adopts the vifs of other bridges already; "
                                                     "release it first"};
        }
    }
    rules_.insert_or_assign(bridge, r);
    reconcile();
    return {};
}

outcome<bool> xen_adoption::release(const std::string& bridge)
{
    const bool there = rules_.erase(bridge) != 0;
    reconcile();
    return there;
}

std::string xen_adoption::port_of(xen::vif_id id) const
{
    for (const auto& [name, p] : switch_.ports()) {
        if (p.request.type == "xen" && vif_of(p.request.options) == id) {
            return name;
        }
    }
    return {};
}

std::vector<xen_adoption::state> xen_adoption::vifs() const
{
    std::vector<state> out;
    for (const auto& v : found_) {
        const auto a = adopted_.find(v.id);
        out.push_back({v, port_of(v.id), a != adopted_.end() ? a->second.error : std::string{}});
    }
    return out;
}

bool xen_adoption::has_adopted(const std::string& port) const
{
    return std::ranges::any_of(adopted_, [&port](const auto& a) { return a.second.port == port; });
}

outcome<std::string> xen_adoption::serving(xen::vif_id id) const
{
    if (auto obstacle = xen_obstacle(*backend_); !obstacle.empty()) {
        return failure{failure_kind::failed, std::move(obstacle)};
    }
    if (auto name = port_of(id); !name.empty()) {
        return name;
    }
    const std::string vif = id.to_string();
    if (const auto a = adopted_.find(id); a != adopted_.end() && !a->second.error.empty()) {
        return failure{failure_kind::failed, vif + " is not adopted: " + a->second.error};
    }
    const auto there = std::ranges::find(found_, id, &xen::found_vif::id);
    if (there == found_.end()) {
        return failure{failure_kind::not_found,
                       "there is no " + vif +
                           ": the tool stack made no such device for this domain"};
    }
    if (there->bridge.empty()) {
        return failure{failure_kind::not_found,
                       vif + " names no bridge and no bridge adopts such: add bridge=NAME to the "
                             "guest's vif, or straitctl xen adopt --bridge NAME --others"};
    }
    return failure{failure_kind::not_found,
                   "no bridge adopts " + vif + " with its bridge=" + there->bridge +
                       ": straitctl xen adopt --bridge " +
                       there->bridge.substr(0, there->bridge.find_first_of(".:"))};
}

void xen_adoption::found(std::vector<xen::found_vif> vifs)
{
    found_ = std::move(vifs);
    looked_ = true;
    reconcile();
}

// Where a vif belongs by the rules; if nowhere because its key is wrong, `why` says so.
std::optional<bridge_key> xen_adoption::wanted(const xen::found_vif& vif, std::string& why) const
{
    // A bridge's name may have dots and colons' look-alikes in it: whole names first.
    if (rules_.contains(vif.bridge)) {
        return bridge_key{vif.bridge, {}};
    }
    auto key = parse_bridge_key(vif.bridge);
    if (key.has_value() && rules_.contains(key->bridge)) {
        return std::move(*key);
    }
    if (key.has_error()) {
        const auto named = [&](const auto& entry) {
            return vif.bridge.starts_with(entry.first + ".") ||
                   vif.bridge.starts_with(entry.first + ":");
        };
        if (std::ranges::any_of(rules_, named)) {
            why = key.error().message;
            return std::nullopt;
        }
    }
    for (const auto& [bridge, r] : rules_) {
        if (r.others) {
            return bridge_key{bridge, key.has_value() ? key->vlan : vlan_settings{}};
        }
    }
    return std::nullopt;
}

void xen_adoption::reconcile()
{
    for (auto at = adopted_.begin(); at != adopted_.end();) {
        auto& [id, a] = *at;
        const auto there = std::ranges::find(found_, id, &xen::found_vif::id);
        std::string why;
        const auto key = there != found_.end() ? wanted(*there, why) : std::nullopt;
        if (key && key->bridge == a.bridge && there->bridge == a.key && a.error.empty()) {
            ++at;
            continue;
        }
        remove(a);
        at = adopted_.erase(at);
    }
    for (const auto& vif : found_) {
        if (adopted_.contains(vif.id)) {
            continue;
        }
        adopted a;
        a.key = vif.bridge;
        const auto key = wanted(vif, a.error);
        if (key) {
            a.bridge = key->bridge;
            make(vif, *key, a);
        } else if (a.error.empty()) {
            decline(vif);
            continue;
        }
        if (!a.error.empty()) {
            decline(vif);
            log(log_level::warning, "xen", vif.id.to_string() + " is not adopted: " + a.error);
        }
        adopted_.emplace(vif.id, std::move(a));
    }
}

void xen_adoption::decline(const xen::found_vif& vif)
{
    // Where the kernel's back end serves, it does so whatever the script is.
    if (vif.script == xen::own_script && port_of(vif.id).empty() &&
        xen_obstacle(*backend_).empty()) {
        backend_->decline(vif.id);
    }
}

void xen_adoption::make(const xen::found_vif& vif, const bridge_key& key, adopted& a)
{
    if (!port_of(vif.id).empty()) {
        return; // an operator's own
    }
    port_request request;
    request.name = vif.id.to_string();
    request.bridge = key.bridge;
    request.type = "xen";
    request.vlan = key.vlan;
    request.options = {{"domain", static_cast<std::int64_t>(vif.id.domain)},
                       {"handle", static_cast<std::int64_t>(vif.id.handle)}};
    if (vif.mtu != 0) {
        request.mtu = vif.mtu;
    }
    if (number_of_) {
        request.number = number_of_(request.name, request.bridge);
    }
    if (auto added = switch_.add_port(request); added.has_error()) {
        a.error = added.error().message;
        return;
    }
    a.port = request.name;
}

void xen_adoption::remove(const adopted& a)
{
    // The operator may have removed it, and made another of its name.
    const auto there = switch_.ports().find(a.port);
    if (!a.port.empty() && there != switch_.ports().end() && there->second.request.type == "xen") {
        (void)switch_.remove_port(a.port);
    }
}

} // namespace strait::control
