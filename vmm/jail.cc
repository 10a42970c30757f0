// SPDX-License-Identifier: BSD-3-Clause
// Namespaces, a root of its own, and rights given up.
#include "vmm/jail.hh"

#include "control/ignored_signal.hh"
#include "dataplane/file_descriptor.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <system_error>

#include <cap-ng.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace strait::vmm {

namespace {

using dataplane::file_descriptor;
using ports::error;
using ports::result;

error failed(const std::string& what)
{
    return {"the jail cannot be made: " + what + ": " + ports::describe(errno) +
            " (--no-jail runs the guest without)"};
}

// A copy of what is mounted at a folder, to be attached elsewhere.
struct attachment {
    std::string path;
    file_descriptor tree;
};

result<std::vector<attachment>> detach_copies(const std::vector<shown_folder>& folders)
{
    std::set<std::string> once;
    for (const auto& [path, option] : folders) {
        std::error_code unreadable;
        // With a slash: a file is none.
        const auto real = std::filesystem::canonical(path + "/", unreadable);
        if (unreadable) {
            return error{"the folder " + path + " of " + std::string{option} +
                         " cannot be shown in the jail: " + unreadable.message() +
                         "; it must be a folder that is there when the guest begins"};
        }
        once.insert(real);
    }
    std::vector<attachment> all;
    for (const std::string& path : once) {
        constexpr unsigned clone = 1; // OPEN_TREE_CLONE
        file_descriptor tree{
            static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), clone | O_CLOEXEC))};
        if (!tree) {
            return failed("the folder " + path);
        }
        all.push_back({path, std::move(tree)});
    }
    return all;
}

// A file system in memory becomes the root, with nothing in it but these. Until then it lies over a
// folder, which outside of the new namespace stays as it is.
result<void> change_root(const std::string& folder, const std::vector<attachment>& attached)
{
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("strait-vmm", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                "size=64k,mode=755") != 0) {
        return failed("a root in " + folder);
    }
    for (const attachment& a : attached) {
        const std::string at = folder + a.path;
        std::error_code code;
        std::filesystem::create_directories(at, code);
        constexpr unsigned from_tree = 4; // MOVE_MOUNT_F_EMPTY_PATH
        if (code ||
            ::syscall(SYS_move_mount, a.tree.get(), "", AT_FDCWD, at.c_str(), from_tree) != 0) {
            return failed("the folder " + a.path);
        }
    }
    if (::chdir(folder.c_str()) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 ||
        ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) {
        return failed("a root in " + folder);
    }
    return {};
}

result<void> give_up_rights(const jail_config& j)
{
    if (j.group && (::setgroups(0, nullptr) != 0 || ::setgid(*j.group) != 0)) {
        return failed("group " + std::to_string(*j.group));
    }
    if (j.user && ::setuid(*j.user) != 0) {
        return failed("user " + std::to_string(*j.user));
    }
    capng_clear(CAPNG_SELECT_ALL);
    // The bounding set is root's to change; who has become somebody else has lost it all already.
    const auto what = j.user && *j.user != 0 ? CAPNG_SELECT_CAPS : CAPNG_SELECT_ALL;
    if (capng_apply(what) != 0) {
        return failed("capabilities");
    }
    return {};
}

// Enough for as many devices as there can be; `jailed`: and no more.
void limit_resources(bool jailed)
{
    constexpr rlim_t descriptors = 4096;
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
        const rlim_t most = std::min(files.rlim_max, descriptors);
        files.rlim_cur = jailed ? most : std::max(files.rlim_cur, most);
        files.rlim_max = jailed ? most : files.rlim_max;
        (void)::setrlimit(RLIMIT_NOFILE, &files);
    }
    if (jailed) {
        const rlimit none{0, 0};
        (void)::setrlimit(RLIMIT_CORE, &none);
    }
}

// Whom signals are passed on to.
volatile std::sig_atomic_t child = 0;

void pass_on(int number)
{
    if (child > 0) {
        ::kill(static_cast<pid_t>(child), number);
    }
}

int wait_for(pid_t pid)
{
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    constexpr int by_signal = 128;
    return WIFEXITED(status) ? WEXITSTATUS(status) : by_signal + WTERMSIG(status);
}

// The end of a pipe whose other end is the parent's alone says when that is gone. Its number does
// not: from another namespace for processes it is 0 always.
bool is_alone(int parent)
{
    pollfd state{.fd = parent, .events = 0, .revents = 0};
    return ::poll(&state, 1, 0) != 0;
}

result<void> enter(const jail_config& j, const std::vector<shown_folder>& folders, int parent)
{
    if (::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0) {
        return failed("namespaces");
    }
    const auto attached = detach_copies(folders);
    if (attached.has_error()) {
        return attached.error();
    }
    // Where there is KVM there is this folder: none has to be made, nor removed by somebody who may
    // have been killed.
    const std::string folder = j.folder.empty() ? "/dev" : j.folder;
    if (auto changed = change_root(folder, *attached); changed.has_error()) {
        return changed;
    }
    if (auto given = give_up_rights(j); given.has_error()) {
        return given;
    }
    // The guest does not outlive whoever waits for it. Last: a change of user resets it.
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (is_alone(parent)) {
        return error{"the process that waited for the guest is gone"};
    }
    return {};
}

} // namespace

void mask_ending_signals(int how) noexcept
{
    sigset_t all;
    sigemptyset(&all);
    for (const int number : ending_signals) {
        sigaddset(&all, number);
    }
    (void)::pthread_sigmask(how, &all, nullptr);
}

result<int> run_jailed(const jail_config& j, const std::vector<shown_folder>& folders,
                       const std::function<int()>& inside)
{
    if (j.enabled) {
        (void)::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    limit_resources(j.enabled);
    if (::geteuid() != 0 && (j.user || !j.folder.empty())) {
        return error{std::string{"--"} + (j.user ? "user" : "jail-folder") +
                     " is root's to give, and this process is not"};
    }
    if (!j.enabled || ::geteuid() != 0) {
        return inside();
    }
    // Whoever ends this process has the guest ended well; what comes before the child listens
    // waits.
    std::signal(SIGCHLD, SIG_DFL);
    for (const int number : ending_signals) {
        if (!control::is_ignored(number)) {
            std::signal(number, pass_on);
        }
    }
    mask_ending_signals(SIG_BLOCK);
    std::array<int, 2> pipe{-1, -1};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
        return failed("a pipe");
    }
    file_descriptor parent{pipe[0]};
    file_descriptor here{pipe[1]};
    // The child is the first process of its namespace: with it, all end.
    const pid_t pid = ::unshare(CLONE_NEWPID) == 0 ? ::fork() : -1;
    if (pid < 0) {
        return failed("namespaces");
    }
    if (pid == 0) {
        for (const int number : ending_signals) {
            if (!control::is_ignored(number)) {
                std::signal(number, SIG_DFL);
            }
        }
        here = {};
        (void)::setsid(); // a signal to the group comes once, from the parent
        if (auto jailed = enter(j, folders, parent.get()); jailed.has_error()) {
            std::fprintf(stderr, "strait-vmm: %s\n", jailed.error().message.c_str());
            std::_Exit(1);
        }
        parent = {};
        std::exit(inside());
    }
    child = static_cast<std::sig_atomic_t>(pid);
    mask_ending_signals(SIG_UNBLOCK);
    return wait_for(pid);
}

} // namespace strait::vmm
