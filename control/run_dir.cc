// SPDX-License-Identifier: BSD-3-Clause
// Making and locking the run folder.
#include "control/run_dir.hh"

#include "ports/unix_socket.hh"

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::control {

namespace {

ports::error failed(const std::string& what, int code)
{
    return {what + ": " + std::generic_category().message(code)};
}

std::string holder(int lock)
{
    std::array<char, 32> text{};
    const ssize_t size = ::pread(lock, text.data(), text.size() - 1, 0);
    std::string pid;
    for (ssize_t i = 0; i < size && text[static_cast<std::size_t>(i)] >= '0' &&
                        text[static_cast<std::size_t>(i)] <= '9';
         ++i) {
        pid += text[static_cast<std::size_t>(i)];
    }
    return pid.empty() ? "another process" : "process " + pid;
}

} // namespace

run_dir::run_dir(std::string path, int lock) noexcept : path_{std::move(path)}, lock_{lock} {}

run_dir::run_dir(run_dir&& other) noexcept
    : path_{std::move(other.path_)}, lock_{std::exchange(other.lock_, -1)}
{}

run_dir::~run_dir()
{
    if (lock_ >= 0) {
        ::close(lock_);
    }
}

ports::result<run_dir> run_dir::open(std::string path)
{
    std::error_code code;
    // Sockets are named to others by this path: it does not depend on where the daemon stands.
    path = std::filesystem::absolute(path, code).lexically_normal().string();
    while (path.size() > 1 && path.back() == '/') {
        path.pop_back();
    }
    if (path.size() + sizeof "/control.sock" - 1 > ports::max_socket_path) {
        return ports::error{
            "the run folder " + path + " is too long a path for a socket in it: " + "at most " +
            std::to_string(ports::max_socket_path - sizeof "/control.sock" + 1) + " bytes"};
    }
    std::filesystem::create_directories(path, code);
    if (code) {
        return failed("the run folder " + path + " cannot be made", code.value());
    }
    const std::string lock_path = path + "/straitd.lock";
    constexpr mode_t lock_mode = 0600; // whoever may open it may lock it
    const int lock =
        ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, lock_mode);
    if (lock < 0) {
        return failed("the lock file " + lock_path + " cannot be opened", errno);
    }
    run_dir self{std::move(path), lock};
    if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) {
            return failed("the lock file " + lock_path + " cannot be locked", errno);
        }
        return ports::error{"another straitd, " + holder(lock) + ", runs in " + self.path_ +
                            "; give this one a folder of its own with --run-dir"};
    }
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(lock, 0) != 0 ||
        ::pwrite(lock, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
        return failed("the lock file " + lock_path + " cannot be written", errno);
    }
    constexpr mode_t state_mode = 0700;
    if (::mkdir(self.state_dir().c_str(), state_mode) != 0) {
        const int why = errno;
        if (why != EEXIST || !std::filesystem::is_directory(self.state_dir(), code)) {
            return failed("the folder " + self.state_dir() + " cannot be made", why);
        }
    }
    return self;
}

} // namespace strait::control
