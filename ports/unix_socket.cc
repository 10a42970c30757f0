// SPDX-License-Identifier: BSD-3-Clause
// Whether a socket's path is free, or may be made so; and whose the socket is.
#include "ports/unix_socket.hh"

#include <cerrno>
#include <string_view>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace strait::ports {

namespace {

// 0 when somebody answers, otherwise connect()'s error.
int try_to_connect(const std::string& path)
{
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    const sockaddr_un address = socket_address(path);
    const int status = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int code = status == 0 ? 0 : errno;
    ::close(fd);
    return code;
}

// Whether the kernel can take the path; `mode` of what stands there, 0 where its folder has
// nothing.
result<void> look_at(const std::string& path, mode_t& mode)
{
    if (path.empty()) {
        return error{"the socket path is empty"};
    }
    if (path.find('\0') != std::string::npos) {
        return error{"the socket path has a zero byte in it"};
    }
    if (path.size() > max_socket_path) {
        return error{"the socket path " + path + " is " + std::to_string(path.size()) +
                     " bytes long; the kernel takes at most " + std::to_string(max_socket_path)};
    }
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
        if (errno != ENOENT) {
            return error{"the socket path " + path + " cannot be looked at: " + describe(errno)};
        }
        const std::size_t slash = path.rfind('/');
        const std::string folder = slash == std::string::npos ? "."
                                   : slash == 0               ? "/"
                                                              : path.substr(0, slash);
        if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
            return error{"the folder of the socket path " + path + " does not exist"};
        }
        mode = 0;
        return {};
    }
    mode = status.st_mode;
    return {};
}

} // namespace

sockaddr_un socket_address(std::string_view path) noexcept
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, max_socket_path);
    return address;
}

result<void> make_way_for_socket(const std::string& path)
{
    mode_t there = 0;
    if (auto looked = look_at(path, there); !looked || there == 0) {
        return looked;
    }
    if (!S_ISSOCK(there)) {
        return error{path + " exists and is not a socket; it is left as it is"};
    }
    switch (const int code = try_to_connect(path)) {
    case ECONNREFUSED:
        break; // left behind by a process that is gone
    case ENOENT:
        return {}; // gone meanwhile
    case 0:
    case EAGAIN:     // its backlog is full
    case EPROTOTYPE: // a datagram socket with an owner
        return error{"somebody is listening on the socket " + path};
    default:
        return error{"it cannot be told whether somebody listens on the socket " + path + ": " +
                     describe(code)};
    }
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
        return error{"the stale socket " + path + " cannot be removed: " + describe(errno)};
    }
    return {};
}

result<void> check_socket_to_connect_to(const std::string& path)
{
    mode_t there = 0;
    if (auto looked = look_at(path, there); !looked) {
        return looked;
    }
    struct stat target {};
    if (there != 0 && ::stat(path.c_str(), &target) == 0 && !S_ISSOCK(target.st_mode)) {
        return error{path + " exists and is not a socket"};
    }
    return {};
}

socket_file socket_file::at(const std::string& path) noexcept
{
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
        return {};
    }
    return {status.st_dev, status.st_ino};
}

result<void> give_socket_to(const std::string& path, std::optional<uid_t> owner,
                            std::optional<gid_t> group, mode_t mode)
{
    // What was looked at is what is changed: by descriptor, never by path again.
    const int fd = ::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return error{(errno == ENOENT ? "the socket " + path + " is gone: "
                                      : "the socket " + path + " cannot be looked at: ") +
                     describe(errno)};
    }
    const auto give = [&]() -> result<void> {
        struct stat status {};
        if (::fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode) ||
            status.st_uid != ::geteuid()) {
            return error{"something else has been put in the place of the socket " + path +
                         "; its folder should be one that only trusted users may write"};
        }
        if ((owner || group) &&
            ::fchownat(fd, "", owner.value_or(static_cast<uid_t>(-1)),
                       group.value_or(static_cast<gid_t>(-1)), AT_EMPTY_PATH) != 0) {
            return error{"the owner of the socket " + path + " cannot be set: " + describe(errno)};
        }
        // fchmod() does not take such a descriptor; /proc leads to what it is open on, whatever
        // the path does.
        if (::chmod(("/proc/self/fd/" + std::to_string(fd)).c_str(), mode) != 0) {
            return error{"the mode of the socket " + path + " cannot be set: " + describe(errno)};
        }
        return {};
    };
    auto given = give();
    ::close(fd);
    return given;
}

} // namespace strait::ports
