// SPDX-License-Identifier: BSD-3-Clause
// The port types of this switch: one entry each. A new type is its folder, its entry here and its
// parameters in methods.cc.
#pragma once

#include "control/switch.hh"

#include <map>
#include <string>

struct rte_mempool;

namespace strait::xen {
class backend;
}

namespace strait::control {

struct port_environment {
    dataplane::rcu_domain& rcu;
    rte_mempool* pool;
    std::string state_dir;
    xen::backend* xen{nullptr}; // null: there is none, and why
    std::string no_xen{};
};

[[nodiscard]] std::map<std::string, port_type> port_types(const port_environment& environment);

} // namespace strait::control
