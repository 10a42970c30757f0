// SPDX-License-Identifier: BSD-3-Clause
// The table of methods, parameters and results.
#include "control/methods.hh"

#include "control/methods_acls.hh"
#include "control/methods_bindings.hh"
#include "control/methods_captures.hh"
#include "control/methods_config.hh"
#include "control/methods_connections.hh"
#include "control/methods_endpoints.hh"
#include "control/methods_events.hh"
#include "control/methods_flows.hh"
#include "control/methods_multicast.hh"
#include "control/methods_options.hh"
#include "control/methods_parts.hh"
#include "control/methods_queues.hh"
#include "control/methods_shaper.hh"
#include "control/methods_tree.hh"
#include "dataplane/types.hh"

#include <array>
#include <limits>

namespace strait::control {

namespace {

parameter bridge_name(std::string_view help = "the bridge's name")
{
    return {.name = "name",
            .kind = kind::name,
            .help = help,
            .placeholder = "BRIDGE",
            .required = true,
            .positional = true};
}

parameter port_name(bool required = true)
{
    return port(required, "the port's name", "name");
}

// A limit on what a port sends or is given.
std::vector<parameter> rate_settings()
{
    struct one {
        std::string_view name;
        std::string_view help;
        std::string_view placeholder;
    };
    constexpr std::array<one, 11> all{{
        {"ingress_rate", "kbit a second that the port may send, 0: no limit", "KBPS"},
        {"ingress_burst", "kbit that may come at once; a tenth of a second's unless given", "KBIT"},
        {"ingress_packet_rate", "packets a second that the port may send, 0: no limit", "N"},
        {"ingress_packet_burst",
         "packets that may come at once; a tenth of a second's unless given", "N"},
        {"egress_rate", "kbit a second that the port is given, 0: no limit", "KBPS"},
        {"egress_burst", "kbit that it may be given at once; a tenth of a second's unless given",
         "KBIT"},
        {"egress_packet_rate", "packets a second that the port is given, 0: no limit", "N"},
        {"egress_packet_burst",
         "packets that it may be given at once; a tenth of a second's unless given", "N"},
        {"storm_broadcast", "broadcasts of the port that are flooded a second, 0: all", "N"},
        {"storm_multicast", "multicasts of the port that are flooded a second, 0: all", "N"},
        {"storm_unknown_unicast",
         "frames of the port to unknown addresses that are flooded a second, 0: all", "N"},
    }};
    std::vector<parameter> out;
    for (const one& o : all) {
        out.push_back({.name = o.name,
                       .kind = kind::integer,
                       .help = o.help,
                       .placeholder = o.placeholder,
                       .minimum = 0,
                       .maximum = std::numeric_limits<std::uint32_t>::max()});
    }
    return out;
}

// What `port add` and `port set` share.
std::vector<parameter> port_settings()
{
    return {
        vlan("access port of this VLAN"),
        {.name = "qinq",
         .kind = kind::integer,
         .help = "customer's port of this service VLAN: its frames' own tags are payload",
         .placeholder = "VLAN",
         .minimum = 1,
         .maximum = 4094},
        {.name = "trunk",
         .kind = kind::vlan_list,
         .help = "trunk port that carries these VLANs tagged",
         .placeholder = "LIST"},
        {.name = "native",
         .kind = kind::integer,
         .help = "the VLAN of untagged frames on a trunk port",
         .placeholder = "VLAN",
         .minimum = 1,
         .maximum = 4094},
        {.name = "tag_type",
         .kind = kind::choice,
         .help = "by which tags a trunk tells VLANs: customers' (802.1q, unless given) or "
                 "services' (802.1ad)",
         .choices = {"802.1q", "802.1ad"}},
        {.name = "mtu",
         .kind = kind::integer,
         .help = "L3 MTU in bytes; 1500 unless given",
         .placeholder = "BYTES",
         .minimum = dataplane::min_mtu,
         .maximum = dataplane::max_mtu},
        {.name = "admin",
         .kind = kind::choice,
         .help = "whether the port passes traffic",
         .choices = {"up", "down"}},
        flag("isolated", "it reaches only ports of its bridge that are not isolated"),
        {.name = "mac_limit",
         .kind = kind::integer,
         .help = "the most addresses that are learned of the port at a time, 0: no limit",
         .placeholder = "N",
         .minimum = 0,
         .maximum = 1U << 24U},
    };
}

std::vector<parameter> operator+(std::vector<parameter> a, const std::vector<parameter>& b)
{
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

parameter ageing()
{
    return {.name = "mac_ageing",
            .kind = kind::integer,
            .help = "seconds after which a learned MAC is forgotten, 0: never; 300 unless given",
            .placeholder = "SECONDS",
            .minimum = 0,
            .maximum = 1'000'000};
}

parameter own_mac()
{
    return {.name = "mac",
            .kind = kind::mac,
            .help = "the bridge's own MAC; made from its name unless given",
            .placeholder = "MAC"};
}

parameter flow_limit()
{
    return {.name = "flow_limit",
            .kind = kind::integer,
            .help = "flows that it may have; 4000000 unless given",
            .placeholder = "FLOWS",
            .minimum = 1,
            .maximum = 100'000'000};
}

std::vector<parameter> loop_settings()
{
    return {{.name = "loop_guard",
             .kind = kind::choice,
             .help = "what is done about a MAC that moves between ports as in a loop: nothing, an "
                     "event (unless given), or it is held where it was",
             .choices = {"off", "report", "damp"}},
            {.name = "loop_hold",
             .kind = kind::integer,
             .help = "seconds for which it is held; 30 unless given",
             .placeholder = "SECONDS",
             .minimum = 1,
             .maximum = 86'400}};
}

std::vector<result_member> bridge_members()
{
    return {
        {"name", "string", "the bridge's name"},
        {"ports", "array", "names of its ports"},
        {"forward_bpdu", "boolean", "whether reserved multicast is flooded"},
        {"mac_ageing", "integer", "seconds; 0: MACs do not age"},
        {"mac_table_size", "integer", "MACs that the table has room for"},
        {"mac", "string", "the bridge's own, which its addresses have"},
        {"macs", "integer", "MACs in the table now"},
        {"flow_limit", "integer", "flows that it may have"},
        {"flows", "integer", "flows that it has"},
        {"dhcp_snooping", "boolean", "whether DHCP leases become bindings"},
        {"neigh_suppress", "boolean", "whether ARP and ND are answered for bound addresses"},
        {"neigh_answers", "integer", "questions that were answered so"},
        {"mcast_snooping", "boolean", "whether multicast goes to who asked for it"},
        {"mcast_drop_unregistered", "boolean",
         "whether what nobody asked for goes to routers only"},
        {"mcast_ageing", "integer", "seconds until a listener is forgotten"},
        {"mcast_table_size", "integer", "groups that the table has room for"},
        {"mcast", "object",
         "null without snooping; groups: known now; queries, reports and leaves: heard; refused: "
         "reports of groups that found no room; missed: messages that a worker could not learn "
         "from, for another one did",
         true},
        {"loop_guard", "string", "off, report or damp"},
        {"loop_hold", "integer", "seconds for which damp holds a MAC"},
        {"mac_holds", "integer", "how often one was held"},
        {"rstp_settings", "object", "what was set of spanning tree, by its parameters' names"},
        {"rstp", "object", "the spanning tree as rstp.show tells of it; null where it does not run",
         true},
    };
}

std::vector<result_member> port_members()
{
    return {
        {"name", "string", "the port's name"},
        {"number", "integer", "its number, unique in the switch and stable"},
        {"bridge", "string", "the bridge it belongs to"},
        {"type", "string",
         "vhost-user, xen, nic, host, a tunnel's (vxlan, geneve, gre, nvgre) or local: the "
         "bridge's own"},
        {"admin", "string", "up or down"},
        {"link", "string", "up or down: whether a guest or peer is there"},
        {"mtu", "integer", "L3 MTU in bytes"},
        {"vlan", "integer", "VLAN of an access port", true},
        {"qinq", "integer", "service VLAN of a customer's port", true},
        {"trunk", "array", "VLANs of a trunk port", true},
        {"native", "integer", "VLAN of untagged frames on a trunk port", true},
        {"tag_type", "string", "by which tags a trunk tells VLANs: 802.1q or 802.1ad"},
        {"ingress", "object",
         "limit on what it sends: kbps, burst_kbit, packets (a second) and burst_packets", true},
        {"egress", "object", "limit on what it is given, likewise", true},
        {"storm", "object",
         "limits on what of it is flooded, in frames a second, 0: none: broadcast, multicast and "
         "unknown_unicast",
         true},
        {"isolated", "boolean", "whether it reaches only ports that are not isolated"},
        {"mac_limit", "integer", "the most addresses that are learned of it at a time", true},
        {"mcast", "object",
         "of multicast: router (auto, on or off), flood, flood_reports, fast_leave and limit"},
        {"port_security", "boolean", "whether only what is bound to it may be sent"},
        {"dhcp_trust", "boolean", "whether DHCP servers may be there"},
        {"rstp_settings", "object",
         "what was set of spanning tree, by its parameters' names; null where it cannot run", true},
        {"rstp", "object", "its part in the spanning tree, as rstp.show tells of it", true},
        {"shape", "object", "rate that packets to it wait for: kbps and burst_kbit", true},
        {"options", "object", "what the port was made with"},
        {"queues", "array", "its queue pairs, each with the worker that serves it"},
        {"details", "object", "what its type tells of it"},
    };
}

// What `port show` and `port list` tell beside that.
std::vector<result_member> shown_port_members()
{
    std::vector<result_member> out = port_members();
    out.push_back({"seen", "object",
                   "who was seen behind it; null where a network is, not a guest or the host. "
                   "macs: of the bridge's table, each with mac, vlan, static and age, the latest "
                   "16; total_macs: how many there are; addresses: that ARP and neighbour "
                   "discovery said, each with address, vlan, mac and age, the latest 16. Ages are "
                   "seconds since it was seen last",
                   true});
    return out;
}

// What `port add` and `port set` tell beside port_members().
std::vector<result_member> changed_port_members()
{
    std::vector<result_member> out = port_members();
    out.push_back({"warnings", "array",
                   "sentences about what was done all the same: that the port's MTU and others' of "
                   "its bridge do not go together"});
    return out;
}

std::vector<result_member> stats_members()
{
    return {
        {"timestamp_us", "integer", "microseconds of a monotonic clock, to compute rates from"},
        {"ports", "array",
         "of each port: name, number, bridge, link, admin, rx_packets, rx_bytes, tx_packets, "
         "tx_bytes, rx_dropped, tx_dropped and drops by reason. rx is from the port into the "
         "switch; bytes are whole frames without FCS"},
        {"total", "object", "the same counters, summed over the ports"},
    };
}

std::vector<method> bridge_methods()
{
    return {
        {.name = "bridge.add",
         .summary = "Make a bridge",
         .changes = true,
         .keeps = kept::configuration,
         .parameters =
             std::vector<parameter>{
                 bridge_name(),
                 flag("may_exist", "done, too, when the bridge exists already; settings "
                                   "given are then applied"),
                 flag("forward_bpdu", "flood reserved multicast (STP, LACP, LLDP) like any other"),
                 ageing(),
                 {.name = "mac_table_size",
                  .kind = kind::integer,
                  .help = "MACs that the table has room for; 65536 unless given",
                  .placeholder = "MACS",
                  .minimum = 64,
                  .maximum = 1'048'576},
                 flow_limit(),
                 own_mac()} +
             loop_settings() + bridge_guard_settings() + bridge_multicast_settings() +
             bridge_tree_settings(),
         .result = bridge_members()},
        {.name = "bridge.del",
         .summary = "Remove a bridge",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {bridge_name(), flag("if_exists", "done, too, when there is no such bridge"),
                        flag("with_ports",
                             "remove its ports with it, and end its adoption of Xen guests")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "bridge.set",
         .summary = "Change a bridge",
         .changes = true,
         .keeps = kept::configuration,
         .parameters =
             std::vector<parameter>{
                 bridge_name(),
                 flag("forward_bpdu", "flood reserved multicast (STP, LACP, LLDP) like any other"),
                 ageing(), flow_limit(), own_mac()} +
             loop_settings() + bridge_guard_settings() + bridge_multicast_settings() +
             bridge_tree_settings(),
         .result = bridge_members()},
        {.name = "bridge.list",
         .summary = "List the bridges",
         .changes = false,
         .result_is_list = true,
         .result = bridge_members()},
    };
}

std::vector<method> port_methods()
{
    return {
        {.name = "port.add",
         .summary = "Add a port to a bridge",
         .changes = true,
         .keeps = kept::configuration,
         .parameters =
             std::vector<parameter>{
                 port_name(),
                 {.name = "bridge",
                  .kind = kind::name,
                  .help = "the bridge it belongs to",
                  .placeholder = "BRIDGE",
                  .required = true},
                 {.name = "type",
                  .kind = kind::choice,
                  .help = "what the port is",
                  .required = true,
                  .choices = {"vhost-user", "xen", "nic", "bond", "host", "vxlan", "geneve", "gre",
                              "nvgre"}},
                 {.name = "socket",
                  .kind = kind::text,
                  .help = "the vhost-user socket's path",
                  .placeholder = "PATH",
                  .required = true,
                  .maximum = 107,
                  .port_types = {"vhost-user"}},
                 {.name = "mode",
                  .kind = kind::choice,
                  .help = "server makes the socket, client connects to the VMM's; server unless "
                          "given",
                  .choices = {"server", "client"},
                  .port_types = {"vhost-user"}},
                 {.name = "queues",
                  .kind = kind::integer,
                  .help = "queue pairs, that the guest may have or that a NIC spreads its flows "
                          "over, of which no more than there are workers are used; 1 unless given",
                  .placeholder = "N",
                  .minimum = 1,
                  .maximum = 16,
                  .port_types = {"vhost-user", "nic"}},
                 {.name = "socket_owner",
                  .kind = kind::text,
                  .help = "owner of the socket file, by name or number",
                  .placeholder = "USER:GROUP",
                  .maximum = 255,
                  .port_types = {"vhost-user"}},
                 {.name = "socket_mode",
                  .kind = kind::text,
                  .help = "permissions of the socket file, octal; 0600 unless given, or 0660 when "
                          "its owner is given with a group",
                  .placeholder = "MODE",
                  .maximum = 5,
                  .port_types = {"vhost-user"}},
                 {.name = "domain",
                  .kind = kind::integer,
                  .help = "the Xen guest's domain",
                  .placeholder = "ID",
                  .required = true,
                  .minimum = 0,
                  .maximum = 32751,
                  .port_types = {"xen"}},
                 {.name = "handle",
                  .kind = kind::integer,
                  .help = "which of the guest's network devices; 0 unless given",
                  .placeholder = "N",
                  .minimum = 0,
                  .maximum = 65535,
                  .port_types = {"xen"}},
                 {.name = "max_queues",
                  .kind = kind::integer,
                  .help = "queue pairs that the guest may have; 16 unless given",
                  .placeholder = "N",
                  .minimum = 1,
                  .maximum = 16,
                  .port_types = {"xen"}},
                 {.name = "device",
                  .kind = kind::text,
                  .help = "DPDK's name of the device with its arguments, or a PCI address",
                  .placeholder = "DEVARGS",
                  .required = true,
                  .maximum = longest_text,
                  .port_types = {"nic"}},
                 {.name = "members",
                  .kind = kind::text,
                  .help = "the bond's devices, as --device takes them, the preferred first",
                  .placeholder = "DEVARGS,...",
                  .required = true,
                  .maximum = longest_text,
                  .port_types = {"bond"}},
                 {.name = "bond_mode",
                  .kind = kind::choice,
                  .help = "what members are used: one, with the others in reserve, or all, by "
                          "flows, as the other side is configured or agrees to; active-backup "
                          "unless given",
                  .choices = {"active-backup", "balance", "lacp"},
                  .port_types = {"bond"}},
                 {.name = "ring_size",
                  .kind = kind::integer,
                  .help = "descriptors of the device's rings; 1024 unless given",
                  .placeholder = "N",
                  .minimum = 64,
                  .maximum = 32768,
                  .port_types = {"nic", "bond"}},
                 {.name = "address",
                  .kind = kind::text,
                  .help = "the host's address on the bridge, with its prefix length",
                  .placeholder = "CIDR",
                  .maximum = 64,
                  .port_types = {"host"}},
                 {.name = "interface",
                  .kind = kind::text,
                  .help = "name of the tap interface; the port's name unless given",
                  .placeholder = "IFNAME",
                  .maximum = 15,
                  .port_types = {"host"}}} +
             tunnel_parameters() +
             std::vector<parameter>{{.name = "number",
                                     .kind = kind::integer,
                                     .help = "the port's number; the lowest free one unless given",
                                     .placeholder = "N",
                                     .minimum = 1,
                                     .maximum = 65279}} +
             port_settings() + rate_settings() + shape_settings() + port_guard_settings() +
             port_multicast_settings() + port_tree_settings() +
             std::vector<parameter>{
                 flag("may_exist", "done, too, when the same port exists already; settings given "
                                   "are then applied")},
         .result = changed_port_members()},
        {.name = "port.del",
         .summary = "Remove a port",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {port_name(),
                        flag("if_exists", "done, too, when there is no such port; what one of that "
                                          "name left before a restart is forgotten then")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "port.rename",
         .summary = "Give a port another name",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {port_name(),
                        {.name = "to",
                         .kind = kind::name,
                         .help = "its new name",
                         .placeholder = "NAME",
                         .required = true,
                         .positional = true}},
         .result = port_members()},
        {.name = "port.set",
         .summary = "Change a port",
         .changes = true,
         .keeps = kept::configuration,
         .parameters =
             std::vector<parameter>{port_name()} + port_settings() + rate_settings() +
             shape_settings() + port_guard_settings() + port_multicast_settings() +
             port_tree_settings() +
             std::vector<parameter>{flag("no_vlan", "back to carrying every frame as it is")},
         .result = changed_port_members()},
        {.name = "port.show",
         .summary = "Show a port in full",
         .changes = false,
         .parameters = {port_name()},
         .result = shown_port_members()},
        {.name = "port.list",
         .summary = "List the ports",
         .changes = false,
         .parameters = {{.name = "bridge",
                         .kind = kind::name,
                         .help = "of this bridge only",
                         .placeholder = "BRIDGE"}},
         .result_is_list = true,
         .result = shown_port_members()},
    };
}

std::vector<method> mac_methods()
{
    const parameter bridge = {
        .name = "bridge", .kind = kind::name, .help = "of this bridge", .placeholder = "BRIDGE"};
    const parameter port = {
        .name = "port", .kind = kind::name, .help = "behind this port", .placeholder = "PORT"};
    const parameter mac = {.name = "mac",
                           .kind = kind::mac,
                           .help = "the address, like 52:54:00:12:34:56",
                           .placeholder = "MAC",
                           .required = true,
                           .positional = true};
    parameter required_bridge = bridge;
    required_bridge.required = true;
    required_bridge.help = "the bridge that is to forget the address";
    parameter required_port = port;
    required_port.required = true;
    required_port.help = "the port that the address is behind";
    return {
        {.name = "mac.list",
         .summary = "List the MACs that bridges know",
         .changes = false,
         .parameters = {bridge, port, vlan("in this VLAN"), entry_limit()},
         .result =
             {{"total", "integer", "entries that fit, also those beyond the limit"},
              {"entries", "array",
               "of each: bridge, vlan (0: none), mac, port, static, age (seconds), held (seconds "
               "for which it stays at that port; 0: it may move)"}}},
        {.name = "mac.flush",
         .summary = "Forget learned MACs",
         .changes = true,
         .keeps = kept::nothing,
         .parameters = {bridge, port, vlan("in this VLAN")},
         .result = {{"flushed", "boolean", "true"}}},
        {.name = "mac.add",
         .summary = "Add a static MAC",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {mac, required_port, vlan("in this VLAN")},
         .result = {{"replaced", "boolean", "whether there was an entry of this MAC"}}},
        {.name = "mac.del",
         .summary = "Remove a MAC, static or learned",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {mac, required_bridge, vlan("in this VLAN"),
                        flag("if_exists", "done, too, when it is not in the table")},
         .result = {{"removed", "boolean", "whether there was one"}}},
    };
}

std::vector<method> xen_methods()
{
    parameter bridge = bridge_name();
    bridge.name = "bridge";
    bridge.help = "the bridge whose name stands in the guests' vif=['bridge=…']";
    bridge.positional = false;
    return {
        {.name = "xen.adopt",
         .summary = "Serve every Xen guest whose vif names this bridge, as guests come and go",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {bridge, flag("others", "vifs that name no adopting bridge, too")},
         .result = {{"adopted", "boolean", "true"}}},
        {.name = "xen.release",
         .summary = "End the adoption of this bridge's vifs, and remove the ports made by it",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {bridge, flag("if_exists", "done, too, when it does not adopt, or there is "
                                                  "no such bridge")},
         .result = {{"released", "boolean", "whether it was adopting"}}},
        {.name = "xen.check",
         .summary = "Tell which port serves a Xen guest's device, or why none does",
         .changes = false,
         .parameters = {{.name = "domain",
                         .kind = kind::integer,
                         .help = "the guest's domain",
                         .placeholder = "ID",
                         .required = true,
                         .minimum = 0,
                         .maximum = 32751},
                        {.name = "handle",
                         .kind = kind::integer,
                         .help = "which of the guest's network devices; 0 unless given",
                         .placeholder = "N",
                         .minimum = 0,
                         .maximum = 65535}},
         .result = {{"port", "string", "the port's name"}}},
        {.name = "xen.list",
         .summary = "List the Xen guests' vifs that this domain is to serve",
         .changes = false,
         .result = {{"hypervisor", "string", "libxen or simulated", true},
                    {"adopting", "array", "names of the bridges that adopt"},
                    {"vifs", "array",
                     "of each: vif, domain, handle, mac, bridge, port (null: none) and error"}}},
    };
}

std::vector<method> other_methods()
{
    return {
        {.name = "worker.list",
         .summary = "List the workers, their load and their queues",
         .changes = false,
         .result =
             {{"timestamp_us", "integer", "microseconds of a monotonic clock"},
              {"tsc_hz", "integer", "cycles a second, to convert cycles by"},
              {"pool", "object",
               "of the packet pool: size and in_use, both in buffers; those that NICs wait "
               "with are in use"},
              {"workers", "array",
               "of each: worker, cpu, lcore, queues, kept_awake_by (ports that cannot wake it, so "
               "that it never sleeps), naps_for (ports that cannot wake it, at which it looks "
               "every 25 microseconds while it sleeps), busy_cycles, idle_cycles, "
               "asleep_cycles, naps (of these 25 microseconds), late_naps (after which it stays "
               "awake for a second, or longer if it happens again), iterations, rx_packets, "
               "tx_packets, handed_over, mac_table_full, longest_gap_us, cycles_per_packet, "
               "utilisation and asleep (percent), all "
               "since the start"}}},
        {.name = "stats",
         .summary = "Counters of the ports",
         .changes = false,
         .parameters = {port_name(false),
                        flag("clear", "and begin with 0 again, in drops, too; metrics go on")},
         .result = stats_members()},
        {.name = "drops",
         .summary = "Drops of the ports by reason, with what each means",
         .changes = false,
         .parameters = {port_name(false)},
         .result = {{"timestamp_us", "integer", "microseconds of a monotonic clock"},
                    {"ports", "array", "of each port: name and drops, an object by reason"},
                    {"reasons", "array",
                     "of each reason: name, direction (rx or tx) and explanation"}}},
        {.name = "version",
         .summary = "Versions of the daemon and of what it is built on",
         .changes = false,
         .result = {{"version", "string", "Strait's"},
                    {"dpdk", "string", "DPDK's"},
                    {"pid", "integer", "the daemon's process"},
                    {"hugepages", "boolean", "whether it runs on huge pages"},
                    {"physical_addresses", "boolean", "whether devices are given such"},
                    {"uptime_s", "integer", "seconds since it started"}}},
        {.name = "schema",
         .summary = "This service described for programs (OpenRPC)",
         .changes = false,
         .result = {{"openrpc", "string", "version of the format"},
                    {"methods", "array", "the methods"}}},
    };
}

} // namespace

const method_table& methods()
{
    static const method_table all = [] {
        method_table list = bridge_methods();
        for (auto part :
             {port_methods(),    mac_methods(),      multicast_methods(), tree_methods(),
              binding_methods(), endpoint_methods(), xen_methods(),       option_methods(),
              flow_methods(),    group_methods(),    meter_methods(),     capture_methods(),
              mirror_methods(),  acl_methods(),      shaper_methods(),    connection_methods(),
              config_methods(),  event_methods(),    queue_methods(),     other_methods()}) {
            list.insert(list.end(), part.begin(), part.end());
        }
        return list;
    }();
    return all;
}

} // namespace strait::control
