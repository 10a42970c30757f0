// SPDX-License-Identifier: BSD-3-Clause
// Tunnels' options; addresses, routes and neighbours.
#include "control/methods_endpoints.hh"

#include "control/methods_parts.hh"

namespace strait::control {

namespace {

constexpr std::int64_t longest_address = 64;
const std::vector<std::string_view> tunnel_types{"vxlan", "geneve", "gre", "nvgre"};

parameter word(std::string_view name, std::string_view help, std::string_view placeholder,
               std::vector<std::string_view> types = tunnel_types)
{
    return {.name = name,
            .kind = kind::text,
            .help = help,
            .placeholder = placeholder,
            .maximum = longest_address,
            .port_types = std::move(types)};
}

parameter bridge(bool required, std::string_view help)
{
    return {.name = "bridge",
            .kind = kind::name,
            .help = help,
            .placeholder = "BRIDGE",
            .required = required,
            .positional = true};
}

parameter address()
{
    return {.name = "address",
            .kind = kind::text,
            .help = "the address with its prefix length, like 10.0.0.1/24 or fd00::1/64",
            .placeholder = "ADDRESS/LENGTH",
            .required = true,
            .positional = true,
            .maximum = longest_address};
}

parameter destination()
{
    return {.name = "to",
            .kind = kind::text,
            .help = "the network, like 10.1.0.0/16; 0.0.0.0/0 and ::/0 are all",
            .placeholder = "NETWORK/LENGTH",
            .required = true,
            .positional = true,
            .maximum = longest_address};
}

std::vector<method> address_methods()
{
    return {
        {.name = "address.add",
         .summary = "Give the switch an address of its own on a bridge",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {bridge(true, "the bridge that the address is on"),
                        address(),
                        {.name = "vlan",
                         .kind = kind::integer,
                         .help = "in this VLAN; without one unless given",
                         .placeholder = "VLAN",
                         .minimum = 1,
                         .maximum = 4094}},
         .result = {{"added", "boolean", "true"}}},
        {.name = "address.del",
         .summary = "Remove an address of the switch",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {bridge(true, "the bridge that the address is on"), address(),
                        flag("if_exists", "done, too, when there is no such address")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "address.list",
         .summary = "List the switch's own addresses",
         .changes = false,
         .result_is_list = true,
         .result = {{"bridge", "string", "the bridge it is on"},
                    {"address", "string", "with its prefix length"},
                    {"vlan", "integer", "the VLAN", true},
                    {"mac", "string", "the bridge's MAC, which answers for it"}}},
    };
}

std::vector<method> route_methods()
{
    return {
        {.name = "route.add",
         .summary = "Add a route for what the switch itself sends",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {destination(),
                        {.name = "via",
                         .kind = kind::text,
                         .help = "the gateway's address",
                         .placeholder = "GATEWAY",
                         .required = true,
                         .maximum = longest_address}},
         .result = {{"added", "boolean", "true"}}},
        {.name = "route.del",
         .summary = "Remove a route",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {destination(), flag("if_exists", "done, too, when there is no such route")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "route.list",
         .summary = "List the routes, those of the addresses too",
         .changes = false,
         .result_is_list = true,
         .result = {{"to", "string", "the network"},
                    {"via", "string", "the gateway; null: there itself", true},
                    {"bridge", "string", "the bridge that it leads by"},
                    {"source", "string", "the address that it sends from"}}},
    };
}

std::vector<method> neighbour_methods()
{
    return {
        {.name = "neighbour.list",
         .summary = "List who is next to the switch's addresses",
         .changes = false,
         .parameters = {bridge(false, "of this bridge")},
         .result_is_list = true,
         .result = {{"bridge", "string", "the bridge"},
                    {"vlan", "integer", "the VLAN", true},
                    {"address", "string", "the neighbour's"},
                    {"mac", "string", "the neighbour's; null: it did not answer", true},
                    {"age", "integer", "seconds since it answered"}}},
        {.name = "neighbour.flush",
         .summary = "Forget neighbours: they are asked for again",
         .changes = true,
         .keeps = kept::nothing,
         .parameters = {bridge(false, "of this bridge")},
         .result = {{"flushed", "boolean", "true"}}},
    };
}

} // namespace

std::vector<parameter> tunnel_parameters()
{
    const std::vector<std::string_view> udp{"vxlan", "geneve"};
    return {
        word("remote",
             "the far end's address, or flow: what flows set as tun_dst; flow unless "
             "given",
             "ADDRESS|flow"),
        word("local",
             "the switch's address to send from and to receive at, or flow: tun_src; the "
             "route's unless given",
             "ADDRESS|flow"),
        word("key",
             "VNI, GRE key or virtual subnet, or flow: what flows set as tun_id; 0 unless "
             "given",
             "N|flow"),
        {.name = "dst_port",
         .kind = kind::integer,
         .help = "the far end's UDP port; 4789 (vxlan) or 6081 (geneve) unless given",
         .placeholder = "PORT",
         .minimum = 1,
         .maximum = 65535,
         .port_types = udp},
        word("ttl", "the outer TTL, or inherit: that of the IP packet within; 64 unless given",
             "N|inherit"),
        word("tos",
             "the outer type of service, or inherit; its ECN is always that of the packet "
             "within",
             "N|inherit"),
        {.name = "df",
         .kind = kind::choice,
         .help = "whether outer packets may not be fragmented; on unless given",
         .choices = {"on", "off"},
         .port_types = tunnel_types},
        flag("csum",
             "outer packets have checksums of what they carry; on for UDP over IPv6 unless given",
             {"vxlan", "geneve", "gre"}),
        flag("seq", "outer packets have sequence numbers", {"gre"}),
        flag("gbp", "with the group policy extension: tun_gbp_id, tun_gbp_flags", {"vxlan"}),
    };
}

std::vector<method> endpoint_methods()
{
    std::vector<method> all = address_methods();
    for (auto part : {route_methods(), neighbour_methods()}) {
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

} // namespace strait::control
