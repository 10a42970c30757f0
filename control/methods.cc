// SPDX-License-Identifier: BSD-3-Clause
// The table of methods, parameters and results.
#include "control/methods.hh"

#include "control/methods_acls.hh"
#include "control/methods_bindings.hh"
#include "control/methods_endpoints.hh"
#include "control/methods_shaper.hh"
#include "dataplane/types.hh"

#include <array>
#include <limits>

namespace strait::control {

namespace {

using kind = value_kind;

constexpr std::int64_t longest_text = 4095;

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
    return {.name = "name",
            .kind = kind::name,
            .help = "the port's name",
            .placeholder = "PORT",
            .required = required,
            .positional = true};
}

parameter vlan(std::string_view help)
{
    return {.name = "vlan",
            .kind = kind::integer,
            .help = help,
            .placeholder = "VLAN",
            .minimum = 1,
            .maximum = 4094};
}

parameter flag(std::string_view name, std::string_view help)
{
    return {.name = name, .kind = kind::truth, .help = help};
}

// A limit on what a port sends or is given.
std::vector<parameter> rate_settings()
{
    struct one {
        std::string_view name;
        std::string_view help;
        std::string_view placeholder;
    };
    constexpr std::array<one, 8> all{{
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

parameter flow_limit()
{
    return {.name = "flow_limit",
            .kind = kind::integer,
            .help = "flows that it may have; 4000000 unless given",
            .placeholder = "FLOWS",
            .minimum = 1,
            .maximum = 100'000'000};
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
        {"trunk", "array", "VLANs of a trunk port", true},
        {"native", "integer", "VLAN of untagged frames on a trunk port", true},
        {"ingress", "object",
         "limit on what it sends: kbps, burst_kbit, packets (a second) and burst_packets", true},
        {"egress", "object", "limit on what it is given, likewise", true},
        {"port_security", "boolean", "whether only what is bound to it may be sent"},
        {"dhcp_trust", "boolean", "whether DHCP servers may be there"},
        {"shape", "object", "rate that packets to it wait for: kbps and burst_kbit", true},
        {"options", "object", "what the port was made with"},
        {"queues", "array", "its queue pairs, each with the worker that serves it"},
        {"details", "object", "what its type tells of it"},
    };
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
                 flow_limit()} +
             bridge_guard_settings(),
         .result = bridge_members()},
        {.name = "bridge.del",
         .summary = "Remove a bridge",
         .changes = true,
         .parameters = {bridge_name(), flag("if_exists", "done, too, when there is no such bridge"),
                        flag("with_ports",
                             "remove its ports with it, and end its adoption of Xen guests")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "bridge.set",
         .summary = "Change a bridge",
         .changes = true,
         .parameters =
             std::vector<parameter>{
                 bridge_name(),
                 flag("forward_bpdu", "flood reserved multicast (STP, LACP, LLDP) like any other"),
                 ageing(),
                 flow_limit(),
                 {.name = "mac",
                  .kind = kind::mac,
                  .help = "the bridge's own MAC; made from its name unless given",
                  .placeholder = "MAC"}} +
             bridge_guard_settings(),
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
                  .choices = {"vhost-user", "xen", "nic", "host", "vxlan", "geneve", "gre",
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
                 {.name = "ring_size",
                  .kind = kind::integer,
                  .help = "descriptors of the device's rings; 1024 unless given",
                  .placeholder = "N",
                  .minimum = 64,
                  .maximum = 32768,
                  .port_types = {"nic"}},
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
             std::vector<parameter>{
                 flag("may_exist", "done, too, when the same port exists already; settings given "
                                   "are then applied")},
         .result = port_members()},
        {.name = "port.del",
         .summary = "Remove a port",
         .changes = true,
         .parameters = {port_name(),
                        flag("if_exists", "done, too, when there is no such port; what one of that "
                                          "name left before a restart is forgotten then")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "port.set",
         .summary = "Change a port",
         .changes = true,
         .parameters =
             std::vector<parameter>{port_name()} + port_settings() + rate_settings() +
             shape_settings() + port_guard_settings() +
             std::vector<parameter>{flag("no_vlan", "back to carrying every frame as it is")},
         .result = port_members()},
        {.name = "port.show",
         .summary = "Show a port in full",
         .changes = false,
         .parameters = {port_name()},
         .result = port_members()},
        {.name = "port.list",
         .summary = "List the ports",
         .changes = false,
         .parameters = {{.name = "bridge",
                         .kind = kind::name,
                         .help = "of this bridge only",
                         .placeholder = "BRIDGE"}},
         .result_is_list = true,
         .result = port_members()},
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
         .parameters = {bridge,
                        port,
                        vlan("in this VLAN"),
                        {.name = "limit",
                         .kind = kind::integer,
                         .help = "entries to answer with at most; 65536 unless given",
                         .placeholder = "N",
                         .minimum = 0,
                         .maximum = 262'144}},
         .result = {{"total", "integer", "entries that fit, also those beyond the limit"},
                    {"entries", "array",
                     "of each: bridge, vlan (0: none), mac, port, static, age (seconds)"}}},
        {.name = "mac.flush",
         .summary = "Forget learned MACs",
         .changes = true,
         .parameters = {bridge, port, vlan("in this VLAN")},
         .result = {{"flushed", "boolean", "true"}}},
        {.name = "mac.add",
         .summary = "Add a static MAC",
         .changes = true,
         .parameters = {mac, required_port, vlan("in this VLAN")},
         .result = {{"replaced", "boolean", "whether there was an entry of this MAC"}}},
        {.name = "mac.del",
         .summary = "Remove a MAC, static or learned",
         .changes = true,
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
         .parameters = {bridge, flag("others", "vifs that name no adopting bridge, too")},
         .result = {{"adopted", "boolean", "true"}}},
        {.name = "xen.release",
         .summary = "End the adoption of this bridge's vifs, and remove the ports made by it",
         .changes = true,
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

// What programs send in one request is limited by its length.
constexpr std::int64_t longest_flows = std::int64_t{1} << 30U;

parameter flow_bridge()
{
    return {.name = "bridge",
            .kind = kind::name,
            .help = "the bridge; may be left out where there is one",
            .placeholder = "BRIDGE"};
}

parameter flow_lines(std::string_view help)
{
    return {.name = "flows",
            .kind = kind::lines,
            .help = help,
            .placeholder = "FLOW|FILE|-",
            .required = true,
            .positional = true,
            .maximum = longest_flows};
}

parameter file_name()
{
    return {.name = "file",
            .help = "what messages call the text that the flows are of",
            .placeholder = "NAME",
            .maximum = longest_text};
}

std::vector<result_member> flow_changes()
{
    return {{"added", "integer", "flows that were added"},
            {"modified", "integer", "flows whose actions were changed"},
            {"removed", "integer", "flows that were removed"}};
}

std::vector<method> flow_methods()
{
    const parameter strict =
        flag("strict", "only flows with just this match and priority, not those within it");
    const parameter names = flag("names", "ports by their names");
    parameter which = flow_lines("a match, or a file with one a line");
    which.required = false;
    return {
        {.name = "flow.add",
         .summary = "Add flows, in place of those with the same match and priority",
         .changes = true,
         .parameters = {flow_lines("a flow, or a file with one a line"), flow_bridge(),
                        file_name()},
         .result = flow_changes()},
        {.name = "flow.mod",
         .summary = "Change the actions of flows; add one where there is none",
         .changes = true,
         .parameters = {flow_lines("a match and actions, or a file with one a line"), flow_bridge(),
                        strict, file_name()},
         .result = flow_changes()},
        {.name = "flow.del",
         .summary = "Remove flows within a match; all, if none is given",
         .changes = true,
         .parameters = {which, flow_bridge(), strict, file_name()},
         .result = flow_changes()},
        {.name = "flow.replace",
         .summary = "Have these flows and no others; those that stay keep their counters",
         .changes = true,
         .parameters = {flow_lines("a file with a flow a line"), flow_bridge(), file_name()},
         .result = flow_changes()},
        {.name = "flow.diff",
         .summary = "Tell which flows a replace would remove and add",
         .changes = false,
         .parameters = {flow_lines("a file with a flow a line"), flow_bridge(), names, file_name()},
         .result = {{"only_here", "array", "flows that would go"},
                    {"only_there", "array", "flows that would come"}}},
        {.name = "flow.list",
         .summary = "List the flows of a bridge, with what each has carried",
         .changes = false,
         .parameters = {{.name = "filter",
                         .help = "a match; flows within it",
                         .placeholder = "MATCH",
                         .positional = true,
                         .maximum = longest_text},
                        flow_bridge(),
                        names,
                        {.name = "limit",
                         .kind = kind::integer,
                         .help = "flows to answer with at most; 65536 unless given",
                         .placeholder = "N",
                         .minimum = 0,
                         .maximum = usual_flow_limit}},
         .result = {{"bridge", "string", "the bridge"},
                    {"total", "integer", "flows within the match, also those beyond the limit"},
                    {"flows", "array",
                     "of each: table, priority, cookie, match, actions, idle_timeout, "
                     "hard_timeout, packets, bytes, age_ms and idle_ms (since its last packet)"}}},
        {.name = "flow.top",
         .summary = "The flows that carry most, again and again on a terminal",
         .changes = false,
         .parameters = {flow_bridge(),
                        {.name = "by",
                         .kind = kind::choice,
                         .help = "what they are ordered by; packets unless given",
                         .choices = {"packets", "bytes"}},
                        {.name = "count",
                         .kind = kind::integer,
                         .help = "flows to show at most; 20 unless given",
                         .placeholder = "N",
                         .minimum = 1,
                         .maximum = 1000},
                        {.name = "interval",
                         .kind = kind::integer,
                         .help = "seconds from look to look of straitctl; 1 unless given",
                         .placeholder = "SECONDS",
                         .minimum = 1,
                         .maximum = 3600},
                        names},
         .result = {{"bridge", "string", "the bridge"},
                    {"interval_us", "integer",
                     "microseconds since the same connection asked for this bridge last; 0, and no "
                     "flows: it did not"},
                    {"total", "integer", "flows that carried anything since then"},
                    {"flows", "array",
                     "as of flow.list, those that carried most first, each with "
                     "packets_per_second and bytes_per_second since then"}}},
        {.name = "flow.begin",
         .summary = "Begin a bundle: changes in several requests that become visible at once",
         .changes = true,
         .parameters = {flow_bridge(), flag("replace", "what is put into it replaces all flows")},
         .result = {{"bundle", "integer", "its number"}},
         .for_programs = true},
        {.name = "flow.put",
         .summary = "Put changes into a bundle",
         .changes = true,
         .parameters = {{.name = "bundle",
                         .kind = kind::integer,
                         .help = "its number",
                         .required = true,
                         .minimum = 1,
                         .maximum = std::numeric_limits<std::int64_t>::max()},
                        flow_lines("flows, one a line"),
                        {.name = "command",
                         .kind = kind::choice,
                         .help = "what is done with lines that do not say it; add unless given",
                         .choices = {"add", "modify", "modify_strict", "delete", "delete_strict"}},
                        {.name = "first_line",
                         .kind = kind::integer,
                         .help = "the number of the first line, for messages; 1 unless given",
                         .minimum = 1,
                         .maximum = std::numeric_limits<std::int32_t>::max()},
                        file_name()},
         .result = {{"put", "boolean", "true"}},
         .for_programs = true},
        {.name = "flow.commit",
         .summary = "Carry out a bundle, all of it or nothing",
         .changes = true,
         .parameters = {{.name = "bundle",
                         .kind = kind::integer,
                         .help = "its number",
                         .required = true,
                         .minimum = 1,
                         .maximum = std::numeric_limits<std::int64_t>::max()}},
         .result = flow_changes(),
         .for_programs = true},
        {.name = "trace",
         .summary = "Tell what a port's flows do to a frame, without sending it",
         .changes = false,
         .parameters = {{.name = "port",
                         .kind = kind::name,
                         .help = "the port it comes from",
                         .placeholder = "PORT",
                         .required = true,
                         .positional = true},
                        {.name = "packet",
                         .help = "the frame in hexadecimal digits, or words like "
                                 "tcp,nw_src=10.0.0.1,tp_dst=80; of straitctl, a capture, too",
                         .placeholder = "PACKET|FILE.pcap",
                         .required = true,
                         .positional = true,
                         .maximum = 200'000},
                        {.name = "nth",
                         .kind = kind::integer,
                         .help = "of a capture, the packet of this number from 1; all unless given",
                         .placeholder = "N",
                         .minimum = 1,
                         .maximum = std::numeric_limits<std::int64_t>::max(),
                         .option = "packet"},
                        {.name = "ct_next",
                         .help =
                             "what each ct action finds that packets go on behind, in turn, like "
                             "new,est|rpl; new unless given",
                         .maximum = 1000}},
         .result =
             {{"flow", "string", "the packet as flows see it"},
              {"steps", "array",
               "of each: depth and either table, flow and rule (null: none matches), or "
               "action, or group and bucket (one of its ways), or note, or goes_on (the table "
               "behind a ct action) and flow"},
              {"choices", "array",
               "of each group that the packet takes one bucket of: group, bucket (null: none "
               "is live) and why; of each meter: meter, passes and why"},
              {"outputs", "array", "of each: port, number, queue, frame and flow"},
              {"mirrors", "array",
               "of each that has the packet: mirror, event (received or sent) and port"},
              {"drops", "array", "of each: port, reason and explanation"}}},
        {.name = "cache.stats",
         .summary = "What the workers' flow caches hold, and how often they answered",
         .changes = false,
         .result = {{"workers", "array",
                     "of each: worker, entries, bytes, hits, misses, stale (misses because flows "
                     "had changed), evictions, uncached, miss_cycles (TSC cycles that misses "
                     "took) and waits (turns that ports with many new flows waited, for others)"}}},
    };
}

parameter object_lines(std::string_view name, std::string_view help, std::string_view placeholder)
{
    parameter p = flow_lines(help);
    p.name = name;
    p.placeholder = placeholder;
    return p;
}

std::vector<result_member> object_changes()
{
    return {
        {"added", "integer", "how many were added"},
        {"modified", "integer", "how many were changed"},
        {"removed", "integer", "how many were removed"},
        {"flows_removed", "integer", "flows that named one that was removed, and went with it"}};
}

parameter object_number(std::string_view name, std::string_view help)
{
    return {.name = name,
            .kind = kind::integer,
            .help = help,
            .placeholder = "ID",
            .positional = true,
            .minimum = 0,
            .maximum = std::numeric_limits<std::uint32_t>::max()};
}

std::vector<method> group_methods()
{
    const auto groups = [](std::string_view help) {
        return object_lines("groups", help, "GROUP|FILE|-");
    };
    parameter which = groups("group_id=N, or a file with one a line; all, if none is given");
    which.required = false;
    return {
        {.name = "group.add",
         .summary = "Add groups",
         .changes = true,
         .parameters = {groups("a group, or a file with one a line"), flow_bridge(), file_name()},
         .result = object_changes()},
        {.name = "group.mod",
         .summary = "Change groups; buckets that stay keep their counters",
         .changes = true,
         .parameters = {groups("a group, or a file with one a line"), flow_bridge(),
                        flag("may_create", "add those that there are not"), file_name()},
         .result = object_changes()},
        {.name = "group.del",
         .summary = "Remove groups, and the flows that name them; all, if none is given",
         .changes = true,
         .parameters = {which, flow_bridge(), file_name()},
         .result = object_changes()},
        {.name = "group.insert-buckets",
         .summary = "Add buckets to a group",
         .changes = true,
         .parameters = {groups("group_id=N,command_bucket_id=first, last or a bucket_id, and the "
                               "buckets"),
                        flow_bridge(), file_name()},
         .result = object_changes()},
        {.name = "group.remove-buckets",
         .summary = "Remove buckets of a group",
         .changes = true,
         .parameters = {groups("group_id=N,command_bucket_id=first, last, all or a bucket_id"),
                        flow_bridge(), file_name()},
         .result = object_changes()},
        {.name = "group.list",
         .summary = "List the groups of a bridge, with what each and its buckets have carried",
         .changes = false,
         .parameters = {object_number("group", "this one only"), flow_bridge(),
                        flag("names", "ports by their names")},
         .result = {{"bridge", "string", "the bridge"},
                    {"groups", "array",
                     "of each: group_id, type, selection_method, selection_method_param, fields, "
                     "text, references (flows and buckets that name it), packets, bytes, age_ms "
                     "and buckets, of each: bucket_id, weight, watch_port, watch_group, actions, "
                     "live, packets and bytes"}}},
    };
}

std::vector<method> meter_methods()
{
    const auto meters = [](std::string_view help) {
        return object_lines("meters", help, "METER|FILE|-");
    };
    parameter which = meters("meter=N, or a file with one a line; all, if none is given");
    which.required = false;
    return {
        {.name = "meter.add",
         .summary = "Add meters",
         .changes = true,
         .parameters = {meters("a meter, or a file with one a line"), flow_bridge(), file_name()},
         .result = object_changes()},
        {.name = "meter.mod",
         .summary = "Change meters, which begin anew",
         .changes = true,
         .parameters = {meters("a meter, or a file with one a line"), flow_bridge(), file_name()},
         .result = object_changes()},
        {.name = "meter.del",
         .summary = "Remove meters, and the flows that name them; all, if none is given",
         .changes = true,
         .parameters = {which, flow_bridge(), file_name()},
         .result = object_changes()},
        {.name = "meter.list",
         .summary =
             "List the meters of a bridge, with what went through them and what they dropped",
         .changes = false,
         .parameters = {object_number("meter", "this one only"), flow_bridge()},
         .result =
             {{"bridge", "string", "the bridge"},
              {"meters", "array",
               "of each: meter, unit (kbps or pktps), text, flows (that name it), packets and "
               "bytes that came, age_ms and bands, of each: type, rate, burst_size (0: a "
               "second's), and packets and bytes that it dropped"}}},
    };
}

parameter snaplen(std::string_view help)
{
    return {.name = "snaplen",
            .kind = kind::integer,
            .help = help,
            .placeholder = "BYTES",
            .minimum = 14,
            .maximum = 262'144};
}

parameter capture_number()
{
    return {.name = "capture",
            .kind = kind::integer,
            .help = "its number",
            .required = true,
            .minimum = 1,
            .maximum = std::numeric_limits<std::int64_t>::max()};
}

std::vector<method> capture_methods()
{
    return {
        {.name = "capture",
         .summary = "Show packets, or write them in pcapng, until interrupted",
         .changes = false,
         .parameters =
             {{.name = "what",
               .help = "a port, or a match of packets like tcp,nw_dst=10.0.0.1",
               .placeholder = "PORT|MATCH",
               .required = true,
               .positional = true,
               .maximum = longest_text},
              flow_bridge(),
              {.name = "write",
               .help = "write pcapng to this file; - is the standard output",
               .placeholder = "FILE",
               .maximum = longest_text,
               .letter = 'w'},
              snaplen("so many bytes of each packet; all unless given"),
              {.name = "count",
               .kind = kind::integer,
               .help = "end after so many packets",
               .placeholder = "N",
               .minimum = 1,
               .maximum = std::numeric_limits<std::int64_t>::max()},
              {.name = "direction",
               .kind = kind::choice,
               .help = "in: from the port into the switch; both of a port, in of a match, unless "
                       "given",
               .choices = {"in", "out", "both"}},
              flag("before_actions", "packets as they came"),
              flag("after_actions", "packets as they leave, by whatever port"),
              flag("drops", "also packets that are dropped, with the reason")},
         .result =
             {{"capture", "integer",
               "its number. What follows the answer's line is the capture: pcapng if \"write\" "
               "is given, else lines of text; it goes on until the connection is shut down "
               "or closed"}}},
        {.name = "capture.result",
         .summary = "What a capture came to, or has come to",
         .changes = false,
         .parameters = {capture_number()},
         .result = {{"packets", "integer", "packets that were written"},
                    {"lost", "integer", "packets that came faster than they were written"},
                    {"why", "string", "why it ended, if it did not have to"}},
         .for_programs = true},
    };
}

std::vector<method> mirror_methods()
{
    const auto ports = [](std::string_view name, std::string_view help) {
        return parameter{
            .name = name, .help = help, .placeholder = "PORT,...", .maximum = longest_text};
    };
    const parameter name = {.name = "name",
                            .kind = kind::name,
                            .help = "the mirror's name",
                            .placeholder = "MIRROR",
                            .required = true,
                            .positional = true};
    return {
        {.name = "mirror.add",
         .summary = "Send copies of packets to a port, a VLAN or a file",
         .changes = true,
         .parameters = {name,
                        flow_bridge(),
                        flag("select_all", "packets that come from any port or leave by any"),
                        ports("select_src_port", "packets that come from these ports"),
                        ports("select_dst_port", "packets that leave by these ports"),
                        {.name = "select_vlan",
                         .kind = kind::vlan_list,
                         .help = "of them, packets in these VLANs",
                         .placeholder = "LIST"},
                        {.name = "select_flow",
                         .help = "of them, packets within this match",
                         .placeholder = "MATCH",
                         .maximum = longest_text},
                        {.name = "output_port",
                         .kind = kind::name,
                         .help = "a port that is to take them and nothing else",
                         .placeholder = "PORT"},
                        {.name = "output_vlan",
                         .kind = kind::integer,
                         .help = "a VLAN, by all ports that carry it",
                         .placeholder = "VLAN",
                         .minimum = 1,
                         .maximum = 4094},
                        {.name = "output_file",
                         .help = "a pcapng file of the daemon's, by its whole path",
                         .placeholder = "PATH",
                         .maximum = longest_text},
                        snaplen("so many bytes of each packet; all unless given")},
         .result = {{"name", "string", "the mirror's name"}}},
        {.name = "mirror.del",
         .summary = "End a mirror",
         .changes = true,
         .parameters = {name, flag("if_exists", "done, too, when there is no such mirror")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "mirror.list",
         .summary = "List the mirrors, with what they have sent",
         .changes = false,
         .result_is_list = true,
         .result = {{"name", "string", "the mirror's name"},
                    {"bridge", "string", "whose packets it sends copies of"},
                    {"select", "object", "all, src_ports, dst_ports, vlans and flow, as given"},
                    {"output", "object", "port, vlan or file"},
                    {"snaplen", "integer", "bytes of each packet; null: all", true},
                    {"packets", "integer", "copies that were sent"},
                    {"bytes", "integer", "of whole frames"},
                    {"drops", "integer", "copies that found no room, or could not be sent"},
                    {"error", "string", "why it does not send any more", true}}},
    };
}

parameter connection_zone(std::string_view help)
{
    return {.name = "zone",
            .kind = kind::integer,
            .help = help,
            .placeholder = "ZONE",
            .minimum = 0,
            .maximum = 65'535};
}

parameter connection_port(std::string_view help)
{
    return {.name = "port", .kind = kind::name, .help = help, .placeholder = "PORT"};
}

parameter connection_filter(std::string_view help)
{
    return {.name = "filter",
            .help = help,
            .placeholder = "MATCH",
            .positional = true,
            .maximum = longest_text};
}

std::vector<method> connection_methods()
{
    return {
        {.name = "ct.list",
         .summary = "List tracked connections",
         .changes = false,
         .parameters = {connection_filter("a match; connections whose first packet is within it"),
                        connection_zone("of this zone alone"),
                        connection_port("that this port's rule sets track"),
                        {.name = "limit",
                         .kind = kind::integer,
                         .help = "connections to answer with at most; 65536 unless given",
                         .placeholder = "N",
                         .minimum = 1,
                         .maximum = 1'000'000}},
         .result = {{"connections", "array",
                     "of each: zone (null: a port's own), port (else null), protocol, "
                     "original and reply (each: source, "
                     "destination, source_port, destination_port; of ICMP identifier, type and "
                     "code), state (of TCP, else null), mark, label, seconds_left, replied, "
                     "assured and related"},
                    {"more", "boolean", "there are others, beyond the limit"}}},
        {.name = "ct.flush",
         .summary = "Forget tracked connections",
         .changes = false,
         .parameters = {connection_filter("a match; connections whose first packet is within it"),
                        connection_zone("of this zone alone"),
                        connection_port("that this port's rule sets track")},
         .result = {{"forgotten", "integer", "so many were"}}},
        {.name = "ct.stats",
         .summary = "How many connections are tracked, and what came of the packets",
         .changes = false,
         .result = {{"connections", "integer", "that are tracked now, by all workers"},
                    {"capacity", "integer", "that there is room for"},
                    {"bytes", "integer", "of memory that they have, or had"},
                    {"workers", "array",
                     "of each: worker, created, ended, evicted, flushed, found, new, invalid, "
                     "related and translated"}}},
        {.name = "ct.limit",
         .summary = "Show or set how many connections a zone may have",
         .changes = false,
         .parameters = {connection_zone("of this zone; of all that have none of their own unless "
                                        "given"),
                        connection_port("of what this port's rule sets track, in place of a zone"),
                        {.name = "set",
                         .kind = kind::integer,
                         .help = "so many at most; 0: any number",
                         .placeholder = "N",
                         .minimum = 0,
                         .maximum = 1'000'000'000},
                        flag("reset", "the zone has no limit of its own any more")},
         .result = {{"default", "integer", "of zones without one of their own; 0: none"},
                    {"zones", "array",
                     "of those that have one: zone or port, limit and connections"}}},
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
               "that it never sleeps), busy_cycles, idle_cycles, asleep_cycles, "
               "iterations, rx_packets, tx_packets, handed_over, mac_table_full, "
               "longest_gap_us, cycles_per_packet, utilisation and asleep (percent), all "
               "since the start"}}},
        {.name = "stats",
         .summary = "Counters of the ports",
         .changes = false,
         .parameters = {port_name(false)},
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
             {port_methods(), mac_methods(), binding_methods(), endpoint_methods(), xen_methods(),
              flow_methods(), group_methods(), meter_methods(), capture_methods(), mirror_methods(),
              acl_methods(), shaper_methods(), connection_methods(), other_methods()}) {
            list.insert(list.end(), part.begin(), part.end());
        }
        return list;
    }();
    return all;
}

} // namespace strait::control
