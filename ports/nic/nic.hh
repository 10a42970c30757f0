// SPDX-License-Identifier: BSD-3-Clause
// NIC ports: any DPDK ethdev by name or PCI address, and the host port of a bridge (a tap). How
// control makes one; queues are in nic.cc.
#pragma once

#include "dataplane/rcu.hh"
#include "ports/port.hh"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace strait::nic {

struct settings {
    std::string name;   // the port's
    std::string device; // devargs: "net_tap0,iface=tap0", "0000:03:00.0"
    std::uint32_t mtu{1500};
    std::uint16_t rx_descriptors{1024};
    std::uint16_t tx_descriptors{1024};
    // Pairs that the device spreads flows over, 1 to 16: no more than there are workers are used.
    unsigned queues{1};
    unsigned workers{1};
};

// Hot-plugs the device, configures and starts it. The pool serves its receive queues. The device is
// removed again by the port's destructor. Errors: unknown driver or device, device in use, an MTU
// or a number of queues that it cannot do, too few resources: each in one sentence.
[[nodiscard]] ports::result<std::unique_ptr<ports::port>> make_port(settings s, rte_mempool* pool);

enum class bond_mode : std::uint8_t {
    active_backup, // one member works, the others are in reserve
    balance,       // flows are spread over all; the other side is configured likewise
    lacp           // the same, agreed on with the other side (IEEE 802.1AX)
};

struct bond_settings {
    std::string name; // the port's
    std::vector<std::string>
        members; // devargs, taps excepted; in the order in which they are preferred
    bond_mode mode{bond_mode::active_backup};
    std::uint32_t mtu{1500};
    std::uint16_t descriptors{1024}; // of each ring
    unsigned workers{1};             // that there are
};

// As make_port(); all members must be there. One that is unplugged later is missed until it is
// back.
[[nodiscard]] ports::result<std::unique_ptr<ports::port>>
make_bond(bond_settings s, rte_mempool* pool, dataplane::rcu_domain& rcu);
// "0000:03:00.0,net_af_packet0,iface=eth1": what has no '=' begins another device.
[[nodiscard]] std::vector<std::string> split_devices(std::string_view text);

struct host_settings {
    std::string name;      // the port's
    std::string interface; // the tap's name, 1 to 15 bytes
    std::string address;   // CIDR, IPv4 or IPv6; empty: none
    std::uint32_t mtu{1500};
};

// A tap of the host, up, with its address: what OVS calls the LOCAL port.
[[nodiscard]] ports::result<std::unique_ptr<ports::port>> make_host_port(host_settings s,
                                                                         rte_mempool* pool);

} // namespace strait::nic
