// SPDX-License-Identifier: BSD-3-Clause
// The table of commands about virtual machines.
#include "control/vm_commands.hh"

#include "control/completion.hh"
#include "control/config_client.hh"
#include "control/doctor.hh"
#include "control/methods.hh"
#include "control/support.hh"
#include "control/top.hh"
#include "control/vm.hh"
#include "vmm/config.hh"

#include <algorithm>

namespace strait::control {

namespace {

using kind = value_kind;

constexpr std::string_view vm_prefix = "vm.";

parameter vm_name()
{
    return {.name = "name",
            .kind = kind::name,
            .help = "the virtual machine's name",
            .placeholder = "NAME",
            .required = true,
            .positional = true};
}

// What the port has, and what strait-vmm has, but for what straitctl says itself.
std::vector<parameter> run_parameters()
{
    std::vector<parameter> all = {vm_name()};
    for (const auto& p : find_method(methods(), "port.add")->parameters) {
        if (std::ranges::find(vm_port_parameters, p.name) != vm_port_parameters.end()) {
            all.push_back(p);
        }
    }
    for (parameter p : vmm::commands().front().parameters) {
        if (p.name == "name" || p.name == "control" || p.name == "bounded_log") {
            continue;
        }
        if (p.name == "net") {
            p.help = "its network device, on the port; given or not";
            p.repeats = 1;
            std::erase_if(p.members, [](const parameter& member) {
                return member.name == "socket" || member.name == "server";
            });
            p.form = "keys with their values, like mac=MAC,queues=2";
        }
        if (p.name == "console") {
            p.help = "the guest's serial port: none, file:PATH; for vm console unless given";
            p.fits = [](std::string_view text) {
                return text == "none" || (text.starts_with("file:") && text != "file:");
            };
            p.form = "none or file:PATH";
        }
        all.push_back(std::move(p));
    }
    return all;
}

std::vector<result_member> show_members()
{
    return {{"name", "string", "the virtual machine's"},
            {"state", "string",
             "starting, running, paused, stopping, silent, permission denied or ended"},
            {"pid", "integer", "its process", true},
            {"ended", "string", "how it ended", true},
            {"info", "object", "what it says of itself (strait-vmm's vm.info)", true}};
}

method_table vm_commands()
{
    auto begun = show_members();
    begun.push_back({"warnings", "array", "what its port's MTU does not go with", true});
    auto shown = show_members();
    shown.push_back({"stats", "object", "its counters and times (strait-vmm's vm.stats)", true});
    return {
        {.name = "vm.run",
         .summary = "Start a virtual machine on a port of its own, which has its name",
         .changes = true,
         .parameters = run_parameters(),
         .result = std::move(begun)},
        {.name = "vm.list",
         .summary = "List the virtual machines, also those that have ended",
         .changes = false,
         .result_is_list = true,
         .result = show_members()},
        {.name = "vm.show",
         .summary = "Show a virtual machine in full",
         .changes = false,
         .parameters = {vm_name()},
         .result = std::move(shown)},
        {.name = "vm.stop",
         .summary = "Ask a virtual machine to switch itself off, and remove its port and folder",
         .changes = true,
         .parameters = {vm_name(),
                        {.name = "timeout",
                         .kind = kind::integer,
                         .help = "for it to do so; then it is ended; 30 unless given",
                         .placeholder = "SECONDS",
                         .minimum = 1,
                         .maximum = 3600},
                        {.name = "force", .kind = kind::truth, .help = "end it at once"}},
         .result = {{"ended", "string", "how it ended"}}},
        {.name = "vm.console",
         .summary = "The terminal of its serial port; Ctrl-] leaves",
         .changes = true,
         .parameters = {vm_name()},
         .result = {{"ended", "string", "why it did"}}},
    };
}

} // namespace

const cli::program& straitctl_program()
{
    static const method_table all = [] {
        method_table both;
        std::ranges::copy_if(methods(), std::back_inserter(both),
                             [](const method& m) { return !m.for_programs; });
        both.push_back(doctor_method());
        both.push_back(top_method());
        both.push_back(support_method());
        both.push_back(completion_method());
        for (auto& m : config_commands()) {
            both.push_back(std::move(m));
        }
        for (auto& m : vm_commands()) {
            both.push_back(std::move(m));
        }
        return both;
    }();
    static const cli::program p{
        .name = "straitctl",
        .commands = &all,
        .asks_daemon = true,
        .purpose = "Controls a running straitd, and virtual machines on it.",
        .ending = "Exit status: 0 done, 1 refused, 2 no answer of the daemon was shown."};
    return p;
}

bool is_vm_command(const method& m)
{
    return m.name.starts_with(vm_prefix);
}

} // namespace strait::control
