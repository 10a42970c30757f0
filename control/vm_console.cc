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
#include <optional>
#include <string>
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
    [[nodiscard]] bool is_one() const noexcept { return is_terminal_; }

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

// What was typed, on its way to a guest that may not take it.
class typed_text {
public:
    explicit typed_text(int socket) noexcept : socket_{socket} {}

    [[nodiscard]] bool is_empty() const noexcept { return unsent_.empty(); }
    // As a terminal's: what has no room is lost, with a bell.
    void add(std::string_view text)
    {
        const auto some = text.substr(0, room - std::min(room, unsent_.size()));
        unsent_ += some;
        if (some.size() < text.size()) {
            (void)std::fputs("\a", stderr);
        }
    }
    // What the socket takes now. False: nobody has it open any more.
    [[nodiscard]] bool send()
    {
        while (!unsent_.empty()) {
            const ssize_t sent =
                ::send(socket_, unsent_.data(), unsent_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0) {
                return errno == EAGAIN || errno == EINTR;
            }
            unsent_.erase(0, static_cast<std::size_t>(sent));
        }
        return true;
    }

private:
    static constexpr std::size_t room = 65536;
    int socket_;
    std::string unsent_;
};

// Both ways, until one of the ends.
class relay {
public:
    // A terminal is read whatever becomes of what is typed: Ctrl-] may be among it.
    relay(int socket, bool terminal) noexcept : socket_{socket}, terminal_{terminal}, typed_{socket}
    {}

    result<console_end> run()
    {
        while (ended == 0) {
            const bool reads = terminal_ || typed_.is_empty();
            const auto wanted = static_cast<short>(POLLIN | (typed_.is_empty() ? 0 : POLLOUT));
            std::array<pollfd, 2> both{
                {{.fd = reads ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0},
                 {.fd = socket_, .events = wanted, .revents = 0}}};
            if (::poll(both.data(), both.size(), -1) < 0) {
                continue; // a signal
            }
            if (both[0].revents != 0) {
                if (const auto end = take_input()) {
                    return *end;
                }
            }
            if ((both[1].revents & POLLOUT) != 0 && !typed_.send()) {
                return console_end::gone;
            }
            if ((both[1].revents & ~POLLOUT) != 0) {
                const auto end = show_output();
                if (end.has_error()) {
                    return end.error();
                }
                if (*end) {
                    return **end;
                }
            }
        }
        return error{"a signal ended the console"};
    }

private:
    std::optional<console_end> take_input()
    {
        const ssize_t size = ::read(STDIN_FILENO, chunk_.data(), chunk_.size());
        if (size <= 0) {
            return console_end::no_input;
        }
        const std::string_view text{chunk_.data(), static_cast<std::size_t>(size)};
        const auto end = text.find(leave);
        typed_.add(text.substr(0, end));
        if (!typed_.send()) {
            return console_end::gone;
        }
        return end == std::string_view::npos ? std::nullopt : std::optional{console_end::left};
    }

    result<std::optional<console_end>> show_output()
    {
        const ssize_t size = ::read(socket_, chunk_.data(), chunk_.size());
        if (size <= 0) {
            return std::optional{console_end::gone};
        }
        if (!write_all(STDOUT_FILENO, {chunk_.data(), static_cast<std::size_t>(size)}) &&
            ended == 0) {
            return error{"what the guest says cannot be written to the standard output: " +
                         describe(errno)};
        }
        return std::optional<console_end>{};
    }

    int socket_;
    bool terminal_;
    typed_text typed_;
    std::array<char, 4096> chunk_{};
};

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
    return relay{peer.get(), terminal.is_one()}.run();
}

} // namespace strait::control
