// SPDX-License-Identifier: BSD-3-Clause
// IGMP and MLD snooping.
#include "control/methods_multicast.hh"

#include "control/methods_parts.hh"
#include "dataplane/multicast/group_table.hh"

namespace strait::control {

using multicast::group_table;

std::vector<parameter> bridge_multicast_settings()
{
    return {
        flag("mcast_snooping",
             "multicast goes to who asked for it by IGMP or MLD, where a querier is"),
        flag("mcast_drop_unregistered",
             "with it, multicast that nobody asked for goes to routers only, not everywhere"),
        {.name = "mcast_ageing",
         .kind = kind::integer,
         .help = "seconds after which a listener that reports no more is forgotten; 260 unless "
                 "given",
         .placeholder = "SECONDS",
         .minimum = group_table::least_ageing,
         .maximum = group_table::most_ageing},
        {.name = "mcast_table_size",
         .kind = kind::integer,
         .help = "groups that are known at a time; 2048 unless given",
         .placeholder = "GROUPS",
         .minimum = group_table::least_groups,
         .maximum = group_table::most_groups},
    };
}

std::vector<parameter> port_multicast_settings()
{
    return {
        {.name = "mcast_router",
         .kind = kind::choice,
         .help = "whether a multicast router is behind it: found out (auto, unless given), on, or "
                 "off: queries from there are dropped",
         .choices = {"auto", "on", "off"}},
        flag("mcast_flood", "it is sent all multicast"),
        flag("mcast_flood_reports", "it is sent reports of listeners, as routers are"),
        flag("mcast_fast_leave", "who leaves a group is the only listener behind it"),
        {.name = "mcast_limit",
         .kind = kind::integer,
         .help = "the most groups that are learned of the port at a time, 0: no limit; 256 unless "
                 "given",
         .placeholder = "N",
         .minimum = 0,
         .maximum = group_table::most_groups},
    };
}

std::vector<method> multicast_methods()
{
    const parameter bridge = {
        .name = "bridge", .kind = kind::name, .help = "of this bridge", .placeholder = "BRIDGE"};
    const parameter port = {
        .name = "port", .kind = kind::name, .help = "behind this port", .placeholder = "PORT"};
    return {
        {.name = "mcast.list",
         .summary = "List who listens to multicast, and where its routers are",
         .changes = false,
         .parameters = {bridge, port, vlan("in this VLAN"), entry_limit()},
         .result = {{"total", "integer", "entries that fit, also those beyond the limit"},
                    {"entries", "array",
                     "of each: bridge, vlan (0: none), type (group, router, querier, or crowded: "
                     "a port that is sent everything, for its groups found no room), group (null: "
                     "none), ip (4 or 6; null), port, left (seconds until it is forgotten, unless "
                     "confirmed; null: an operator's)"}}},
        {.name = "mcast.flush",
         .summary = "Forget listeners, queriers and routers of multicast",
         .changes = true,
         .keeps = kept::nothing,
         .parameters = {bridge, port},
         .result = {{"flushed", "boolean", "true"}}},
    };
}

} // namespace strait::control
