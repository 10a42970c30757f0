// SPDX-License-Identifier: BSD-3-Clause
// The port types of this switch: one entry each. A new type is its folder, its entry here and its
// parameters in methods.cc.
#pragma once

#include "control/switch.hh"
#include "ports/xen-netback/vif.hh"

#include <boost/json/object.hpp>

#include <map>
#include <string>

struct rte_mempool;

namespace strait::xen {
class backend;
struct vif_id;
} // namespace strait::xen

namespace strait::control {

struct port_environment {
    dataplane::rcu_domain& rcu;
    rte_mempool* pool;
    std::string state_dir;
    std::size_t workers;        // that there are
    xen::backend* xen{nullptr}; // null: there is none, and why
    std::string no_xen{};
};

[[nodiscard]] std::map<std::string, port_type> port_types(const port_environment& environment);

// Which vif options or parameters with "domain", and "handle" unless it is 0, mean. Any thread.
[[nodiscard]] xen::vif_id vif_of(const boost::json::object& o);

} // namespace strait::control
