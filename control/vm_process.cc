// SPDX-License-Identifier: BSD-3-Clause
// Processes that outlive this one.
#include "control/vm_process.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace strait::control {

namespace fs = std::filesystem;
using dataplane::file_descriptor;
using ports::describe;
using ports::error;
using ports::result;

namespace {

bool is_executable(const fs::path& path)
{
    std::error_code ignored;
    return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

std::string find_in_path(const std::string& name)
{
    const char* const folders = std::getenv("PATH");
    std::string_view rest{folders != nullptr ? folders : "/usr/bin:/bin"};
    while (!rest.empty()) {
        const auto colon = std::min(rest.find(':'), rest.size());
        const fs::path path = fs::path{rest.substr(0, colon)} / name;
        if (is_executable(path)) {
            return fs::absolute(path).string();
        }
        rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
    return {};
}

std::vector<char*> pointers(const std::vector<std::string>& words)
{
    std::vector<char*> out;
    for (const auto& word : words) {
        out.push_back(const_cast<char*>(word.c_str())); // NOLINT(*-const-cast): exec's signature
    }
    out.push_back(nullptr);
    return out;
}

// What is told of a new process.
struct report {
    pid_t pid;
    int code; // 0, or why the program could not be run
};

// False at the end of what was written.
template <typename T>
bool read_from(int pipe, T& out) noexcept
{
    ssize_t size = 0;
    while ((size = ::read(pipe, &out, sizeof out)) < 0 && errno == EINTR) {}
    return size == sizeof out;
}

// From here on in new processes: no exception, nothing that may hold a lock.

void write_end(int folder, int status) noexcept
{
    const int file = ::openat(folder, end_file.data(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                              0640); // NOLINT(*-magic-numbers)
    if (file < 0) {
        return;
    }
    std::array<char, 32> text{};
    const int size = WIFEXITED(status) ? std::snprintf(text.data(), text.size(), "exited %d\n",
                                                       WEXITSTATUS(status))
                                       : std::snprintf(text.data(), text.size(), "killed %s\n",
                                                       ::sigabbrev_np(WTERMSIG(status)));
    (void)!::write(file, text.data(), static_cast<std::size_t>(size));
    ::close(file);
}

// The program's parent: nobody hears of its end otherwise.
[[noreturn]] void keep(char* const* words, int log, int folder, int news) noexcept
{
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        (void)::dup2(null, fd);
    }
    (void)!::chdir("/");
    std::array<int, 2> ends{-1, -1};
    report r{.pid = -1, .code = 0};
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) {
        r.pid = ::fork();
    }
    if (r.pid == 0) {
        (void)::dup2(log, STDOUT_FILENO);
        (void)::dup2(log, STDERR_FILENO);
        (void)::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        ::execv(words[0], words);
        r.code = errno;
        (void)!::write(ends[1], &r.code, sizeof r.code);
        ::_exit(1);
    }
    r.code = r.pid < 0 ? errno : 0;
    ::close(ends[1]);
    (void)read_from(ends[0], r.code); // nothing, once it runs
    (void)!::write(news, &r, sizeof r);
    if (r.code != 0) {
        ::_exit(1); // the folder is its maker's to remove: nothing more goes into it
    }
    // Whoever waits for the end of one of these is not to wait for this process.
    (void)::close_range(STDERR_FILENO + 1, static_cast<unsigned>(folder) - 1, 0);
    (void)::close_range(static_cast<unsigned>(folder) + 1, ~0U, 0);
    for (const int ignored : {SIGHUP, SIGINT, SIGTERM}) {
        (void)::signal(ignored, SIG_IGN);
    }
    int status = 0;
    while (::waitpid(r.pid, &status, 0) < 0) {
        if (errno != EINTR) {
            ::_exit(1);
        }
    }
    write_end(folder, status);
    ::_exit(0);
}

// Runs it to its end; nothing if that is well, else what it said last.
std::optional<std::string> run_tool(const std::vector<std::string>& words)
{
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return describe(errno);
    }
    const file_descriptor in{ends[0]};
    file_descriptor out{ends[1]};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDERR_FILENO);
    pid_t pid = 0;
    const int code = ::posix_spawn(&pid, words.front().c_str(), &actions, nullptr,
                                   pointers(words).data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
        return describe(code);
    }
    out = file_descriptor{};
    std::string said;
    std::array<char, 4096> chunk{};
    for (ssize_t size = 1; size > 0 || (size < 0 && errno == EINTR);) {
        size = ::read(in.get(), chunk.data(), chunk.size());
        said.append(chunk.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return std::nullopt;
    }
    said.erase(said.find_last_not_of(" \n") + 1);
    return said.substr(said.rfind('\n') + 1);
}

} // namespace

result<std::string> find_program_of_ours(const std::string& name)
{
    std::error_code code;
    const fs::path beside = fs::read_symlink("/proc/self/exe", code).parent_path() / name;
    if (!code && is_executable(beside)) {
        return {boost::system::in_place_value, beside.string()};
    }
    std::string found = find_in_path(name);
    if (found.empty()) {
        return error{name + " was found neither beside straitctl nor in PATH"};
    }
    return {boost::system::in_place_value, std::move(found)};
}

bool has_systemd()
{
    std::error_code ignored;
    return ::geteuid() == 0 && fs::is_directory("/run/systemd/system", ignored) &&
           !find_in_path("systemd-run").empty();
}

result<process_killer> start_detached(const vm_folder& folder,
                                      const std::vector<std::string>& words)
{
    constexpr mode_t mode = 0640;
    const file_descriptor log{
        ::open(folder.log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, mode)};
    const file_descriptor place{::open(folder.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    std::array<int, 2> ends{};
    if (!log || !place || ::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return error{folder.log() + " cannot be written: " + describe(errno)};
    }
    const file_descriptor in{ends[0]};
    file_descriptor out{ends[1]};
    const auto arguments = pointers(words);
    const pid_t first = ::fork();
    if (first == 0) {
        // Nobody's terminal, and not even able to get one.
        ::setsid();
        if (const pid_t second = ::fork(); second != 0) {
            ::_exit(second < 0 ? 1 : 0);
        }
        keep(arguments.data(), log.get(), place.get(), out.get());
    }
    if (first < 0) {
        return error{"no process can be started: " + describe(errno)};
    }
    out = file_descriptor{};
    while (::waitpid(first, nullptr, 0) < 0 && errno == EINTR) {}
    report r{.pid = 0, .code = EAGAIN};
    (void)read_from(in.get(), r);
    if (r.code != 0) {
        return error{words.front() + " cannot be run: " + describe(r.code)};
    }
    return process_killer{[pid = r.pid] { (void)::kill(pid, SIGKILL); }};
}

result<process_killer> start_service(const vm_folder& folder, const std::vector<std::string>& words)
{
    const std::string unit = "strait-vm-" + folder.name();
    // Time to ask the guest to switch itself off, and then some.
    constexpr int stop_seconds = 45;
    std::vector<std::string> all = {
        find_in_path("systemd-run"),
        "--quiet",
        "--collect",
        "--service-type=exec",
        "--unit=" + unit,
        "--description=Virtual machine " + folder.name() + " on Strait",
        "--working-directory=" + folder.path(),
        "--property=StandardOutput=append:" + folder.log(),
        "--property=StandardError=append:" + folder.log(),
        "--property=KillMode=mixed",
        "--property=TimeoutStopSec=" + std::to_string(stop_seconds),
        "--property=ExecStopPost=/bin/sh -c 'echo $$EXIT_CODE $$EXIT_STATUS >" +
            std::string{end_file} + "'",
        "--"};
    all.insert(all.end(), words.begin(), words.end());
    if (const auto why = run_tool(all)) {
        return error{"systemd-run does not start it: " + *why};
    }
    return process_killer{[unit] {
        (void)run_tool({find_in_path("systemctl"), "kill", "--signal=KILL", unit + ".service"});
    }};
}

} // namespace strait::control
