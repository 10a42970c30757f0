// SPDX-License-Identifier: BSD-3-Clause
// A port's own zone, and connections that are to be forgotten, by all workers.
#pragma once

#include "control/switch.hh"
#include "dataplane/conntrack/zone_id.hh"
#include "dataplane/engine.hh"
#include "dataplane/flow/key.hh"

#include <cstddef>

namespace strait::control {

// In which the connections are that a port's rule sets track.
[[nodiscard]] inline conntrack::zone_id own_zone(const virtual_switch::port& p) noexcept
{
    return conntrack::make_zone(static_cast<std::uint16_t>(to_index(p.config->index)), true);
}

// Those whose first packet `which` matches, with the connection's zone, mark and label; how many.
// Waits for a worker. The control thread.
std::size_t forget_connections(dataplane::engine& engine, const flow::match& which);

} // namespace strait::control
