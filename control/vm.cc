// SPDX-License-Identifier: BSD-3-Clause
// Starting, showing and ending virtual machines.
#include "control/vm.hh"

#include "control/client.hh"
#include "control/ignored_signal.hh"
#include "control/methods.hh"
#include "control/parameters.hh"
#include "control/vm_console.hh"
#include "control/vm_folder.hh"
#include "control/vm_process.hh"
#include "ports/unix_socket.hh"
#include "vmm/config.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

namespace strait::control {

namespace json = boost::json;
namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

namespace {

[[noreturn]] void refuse(std::string why)
{
    throw call_error{true, std::move(why)};
}

template <typename T>
T or_refuse(ports::result<T> r)
{
    if (r.has_error()) {
        refuse(r.error().message);
    }
    return std::move(r).value();
}

// While this lives, a signal that would end the process only says so: what was begun is undone. One
// that would not still does nothing.
class interruption {
public:
    interruption()
    {
        came = 0;
        struct sigaction action {};
        action.sa_handler = [](int) { came = 1; };
        for (std::size_t i = 0; i < signals.size(); ++i) {
            const bool heard = !is_ignored(signals[i]);
            (void)::sigaction(signals[i], heard ? &action : nullptr, &before_[i]);
        }
    }
    ~interruption()
    {
        for (std::size_t i = 0; i < signals.size(); ++i) {
            (void)::sigaction(signals[i], &before_[i], nullptr);
        }
    }
    interruption(const interruption&) = delete;
    interruption& operator=(const interruption&) = delete;

    static void refuse_if_it_came()
    {
        if (came != 0) {
            refuse("interrupted: what was begun is undone");
        }
    }
    static inline volatile std::sig_atomic_t came{0};

private:
    static constexpr std::array<int, 3> signals{SIGINT, SIGTERM, SIGHUP};
    std::array<struct sigaction, 3> before_{};
};

// What was done, undone unless it is kept.
class undo_list {
public:
    undo_list() = default;
    undo_list(const undo_list&) = delete;
    undo_list& operator=(const undo_list&) = delete;
    ~undo_list()
    {
        for (; !steps_.empty(); steps_.pop_back()) {
            try {
                steps_.back()();
            } catch (const call_error&) { // the first error is the one to tell
            }
        }
    }
    void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
    void keep() noexcept { steps_.clear(); }

private:
    std::vector<std::function<void()>> steps_;
};

constexpr std::chrono::milliseconds moment{5}; // between two looks

bool gone_within(const vm_folder& folder, std::chrono::milliseconds time)
{
    for (const auto until = clock::now() + time; runs(folder);) {
        if (clock::now() >= until) {
            return false;
        }
        std::this_thread::sleep_for(moment);
    }
    return true;
}

// Whether it is gone then. One that has only begun is noted a moment later.
bool kill_within(const vm_folder& folder, std::chrono::milliseconds time)
{
    for (const auto until = clock::now() + time; !kill_process(folder);) {
        if (clock::now() >= until || !runs(folder)) {
            break;
        }
        std::this_thread::sleep_for(moment);
    }
    return gone_within(folder, time);
}

std::string how_it_ended(const vm_folder& folder)
{
    const auto ended = folder.end();
    return ended ? ended->how : "nothing is known of its end";
}

vm_folder existing(const std::string& run_dir, const json::object& p)
{
    vm_folder folder{run_dir, text_of(p, "name").value()};
    const auto names = or_refuse(vm_names(run_dir));
    if (!folder.exists()) {
        const auto near = nearest(folder.name(), names);
        refuse("there is no virtual machine " + folder.name() + " in " + run_dir +
               (near ? "; did you mean " + *near + "?" : ""));
    }
    return folder;
}

json::object port_parameters(const vm_folder& folder, const json::object& p)
{
    json::object port{{"name", folder.name()}, {"type", "vhost-user"}, {"socket", folder.net()}};
    for (const std::string_view name : vm_port_parameters) {
        if (const auto* given = p.if_contains(name)) {
            port[name] = *given;
        }
    }
    if (const auto* nets = p.if_contains("net")) {
        for (const auto& net : nets->as_array()) {
            for (const std::string_view name : {"mtu", "queues"}) {
                if (const auto* given = net.as_object().if_contains(name)) {
                    port[name] = *given;
                }
            }
        }
    }
    // The socket is its VMM's alone.
    if (const auto user = text_of(p, "user")) {
        port["socket_owner"] = *user;
    } else if (::geteuid() != 0) {
        port["socket_owner"] = std::to_string(::geteuid());
    }
    return port;
}

// What strait-vmm is told: all that it has of `p`, with paths that do not depend on where this was
// called.
json::object vmm_parameters(const vm_folder& folder, const json::object& p)
{
    json::object out;
    for (const auto& known : vmm::commands().front().parameters) {
        if (const auto* given = p.if_contains(known.name)) {
            out[known.name] = *given;
        }
    }
    for (const std::string_view name : {"kernel", "initrd", "jail_folder"}) {
        if (const auto path = text_of(p, name)) {
            out[name] = absolute_path(*path);
        }
    }
    if (auto* disks = out.if_contains("disk")) {
        for (auto& disk : disks->as_array()) {
            auto& d = disk.as_object();
            d["path"] = absolute_path(text_of(d, "path").value());
        }
    }
    constexpr std::string_view file = "file:";
    if (const auto console = text_of(p, "console"); !console) {
        out["console"] = "socket:" + folder.console();
    } else if (console->starts_with(file)) {
        out["console"] = std::string{file} + absolute_path(console->substr(file.size()));
    }
    out["control"] = folder.control();
    out["bounded_log"] = true; // in the run folder, whose file system is memory
    auto& nets = out["net"];
    if (!nets.is_array() || nets.get_array().empty()) {
        nets = json::array{json::object{}};
    }
    nets.get_array().front().as_object()["socket"] = folder.net();
    return out;
}

json::object wait_until_it_answers(const vm_folder& folder, std::chrono::seconds patience)
{
    const auto refuse_with_last_line = [&folder](const std::string& what) {
        const std::string line = folder.last_log_line();
        refuse("virtual machine " + folder.name() + what +
               (line.empty() ? "" : "; it said last: " + line));
    };
    const auto until = clock::now() + patience;
    constexpr std::chrono::milliseconds interval{250};
    for (auto asked = clock::now();;) {
        auto seen = folder.look();
        if (seen.at("info").is_object()) {
            return seen;
        }
        bool gone = false; // its last words are there before it is
        if (clock::now() >= asked + interval) {
            asked = clock::now();
            gone = !runs(folder);
        }
        if (const auto ended = folder.end()) {
            if (ended->well) { // a guest may be quick
                return folder.look();
            }
            refuse("virtual machine " + folder.name() + " did not start: " + ended->how);
        }
        if (gone) {
            refuse_with_last_line(" is gone, and nothing is known of its end");
        }
        if (clock::now() >= until) {
            refuse_with_last_line(" does not answer after " + std::to_string(patience.count()) +
                                  " s");
        }
        interruption::refuse_if_it_came();
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
}

// A socket's path is the system's to bound. It is the name, or the folder, that makes it too long,
// and none of strait-vmm's options, which are not given here.
void refuse_long_paths(const vm_host& host, const vm_folder& folder)
{
    std::error_code code;
    const fs::path real = fs::weakly_canonical(host.run_dir, code);
    const std::size_t dir = std::max(host.run_dir.size(), code ? 0 : real.string().size());
    const std::size_t others = folder.console().size() - host.run_dir.size() - folder.name().size();
    const std::size_t room = ports::max_socket_path - others; // for the two
    if (dir + 1 > room) {
        refuse("--run-dir is " + host.run_dir + ", too long for a virtual machine's sockets in " +
               "it: at most " + std::to_string(room - 1) + " bytes");
    }
    if (dir + folder.name().size() > room) {
        refuse("NAME is " + folder.name() + ", too long for its sockets' paths: in " +
               host.run_dir + " a virtual machine's name has at most " +
               std::to_string(room - dir) + " bytes");
    }
}

// The parameters to make a port again as it is shown.
json::object port_again(const json::object& shown)
{
    json::object port;
    const auto* options = shown.if_contains("options");
    for (const auto& p : find_method(methods(), "port.add")->parameters) {
        for (const auto* from : {&shown, options != nullptr ? options->if_object() : nullptr}) {
            const auto* value = from != nullptr ? from->if_contains(p.name) : nullptr;
            if (value != nullptr && !value->is_null()) {
                port[p.name] = *value;
            }
        }
    }
    return port;
}

// The port of the machine's name; nothing: there is none.
std::optional<json::object> port_named(client& daemon, const std::string& name)
{
    try {
        return daemon.call("port.show", {{"name", name}}).as_object();
    } catch (const call_error& e) {
        if (!e.reached) {
            throw;
        }
        return std::nullopt;
    }
}

// Whether a port that is shown is the machine's, and not another's of its name.
bool is_port_of(const vm_folder& folder, const json::object& shown)
{
    const auto* options = shown.if_contains("options");
    const auto* socket = options != nullptr && options->is_object()
                             ? options->get_object().if_contains("socket")
                             : nullptr;
    const auto real = [](const fs::path& path) {
        std::error_code missing;
        const fs::path found = fs::weakly_canonical(path, missing);
        return missing ? path : found;
    };
    return socket != nullptr && socket->is_string() &&
           real(std::string{std::string_view{socket->get_string()}}) == real(folder.net());
}

// With what the daemon keeps of one by that name. Another's stays.
void remove_port(client& daemon, const vm_folder& folder)
{
    const auto shown = port_named(daemon, folder.name());
    if (!shown || is_port_of(folder, *shown)) {
        daemon.call("port.del", {{"name", folder.name()}, {"if_exists", true}});
    }
}

void add_again(client& daemon, const json::object& port, std::string& left)
{
    try {
        daemon.call("port.add", port);
    } catch (const call_error& e) {
        if (!e.reached) {
            left = "; the port of the machine that has ended may be gone";
        }
    }
}

// `left`: a sentence's end, what of it could not be undone.
json::value run_or_undo(const vm_host& host, const json::object& p, std::string& left)
{
    const vm_folder folder{host.run_dir, text_of(p, "name").value()};
    refuse_long_paths(host, folder);
    const json::object port = port_parameters(folder, p);
    const json::object parameters = vmm_parameters(folder, p);
    if (const auto wrong =
            check_parameters(vmm::commands().front(), parameters, wording::command_line)) {
        refuse(*wrong);
    }
    const vmm::config config = or_refuse(vmm::to_config(parameters));
    const std::string vmm =
        host.vmm.empty() ? or_refuse(find_program_of_ours("strait-vmm")) : host.vmm;

    const interruption held;
    auto address = daemon_in(host.run_dir);
    address.interrupted = &interruption::came;
    client daemon{address};
    daemon.connect(); // before a folder is made where no daemon is
    address.interrupted = nullptr;
    constexpr std::chrono::seconds soon{1}; // somebody waits
    address.patience = std::min(host.insist_patience, soon);
    client undoing{address};
    const bool was_there = folder.exists();
    const auto lock = or_refuse(folder.make_and_lock());
    const std::string port_left =
        "; its port may be left: straitctl vm stop " + folder.name() + " removes it";
    undo_list undo; // before what its steps use goes
    if (was_there) {
        const auto seen = folder.look();
        // Locked, as it is, a machine that does not run is no longer starting.
        if (const std::string state{std::string_view{seen.at("state").as_string()}};
            state != "ended" && (state != "starting" || runs(folder))) {
            refuse("virtual machine " + folder.name() + " is " + state + "; straitctl vm stop " +
                   folder.name() + " ends it");
        }
        const auto before = port_named(daemon, folder.name());
        // Also where the daemon does not say whether it was removed: then it may be there still.
        undo.add([&undoing, &left, &folder, before] {
            if (before && is_port_of(folder, *before) && left.empty()) {
                add_again(undoing, port_again(*before), left);
            }
        });
        remove_port(daemon, folder);
    }
    undo.add([&] {
        if (left.empty()) {
            folder.restore();
        }
    });
    or_refuse(folder.prepare());
    or_refuse(folder.write_config(parameters));
    if (config.jail.user) {
        or_refuse(folder.give_sockets_to(*config.jail.user, config.jail.group.value()));
    }
    const auto undo_port = [&] {
        try {
            remove_port(undoing, folder);
        } catch (const call_error&) {
            left = port_left;
        }
    };
    json::value added;
    try {
        added = daemon.call("port.add", port);
    } catch (const call_error& e) {
        if (!e.reached && !e.absent) {
            undo_port();
        }
        throw;
    }
    undo.add(undo_port);
    undo.add([&] {
        if (!kill_within(folder, host.insist_patience)) {
            left = "; its process does not end: see straitctl vm list";
        }
    });
    const std::vector<std::string> words = {vmm, "run", "--config", folder.config()};
    or_refuse(host.systemd ? start_service(folder, words, config) : start_detached(folder, words));
    // Memory that is taken at once takes its time.
    const std::chrono::seconds taking{config.memory.bytes >> 30U};
    auto seen = wait_until_it_answers(folder, host.start_patience + taking);
    undo.keep();
    folder.forget_last();
    if (const auto* port_made = added.if_object()) {
        const auto* const warnings = port_made->if_contains("warnings");
        seen["warnings"] = warnings == nullptr ? json::value{} : *warnings;
    }
    return seen;
}

json::value run(const vm_host& host, const json::object& p)
{
    std::string left;
    try {
        return run_or_undo(host, p, left);
    } catch (call_error& e) {
        e.message += left;
        throw;
    }
}

json::value list(const vm_host& host)
{
    json::array all;
    for (auto& name : or_refuse(vm_names(host.run_dir))) {
        all.push_back(vm_folder{host.run_dir, std::move(name)}.look());
    }
    return all;
}

json::value show(const vm_host& host, const json::object& p)
{
    const vm_folder folder = existing(host.run_dir, p);
    auto seen = folder.look();
    seen["stats"] = nullptr;
    if (seen.at("info").is_object()) {
        client machine{folder.service(host.insist_patience)};
        seen["stats"] = machine.call("vm.stats", {});
    }
    return seen;
}

void ask_to_end(const vm_host& host, const vm_folder& folder, bool force,
                std::chrono::seconds patience)
{
    // One that has only begun has no socket yet.
    for (const auto until = clock::now() + host.insist_patience;;) {
        try {
            client machine{folder.service(host.insist_patience)};
            machine.call("vm.stop", {{"force", force}, {"timeout", patience.count()}});
            return;
        } catch (const call_error& e) {
            if (!e.absent || clock::now() >= until || !runs(folder)) {
                throw;
            }
        }
        std::this_thread::sleep_for(moment);
    }
}

// Returns when its process is gone.
void end(const vm_host& host, const vm_folder& folder, const json::object& p)
{
    const std::chrono::seconds patience{
        number_of(p, "timeout").value_or(vmm::power_off_patience.count())};
    for (const bool force : {false, true}) {
        if (!force && is_set(p, "force")) {
            continue;
        }
        auto time = force ? host.insist_patience : patience;
        try {
            ask_to_end(host, folder, force, patience);
        } catch (const call_error& e) {
            if (e.denied) {
                throw;
            }
            time = {}; // that it gives no answer may be its end
        }
        if (gone_within(folder, time)) {
            return;
        }
    }
    if (!kill_within(folder, host.insist_patience)) {
        refuse("virtual machine " + folder.name() + " cannot be ended: its process does not go");
    }
}

json::value stop(const vm_host& host, const json::object& p)
{
    const vm_folder folder = existing(host.run_dir, p);
    const auto lock = or_refuse(folder.lock());
    end(host, folder, p);
    const std::string how = how_it_ended(folder);
    client daemon{daemon_in(host.run_dir)};
    try {
        remove_port(daemon, folder);
    } catch (call_error& e) {
        e.message = "virtual machine " + folder.name() +
                    " has ended, but its port is not removed: " + e.message;
        throw;
    }
    folder.remove();
    return json::value{{"ended", how}};
}

// Why the machine ended the connection to its console. A refusal: nobody wanted that.
std::string why_it_broke_off(const vm_host& host, const vm_folder& folder)
{
    const std::string machine = "virtual machine " + folder.name();
    for (const auto until = clock::now() + host.insist_patience;;) {
        if (const auto ended = folder.end()) {
            std::string why = machine + " has ended: " + ended->how;
            if (!ended->well) {
                refuse(std::move(why));
            }
            return why;
        }
        if (!folder.exists()) {
            return machine + " was stopped and is no more";
        }
        // It closes its console before it ends, and is known to have ended a moment later.
        const bool over = clock::now() >= until;
        if (over && !runs(folder)) {
            refuse(machine + " is gone: nothing is known of its end");
        }
        if (folder.look().at("info").is_object()) {
            refuse("another client took the console of " + machine);
        }
        if (over) {
            refuse(machine + " broke its console off and does not answer");
        }
        std::this_thread::sleep_for(moment);
    }
}

json::value console(const vm_host& host, const json::object& p)
{
    const vm_folder folder = existing(host.run_dir, p);
    const auto seen = folder.look();
    if (const auto* how = seen.at("ended").if_string()) {
        refuse("virtual machine " + folder.name() + " has ended: " + std::string{*how});
    }
    std::error_code code;
    if (!fs::exists(folder.console(), code) && !code) {
        refuse("virtual machine " + folder.name() +
               " has no console to relay: it was started with --console");
    }
    std::string why;
    switch (or_refuse(relay_console(folder.console()))) {
    case console_end::left:
        why = "the console of virtual machine " + folder.name() + " was left with Ctrl-]";
        break;
    case console_end::no_input:
        why = "the input ended, and so the console of virtual machine " + folder.name();
        break;
    case console_end::gone:
        why = why_it_broke_off(host, folder);
        break;
    }
    // The standard output is the guest's.
    (void)std::fprintf(stderr, "straitctl: %s\n", why.c_str());
    return json::value{{"ended", why}};
}

} // namespace

json::value do_vm_command(const vm_host& given, const method& m, const json::object& p)
{
    vm_host host = given;
    host.run_dir = absolute_path(given.run_dir);
    if (m.name == "vm.run") {
        return run(host, p);
    }
    if (m.name == "vm.list") {
        return list(host);
    }
    if (m.name == "vm.show") {
        return show(host, p);
    }
    if (m.name == "vm.stop") {
        return stop(host, p);
    }
    return console(host, p);
}

} // namespace strait::control
