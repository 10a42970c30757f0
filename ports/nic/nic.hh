// SPDX-License-Identifier: BSD-3-Clause
// NIC ports: any DPDK ethdev by name or PCI address, and the host port of a bridge (a tap). How
// control makes one; queues are in nic.cc.
#pragma once

#include "ports/port.hh"

#include <cstdint>
#include <memory>
#include <string>

namespace strait::nic {

struct settings {
    std::string name;   // the port's
    std::string device; // devargs: "net_tap0,iface=tap0", "0000:03:00.0"
    std::uint32_t mtu{1500};
    std::uint16_t rx_descriptors{1024};
    std::uint16_t tx_descriptors{1024};
};

// Hot-plugs the device, configures and starts it. The pool serves its receive queues. The device is
// removed again by the port's destructor. Errors: unknown driver or device, device in use, an MTU
// that it cannot do, too few resources: each in one sentence.
[[nodiscard]] ports::result<std::unique_ptr<ports::port>> make_port(settings s, rte_mempool* pool);

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
