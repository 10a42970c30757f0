// SPDX-License-Identifier: BSD-3-Clause
// Messages with descriptors over a socket.
#include "ports/xen-netback/simulated/wire.hh"

#include <cerrno>
#include <sys/socket.h>

namespace strait::xen::simulated::wire {

namespace {

union control {
    char bytes[CMSG_SPACE(sizeof(int) * most_descriptors)];
    cmsghdr align;
};

} // namespace

int send(int socket, std::span<const std::byte> message, std::span<const int> descriptors, bool now)
{
    iovec part{const_cast<std::byte*>(message.data()), message.size()};
    control c{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!descriptors.empty()) {
        header.msg_control = c.bytes;
        header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
        cmsghdr* const first = CMSG_FIRSTHDR(&header);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(first), descriptors.data(), descriptors.size_bytes());
    }
    ssize_t sent = 0;
    do {
        sent = ::sendmsg(socket, &header, MSG_NOSIGNAL | (now ? MSG_DONTWAIT : 0));
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

int receive(int socket, std::vector<std::byte>& message,
            std::array<file_descriptor, most_descriptors>& descriptors, bool now)
{
    // Its size first: most messages are short.
    ssize_t size = 0;
    do {
        size = ::recv(socket, nullptr, 0, MSG_PEEK | MSG_TRUNC | (now ? MSG_DONTWAIT : 0));
    } while (size < 0 && errno == EINTR);
    if (size < 0) {
        return errno;
    }
    if (static_cast<std::size_t>(size) > longest) {
        return EMSGSIZE;
    }
    message.resize(static_cast<std::size_t>(size));
    iovec part{message.data(), message.size()};
    control c{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = c.bytes;
    header.msg_controllen = sizeof c.bytes;
    ssize_t got = 0;
    do {
        got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (now ? MSG_DONTWAIT : 0));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return errno;
    }
    for (cmsghdr* at = CMSG_FIRSTHDR(&header); at != nullptr; at = CMSG_NXTHDR(&header, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(at) + i * sizeof(int), sizeof fd);
            file_descriptor owned{fd};
            if (i < descriptors.size()) {
                descriptors[i] = std::move(owned);
            }
        }
    }
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return EMSGSIZE;
    }
    message.resize(static_cast<std::size_t>(got));
    return 0;
}

} // namespace strait::xen::simulated::wire
