// SPDX-License-Identifier: BSD-3-Clause
// Parsing the options of straitd.
#include "control/daemon_options.hh"

#include "control/cpu_list.hh"
#include "control/method_table.hh"
#include "control/xen_host.hh"
#include "ports/number.hh"

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

namespace strait::control {

namespace {

using ports::error;
using ports::result;

struct option {
    std::string_view name;
    std::string_view placeholder; // empty: takes no value
    std::string_view help;
    std::function<result<void>(daemon_options&, const std::string&)> set;
};

result<void> set_memory(daemon_options& o, const std::string& value)
{
    constexpr unsigned most = 1U << 20U;
    const auto n = to_number<unsigned>(value);
    if (!n || *n < minimum_memory_mib || *n > most) {
        return error{"--memory is " + value + "; it must be MiB from " +
                     std::to_string(minimum_memory_mib) + " to " + std::to_string(most)};
    }
    o.eal.memory_mib = *n;
    return {};
}

result<void> set_workers(daemon_options& o, const std::string& value)
{
    auto cpus = parse_cpu_list(value);
    if (cpus.has_error()) {
        return error{"--workers: " + cpus.error().message};
    }
    o.eal.worker_cpus = std::move(cpus).value();
    return {};
}

result<void> set_main_cpu(daemon_options& o, const std::string& value)
{
    o.eal.main_cpu = to_number<unsigned>(value);
    if (!o.eal.main_cpu) {
        return error{"--main-cpu is " + value + "; it must be the number of a CPU"};
    }
    return {};
}

result<void> set_log_level_option(daemon_options& o, const std::string& value)
{
    const auto level = parse_log_level(value);
    if (!level) {
        return error{"--log-level is " + value + "; it must be error, warning, info or debug"};
    }
    o.log = *level;
    return {};
}

result<void> set_text(std::string& to, std::string_view name, const std::string& value)
{
    if (value.empty()) {
        return error{std::string{name} + " is empty; it must be a path"};
    }
    to = value;
    return {};
}

const std::vector<option>& options()
{
    static const std::vector<option> all = {
        {"--run-dir", "DIR", "folder of the control socket and the lock; /run/strait unless given",
         [](daemon_options& o, const std::string& v) {
             return set_text(o.eal.run_dir, "--run-dir", v);
         }},
        {"--workers", "CPULIST",
         "CPUs that poll, one worker each, like 1 or 2-5 or 0,1,0,1; the last allowed CPU unless "
         "given",
         set_workers},
        {"--main-cpu", "N", "CPU of everything else; one that no worker has unless given",
         set_main_cpu},
        {"--busy-poll", "", "workers never sleep",
         [](daemon_options& o, const std::string&) -> result<void> {
             o.busy_poll = true;
             return {};
         }},
        {"--no-huge", "", "no huge pages, even if some are free",
         [](daemon_options& o, const std::string&) -> result<void> {
             o.eal.no_huge = true;
             return {};
         }},
        {"--memory", "MIB", "memory of the packet pool and of drivers; 64 unless given",
         set_memory},
        {"--config", "FILE", "commands of straitctl to run before ports are served",
         [](daemon_options& o, const std::string& v) {
             return set_text(o.config.emplace(), "--config", v);
         }},
        {"--xen", "WHERE",
         "Xen guests: auto (where there is Xen), off, libxen, simulated:SOCKET; auto unless given",
         [](daemon_options& o, const std::string& v) -> result<void> {
             if (!is_xen_choice(v)) {
                 return error{"--xen is " + v +
                              "; it must be auto, off, libxen or simulated:SOCKET"};
             }
             o.xen = v;
             return {};
         }},
        {"--log-level", "LEVEL", "error, warning, info or debug; info unless given",
         set_log_level_option},
        {"--version", "", "show the version",
         [](daemon_options& o, const std::string&) -> result<void> {
             o.version = true;
             return {};
         }},
        {"--help", "", "show this text",
         [](daemon_options& o, const std::string&) -> result<void> {
             o.help = true;
             return {};
         }},
    };
    return all;
}

error unknown(const std::string& name)
{
    std::vector<std::string> names;
    for (const auto& o : options()) {
        names.emplace_back(o.name);
    }
    const auto near = nearest(name, names);
    return {(name.starts_with('-') ? "there is no option " + name
                                   : "straitd takes options only, and \"" + name + "\" is none") +
            (near ? "; did you mean " + *near + "?" : std::string{"; --help lists them"})};
}

} // namespace

result<daemon_options> parse_daemon_options(std::span<const std::string> words)
{
    daemon_options parsed;
    parsed.eal.run_dir = "/run/strait";
    std::set<std::string_view> given;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const auto equals = words[i].find('=');
        const std::string name = words[i].substr(0, equals);
        const auto found = std::find_if(options().begin(), options().end(),
                                        [&](const option& o) { return o.name == name; });
        if (found == options().end()) {
            return unknown(name);
        }
        if (!given.insert(found->name).second) {
            return error{name + " is given twice"};
        }
        std::string value;
        if (equals != std::string::npos) {
            value = words[i].substr(equals + 1);
            if (found->placeholder.empty()) {
                return error{name + " takes no value"};
            }
        } else if (!found->placeholder.empty()) {
            if (++i == words.size() || words[i].starts_with("--")) {
                return error{name + " needs " + std::string{found->placeholder} + " after it"};
            }
            value = words[i];
        }
        if (auto set = found->set(parsed, value); set.has_error()) {
            return set.error();
        }
    }
    return parsed;
}

std::string daemon_help()
{
    constexpr std::size_t column = 22;
    std::string out = "straitd [OPTIONS]\nA virtual switch for hypervisor hosts. It stays in the "
                      "foreground and logs to stderr.\n\nOptions:\n";
    for (const auto& o : options()) {
        std::string form = "  " + std::string{o.name};
        if (!o.placeholder.empty()) {
            form += " " + std::string{o.placeholder};
        }
        form.resize(std::max(form.size() + 2, column), ' ');
        out += form + std::string{o.help} + "\n";
    }
    return out;
}

} // namespace strait::control
