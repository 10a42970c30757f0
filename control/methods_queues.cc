// SPDX-License-Identifier: BSD-3-Clause
// Queues and their workers.
#include "control/methods_queues.hh"

#include "control/methods_parts.hh"
#include "dataplane/types.hh"

namespace strait::control {

namespace {

// As many as a guest's driver may have.
constexpr std::int64_t most_queues = 64;

parameter number(std::string_view name, std::string_view help, std::string_view placeholder,
                 std::int64_t maximum)
{
    return {.name = name,
            .kind = kind::integer,
            .help = help,
            .placeholder = placeholder,
            .required = true,
            .positional = true,
            .minimum = 0,
            .maximum = maximum};
}

parameter queue_number()
{
    return number("queue", "pair of queues, from 0, as queue list tells them", "QUEUE",
                  most_queues - 1);
}

} // namespace

std::vector<method> queue_methods()
{
    return {
        {.name = "queue.list",
         .summary =
             "List the ports' queues, the workers that serve them, and what they carried and "
             "dropped",
         .changes = false,
         .parameters = {port(false, "the port's name", "name")},
         .result_is_list = true,
         .result = {{"port", "string", "the port's name"},
                    {"queue", "integer", "pair of queues, from 0"},
                    {"rx", "boolean", "whether it takes packets in"},
                    {"tx", "boolean", "whether it sends packets out"},
                    {"worker", "integer", "who serves it"},
                    {"pinned", "boolean", "whether it stays there, whatever the load"},
                    {"cpu", "integer", "where that worker runs"},
                    {"load", "number",
                     "of that worker's time, in percent, what came by it took lately; null: it is "
                     "not known yet",
                     true},
                    {"wakes", "boolean",
                     "whether it can wake its worker; if not, that one looks at it every 25 "
                     "microseconds while it sleeps, or never sleeps (null: it takes nothing in)",
                     true},
                    {"rx_packets", "integer", "that it took in"},
                    {"rx_dropped", "integer", "packets that came by it and were dropped"},
                    {"tx_packets", "integer", "that it sent out"},
                    {"tx_dropped", "integer", "packets that were to leave by it and were dropped"},
                    {"drops", "object", "by reason, those that there were"}}},
        {.name = "queue.pin",
         .summary = "Have a queue served by one worker, whatever the load; nothing is lost",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {port(true, "the queue's port"), queue_number(),
                        number("worker", "the worker, as worker list tells them", "WORKER",
                               dataplane::max_workers - 1)},
         .result = {{"worker", "integer", "who served it until now"}}},
        {.name = "queue.unpin",
         .summary = "Let a queue be moved again when its worker has too much to do",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {port(true, "the queue's port"), queue_number()},
         .result = {{"removed", "boolean", "whether it was pinned"}}},
        {.name = "queue.balance",
         .summary = "Move queues that are not pinned, so that the busiest worker has less to do, "
                    "at once and as far as that goes",
         .changes = true,
         .keeps = kept::nothing,
         .result = {{"moved", "array", "of each queue that was: port, queue, from and to"}}},
    };
}

} // namespace strait::control
