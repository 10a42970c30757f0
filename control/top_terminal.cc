// SPDX-License-Identifier: BSD-3-Clause
// The terminal: keys, its size, and leaving it as it was.
#include "control/methods.hh"
#include "control/parameters.hh"
#include "control/print.hh"
#include "control/top.hh"

#include <boost/json/serialize.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace strait::control {

namespace json = boost::json;

namespace {

using clock = std::chrono::steady_clock;

volatile std::sig_atomic_t ended = 0;

extern "C" void on_end(int /*signal*/)
{
    ended = 1;
}

extern "C" void on_resize(int /*signal*/) {} // it ends the wait, and the next screen has the size

bool write_all(const std::string& text)
{
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
           std::fflush(stdout) == 0;
}

// Keys come one by one and are not shown; the screen that was there comes back.
class terminal {
public:
    terminal()
    {
        struct sigaction action {};
        action.sa_handler = on_end;
        ::sigaction(SIGINT, &action, nullptr);
        ::sigaction(SIGTERM, &action, nullptr);
        ::sigaction(SIGHUP, &action, nullptr);
        action.sa_handler = on_resize;
        ::sigaction(SIGWINCH, &action, nullptr);
        if (::tcgetattr(STDIN_FILENO, &before_) == 0) {
            termios raw = before_;
            raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
            raw.c_cc[VMIN] = 0;
            raw.c_cc[VTIME] = 0;
            keys_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
        }
        (void)write_all("\033[?1049h\033[?25l\033[?7l");
    }
    ~terminal()
    {
        (void)write_all("\033[?7h\033[?25h\033[?1049l");
        if (keys_) {
            ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
        }
    }
    terminal(const terminal&) = delete;
    terminal& operator=(const terminal&) = delete;

    [[nodiscard]] static winsize size()
    {
        winsize s{};
        if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &s) != 0 || s.ws_col == 0 || s.ws_row == 0) {
            s.ws_col = 80;
            s.ws_row = 24;
        }
        return s;
    }
    // Nothing: none came until then, or the terminal has another size.
    [[nodiscard]] std::optional<char> key(clock::time_point until) const
    {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(until - clock::now());
        pollfd in{.fd = keys_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0};
        char c = 0;
        if (::poll(&in, 1, static_cast<int>(std::max<std::int64_t>(0, left.count()))) == 1) {
            const ssize_t n = ::read(STDIN_FILENO, &c, 1);
            return n == 1 ? c : 'q'; // nobody is there any more
        }
        return std::nullopt;
    }

private:
    termios before_{};
    bool keys_{false};
};

top_look look(client& daemon)
{
    return {daemon.call("version", {}).as_object(), daemon.call("stats", {}).as_object(),
            daemon.call("worker.list", {}).as_object()};
}

std::string as_json(const top_look& before, const top_look& now)
{
    json::value stats(now.stats);
    json::value workers(now.workers);
    add_rates(*find_method(methods(), "stats"), stats, json::value(before.stats));
    add_rates(*find_method(methods(), "worker.list"), workers, json::value(before.workers));
    return json::serialize(
               json::object{{"stats", std::move(stats)}, {"workers", std::move(workers)}}) +
           "\n";
}

void wait_until(clock::time_point until)
{
    timespec left{};
    do {
        const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(until - clock::now());
        constexpr std::int64_t second = 1'000'000'000;
        left = {.tv_sec = ns.count() / second, .tv_nsec = ns.count() % second};
    } while (left.tv_sec >= 0 && left.tv_nsec > 0 && ::nanosleep(&left, nullptr) != 0);
}

bool run_batch(client& daemon, const top_view& view, clock::duration interval,
               std::int64_t iterations, bool json_text)
{
    top_look before = look(daemon);
    for (std::int64_t i = 0; i < iterations; ++i) {
        wait_until(clock::now() + interval);
        top_look now = look(daemon);
        const std::string text =
            json_text ? as_json(before, now)
                      : (i > 0 ? "\n" : "") + top_screen(before, now, view, 0, 0, false);
        if (!write_all(text)) {
            return errno == EPIPE;
        }
        before = std::move(now);
    }
    return true;
}

} // namespace

bool run_top(client& daemon, const json::object& parameters, bool json_text)
{
    const clock::duration interval =
        std::chrono::seconds{number_as<int>(parameters, "interval").value_or(1)};
    const auto iterations = number_as<std::int64_t>(parameters, "iterations");
    top_view view;
    if (const auto order = text_of(parameters, "sort")) {
        (void)press(view, order->front()); // each order's key is its first letter
    }
    if (json_text || is_set(parameters, "batch") || ::isatty(STDOUT_FILENO) == 0) {
        return run_batch(daemon, view, interval, iterations.value_or(1), json_text);
    }
    top_look before = look(daemon); // before the screen is taken: an error is to be read
    const terminal screen;
    top_look now = before;
    clock::time_point next = clock::now();
    for (std::int64_t shown = 0; ended == 0 && (!iterations || shown <= *iterations);) {
        if (!view.paused && clock::now() >= next) {
            before = std::move(now);
            now = look(daemon);
            next = clock::now() + (shown == 0 ? std::chrono::milliseconds{300} : interval);
            ++shown;
        }
        const winsize size = terminal::size();
        // Each line's rest is cleared as it is written: what stays the same does not flicker.
        std::string text = "\033[H";
        for (const char c : top_screen(before, now, view, size.ws_col, size.ws_row, true)) {
            text += c == '\n' ? std::string{"\033[K\n"} : std::string{c};
        }
        if (!write_all(text + "\033[K\033[J")) {
            return false;
        }
        const auto key = screen.key(view.paused ? clock::now() + std::chrono::hours{1} : next);
        if (key == 'q' || key == 'Q') {
            break;
        }
        if (key) {
            (void)press(view, *key);
        }
    }
    return true;
}

} // namespace strait::control
