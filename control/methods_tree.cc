// SPDX-License-Identifier: BSD-3-Clause
// Rapid spanning tree (IEEE 802.1D-2004 clause 17).
#include "control/methods_tree.hh"

#include "control/methods_parts.hh"
#include "control/stp/bridge.hh"

namespace strait::control {

using stp::bridge_settings;
using stp::port_settings;

std::vector<parameter> bridge_tree_settings()
{
    return {
        flag("rstp", "rapid spanning tree on its NICs' ports: none of them closes a loop"),
        {.name = "rstp_priority",
         .kind = kind::integer,
         .help = "in steps of 4096: the least of all bridges is the root; 32768 unless given",
         .placeholder = "N",
         .minimum = 0,
         .maximum = bridge_settings::most_priority},
        {.name = "rstp_hello_time",
         .kind = kind::integer,
         .help = "seconds from one BPDU to the next; 2 unless given",
         .placeholder = "SECONDS",
         .minimum = bridge_settings::least_hello,
         .maximum = bridge_settings::most_hello},
        {.name = "rstp_max_age",
         .kind = kind::integer,
         .help = "bridges that what the root says may pass, or seconds that it holds; as the root "
                 "has it for all; 20 unless given",
         .placeholder = "SECONDS",
         .minimum = bridge_settings::least_max_age,
         .maximum = bridge_settings::most_max_age},
        {.name = "rstp_forward_delay",
         .kind = kind::integer,
         .help = "seconds of each step towards forwarding where a peer speaks STP alone; as the "
                 "root has it for all; 15 unless given",
         .placeholder = "SECONDS",
         .minimum = bridge_settings::least_forward_delay,
         .maximum = bridge_settings::most_forward_delay},
        {.name = "rstp_hold_count",
         .kind = kind::integer,
         .help = "the most BPDUs that a port sends in a second; 6 unless given",
         .placeholder = "N",
         .minimum = bridge_settings::least_hold_count,
         .maximum = bridge_settings::most_hold_count},
        {.name = "rstp_version",
         .kind = kind::choice,
         .help = "what it speaks: rstp, and stp where a peer does (unless given), or stp alone",
         .choices = {"rstp", "stp"}},
    };
}

std::vector<parameter> port_tree_settings()
{
    return {
        flag("rstp", "takes part in its bridge's spanning tree; on unless given"),
        {.name = "rstp_port_num",
         .kind = kind::integer,
         .help = "its number in spanning tree, 0: any, and its own if that is free",
         .placeholder = "N",
         .minimum = 0,
         .maximum = stp::most_port_number},
        {.name = "rstp_port_priority",
         .kind = kind::integer,
         .help = "in steps of 16: of two ways alike the port with the least is chosen; 128 unless "
                 "given",
         .placeholder = "N",
         .minimum = 0,
         .maximum = port_settings::most_priority},
        {.name = "rstp_path_cost",
         .kind = kind::integer,
         .help = "what the way by it adds; 0, unless given: by the link's speed",
         .placeholder = "N",
         .minimum = 0,
         .maximum = port_settings::most_cost},
        flag("rstp_admin_edge", "no bridge is behind it: it forwards at once"),
        flag("rstp_auto_edge",
             "the same, once none was heard of in three seconds; on unless given"),
        {.name = "rstp_point_to_point",
         .kind = kind::choice,
         .help = "whether one bridge at most is behind it: as of a full-duplex link (auto, unless "
                 "given), on or off",
         .choices = {"auto", "on", "off"}},
    };
}

std::vector<method> tree_methods()
{
    return {
        {.name = "rstp.show",
         .summary = "Show spanning trees, with the roles and states of ports",
         .changes = false,
         .parameters = {{.name = "bridge",
                         .kind = kind::name,
                         .help = "of this bridge alone",
                         .placeholder = "BRIDGE",
                         .positional = true}},
         .result_is_list = true,
         .result = {{"bridge", "string", "the bridge's name"},
                    {"id", "string", "its priority and address"},
                    {"root", "string", "those of the tree's root"},
                    {"is_root", "boolean", "whether it is that itself"},
                    {"root_port", "string", "the port towards the root", true},
                    {"root_cost", "integer", "of the way there"},
                    {"hello_time", "integer", "seconds"},
                    {"max_age", "integer", "seconds, as the root has it"},
                    {"forward_delay", "integer", "seconds, as the root has it"},
                    {"topology_changes", "integer", "that were found here or heard of"},
                    {"since_change", "integer", "seconds since the last one", true},
                    {"topology_changes_now", "boolean", "whether others are being told of one"},
                    {"ports", "array",
                     "of each: port, id, number, role (root, designated, alternate, backup or "
                     "disabled), state (discarding, learning or forwarding), path_cost, edge, "
                     "point_to_point, version (rstp, or stp: as its peer speaks), designated (what "
                     "the designated port of its link says: root, cost, bridge and port; null: it "
                     "is down), rx_bpdus, tx_bpdus, bad_bpdus and transitions (how often it came "
                     "to forward)"}}},
        {.name = "rstp.check",
         .summary = "Have a port find out anew whether its peer speaks RSTP",
         .changes = true,
         .keeps = kept::nothing,
         .parameters = {{.name = "port",
                         .kind = kind::name,
                         .help = "the port's name",
                         .placeholder = "PORT",
                         .required = true,
                         .positional = true}},
         .result = {{"checks", "boolean", "true"}}},
    };
}

} // namespace strait::control
