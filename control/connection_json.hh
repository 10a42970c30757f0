// SPDX-License-Identifier: BSD-3-Clause
// Connections as the control socket tells of them.
#pragma once

#include "control/switch.hh"
#include "dataplane/conntrack/job.hh"

#include <boost/json/object.hpp>

#include <cstdint>
#include <string>
#include <unordered_map>

namespace strait::control {

// Of a port's own zone, whose: by port_index.
using zone_owners = std::unordered_map<std::uint16_t, std::string>;
[[nodiscard]] zone_owners owners_of_zones(const virtual_switch& sw);

[[nodiscard]] boost::json::object to_json(const conntrack::connection_record& c,
                                          const zone_owners& owners);

} // namespace strait::control
