// SPDX-License-Identifier: BSD-3-Clause
// The table of methods, parameters and results.
#include "vmm/methods.hh"

namespace strait::vmm {

const control::method_table& methods()
{
    static const std::vector<control::result_member> state = {
        {"state", "string", "running, paused, or stopping: it was asked to switch itself off"}};
    static const control::method_table all = {
        {.name = "vm.info",
         .summary = "What the machine is, and how it is",
         .changes = false,
         .result = {{"name", "string", "the machine's"},
                    {"version", "string", "Strait's"},
                    {"uptime_s", "integer", "seconds since it began to serve its control socket"},
                    {"state", "string", "running, paused or stopping"},
                    {"cpus", "integer", "vCPUs"},
                    {"memory", "integer", "bytes of the guest's"},
                    {"nets", "array",
                     "of each network device: name, mac, socket, connected (to a back end), "
                     "serving (the guest's rings are with it) and connections so far; while the "
                     "guest drives it, also ring_kind, ring_size, queues (pairs), queues_used and "
                     "features as agreed on, by virtio's names"},
                    {"disks", "array", "of each: path and read_only"}}},
        {.name = "vm.pause", .summary = "Stop the vCPUs", .changes = true, .result = state},
        {.name = "vm.resume", .summary = "Let the vCPUs go on", .changes = true, .result = state},
        {.name = "vm.stop",
         .summary = "Ask the guest to switch itself off, as by its power button",
         .changes = true,
         .parameters = {{.name = "force",
                         .kind = control::value_kind::truth,
                         .help = "end it at once; the connection may end before the answer"},
                        {.name = "timeout",
                         .kind = control::value_kind::integer,
                         .help = "seconds until it is ended if it has not; 30 unless given",
                         .minimum = 1,
                         .maximum = 3600}},
         .result = state},
        {.name = "vm.stats",
         .summary = "Counters and times",
         .changes = false,
         .result = {{"exits", "object", "returns of KVM_RUN to this process, by reason"},
                    {"boot_us", "object",
                     "microseconds from the start of the process to each stage; null: not yet"},
                    {"console_lost", "integer", "bytes of the console that nobody took"}}},
        {.name = "schema",
         .summary = "This service described for programs (OpenRPC)",
         .changes = false,
         .result = {{"openrpc", "string", "version of the format"},
                    {"methods", "array", "the methods"}}},
    };
    return all;
}

} // namespace strait::vmm
