// SPDX-License-Identifier: BSD-3-Clause
#include "ports/nic/bond.hh"

#include "ports/log.hh"

#include <rte_eth_bond.h>
#include <rte_eth_bond_8023ad.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

namespace strait::nic {

namespace {

using ports::error;

std::uint8_t mode_of(bond_mode mode) noexcept
{
    switch (mode) {
    case bond_mode::active_backup:
        break;
    case bond_mode::balance:
        return BONDING_MODE_BALANCE;
    case bond_mode::lacp:
        return BONDING_MODE_8023AD;
    }
    return BONDING_MODE_ACTIVE_BACKUP;
}

} // namespace

ports::result<std::unique_ptr<bond>> bond::make(const std::string& port, bond_mode mode,
                                                std::vector<device_request> all,
                                                dataplane::rcu_domain& rcu)
{
    std::unique_ptr<bond> made{new bond{port, mode, rcu}};
    if (auto ok = made->open(std::move(all)); !ok) {
        return std::move(ok).error();
    }
    return made;
}

ports::result<void> bond::open(std::vector<device_request> all)
{
    // A bond that was renamed keeps the device's name that its first one gave it.
    std::string name = "net_bonding_" + port_;
    std::uint16_t taken = 0;
    for (unsigned i = 2; rte_eth_dev_get_port_by_name(name.c_str(), &taken) == 0; ++i) {
        name = "net_bonding_" + port_ + '.' + std::to_string(i);
    }
    const log_capture log;
    const int id = rte_eth_bond_create(name.c_str(), mode_of(mode_), 0);
    if (id < 0) {
        return error{"a bond cannot be made: " + cause(log, id)};
    }
    id_ = static_cast<std::uint16_t>(id);
    device_.emplace(device::of(name, true, id_));
    constexpr std::uint32_t look_at_links_ms = 50;
    rte_eth_bond_link_monitoring_set(id_, look_at_links_ms);
    if (mode_ != bond_mode::active_backup) {
        // Addresses and ports: what a flow's packets have all alike.
        rte_eth_bond_xmit_policy_set(id_, BALANCE_XMIT_POLICY_LAYER34);
    }
    for (device_request& request : all) {
        member& m = members_.emplace_back(member{std::move(request), std::nullopt});
        if (auto ok = join(m); !ok) {
            return ok;
        }
    }
    return {};
}

ports::result<void> bond::join(member& m)
{
    auto plugged = device::plug(m.request);
    if (!plugged) {
        return std::move(plugged).error();
    }
    // Some tell of their link once and never again (an emulated e1000e); so DPDK is not to wait for
    // interrupts, but to look.
    rte_eth_dev_info info{};
    if (rte_eth_dev_info_get(plugged->port_id(), &info) == 0) {
        *const_cast<std::uint32_t*>(info.dev_flags) &= ~std::uint32_t{RTE_ETH_DEV_INTR_LSC};
    }
    const log_capture log;
    const int failed = rte_eth_bond_slave_add(id_, plugged->port_id());
    if (failed != 0) {
        return refused_by_driver(m.request, "cannot be in a bond", log, failed);
    }
    // One that comes late is not told what the bond receives, but in active-backup, whose reserve
    // is to stay out of it.
    if (mode_ != bond_mode::active_backup && rte_eth_promiscuous_get(id_) == 1) {
        if (const int error = rte_eth_promiscuous_enable(plugged->port_id());
            error != 0 && error != -ENOTSUP) {
            rte_eth_bond_slave_remove(id_, plugged->port_id());
            rcu_.synchronize(); // a worker may be polling it
            return refused_by_driver(m.request, "cannot receive all that the bond does", log,
                                     error);
        }
    }
    m.is.emplace(std::move(*plugged));
    return {};
}

void bond::tend()
{
    bool is_missed = false;
    for (member& m : members_) {
        if (m.is && m.is->is_asked_for()) {
            rte_eth_bond_slave_remove(id_, m.is->port_id());
            rcu_.synchronize(); // a worker may be polling it
            m.is.reset();
            ports::log_warning("nic",
                               "port " + port_ + ": member " + m.request.name + " was unplugged");
        }
        is_missed = is_missed || !m.is;
    }
    const auto now = std::chrono::steady_clock::now();
    if (!is_missed || now < next_try_) {
        return;
    }
    constexpr std::chrono::seconds interval{5};
    next_try_ = now + interval;
    for (member& m : members_) {
        if (!m.is && check_pci(m.request.name).has_value() && join(m).has_value()) {
            ports::log_notice("nic",
                              "port " + port_ + ": member " + m.request.name + " is there again");
        }
    }
}

std::vector<std::uint16_t> bond::up() const
{
    std::vector<std::uint16_t> ids(RTE_MAX_ETHPORTS);
    const int count =
        rte_eth_bond_active_slaves_get(id_, ids.data(), static_cast<std::uint16_t>(ids.size()));
    ids.resize(static_cast<std::size_t>(std::max(count, 0)));
    return ids;
}

ports::result<void> bond::check_mtu(std::uint32_t mtu) const
{
    for (const member& m : members_) {
        if (!m.is) {
            continue;
        }
        const std::string whose = m.request.name + ", a member of the bond,";
        if (auto ok = nic::check_mtu(whose, m.is->port_id(), mtu); !ok) {
            return ok;
        }
    }
    return {};
}

std::uint32_t bond::most_mtu() const noexcept
{
    std::uint32_t most = mtus_of(id_).most;
    for (const member& m : members_) {
        most = m.is ? std::min(most, mtus_of(m.is->port_id()).most) : most;
    }
    return most;
}

std::string bond::describe(const member& m) const
{
    if (!m.is) {
        return "unplugged";
    }
    const std::uint16_t id = m.is->port_id();
    if (const auto ids = up(); std::ranges::find(ids, id) == ids.end()) {
        return "down";
    }
    if (mode_ == bond_mode::active_backup) {
        return rte_eth_bond_primary_get(id_) == id ? "up, active" : "up, in reserve";
    }
    if (mode_ == bond_mode::balance) {
        return "up";
    }
    struct rte_eth_bond_8023ad_slave_info info {}; // as the function is called, too
    if (rte_eth_bond_8023ad_slave_info(id_, id, &info) != 0) {
        return "up, not negotiating yet";
    }
    if ((info.actor_state & STATE_DEFAULTED) != 0) {
        return "up, without a partner that speaks LACP";
    }
    const bool works =
        (info.actor_state & STATE_COLLECTING) != 0 && (info.actor_state & STATE_DISTRIBUTING) != 0;
    return std::string{works ? "up, active" : "up, negotiating"} + ", partner " +
           to_text(info.partner.system);
}

std::vector<std::string> bond::describe() const
{
    std::vector<std::string> out;
    for (const member& m : members_) {
        out.push_back(m.request.name + ": " + describe(m));
    }
    return out;
}

} // namespace strait::nic
