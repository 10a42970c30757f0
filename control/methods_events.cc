// SPDX-License-Identifier: BSD-3-Clause
// What can be asked of events, and of the log.
#include "control/methods_events.hh"

#include "control/methods_parts.hh"

#include <limits>

namespace strait::control {

std::vector<method> event_methods()
{
    return {
        {.name = "events",
         .summary = "What has happened: ports, links and guests that came and went, MACs that "
                    "moved, flows that changed",
         .changes = false,
         .parameters = {{.name = "after",
                         .kind = kind::integer,
                         .help = "those after the event of this number",
                         .placeholder = "N",
                         .minimum = 0,
                         .maximum = std::numeric_limits<std::int64_t>::max()},
                        {.name = "bridge",
                         .kind = kind::name,
                         .help = "of this bridge only",
                         .placeholder = "BRIDGE"},
                        {.name = "port",
                         .kind = kind::name,
                         .help = "of this port only",
                         .placeholder = "PORT"},
                        flag("follow",
                             "straitctl goes on with what happens, until it is interrupted")},
         .result = {{"began", "string",
                     "when numbers began with 1, as the daemon started (UTC): those that were "
                     "given with another time are of another daemon"},
                    {"last", "integer",
                     "number of the last event of all, to ask for what comes after it; 0: there "
                     "was none"},
                    {"missed", "integer",
                     "events that came after the one that was named and are not kept any more: "
                     "of links, guests and MACs the last 2048 are, and of all others again"},
                    {"events", "array",
                     "the oldest first, of each: sequence, time (UTC), event, bridge, port "
                     "(null: it is about none) and what else there is to say of it"}}},
        {.name = "log.level",
         .summary = "Tell or set how much the daemon logs, until it ends",
         .changes = true,
         .keeps = kept::nothing,
         .parameters = {{.name = "level",
                         .kind = kind::choice,
                         .help = "of lines that are logged, the least important",
                         .placeholder = "LEVEL",
                         .positional = true,
                         .choices = {"error", "warning", "info", "debug"}}},
         .result = {{"level", "string", "as it is now"}}},
    };
}

} // namespace strait::control
