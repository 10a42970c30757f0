// SPDX-License-Identifier: BSD-3-Clause
// From checked parameters to the settings of each port type.
#include "control/port_types.hh"

#include "control/accounts.hh"
#include "control/tunnel_options.hh"
#include "control/xen_host.hh"
#include "ports/nic/nic.hh"
#include "ports/number.hh"
#include "ports/tunnel/tunnel.hh"
#include "ports/vhost/vhost.hh"
#include "ports/xen-netback/netback.hh"

#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

namespace strait::control {

namespace {

using ports::error;
using ports::result;
using claims = std::vector<std::string>;
using made_port = result<std::unique_ptr<ports::port>>;

std::string text(const port_request& r, std::string_view name, std::string_view otherwise = {})
{
    const auto* value = r.options.if_contains(name);
    return std::string{value != nullptr ? std::string_view{value->as_string()} : otherwise};
}

unsigned queues_of(const port_request& r)
{
    const auto* const queues = r.options.if_contains("queues");
    return queues != nullptr ? static_cast<unsigned>(queues->as_int64()) : 1;
}

result<void> set_owner(vhost::settings& s, const std::string& owner)
{
    if (owner.empty()) {
        return {};
    }
    const auto found = find_account(owner);
    if (found.has_error()) {
        return error{"the socket's owner: " + found.error().message};
    }
    s.owner = found->user;
    s.group = found->group;
    return {};
}

result<void> set_mode(vhost::settings& s, const std::string& mode)
{
    if (mode.empty()) {
        return {};
    }
    constexpr int octal = 8;
    constexpr unsigned all_permissions = 0777;
    const auto bits = to_number<unsigned>(mode, octal);
    if (!bits || *bits > all_permissions) {
        return error{"the socket's mode is " + mode +
                     "; it must be octal permissions from 0 to 0777, like 0660"};
    }
    s.mode = static_cast<mode_t>(*bits);
    return {};
}

made_port make_vhost_user(const port_request& r, const port_environment& e)
{
    vhost::settings s;
    s.name = r.name;
    s.socket = text(r, "socket");
    s.client = text(r, "mode", "server") == "client";
    s.state_dir = e.state_dir;
    s.mtu = r.mtu;
    s.workers = static_cast<unsigned>(e.workers);
    s.queues = queues_of(r);
    if (!s.socket.starts_with('/')) {
        return error{"the socket path " + s.socket +
                     " depends on where straitd was started; give "
                     "one that begins with /"};
    }
    if (s.client && (r.options.contains("socket_owner") || r.options.contains("socket_mode"))) {
        return error{"the socket of a port in client mode is made by the VMM: its owner and mode "
                     "are the VMM's to set"};
    }
    if (auto set = set_owner(s, text(r, "socket_owner")); set.has_error()) {
        return set.error();
    }
    if (auto set = set_mode(s, text(r, "socket_mode")); set.has_error()) {
        return set.error();
    }
    return vhost::make_port(std::move(s), e.rcu);
}

made_port make_nic(const port_request& r, const port_environment& e)
{
    nic::settings s;
    s.name = r.name;
    s.device = text(r, "device");
    s.mtu = r.mtu;
    s.queues = queues_of(r);
    s.workers = static_cast<unsigned>(e.workers);
    if (const auto* size = r.options.if_contains("ring_size")) {
        s.rx_descriptors = static_cast<std::uint16_t>(size->as_int64());
        s.tx_descriptors = s.rx_descriptors;
    }
    return nic::make_port(std::move(s), e.pool);
}

made_port make_bond(const port_request& r, const port_environment& e)
{
    nic::bond_settings s;
    s.name = r.name;
    s.members = nic::split_devices(text(r, "members"));
    const std::string mode = text(r, "bond_mode", "active-backup");
    s.mode = mode == "lacp"      ? nic::bond_mode::lacp
             : mode == "balance" ? nic::bond_mode::balance
                                 : nic::bond_mode::active_backup;
    s.mtu = r.mtu;
    if (const auto* size = r.options.if_contains("ring_size")) {
        s.descriptors = static_cast<std::uint16_t>(size->as_int64());
    }
    return nic::make_bond(std::move(s), e.pool, e.rcu);
}

std::string host_interface(const port_request& r)
{
    return text(r, "interface", r.name);
}

made_port make_host(const port_request& r, const port_environment& e)
{
    constexpr std::size_t longest = 15;
    nic::host_settings s;
    s.name = r.name;
    s.interface = host_interface(r);
    if (s.interface.size() > longest) {
        return error{"the name " + s.interface +
                     " is too long for an interface (15 bytes at "
                     "most); give another with --interface"};
    }
    s.address = text(r, "address");
    s.mtu = r.mtu;
    return nic::make_host_port(std::move(s), e.pool);
}

made_port make_xen(const port_request& r, const port_environment& e)
{
    if (e.xen == nullptr) {
        return error{"there are no Xen guests to serve: " + e.no_xen};
    }
    if (auto obstacle = xen_obstacle(*e.xen); !obstacle.empty()) {
        return error{std::move(obstacle)};
    }
    xen::settings s;
    s.name = r.name;
    s.vif = vif_of(r.options);
    s.mtu = r.mtu;
    if (const auto* queues = r.options.if_contains("max_queues")) {
        s.queues = static_cast<std::uint32_t>(queues->as_int64());
    }
    return xen::make_port(std::move(s), *e.xen, e.rcu);
}

claims claims_of_vhost_user(const port_request& r)
{
    return {"socket " + std::filesystem::path{text(r, "socket")}.lexically_normal().string()};
}

claims claims_of_xen(const port_request& r)
{
    return {"Xen guest's device " + vif_of(r.options).to_string()};
}

claims claims_of_device(const std::string& device)
{
    const auto comma = device.find(',');
    std::string name = device.substr(0, comma);
    // 03:00.0 and 0000:03:00.0 are one device.
    constexpr std::size_t short_pci_address = 7;
    if (name.size() == short_pci_address && name[2] == ':' && name[5] == '.') {
        name.insert(0, "0000:");
    }
    claims list{"device " + name};
    constexpr std::string_view key = ",iface=";
    const auto at = device.find(key);
    if (name.starts_with("net_tap") && at != std::string::npos) {
        const auto begin = at + key.size();
        list.push_back("interface " + device.substr(begin, device.find(',', begin) - begin));
    }
    return list;
}

claims claims_of_nic(const port_request& r)
{
    return claims_of_device(text(r, "device"));
}

claims claims_of_bond(const port_request& r)
{
    claims all;
    for (const std::string& device : nic::split_devices(text(r, "members"))) {
        std::ranges::move(claims_of_device(device), std::back_inserter(all));
    }
    return all;
}

claims claims_of_host(const port_request& r)
{
    return {"interface " + host_interface(r)};
}

} // namespace

xen::vif_id vif_of(const boost::json::object& o)
{
    const auto* const handle = o.if_contains("handle");
    return {xen::domain_id{static_cast<std::uint16_t>(o.at("domain").as_int64())},
            handle != nullptr ? static_cast<std::uint32_t>(handle->as_int64()) : 0};
}

std::map<std::string, port_type> port_types(const port_environment& environment)
{
    const auto with =
        [&environment](made_port (*make)(const port_request&, const port_environment&)) {
            return [make, environment](const port_request& r) { return make(r, environment); };
        };
    const port_type tunnels{claims_of_tunnel, [](const port_request& r) -> made_port {
                                auto s = tunnel_settings(r);
                                if (s.has_error()) {
                                    return s.error();
                                }
                                return tunnel::make_port(*s);
                            }};
    return {
        {"vhost-user",
         {claims_of_vhost_user, with(make_vhost_user),
          [dir = environment.state_dir](const std::string& name) { vhost::forget(dir, name); }}},
        {"xen", {claims_of_xen, with(make_xen)}},
        {"nic", {claims_of_nic, with(make_nic)}},
        {"bond", {claims_of_bond, with(make_bond)}},
        {"host", {claims_of_host, with(make_host)}},
        {"vxlan", tunnels},
        {"geneve", tunnels},
        {"gre", tunnels},
        {"nvgre", tunnels},
        {"local",
         {[](const port_request&) { return claims{}; },
          [](const port_request&) -> made_port { return tunnel::make_local_port(); }}},
    };
}

} // namespace strait::control
