// SPDX-License-Identifier: BSD-3-Clause
// Bytes from the daemon's connection to a file, a pipe or a terminal.
#include "control/capture_client.hh"

#include "control/parameters.hh"
#include "ports/error.hh"

#include <boost/json/value.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace strait::control {

namespace json = boost::json;

namespace {

volatile std::sig_atomic_t interruptions = 0;

extern "C" void note_interruption(int /*signal*/)
{
    interruptions = interruptions + 1;
}

void catch_signals()
{
    struct sigaction note {};
    note.sa_handler = note_interruption;
    (void)::sigemptyset(&note.sa_mask);
    (void)::sigaction(SIGINT, &note, nullptr);
    (void)::sigaction(SIGTERM, &note, nullptr);
    (void)std::signal(SIGPIPE, SIG_IGN);
}

class descriptor {
public:
    explicit descriptor(int fd, bool owned = true) noexcept : fd_{fd}, owned_{owned} {}
    ~descriptor()
    {
        if (owned_ && fd_ >= 0) {
            ::close(fd_);
        }
    }
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    [[nodiscard]] int get() const noexcept { return fd_; }

private:
    int fd_;
    bool owned_;
};

bool complain(const std::string& sentence)
{
    std::fprintf(stderr, "straitctl: %s\n", sentence.c_str());
    return false;
}

int open_output(const std::optional<std::string>& path)
{
    constexpr mode_t by_umask = 0666;
    return !path || *path == "-"
               ? STDOUT_FILENO
               : ::open(path->c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, by_umask);
}

enum class written : std::uint8_t { all, nobody_reads, failed };

written write_all(int to, std::string_view data)
{
    while (!data.empty()) {
        const ssize_t n = ::write(to, data.data(), data.size());
        if (n >= 0) {
            data.remove_prefix(static_cast<std::size_t>(n));
        } else if (errno == EPIPE) {
            return written::nobody_reads;
        } else if (errno != EINTR) {
            return written::failed;
        } else if (interruptions > 1) {
            return written::nobody_reads;
        }
    }
    return written::all;
}

// Until the daemon ends it. The first interruption asks it to; a second does not wait for that.
written pass_on(int from, int to, std::string_view begun)
{
    constexpr int step = 50; // ms: a signal that comes just before the wait does not end it
    std::array<char, 65536> chunk{};
    bool asked = false;
    written state = write_all(to, begun);
    while (state == written::all && interruptions < 2) {
        if (interruptions > 0 && !asked) {
            asked = true;
            (void)::shutdown(from, SHUT_WR);
        }
        pollfd p[] = {{.fd = from, .events = POLLIN, .revents = 0},
                      {.fd = to, .events = 0, .revents = 0}};
        if (::poll(p, 2, step) <= 0) {
            continue;
        }
        if ((p[1].revents & POLLERR) != 0) { // the other end of a pipe is gone
            return written::nobody_reads;
        }
        const ssize_t n = ::recv(from, chunk.data(), chunk.size(), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            break;
        }
        if (n > 0) {
            state = write_all(to, {chunk.data(), static_cast<std::size_t>(n)});
        }
    }
    return state;
}

// What there is to say at the end. False: it was not to end.
bool report(const service_address& daemon, const json::value& id)
{
    const json::value answer = client{daemon}.call("capture.result", {{"capture", id}});
    const auto& r = answer.as_object();
    const std::string why = text_of(r, "why").value_or("");
    const auto lost = number_of(r, "lost").value_or(0);
    std::string sentence =
        std::to_string(number_of(r, "packets").value_or(0)) + " packets captured";
    if (lost > 0) {
        sentence += ", " + std::to_string(lost) + " lost: they came faster than they were taken";
    }
    if (!why.empty()) {
        sentence += "; it ended because " + why;
    }
    std::fprintf(stderr, "straitctl: %s\n", sentence.c_str());
    return why.empty();
}

} // namespace

bool is_capture(const method& m)
{
    return m.name == "capture";
}

bool capture(const service_address& daemon, const method& m, const json::object& parameters)
{
    const auto path = text_of(parameters, "write");
    if (path == "-" && ::isatty(STDOUT_FILENO) != 0) {
        return complain("pcapng is not for a terminal; -w FILE writes a file, or send it on: "
                        "| tcpdump -r -");
    }
    catch_signals();
    client connection{daemon};
    const json::value answer = connection.call(m.name, parameters);
    const json::value& id = answer.as_object().at("capture");
    auto stream = connection.take_stream();
    const descriptor from{stream.descriptor};
    const int to_fd = open_output(path);
    if (to_fd < 0) {
        return complain(*path + " cannot be written: " + ports::describe(errno));
    }
    const descriptor to{to_fd, to_fd != STDOUT_FILENO};
    const written state = pass_on(from.get(), to.get(), stream.begun);
    if (state == written::failed) {
        return complain("what was captured cannot be written: " + ports::describe(errno));
    }
    return report(daemon, id);
}

} // namespace strait::control
