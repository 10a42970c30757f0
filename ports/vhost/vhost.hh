// SPDX-License-Identifier: BSD-3-Clause
// vhost-user ports: how control makes one. The control plane is DPDK's vhost library
// (connection.cc), the data plane our own ring engine (split_ring.hh, packed_ring.hh).
#pragma once

#include "dataplane/rcu.hh"
#include "ports/port.hh"

#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>

namespace strait::vhost {

struct settings {
    std::string name;      // the port's, for logs and the state file
    std::string socket;    // path, at most 107 bytes
    bool client{false};    // true: connect to the VMM's socket, again and again
    std::string state_dir; // folder for ring positions that outlive the process
    std::uint32_t mtu{1500};
    unsigned queues{1};  // pairs that the guest may have; 1 to 16
    unsigned workers{1}; // that there are, to share them
    // Server mode: ownership and mode of the socket file; unset: the process's own, and 0600, or
    // 0660 with a group.
    std::optional<uid_t> owner;
    std::optional<gid_t> group;
    std::optional<mode_t> mode;
};

// The port, not yet serving: start() makes the socket. `rcu` outlives the port.
[[nodiscard]] ports::result<std::unique_ptr<ports::port>> make_port(settings s,
                                                                    dataplane::rcu_domain& rcu);
// Removes what a port of this name kept for one that would go on with its guest's rings.
void forget(const std::string& state_dir, const std::string& name) noexcept;

} // namespace strait::vhost
