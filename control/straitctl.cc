// SPDX-License-Identifier: BSD-3-Clause
// straitctl: a client of the daemon's control service, and what starts and ends virtual machines.
#include "control/capture_client.hh"
#include "control/cli.hh"
#include "control/client.hh"
#include "control/completion.hh"
#include "control/config_client.hh"
#include "control/doctor.hh"
#include "control/events_client.hh"
#include "control/flow_upload.hh"
#include "control/print.hh"
#include "control/standard_files.hh"
#include "control/support.hh"
#include "control/top.hh"
#include "control/trace_capture.hh"
#include "control/version.hh"
#include "control/vm.hh"
#include "control/vm_commands.hh"
#include "control/vm_process.hh"

#include <boost/json/serialize.hpp>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

using namespace strait::control;
namespace json = boost::json;

// 2: it was not done, or it was and its answer is lost; the sentence says which.
enum exit_status : int { done = 0, refused = 1, no_answer = 2 };

// Leaves quietly when nobody reads any more (straitctl stats --watch | head).
bool put(const std::string& text, const char* what)
{
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
        std::fflush(stdout) == 0) {
        return true;
    }
    if (const int code = errno; code != EPIPE) {
        std::fprintf(stderr, "straitctl: %s cannot be written to the standard output: %s\n", what,
                     std::generic_category().message(code).c_str());
    }
    return false;
}

bool put_answer(const std::string& text)
{
    return put(text, "the request was carried out, but its answer");
}

bool show(const cli::command& c, const json::value& result)
{
    if (!c.global.json) {
        std::fputs(warnings_text(result).c_str(), stderr);
    }
    return put_answer(c.global.json ? json::serialize(result) + "\n" : to_text(*c.method, result));
}

int watch(const cli::command& c, client& connection)
{
    constexpr std::chrono::milliseconds usual{1000};
    const auto interval = c.watch.value_or(usual);
    std::optional<json::value> before;
    if (c.rates) {
        before = connection.call(c.method->name, c.parameters);
        std::this_thread::sleep_for(interval);
    }
    const bool clear = c.watch && !c.global.json && ::isatty(STDOUT_FILENO) != 0;
    for (;;) {
        json::value now = connection.call(c.method->name, c.parameters);
        json::value kept = now;
        if (before) {
            add_rates(*c.method, now, *before);
        }
        if (clear && !put_answer("\033[H\033[2J")) {
            return no_answer;
        }
        if (!show(c, now)) {
            return no_answer;
        }
        if (!c.watch) {
            return done;
        }
        if (c.rates) {
            before = std::move(kept);
        }
        if (!c.global.json && !clear && !put_answer("\n")) {
            return no_answer;
        }
        std::this_thread::sleep_for(interval);
    }
}

// Rates want two looks. On a terminal it goes on until it is interrupted.
int top(const cli::command& c, client& connection)
{
    const auto* const given = c.parameters.if_contains("interval");
    const std::chrono::seconds interval{given == nullptr ? 1 : given->to_number<int>()};
    const bool again = !c.global.json && ::isatty(STDOUT_FILENO) != 0;
    (void)connection.call(c.method->name, c.parameters);
    do {
        std::this_thread::sleep_for(interval);
        const json::value now = connection.call(c.method->name, c.parameters);
        if ((again && !put_answer("\033[H\033[2J")) || !show(c, now)) {
            return no_answer;
        }
    } while (again);
    return done;
}

int run(const std::vector<std::string>& words)
{
    if (asks_for_words(words)) {
        return put(completed_words(words), "what may stand there") ? done : refused;
    }
    const auto parsed = cli::parse(straitctl_program(), words);
    if (parsed.has_error()) {
        std::fprintf(stderr, "straitctl: %s\n", parsed.error().message.c_str());
        return refused;
    }
    const cli::command& c = parsed.value();
    if (c.method == nullptr) {
        return put(c.help.empty() ? "straitctl " + std::string{version()} + "\n" : c.help,
                   "the text")
                   ? done
                   : refused;
    }
    try {
        if (is_doctor(*c.method)) {
            const json::object found = examine(c.global.run_dir);
            if (!put(c.global.json ? json::serialize(found) + "\n" : doctor_text(found),
                     "what was found")) {
                return no_answer;
            }
            return has_fault(found) ? refused : done;
        }
        if (is_completion(*c.method)) {
            const std::string script = bash_completion();
            return put(c.global.json ? json::serialize(json::object{{"script", script}}) + "\n"
                                     : script,
                       "the script")
                       ? done
                       : refused;
        }
        if (is_support(*c.method)) {
            const json::object made = make_support_file(c.global.run_dir, c.parameters);
            return put(c.global.json ? json::serialize(made) + "\n" : support_text(made),
                       "what was written")
                       ? done
                       : no_answer;
        }
        if (is_vm_command(*c.method)) {
            return show(c, do_vm_command({.run_dir = c.global.run_dir, .systemd = has_systemd()},
                                         *c.method, c.parameters))
                       ? done
                       : no_answer;
        }
        client connection{daemon_in(c.global.run_dir)};
        if (c.rates || c.watch) {
            return watch(c, connection);
        }
        if (is_top(*c.method)) {
            return run_top(connection, c.parameters, c.global.json) ? done : no_answer;
        }
        if (c.method->name == "trace" && traces_capture(c.parameters)) {
            return trace_capture(connection, c.parameters,
                                 [&c](const json::value& v) { return show(c, v); })
                       ? done
                       : no_answer;
        }
        if (c.method->name == "flow.top") {
            return top(c, connection);
        }
        if (follows_events(*c.method, c.parameters)) {
            follow_events(connection, c.parameters, [&c](const json::value& v) {
                return put_answer(c.global.json ? event_lines(v) : to_text(*c.method, v));
            });
            return no_answer;
        }
        if (has_config_file(*c.method)) {
            return show(c, do_config(connection, *c.method, c.parameters)) ? done : no_answer;
        }
        if (is_capture(*c.method)) {
            return capture(daemon_in(c.global.run_dir), *c.method, c.parameters) ? done : refused;
        }
        const json::value answer = wants_upload(*c.method, c.parameters)
                                       ? upload(connection, *c.method, c.parameters)
                                       : connection.call(c.method->name, c.parameters);
        return show(c, answer) ? done : no_answer;
    } catch (const call_error& e) {
        std::string why = e.message;
        if (e.reached && c.after_watch) {
            why += "; what may follow --watch is seconds from 0.1 to 3600 or a port";
        }
        std::fprintf(stderr, "straitctl: %s\n", why.c_str());
        return e.reached ? refused : no_answer;
    }
}

} // namespace

int main(int argc, char** argv)
{
    if (!open_standard_files()) {
        return refused;
    }
    try {
        return run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "straitctl: %s\n", e.what());
        return refused;
    }
}
