// SPDX-License-Identifier: BSD-3-Clause
// Making way for a listening UNIX socket: what stands at its path is removed only if it is a socket
// that nobody answers on. Sockets themselves are made by those who listen on them.
#pragma once

#include "ports/port.hh"

#include <cstddef>
#include <string>

namespace strait::ports {

// Bytes of a socket's path that the kernel takes, the terminating zero not counted.
inline constexpr std::size_t max_socket_path = 107;

// Returns when `path` is free to be bound: nothing is there, or a socket was and nobody answered
// on it, and it was removed. Errors, nothing changed then: empty, longer
// than max_socket_path, its folder is missing, it is no socket, somebody answers on it, or it may
// not be removed. The caller holds the lock of its run folder. Any thread; never waits.
[[nodiscard]] result<void> make_way_for_socket(const std::string& path);

} // namespace strait::ports
