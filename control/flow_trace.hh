// SPDX-License-Identifier: BSD-3-Clause
// One frame through a bridge's flows without sending it: with the tables, the translation and the
// execution that workers use, and the MACs that they have learned; nothing is learned, tracked or
// counted.
#pragma once

#include "control/switch.hh"

#include <boost/json/object.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace strait::control {

// A frame, and what is known of it beside: of a port that is a tunnel's, the tunnel's fields.
struct frame_to_trace {
    std::vector<std::byte> bytes;
    flow::key beside{};
};
// In hexadecimal digits, or in words of what it is (flow_packet.hh).
[[nodiscard]] ports::result<frame_to_trace> parse_frame(std::string_view text,
                                                        const port_names& names);

// States of connections, one for each ct action that packets go on behind: flags of ct_state with |
// between them, and commas between states. What is not said is tracked and new.
[[nodiscard]] ports::result<std::vector<std::uint32_t>> parse_ct_states(std::string_view text);

// The frame comes from `from`, a port of the switch; it has at least an Ethernet header. Members:
// flow (of the packet, in words), steps, outputs, drops.
[[nodiscard]] boost::json::object trace(const virtual_switch& sw, const virtual_switch::port& from,
                                        const frame_to_trace& frame,
                                        std::span<const std::uint32_t> ct_states);

} // namespace strait::control
