// SPDX-License-Identifier: BSD-3-Clause
// Actions and instructions as text.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/key.hh"

#include "control/flow_ports.hh"
#include "control/flow_words.hh"

#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// Levels of actions within actions.
inline constexpr unsigned deepest_actions = 16;
// Actions of a flow, those within others too.
inline constexpr unsigned most_actions = 4096;

// The actions of a flow in `table` (flow::all_tables: it is not known) that matches `m`, which says
// what fields there are to be set. "drop", or nothing, is no action.
//
// Fields that share a place in the key (key.hh) are set as what the match says that packets are:
// nw_src is ARP's if the match has arp, tp_src ICMP's type if it has icmp. Where a match leaves it
// open, mod_nw_src and its like mean IPv4, mod_tp_src and mod_tp_dst TCP, UDP and SCTP, and change
// nothing else.
[[nodiscard]] flow_result<flow::action_list> parse_actions(std::string_view text,
                                                           const flow::match& m,
                                                           flow::table_id table,
                                                           const port_names& ports);

// Those of a group's bucket, an action set, which packets of any kind may meet. Fields of ARP, ICMP
// and neighbour discovery are refused: in the key they are others' too (above).
[[nodiscard]] flow_result<flow::action_list> parse_bucket_actions(std::string_view text,
                                                                  const port_names& ports);

// Appends what parse_actions() reads: what ovs-ofctl dump-flows prints (in OpenFlow 1.0's words),
// but for masks that it would have to say as several actions; these are one set_field.
void append_actions(std::string& out, const flow::action_list& actions, const flow::match& m,
                    const port_names* ports);

// What is in ovs-actions(7) and not here: its name, and a sentence's end that says why.
struct unsupported_action {
    std::string_view name;
    std::string_view why;
};
[[nodiscard]] const std::vector<unsupported_action>& unsupported_actions();
// All names that there are.
[[nodiscard]] std::vector<std::string> action_words();

} // namespace strait::control
