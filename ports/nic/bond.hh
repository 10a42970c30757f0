// SPDX-License-Identifier: BSD-3-Clause
// Several NICs as one, by DPDK's bonding driver (IEEE 802.1AX). Its members come and go while it
// works.
#pragma once

#include "dataplane/rcu.hh"
#include "ports/nic/device.hh"
#include "ports/nic/nic.hh"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace strait::nic {

// Control thread only.
class bond {
public:
    // Opens the members and joins them, not started yet. `rcu` outlives it: workers poll members.
    // Errors: as device::plug(), by the member's name; a member that cannot be one.
    [[nodiscard]] static ports::result<std::unique_ptr<bond>> make(const std::string& port,
                                                                   bond_mode mode,
                                                                   std::vector<device_request> all,
                                                                   dataplane::rcu_domain& rcu);

    // As the one device that it is, which goes before its members do.
    [[nodiscard]] device take_device() { return std::move(*device_); }

    // Lets members go that are to be unplugged, and takes them again once they are there: now and
    // then.
    void tend();
    void rename(const std::string& port) { port_ = port; }
    // Whether a member's is: as DPDK's bond knows, whose thread looks at links. A driver that is
    // asked by two threads at once may say "down" to one of them.
    [[nodiscard]] bool link_up() const { return !up().empty(); }
    // An MTU is that of all members; the first that cannot have it is named.
    [[nodiscard]] ports::result<void> check_mtu(std::uint32_t mtu) const;
    // The greatest that all of them can have.
    [[nodiscard]] std::uint32_t most_mtu() const noexcept;
    // Of each member "0000:03:00.0: up, active".
    [[nodiscard]] std::vector<std::string> describe() const;

private:
    struct member {
        device_request request;
        std::optional<device> is; // nothing: it was unplugged
    };
    bond(std::string port, bond_mode mode, dataplane::rcu_domain& rcu)
        : port_{std::move(port)}, mode_{mode}, rcu_{rcu}
    {}
    ports::result<void> open(std::vector<device_request> all);
    ports::result<void> join(member& m);
    [[nodiscard]] std::vector<std::uint16_t> up() const;
    [[nodiscard]] std::string describe(const member& m) const;

    std::string port_;
    bond_mode mode_;
    dataplane::rcu_domain& rcu_;
    std::vector<member> members_;
    std::optional<device> device_;
    std::uint16_t id_{0};
    std::chrono::steady_clock::time_point next_try_{};
};

} // namespace strait::nic
