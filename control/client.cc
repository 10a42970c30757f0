// SPDX-License-Identifier: BSD-3-Clause
// Calls over the control socket.
#include "control/client.hh"

#include "ports/unix_socket.hh"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace strait::control {

namespace json = boost::json;

service_address daemon_in(const std::string& run_dir)
{
    return {.path = run_dir + "/control.sock",
            .name = "the daemon",
            .program = "straitd",
            .advice = "is straitd running with --run-dir " + run_dir + "?"};
}

client::client(service_address address) : address_{std::move(address)} {}

client::~client()
{
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void client::fail(const std::string& what, int code)
{
    const bool absent = code == ENOENT || code == ECONNREFUSED;
    const std::string reason = code == EAGAIN ? "it did not answer within " +
                                                    std::to_string(address_.patience.count()) + " s"
                                              : std::generic_category().message(code);
    throw call_error{false,
                     address_.name + ' ' + what + " at " + address_.path + ": " + reason +
                         (absent ? "; " + address_.advice : ""),
                     absent, code == EACCES || code == EPERM};
}

void client::connect()
{
    if (address_.path.size() > ports::max_socket_path) {
        fail("cannot be reached", ENAMETOOLONG);
    }
    const sockaddr_un address = ports::socket_address(address_.path);
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0) {
        fail("cannot be reached", errno);
    }
    const timeval limit{.tv_sec = address_.patience.count(), .tv_usec = 0};
    (void)::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        fail("cannot be reached", errno);
    }
}

void client::ended(bool sent)
{
    throw call_error{false, address_.name + " at " + address_.path +
                                " ended the connection before it " +
                                (sent ? "answered; whether the request was carried out is not known"
                                      : "had the request, which was not carried out")};
}

bool client::send(std::string_view text)
{
    while (!text.empty()) {
        const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EPIPE || errno == ECONNRESET) {
                return false;
            }
            fail("takes no request", errno);
        }
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

// For some of an answer. In short steps: a signal that comes just before the wait does not end it.
void client::wait_for_answer(std::chrono::steady_clock::time_point until)
{
    constexpr int step = 50; // ms
    pollfd state{.fd = fd_, .events = POLLIN, .revents = 0};
    do {
        if (address_.interrupted != nullptr && *address_.interrupted != 0) {
            throw call_error{false, "interrupted before " + address_.name + " at " + address_.path +
                                        " answered; whether the request was carried out is not "
                                        "known"};
        }
        if (std::chrono::steady_clock::now() >= until) {
            fail("gives no answer", EAGAIN);
        }
    } while (::poll(&state, 1, step) <= 0);
}

// What the daemon wrote before it ended a connection is there to be read, also after a request that
// it did not take.
std::string client::receive_line(bool sent)
{
    constexpr std::size_t most_answer = 64 * 1024 * 1024; // a table of 65,536 addresses has 16
    std::array<char, 65536> chunk{};
    std::size_t searched = 0;
    // For all of it: what comes byte by byte is no answer either.
    const auto until = std::chrono::steady_clock::now() + address_.patience;
    for (;;) {
        const auto end = buffer_.find('\n', searched);
        if (end != std::string::npos) {
            std::string line = buffer_.substr(0, end);
            buffer_.erase(0, end + 1);
            return line;
        }
        searched = buffer_.size();
        wait_for_answer(until);
        const ssize_t size = ::recv(fd_, chunk.data(), chunk.size(), MSG_DONTWAIT);
        if (size < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (size == 0 || (size < 0 && errno == ECONNRESET)) {
            ended(sent);
        }
        if (size < 0) {
            fail("gives no answer", errno);
        }
        buffer_.append(chunk.data(), static_cast<std::size_t>(size));
        if (buffer_.size() > most_answer) {
            throw call_error{false, "what answers at " + address_.path + " is not " +
                                        address_.program + ": it says more than any answer has"};
        }
    }
}

json::value client::call(std::string_view method, const json::object& parameters)
{
    if (fd_ < 0) {
        connect();
    }
    const std::int64_t id = next_id_++;
    const json::object request{
        {"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", parameters}};
    const bool sent = send(json::serialize(request) + "\n");
    boost::system::error_code code;
    json::value answer = json::parse(receive_line(sent), code);
    const json::object* object = answer.if_object();
    if (code || object == nullptr) {
        throw call_error{false, "what answers at " + address_.path + " is not " + address_.program};
    }
    if (const auto* refused = object->if_contains("error")) {
        const auto* text =
            refused->is_object() ? refused->get_object().if_contains("message") : nullptr;
        throw call_error{true, text != nullptr && text->is_string()
                                   ? std::string{std::string_view{text->get_string()}}
                                   : address_.name + " refused without saying why"};
    }
    const auto* value = object->if_contains("result");
    const auto* answered = object->if_contains("id");
    if (value == nullptr || answered == nullptr || *answered != json::value(id)) {
        throw call_error{false, "what answers at " + address_.path + " is not " + address_.program};
    }
    return *value;
}

client::stream client::take_stream() noexcept
{
    return {std::exchange(fd_, -1), std::exchange(buffer_, {})};
}

pid_t client::peer() const noexcept
{
    ucred whose{};
    socklen_t size = sizeof whose;
    return ::getsockopt(fd_, SOL_SOCKET, SO_PEERCRED, &whose, &size) == 0 ? whose.pid : 0;
}

} // namespace strait::control
