// SPDX-License-Identifier: BSD-3-Clause
// Methods about tracked connections.
#include "control/methods_connections.hh"

#include "control/methods_parts.hh"

namespace strait::control {

namespace {

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

} // namespace

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
         .changes = true,
         .keeps = kept::nothing,
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
                     "related, translated and rewritten"}}},
        {.name = "ct.limit",
         .summary = "Show or set how many connections a zone may have",
         .changes = true,
         .keeps = kept::configuration,
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

} // namespace strait::control
