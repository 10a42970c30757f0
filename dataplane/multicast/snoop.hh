// SPDX-License-Identifier: BSD-3-Clause
// IGMP and MLD snooping (RFC 4541) of what L2 switching is about to flood: who is to have a
// multicast frame, and what a message of hosts and routers tells of that. Flows' FLOOD and ALL do
// not come here.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/forward.hh"
#include "dataplane/output_lists.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"

namespace strait::multicast {

// A worker. Of a packet that came from `in`, classified, on a bridge with a table of groups: false
// if it is to be flooded as without one. Else it was put on the lists of the ports that are to have
// it, or counted. Learns unless the context is only asked.
[[nodiscard]] bool snoop(dataplane::packet& p, const dataplane::port_config& in,
                         const dataplane::bridge_config& bridge,
                         const dataplane::forward_context& context,
                         dataplane::port_counters& counters, dataplane::output_lists& out) noexcept;

} // namespace strait::multicast
