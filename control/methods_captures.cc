// SPDX-License-Identifier: BSD-3-Clause
// Methods about captures and mirrors.
#include "control/methods_captures.hh"

#include "control/methods_parts.hh"

#include <limits>

namespace strait::control {

namespace {

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

} // namespace

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
         .keeps = kept::configuration,
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
         .keeps = kept::configuration,
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

} // namespace strait::control
