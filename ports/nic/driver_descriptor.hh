// SPDX-License-Identifier: BSD-3-Clause
// The descriptors behind DPDK's virtual devices, which its drivers keep to themselves: duplicates
// of them, found among this process's own.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace strait::nic {

using dataplane::file_descriptor;

// Control thread only, which opens and closes all such descriptors. Made before a device is: only
// what was opened since is found, for another device may have led to an interface that has the same
// name by now, in another network namespace, or to the same interface by another driver.
class driver_descriptors {
public:
    driver_descriptors();

    // Of the queue on the tap `interface`. Error: there is none.
    [[nodiscard]] ports::result<file_descriptor> find_tap(const std::string& interface) const;
    // Which a device rings when its receive queue's interrupt was asked for; none if the device, or
    // how the kernel gives it away, has no such eventfd, or the driver cannot ask.
    [[nodiscard]] static file_descriptor interrupt_of(std::uint16_t port_id, std::uint16_t queue);
    // Of the AF_PACKET sockets bound to the interface with this index, one a queue pair of the
    // device, in their order. Error: there are not so many.
    [[nodiscard]] ports::result<std::vector<file_descriptor>>
    find_packet_sockets(std::uint32_t interface_index, std::size_t count) const;

private:
    template <typename Chosen>
    [[nodiscard]] std::vector<file_descriptor> find(const Chosen& chosen) const;

    std::set<int> before_;
};

} // namespace strait::nic
