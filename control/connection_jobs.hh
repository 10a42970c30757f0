// SPDX-License-Identifier: BSD-3-Clause
// A port's own zone, and what a worker is asked to do with connections, all workers'.
#pragma once

#include "control/switch.hh"
#include "dataplane/conntrack/job.hh"
#include "dataplane/conntrack/zone_id.hh"
#include "dataplane/engine.hh"
#include "dataplane/flow/key.hh"

#include <cstddef>
#include <optional>

namespace strait::control {

// In which the connections are that a port's rule sets track.
[[nodiscard]] inline conntrack::zone_id own_zone(const virtual_switch::port& p) noexcept
{
    return conntrack::make_zone(static_cast<std::uint16_t>(to_index(p.config->index)), true);
}

// These wait for a worker. The control thread.

void have_done(dataplane::engine& engine, conntrack::job& j);
// Those whose first packet `which` matches, with the connection's zone, mark and label; how many.
std::size_t forget_connections(dataplane::engine& engine, const flow::match& which);
// Answers to a packet as tracking would, without knowing anything afterwards that it did not
// before; the connection that the packet is of, if there is one.
std::optional<conntrack::connection_record> look_up_connection(dataplane::engine& engine,
                                                               conntrack::request& asked);

} // namespace strait::control
