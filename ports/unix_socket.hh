// SPDX-License-Identifier: BSD-3-Clause
// The file of a listening UNIX socket: making way for it, where what stands at its path is removed
// only if it is a socket that nobody answers on, and giving it to an owner. Sockets themselves are
// made by those who listen on them.
#pragma once

#include "ports/error.hh"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>
#include <sys/un.h>

namespace strait::ports {

// Bytes of a socket's path that the kernel takes, the terminating zero not counted.
inline constexpr std::size_t max_socket_path = 107;

// The address of a socket's file. Of a path longer than max_socket_path it has the beginning: who
// takes paths from people says before what is wrong with one. Any thread.
[[nodiscard]] sockaddr_un socket_address(std::string_view path) noexcept;

// Returns when `path` is free to be bound: nothing is there, or a socket was and nobody answered
// on it, and it was removed. Errors, nothing changed then: empty, longer
// than max_socket_path, its folder is missing, it is no socket, somebody answers on it, or it may
// not be removed. The caller holds the lock of its run folder. Any thread; never waits.
[[nodiscard]] result<void> make_way_for_socket(const std::string& path);

// Whether a process may listen at `path` some day, for one who will connect to it then: what stands
// there now, if anything, is a socket or leads to one, and its folder exists. Any thread.
[[nodiscard]] result<void> check_socket_to_connect_to(const std::string& path);

// Which file stands at a path, so that it is known again.
struct socket_file {
    dev_t device{0};
    ino_t inode{0}; // 0: there is none

    // A link is looked at itself. Any thread.
    [[nodiscard]] static socket_file at(const std::string& path) noexcept;
    bool operator==(const socket_file&) const noexcept = default;
};

// Gives the socket that this process has just bound to `path` to its owner and group, where given,
// and sets its permissions. Who may write the folder can have put another file or a link in its
// place meanwhile: that is an error, and is left as it is.
[[nodiscard]] result<void> give_socket_to(const std::string& path, std::optional<uid_t> owner,
                                          std::optional<gid_t> group, mode_t mode);

} // namespace strait::ports
