// SPDX-License-Identifier: BSD-3-Clause
// The table of straitd's options, and what they mean.
#include "control/daemon_options.hh"

#include "control/cli.hh"
#include "control/cpu_list.hh"
#include "control/parameters.hh"
#include "control/xen_host.hh"

#include <array>
#include <limits>
#include <utility>

#include <unistd.h>

namespace strait::control {

namespace {

using ports::error;
using ports::result;
using kind = value_kind;

constexpr std::int64_t longest_text = 4095;
constexpr std::string_view usual_run_dir = "/run/strait";
constexpr std::int64_t most_memory_mib = 1 << 20U;

const method_table& options()
{
    static const method_table all = {
        {.name = "",
         .summary = "A virtual switch for hypervisor hosts. It stays in the foreground and logs to "
                    "stderr",
         .changes = false,
         .parameters = {
             {.name = "run_dir",
              .kind = kind::text,
              .help = "folder of the control socket and the lock; /run/strait unless given",
              .placeholder = "DIR",
              .maximum = longest_text,
              .form = "a path"},
             {.name = "workers",
              .kind = kind::text,
              .help = "CPUs that poll, one worker each, like 1 or 2-5 or 0,1,0,1; the last "
                      "isolated CPU unless given, or the last allowed one",
              .placeholder = "CPULIST",
              .maximum = longest_text,
              .form = "a list of CPUs"},
             {.name = "main_cpu",
              .kind = kind::integer,
              .help = "CPU of everything else; one that no worker has unless given",
              .placeholder = "N",
              .maximum = std::numeric_limits<int>::max(),
              .form = "the number of a CPU"},
             {.name = "busy_poll", .kind = kind::truth, .help = "workers never sleep"},
             {.name = "no_balance",
              .kind = kind::truth,
              .help = "queues of busy workers are not moved to others"},
             {.name = "no_huge",
              .kind = kind::truth,
              .help = "no huge pages, even if some are free"},
             {.name = "iova_mode",
              .kind = kind::choice,
              .help =
                  "addresses that devices are given: va, virtual ones, by an IOMMU; pa, physical "
                  "ones, for devices without one; va unless given",
              .choices = {"va", "pa"}},
             {.name = "memory",
              .kind = kind::integer,
              .help = "MiB of the packet pool and of drivers; 64 unless given",
              .placeholder = "MIB",
              .minimum = minimum_memory_mib,
              .maximum = most_memory_mib},
             {.name = "state_dir",
              .kind = kind::text,
              .help =
                  "folder in which the configuration is kept; /var/lib/strait unless given, with "
                  "another --run-dir a folder in it",
              .placeholder = "DIR",
              .maximum = longest_text,
              .form = "a path"},
             {.name = "no_persist",
              .kind = kind::truth,
              .help = "keep no configuration, and begin with none"},
             {.name = "config",
              .kind = kind::text,
              .help = "commands of straitctl to run before ports are served, in place of a kept "
                      "configuration",
              .placeholder = "FILE",
              .maximum = longest_text,
              .form = "a path"},
             {.name = "xen",
              .kind = kind::text,
              .help = "Xen guests: auto (where there is Xen), off, libxen, simulated:SOCKET; auto "
                      "unless given",
              .placeholder = "WHERE",
              .maximum = longest_text,
              .fits = [](std::string_view text) { return is_xen_choice(std::string{text}); },
              .form = "auto, off, libxen or simulated:SOCKET"},
             {.name = "metrics",
              .kind = kind::text,
              .help = "where Prometheus may read metrics by HTTP: a loopback address and port like "
                      "127.0.0.1:9476, or unix:PATH; nowhere unless given",
              .placeholder = "WHERE",
              .maximum = longest_text,
              .form = "a loopback address and port, or unix:PATH"},
             {.name = "log_level",
              .kind = kind::choice,
              .help = "info unless given",
              .choices = {"error", "warning", "info", "debug"}}}}};
    return all;
}

constexpr std::string_view program_name = "straitd";

cli::program this_program()
{
    return {.name = program_name, .commands = &options()};
}

} // namespace

result<daemon_options> parse_daemon_options(std::span<const std::string> words)
{
    const auto given = cli::parse(this_program(), words);
    if (given.has_error()) {
        return given.error();
    }
    const auto& p = given->parameters;
    daemon_options o;
    o.help = !given->help.empty();
    o.version = given->global.version;
    o.eal.run_dir = text_of(p, "run_dir").value_or(std::string{usual_run_dir});
    o.state_dir = text_of(p, "state_dir");
    o.no_persist = is_set(p, "no_persist");
    if (const auto workers = text_of(p, "workers")) {
        auto cpus = parse_cpu_list(*workers);
        if (cpus.has_error()) {
            return error{"--workers: " + cpus.error().message};
        }
        o.eal.worker_cpus = std::move(cpus).value();
    }
    o.eal.main_cpu = number_as<unsigned>(p, "main_cpu");
    o.busy_poll = is_set(p, "busy_poll");
    o.no_balance = is_set(p, "no_balance");
    o.eal.no_huge = is_set(p, "no_huge");
    o.eal.physical_addresses = text_of(p, "iova_mode") == "pa";
    if (o.eal.physical_addresses && o.eal.no_huge) {
        return error{"--iova-mode pa is given with --no-huge, and works in huge pages alone; give "
                     "one of them"};
    }
    o.eal.memory_mib = number_as<unsigned>(p, "memory").value_or(o.eal.memory_mib);
    o.config = text_of(p, "config");
    if (o.state_dir && (o.config || o.no_persist)) {
        return error{std::string{"--state-dir is given with "} +
                     (o.config ? "--config, whose commands are all of the configuration"
                               : "--no-persist, which keeps none") +
                     "; give one of them"};
    }
    o.xen = text_of(p, "xen").value_or(o.xen);
    if (const auto where = text_of(p, "metrics")) {
        auto at = metrics_address::parse(*where);
        if (at.has_error()) {
            return error{"--metrics: " + at.error().message};
        }
        o.metrics = std::move(at).value();
    }
    if (const auto level = text_of(p, "log_level")) {
        o.log = parse_log_level(*level).value();
    }
    return o;
}

std::optional<std::string> state_dir_of(const daemon_options& options, const std::string& run_dir)
{
    if (options.no_persist || options.config) {
        return std::nullopt;
    }
    const bool usual = run_dir == usual_run_dir && ::geteuid() == 0;
    return options.state_dir.value_or(usual ? "/var/lib/strait" : run_dir + "/config");
}

std::string daemon_help()
{
    return cli::parse(this_program(), std::array<std::string, 1>{"--help"}).value().help;
}

} // namespace strait::control
