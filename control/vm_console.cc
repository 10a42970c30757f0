// SPDX-License-Identifier: BSD-3-Clause
// Relaying it.
#include "control/vm_console.hh"

#include "control/ignored_signal.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/unix_socket.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string_view>

#include <poll.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

namespace strait::control {

using dataplane::file_descriptor;
using ports::describe;
using ports::error;
using ports::result;

namespace {

constexpr char leave = 0x1d; // Ctrl-]

volatile std::sig_atomic_t ended = 0;

// The terminal, put back as it was also when a signal ends it.
class raw_terminal {
public:
    raw_terminal() noexcept : is_terminal_{::tcgetattr(STDIN_FILENO, &before_) == 0}
    {
        if (!is_terminal_) {
            return;
        }
        struct sigaction action {};
        action.sa_handler = [](int) { ended = 1; };
        for (const int signal : {SIGTERM, SIGHUP, SIGINT}) {
            if (!is_ignored(signal)) {
                (void)::sigaction(signal, &action, nullptr);
            }
        }
        termios raw = before_;
        ::cfmakeraw(&raw);
        (void)::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    ~raw_terminal()
    {
        if (is_terminal_) {
            (void)::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
            (void)std::fputs("\n", stderr);
        }
    }
    raw_terminal(const raw_terminal&) = delete;
    raw_terminal& operator=(const raw_terminal&) = delete;

private:
    termios before_{};
    bool is_terminal_;
};

bool write_all(int fd, std::string_view text) noexcept
{
    while (!text.empty()) {
        const ssize_t done = ::write(fd, text.data(), text.size());
        if (done < 0 && (errno != EINTR || ended != 0)) {
            return false;
        }
        text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(done, 0)));
    }
    return true;
}

} // namespace

result<console_end> relay_console(const std::string& socket)
{
    if (socket.size() > ports::max_socket_path) {
        return error{"the socket path " + socket + " is too long"};
    }
    const sockaddr_un address = ports::socket_address(socket);
    const file_descriptor peer{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!peer ||
        ::connect(peer.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return error{"the console " + socket + " cannot be reached: " + describe(errno)};
    }
    (void)std::signal(SIGPIPE, SIG_IGN);
    if (::isatty(STDIN_FILENO) != 0) {
        (void)std::fputs("Ctrl-] leaves this console.\n", stderr);
    }
    const raw_terminal terminal;
    std::array<pollfd, 2> both{{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                {.fd = peer.get(), .events = POLLIN, .revents = 0}}};
    std::array<char, 4096> chunk{};
    while (ended == 0) {
        if (::poll(both.data(), both.size(), -1) < 0) {
            continue; // a signal
        }
        for (const auto& from : both) {
            if (from.revents == 0) {
                continue;
            }
            const bool typed = from.fd == STDIN_FILENO;
            const ssize_t size = ::read(from.fd, chunk.data(), chunk.size());
            if (size <= 0) {
                return typed ? console_end::no_input : console_end::gone;
            }
            std::string_view text{chunk.data(), static_cast<std::size_t>(size)};
            const auto end = typed ? text.find(leave) : std::string_view::npos;
            text = text.substr(0, end);
            if (!write_all(typed ? peer.get() : STDOUT_FILENO, text) && ended == 0) {
                if (typed) {
                    return console_end::gone;
                }
                return error{"what the guest says cannot be written to the standard output: " +
                             describe(errno)};
            }
            if (end != std::string_view::npos) {
                return console_end::left;
            }
        }
    }
    return error{"a signal ended the console"};
}

} // namespace strait::control
