// SPDX-License-Identifier: BSD-3-Clause
// Bindings, port security, DHCP snooping and the suppression of ARP and neighbour discovery.
#include "control/methods_bindings.hh"

#include "control/methods_parts.hh"

namespace strait::control {

namespace {

constexpr std::int64_t longest_list = 16'384;
constexpr std::string_view which_vlan =
    "in this VLAN; in that of the port's untagged frames unless given";

parameter mac(bool required, std::string_view help)
{
    return {.name = "mac",
            .kind = kind::mac,
            .help = help,
            .placeholder = "MAC",
            .required = required,
            .positional = true};
}

parameter addresses(std::string_view help)
{
    return {.name = "addresses",
            .kind = kind::text,
            .help = help,
            .placeholder = "IP[,IP...]",
            .positional = true,
            .maximum = longest_list};
}

} // namespace

std::vector<parameter> bridge_guard_settings()
{
    return {
        flag("dhcp_snooping",
             "DHCP leases become bindings, and servers are heard on trusted ports only"),
        flag("neigh_suppress",
             "ARP and neighbour discovery are answered for bound addresses, not flooded"),
    };
}

std::vector<parameter> port_guard_settings()
{
    return {
        flag("port_security", "its guest may send from bound MAC and IP addresses only"),
        flag("dhcp_trust", "DHCP servers are behind it; of a bridge with --dhcp-snooping"),
    };
}

std::vector<method> binding_methods()
{
    return {
        {.name = "binding.add",
         .summary = "Bind a MAC, and IP addresses that it may have, to a port",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {port(true, "the port that they are behind"), mac(true, "the guest's MAC"),
                        addresses("addresses or prefixes, like 10.0.0.5,fd00::5,fd00:1::/64; none: "
                                  "those that DHCP leases"),
                        vlan(which_vlan)},
         .result = {{"added", "boolean", "true"}}},
        {.name = "binding.del",
         .summary = "Remove bindings of a port, leased ones, too",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {port(true, "the port"), mac(false, "of this MAC; all unless given"),
                        addresses("these of its addresses; all, and the MAC, unless given"),
                        vlan(which_vlan),
                        flag("if_exists", "done, too, when there is no such binding")},
         .result = {{"removed", "integer", "MACs and addresses that were"}}},
        {.name = "binding.list",
         .summary = "List the MAC and IP addresses that are bound to ports",
         .changes = false,
         .parameters = {port(false, "of this port")},
         .result_is_list = true,
         .result = {{"port", "string", "the port"},
                    {"bridge", "string", "its bridge"},
                    {"vlan", "integer", "the VLAN", true},
                    {"mac", "string", "the MAC"},
                    {"address", "string", "an address or prefix; null: none yet", true},
                    {"type", "string", "static, or dhcp: leased"},
                    {"expires", "integer", "seconds until the lease ends; null: never", true}}},
    };
}

} // namespace strait::control
