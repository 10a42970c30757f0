// SPDX-License-Identifier: BSD-3-Clause
// Packets in the words of flows, tcp,nw_src=10.0.0.1,tp_dst=80, as `trace` takes and tells them.
#pragma once

#include "dataplane/flow/key.hh"
#include "ports/error.hh"

#include "control/flow_ports.hh"

#include <string>
#include <string_view>

namespace strait::control {

// What a packet of these words has in its key. Each field has one value; what is not said is 0, but
// for
//   dl_type        0x05ff: a frame that has a length there
//   nw_proto       59, no next header
//   nw_ttl         64; 255 in neighbour discovery
//   arp_op         1, a request
//   ct_state       with another flag: trk too
//   packet_length  of the shortest frame: 60, or what the headers take
// Errors begin with the word's place, "column 5: ".
[[nodiscard]] ports::result<flow::key> parse_packet(std::string_view words,
                                                    const port_names& names = {});

// Words that parse_packet() reads as the same key; of fields that are 0 only those that make the
// packet what it is.
[[nodiscard]] std::string format_key(const flow::key& k, const port_names* names = nullptr);

} // namespace strait::control
