// SPDX-License-Identifier: BSD-3-Clause
// Processes that outlive this one.
#include "control/vm_process.hh"

#include "ports/number.hh"
#include "vmm/file_lock.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <linux/magic.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
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

// In a process file, of a machine that is systemd's.
constexpr std::string_view by_systemd = "service";

std::string unit_of(const vm_folder& folder)
{
    return "strait-vm-" + folder.name();
}

// When a process began, of its /proc/PID/stat: with its number it is no other.
std::string_view start_time(std::string_view stat) noexcept
{
    constexpr int fields = 19; // behind the name, which may have anything in it
    std::size_t at = stat.rfind(") ");
    at = at == std::string_view::npos ? stat.size() : at + 2;
    for (int i = 0; i < fields; ++i) {
        at = std::min(stat.find(' ', at), stat.size() - 1) + 1;
    }
    return stat.substr(at, stat.find(' ', at) - at);
}

// What a process that was to run a program comes to, with errno where that says why.
struct start {
    enum class stage : std::uint8_t {
        keeper,  // nobody has said anything
        fork,    // no process
        note,    // the process file is not written
        program, // it cannot be run
        done
    };
    stage at{stage::keeper};
    int code{0};
};

// False at the end of what was written.
template <typename T>
bool read_from(int pipe, T& out) noexcept
{
    ssize_t size = 0;
    while ((size = ::read(pipe, &out, sizeof out)) < 0 && errno == EINTR) {}
    return size == sizeof out;
}

// Whose parent ignored the ends of its children inherits that, and is not told of theirs.
void hear_of_children() noexcept
{
    (void)::signal(SIGCHLD, SIG_DFL);
}

// From here on in new processes: no exception, nothing that may hold a lock.

void write_end(int status) noexcept
{
    const int file = ::open(end_file.data(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                            0640); // NOLINT(*-magic-numbers)
    if (file < 0) {
        return;
    }
    std::array<char, 32> text{};
    const char* const signal = ::sigabbrev_np(WTERMSIG(status)); // real-time ones have none
    const int size = WIFEXITED(status) ? std::snprintf(text.data(), text.size(), "exited %d\n",
                                                       WEXITSTATUS(status))
                     : signal != nullptr
                         ? std::snprintf(text.data(), text.size(), "killed %s\n", signal)
                         : std::snprintf(text.data(), text.size(), "killed %d\n", WTERMSIG(status));
    (void)!::write(file, text.data(), static_cast<std::size_t>(size));
    ::close(file);
}

std::string_view read_all(const char* path, std::span<char> into) noexcept
{
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    std::size_t size = 0;
    for (ssize_t got = 1; file >= 0 && got > 0 && size < into.size();
         size += static_cast<std::size_t>(std::max<ssize_t>(got, 0))) {
        got = ::read(file, into.data() + size, into.size() - size);
    }
    if (file >= 0) {
        ::close(file);
    }
    return {into.data(), size};
}

// What ps shows of this process: straitctl's own words are the wrong ones.
void call_it(const char* name) noexcept
{
    (void)::prctl(PR_SET_NAME, name, 0, 0, 0);
    std::array<char, 4096> words{};
    // All but the last byte, whose end is where the kernel looks whether there is more.
    const std::size_t room = read_all("/proc/self/cmdline", words).size();
    if (room < 2) {
        return;
    }
    std::fill_n(program_invocation_name, room, '\0'); // argv[0], and the others behind it
    std::copy_n(name, std::min(std::strlen(name), room - 1), program_invocation_name);
}

// Into the process file, before the program runs. 0, or errno.
int note_itself(int file) noexcept
{
    std::array<char, 1024> stat{};
    std::array<char, 64> text{};
    const auto began = start_time(read_all("/proc/self/stat", stat));
    const int size = std::snprintf(text.data(), text.size(), "%d %.*s\n", ::getpid(),
                                   static_cast<int>(began.size()), began.data());
    if (began.empty()) {
        return EIO;
    }
    const ssize_t written = ::pwrite(file, text.data(), static_cast<std::size_t>(size), 0);
    return written == size ? 0 : written < 0 ? errno : ENOSPC;
}

struct kept_process {
    const char* name; // of who keeps it
    char* const* words;
    int log;
    int folder;
    int lock; // of the process file, which stays locked for as long as this has it
    int news; // takes a start
};

void tell(int pipe, start how) noexcept
{
    (void)!::write(pipe, &how, sizeof how);
}

// Only returns if it cannot.
start become(const kept_process& p, pid_t keeper) noexcept
{
    // It does not outlive whoever waits for it, and whose lock says that it is there.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
        return {start::stage::fork, errno};
    }
    if (::getppid() != keeper) {
        return {}; // and nobody hears of it
    }
    if (const int code = note_itself(p.lock); code != 0) {
        return {start::stage::note, code};
    }
    for (const int heard : {SIGHUP, SIGINT, SIGTERM}) { // whatever straitctl's caller ignores
        (void)::signal(heard, SIG_DFL);
    }
    (void)!::chdir("/");
    (void)::dup2(p.log, STDOUT_FILENO);
    (void)::dup2(p.log, STDERR_FILENO);
    (void)::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execv(p.words[0], p.words);
    return {start::stage::program, errno};
}

// The program's parent: nobody hears of its end otherwise.
[[noreturn]] void keep(const kept_process& p) noexcept
{
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        (void)::dup2(null, fd);
    }
    (void)!::fchdir(p.folder);
    call_it(p.name);
    // In its jail the guest is a child of the program's, and ends a moment after it.
    (void)::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    const pid_t self = ::getpid();
    std::array<int, 2> ends{-1, -1};
    pid_t program = -1;
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) {
        program = ::fork();
    }
    if (program == 0) {
        tell(ends[1], become(p, self));
        ::_exit(1);
    }
    start how = program < 0 ? start{start::stage::fork, errno} : start{start::stage::done};
    ::close(ends[1]);
    (void)read_from(ends[0], how); // nothing, once it runs
    // Whoever started it may be gone: that is no reason to leave it alone.
    for (const int ignored : {SIGHUP, SIGINT, SIGTERM, SIGPIPE}) {
        (void)::signal(ignored, SIG_IGN);
    }
    tell(p.news, how);
    if (how.at != start::stage::done) {
        ::_exit(1); // the folder is its maker's to remove: nothing more goes into it
    }
    // Whoever waits for the end of one of these is not to wait for this process.
    (void)::close_range(STDERR_FILENO + 1, static_cast<unsigned>(p.lock) - 1, 0);
    (void)::close_range(static_cast<unsigned>(p.lock) + 1, ~0U, 0);
    int ended = -1;
    for (int status = 0;;) {
        const pid_t who = ::waitpid(-1, &status, 0);
        if (who == program) {
            ended = status;
        } else if (who < 0 && errno != EINTR) {
            break;
        }
    }
    write_end(ended);
    ::_exit(0);
}

// Nothing: the program runs.
result<void> judge(start how, const vm_folder& folder, const std::string& program,
                   const std::string& keeper)
{
    switch (how.at) {
    case start::stage::keeper:
        return error{"the process " + keeper + ", which was to start " + program +
                     ", was killed before it had"};
    case start::stage::fork:
        return error{"no process can be started: " + describe(how.code)};
    case start::stage::note:
        return error{folder.process() + " cannot be written: " + describe(how.code)};
    case start::stage::program:
        return error{program + " cannot be run: " + describe(how.code)};
    case start::stage::done:
        break;
    }
    return {};
}

struct tool_end {
    bool well;
    std::string said; // its last line
};

// Runs it to its end. It has the descriptor `passed` as well, if that is one.
tool_end run_tool(const std::vector<std::string>& words, int passed = -1)
{
    hear_of_children();
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return {false, describe(errno)};
    }
    const file_descriptor in{ends[0]};
    file_descriptor out{ends[1]};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDERR_FILENO);
    if (passed >= 0) {
        ::posix_spawn_file_actions_adddup2(&actions, passed, passed); // not closed, then
    }
    pid_t pid = 0;
    const int code = ::posix_spawn(&pid, words.front().c_str(), &actions, nullptr,
                                   pointers(words).data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
        return {false, describe(code)};
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
    said.erase(said.find_last_not_of(" \n") + 1);
    return {WIFEXITED(status) && WEXITSTATUS(status) == 0, said.substr(said.rfind('\n') + 1)};
}

// Locked until the descriptor goes, and those that processes inherit of it.
result<file_descriptor> locked_process_file(const vm_folder& folder)
{
    constexpr mode_t mode = 0640;
    file_descriptor file{::open(folder.process().c_str(),
                                O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)};
    if (!file) {
        return error{folder.process() + " cannot be made: " + describe(errno)};
    }
    if (const int code = vmm::lock_file(file.get(), F_WRLCK); code != 0) {
        return error{folder.process() + " cannot be locked: " + describe(code)};
    }
    return file;
}

std::string noted(const vm_folder& folder)
{
    std::ifstream file{folder.process()};
    std::string line;
    std::getline(file, line);
    return line;
}

// The number in such a line; 0: it has none.
pid_t process_of(std::string_view line) noexcept
{
    return to_number<pid_t>(line.substr(0, line.find(' '))).value_or(0);
}

struct service_limits {
    std::uint64_t memory; // bytes
    std::size_t tasks;    // processes and threads
};

// What a disk can take of memory: all of it, where its file system is in memory.
std::uint64_t memory_of(const vmm::disk_config& d)
{
    struct statfs where {};
    std::error_code none;
    const std::uintmax_t size = std::filesystem::file_size(d.path, none);
    const bool in_memory = ::statfs(d.path.c_str(), &where) == 0 &&
                           (where.f_type == TMPFS_MAGIC || where.f_type == RAMFS_MAGIC);
    return in_memory && !d.read_only && !none ? size : 0;
}

// Well above what a machine takes: a VMM that its guest has taken over gets no more of the host.
service_limits limits_of(const vmm::config& c)
{
    std::uint64_t memory = c.memory.bytes;
    // The kernel's tables for it, KVM's, the process's and the file's: 8 to 9 bytes each for 4 KiB,
    // and several times as much where KVM keeps tables of its guest's.
    memory += c.memory.bytes / 16; // NOLINT(*-magic-numbers)
    // The program, a megabyte, and the log; else a cache of disks, which gives way.
    memory += std::uint64_t{256} << 20U; // NOLINT(*-magic-numbers)
    for (const vmm::disk_config& d : c.disks) {
        memory += memory_of(d);
    }
    // Who waits outside the jail, the main thread, entropy's, KVM's own, the shell at the end.
    constexpr std::size_t others = 32;
    return {.memory = memory,
            // A network device has a second thread, for its control queue.
            .tasks = c.cpus + 2 * c.nets.size() + c.disks.size() + others};
}

bool service_runs(const vm_folder& folder)
{
    const auto seen = run_tool({find_in_path("systemctl"), "show", "--property=ActiveState",
                                "--value", unit_of(folder) + ".service"});
    return !seen.well || (seen.said != "inactive" && seen.said != "failed");
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

result<void> start_detached(const vm_folder& folder, const std::vector<std::string>& words)
{
    hear_of_children();
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
    const auto lock = locked_process_file(folder);
    if (lock.has_error()) {
        return lock.error();
    }
    const auto arguments = pointers(words);
    const std::string name = "strait-vm:" + folder.name();
    const pid_t first = ::fork();
    if (first == 0) {
        // Nobody's terminal, and not even able to get one.
        ::setsid();
        if (const pid_t second = ::fork(); second != 0) {
            if (second < 0) {
                tell(out.get(), {start::stage::fork, errno});
            }
            ::_exit(0);
        }
        keep({.name = name.c_str(),
              .words = arguments.data(),
              .log = log.get(),
              .folder = place.get(),
              .lock = lock->get(),
              .news = out.get()});
    }
    if (first < 0) {
        return judge({start::stage::fork, errno}, folder, words.front(), name);
    }
    out = file_descriptor{};
    while (::waitpid(first, nullptr, 0) < 0 && errno == EINTR) {}
    start how;
    (void)read_from(in.get(), how);
    return judge(how, folder, words.front(), name);
}

result<void> start_service(const vm_folder& folder, const std::vector<std::string>& words,
                           const vmm::config& machine)
{
    const auto lock = locked_process_file(folder);
    if (lock.has_error()) {
        return lock.error();
    }
    const ssize_t written = ::write(lock->get(), by_systemd.data(), by_systemd.size());
    if (written != static_cast<ssize_t>(by_systemd.size())) {
        return error{folder.process() +
                     " cannot be written: " + describe(written < 0 ? errno : ENOSPC)};
    }
    // Time to ask the guest to switch itself off, and then some.
    constexpr int stop_seconds = 45;
    const service_limits most = limits_of(machine);
    std::vector<std::string> all = {
        find_in_path("systemd-run"),
        "--quiet",
        "--collect",
        "--service-type=exec",
        "--unit=" + unit_of(folder),
        "--description=Virtual machine " + folder.name() + " on Strait",
        "--working-directory=" + folder.path(),
        "--property=StandardOutput=append:" + folder.log(),
        "--property=StandardError=append:" + folder.log(),
        "--property=KillMode=mixed",
        "--property=TimeoutStopSec=" + std::to_string(stop_seconds),
        "--property=MemoryMax=" + std::to_string(most.memory),
        "--property=TasksMax=" + std::to_string(most.tasks),
        "--property=ExecStopPost=/bin/sh -c 'echo $$EXIT_CODE $$EXIT_STATUS >" +
            std::string{end_file} + "'",
        "--"};
    all.insert(all.end(), words.begin(), words.end());
    // The lock is the tool's, too: when it goes, systemd knows of the service.
    if (const auto ended = run_tool(all, lock->get()); !ended.well) {
        return error{"systemd-run does not start it: " + ended.said};
    }
    return {};
}

bool runs(const vm_folder& folder)
{
    const file_descriptor file{::open(folder.process().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    if (!file) {
        return errno != ENOENT;
    }
    return vmm::is_locked_file(file.get()) || (noted(folder) == by_systemd && service_runs(folder));
}

pid_t noted_process(const vm_folder& folder)
{
    return process_of(noted(folder));
}

bool kill_process(const vm_folder& folder)
{
    const std::string line = noted(folder);
    if (line == by_systemd) {
        return run_tool({find_in_path("systemctl"), "kill", "--signal=KILL",
                         unit_of(folder) + ".service"})
            .well;
    }
    const pid_t process = process_of(line);
    if (process <= 0) {
        return false;
    }
    // Held before it is looked at: a number that was another's since is not its again.
    const file_descriptor held{static_cast<int>(::syscall(SYS_pidfd_open, process, 0))};
    std::ifstream file{"/proc/" + std::to_string(process) + "/stat"};
    const std::string stat{std::istreambuf_iterator<char>{file}, {}};
    return held && line == std::to_string(process) + ' ' + std::string{start_time(stat)} &&
           ::syscall(SYS_pidfd_send_signal, held.get(), SIGKILL, nullptr, 0) == 0;
}

} // namespace strait::control
