// SPDX-License-Identifier: BSD-3-Clause
// Whole messages over a stream that may give halves.
#include "ports/vhost/front_channel.hh"

#include "ports/unix_socket.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace strait::vhost {

namespace {

using dataplane::file_descriptor;
using ports::describe;
using ports::error;
using ports::result;

constexpr std::uint32_t version = 1;
constexpr std::uint32_t is_reply = 4;
constexpr std::uint32_t need_reply = 8;

// Of a message before its payload.
struct message_header {
    std::uint32_t request;
    std::uint32_t flags;
    std::uint32_t size;
};

// Descriptors that a message may carry.
struct alignas(cmsghdr) rights_buffer {
    std::array<std::byte, CMSG_SPACE(max_message_regions * sizeof(int))> bytes;
};

// Keeps the first descriptor that came, if it is wanted, and closes the others.
void take_descriptors(msghdr& message, file_descriptor* with)
{
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            file_descriptor came{fd};
            if (with != nullptr && !*with) {
                *with = std::move(came);
            }
        }
    }
}

} // namespace

result<file_descriptor> front_channel::connect(const std::string& path)
{
    if (path.size() > ports::max_socket_path) {
        return error{"the path is longer than the 107 bytes that a socket's can have"};
    }
    const sockaddr_un address = ports::socket_address(path);
    file_descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!socket ||
        ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return error{errno == EAGAIN ? "the back end accepts no more connections"
                                     : "no back end serves this socket: " + describe(errno)};
    }
    return socket;
}

result<void> front_channel::tell_bytes(request r, const char* name,
                                       std::span<const std::byte> payload, std::span<const int> fds)
{
    if (!answers_) {
        return send(r, payload, fds, false);
    }
    std::uint64_t refusal = 0;
    if (auto sent = send(r, payload, fds, true); sent.has_error()) {
        return sent;
    }
    if (auto got = receive(r, std::as_writable_bytes(std::span{&refusal, 1}), nullptr);
        got.has_error()) {
        return got;
    }
    if (refusal != 0) {
        return error{std::string{"the back end refused "} + name};
    }
    return {};
}

result<void> front_channel::ask_bytes(request r, std::span<const std::byte> question,
                                      std::span<const int> fds, std::span<std::byte> answer,
                                      file_descriptor* with)
{
    if (auto sent = send(r, question, fds, false); sent.has_error()) {
        return sent;
    }
    return receive(r, answer, with);
}

result<void> front_channel::send(request r, std::span<const std::byte> payload,
                                 std::span<const int> fds, bool wants_answer)
{
    const message_header header{static_cast<std::uint32_t>(r),
                                version | (wants_answer ? need_reply : 0),
                                static_cast<std::uint32_t>(payload.size())};
    // sendmsg only reads what these point to.
    std::array<iovec, 2> parts = {
        iovec{const_cast<message_header*>(&header), sizeof header},     // NOLINT
        iovec{const_cast<std::byte*>(payload.data()), payload.size()}}; // NOLINT
    rights_buffer rights{};
    msghdr whole{};
    whole.msg_iov = parts.data();
    whole.msg_iovlen = parts.size();
    if (!fds.empty()) {
        whole.msg_control = rights.bytes.data();
        whole.msg_controllen = CMSG_SPACE(fds.size_bytes());
        if (cmsghdr* const c = CMSG_FIRSTHDR(&whole)) { // it has room
            *c = {CMSG_LEN(fds.size_bytes()), SOL_SOCKET, SCM_RIGHTS};
            std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
        }
    }
    const auto until = std::chrono::steady_clock::now() + patience_;
    for (;;) {
        const ssize_t sent = ::sendmsg(fd(), &whole, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            // A back end that leaves so much unread that not a message fits is none.
            return static_cast<std::size_t>(sent) == sizeof header + payload.size()
                       ? result<void>{}
                       : error{"the back end took half a message"};
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno != EAGAIN) {
            return error{"the back end took no message: " + describe(errno)};
        }
        if (auto ready = wait(POLLOUT, until); ready.has_error()) {
            return ready;
        }
    }
}

result<void> front_channel::receive(request r, std::span<std::byte> answer, file_descriptor* with)
{
    const auto until = std::chrono::steady_clock::now() + patience_;
    message_header header{};
    const std::size_t size = sizeof header + answer.size();
    for (std::size_t got = 0; got < size;) {
        if (auto ready = wait(POLLIN, until); ready.has_error()) {
            return ready;
        }
        std::array<iovec, 2> parts{};
        const std::size_t of_header = std::min(got, sizeof header);
        const std::size_t of_answer = got - of_header;
        parts[0] = {reinterpret_cast<std::byte*>(&header) + of_header, sizeof header - of_header};
        parts[1] = {answer.data() + of_answer, answer.size() - of_answer};
        rights_buffer rights{};
        msghdr whole{};
        whole.msg_iov = parts.data();
        whole.msg_iovlen = parts.size();
        whole.msg_control = rights.bytes.data();
        whole.msg_controllen = rights.bytes.size();
        const ssize_t some = ::recvmsg(fd(), &whole, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (some < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (some <= 0) {
            return error{"the back end hung up"};
        }
        take_descriptors(whole, with);
        got += static_cast<std::size_t>(some);
        if (got >= sizeof header &&
            (header.request != static_cast<std::uint32_t>(r) || (header.flags & is_reply) == 0 ||
             header.size != answer.size())) {
            return error{"the back end answered something else than it was asked"};
        }
    }
    return {};
}

result<void> front_channel::wait(short events, std::chrono::steady_clock::time_point patient) const
{
    const auto until = std::min(patient, deadline_);
    std::array<pollfd, 2> all = {pollfd{.fd = fd(), .events = events, .revents = 0},
                                 pollfd{.fd = cancel_, .events = POLLIN, .revents = 0}};
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        const int ready =
            ::poll(all.data(), all.size(), static_cast<int>(std::max<long>(left.count(), 0)));
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        if (ready < 0) {
            return error{"the back end cannot be waited for: " + describe(errno)};
        }
        if (all[1].revents != 0) {
            return error{"it was not waited for any longer"};
        }
        if (ready == 0 && deadline_ < patient) {
            return error{"the back end did not answer all messages within " +
                         std::to_string(together_.count()) + " ms"};
        }
        if (ready == 0) {
            return error{"the back end did not answer within " + std::to_string(patience_.count()) +
                         " ms"};
        }
        return {};
    }
}

result<void> front_channel::expect_silence() const
{
    std::byte first{};
    // Taken, not looked at: what is said out of band would make it readable again and again.
    const ssize_t some = ::recv(fd(), &first, 1, MSG_DONTWAIT);
    if (some < 0 && (errno == EAGAIN || errno == EINTR)) {
        return {};
    }
    return error{some > 0 ? "the back end says something unasked" : "the back end hung up"};
}

} // namespace strait::vhost
