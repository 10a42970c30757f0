// SPDX-License-Identifier: BSD-3-Clause
// Xen ports: how control makes one. A port is one vif of one guest, there or not yet there.
#pragma once

#include "dataplane/rcu.hh"
#include "ports/port.hh"
#include "ports/xen-netback/backend.hh"

#include <memory>
#include <string>

namespace strait::xen {

struct settings {
    std::string name; // the port's
    vif_id vif;
    std::uint32_t mtu{1500};
    std::uint32_t queues{max_queues}; // pairs that the guest may have, 1 to max_queues
};

// The port, not yet serving. `b` and `rcu` outlive it.
[[nodiscard]] ports::result<std::unique_ptr<ports::port>> make_port(settings s, backend& b,
                                                                    dataplane::rcu_domain& rcu);

} // namespace strait::xen
