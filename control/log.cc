// SPDX-License-Identifier: BSD-3-Clause
// Writing lines to stderr.
#include "control/log.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <limits.h>
#include <mutex>
#include <string>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::control {

namespace {

constexpr std::array<std::string_view, 4> names = {"error", "warning", "info", "debug"};
std::atomic<log_level> limit{log_level::info};

// What may be logged by anybody who can open a vhost-user socket.
constexpr unsigned lines_of_others = 20;
constexpr std::chrono::seconds window_of_others{10};

std::mutex mutex; // what is below
std::uint64_t lost{0};
line_limit others{lines_of_others, window_of_others};
std::uint64_t file_limit{0};
std::uint64_t file_size{0};

std::string make_line(log_level level, std::string_view subsystem, std::string_view text)
{
    std::string line = time_text(std::chrono::system_clock::now());
    line += ' ';
    line += name_of(level);
    line += ' ';
    line += subsystem;
    line += ": ";
    const std::size_t begin = line.size();
    line += text;
    std::replace_if(
        line.begin() + static_cast<std::ptrdiff_t>(begin), line.end(),
        [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
    constexpr std::string_view cut = "...";
    if (line.size() >= PIPE_BUF) {
        line.resize(PIPE_BUF - 1 - cut.size());
        line += cut;
    }
    line += '\n';
    return line;
}

// With the mutex held, so that nobody of this process takes the room that was found. stderr is
// shared with whoever started us: that it does not block is not ours to say.
bool write_now(const std::string& line)
{
    pollfd state{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    if (::poll(&state, 1, 0) != 1 || (state.revents & POLLOUT) == 0) {
        return false;
    }
    // One write a line, whole on a pipe since it has at most PIPE_BUF bytes.
    if (::write(STDERR_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
        return false;
    }
    file_size += line.size();
    return true;
}

void begin_file_anew()
{
    if (::ftruncate(STDERR_FILENO, 0) != 0) {
        return;
    }
    const std::uint64_t before = std::exchange(file_size, 0);
    (void)write_now(make_line(log_level::warning, "log",
                              "begun anew: there were " + std::to_string(before) +
                                  " bytes of it, and " + std::to_string(file_limit) +
                                  " are its limit"));
}

void say_what_was_lost()
{
    if (lost != 0 && write_now(make_line(log_level::warning, "log",
                                         "lines lost here, since nobody took them from stderr: " +
                                             std::to_string(lost)))) {
        lost = 0;
    }
}

void write(log_level level, std::string_view subsystem, std::string_view text)
{
    const std::string line = make_line(level, subsystem, text);
    if (file_limit != 0 && file_size + line.size() > file_limit) {
        begin_file_anew();
    }
    say_what_was_lost();
    if (lost != 0 || !write_now(line)) {
        ++lost;
    }
}

void say_what_did_not_pass(line_limit::clock::time_point now)
{
    if (const std::uint64_t more = others.left_out(now); more != 0) {
        write(log_level::warning, "log",
              "lines left out that guests' side caused, of which at most " +
                  std::to_string(lines_of_others) + " are written in " +
                  std::to_string(window_of_others.count()) + " seconds: " + std::to_string(more));
    }
}

} // namespace

std::optional<log_level> parse_log_level(std::string_view text)
{
    const auto* const found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) {
        return std::nullopt;
    }
    return static_cast<log_level>(found - names.begin());
}

std::string_view name_of(log_level level) noexcept
{
    return names[static_cast<std::size_t>(level)];
}

std::string time_text(std::chrono::system_clock::time_point when)
{
    // Not gmtime(): it looks for the time zone's file, which a jailed process may not.
    const auto moment = std::chrono::floor<std::chrono::milliseconds>(when);
    const auto day = std::chrono::floor<std::chrono::days>(moment);
    const std::chrono::year_month_day date{day};
    const std::chrono::hh_mm_ss clock{moment - day};
    std::array<char, 64> text{};
    (void)std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02ld:%02ld:%02ld.%03ldZ",
                        static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                        static_cast<unsigned>(date.day()), clock.hours().count(),
                        clock.minutes().count(), clock.seconds().count(),
                        clock.subseconds().count());
    return text.data();
}

void set_log_level(log_level most) noexcept
{
    limit = most;
}

bool set_log_file_limit(std::uint64_t bytes) noexcept
{
    struct stat file {};
    const bool fits = ::fstat(STDERR_FILENO, &file) == 0 && S_ISREG(file.st_mode) &&
                      (::fcntl(STDERR_FILENO, F_GETFL) & O_APPEND) != 0;
    const std::scoped_lock lock{mutex};
    file_limit = fits ? bytes : 0;
    file_size = fits ? static_cast<std::uint64_t>(file.st_size) : 0;
    return fits;
}

log_level current_log_level() noexcept
{
    return limit;
}

void log(log_level level, std::string_view subsystem, std::string_view text)
{
    if (level > limit) {
        return;
    }
    const std::scoped_lock lock{mutex};
    write(level, subsystem, text);
}

void log_limited(log_level level, std::string_view subsystem, std::string_view text)
{
    if (level > limit) {
        return;
    }
    const std::scoped_lock lock{mutex};
    const auto now = line_limit::clock::now();
    say_what_did_not_pass(now);
    if (limit == log_level::debug || others.pass(now)) {
        write(level, subsystem, text);
    }
}

void log_left_out()
{
    const std::scoped_lock lock{mutex};
    say_what_did_not_pass(line_limit::clock::now());
    say_what_was_lost();
}

bool line_limit::pass(clock::time_point now) noexcept
{
    if (now - began_ >= window_) {
        began_ = now;
        passed_ = 0;
    }
    if (passed_ == lines_) {
        ++left_out_;
        return false;
    }
    ++passed_;
    return true;
}

std::uint64_t line_limit::left_out(clock::time_point now) noexcept
{
    return now - began_ < window_ ? 0 : std::exchange(left_out_, 0);
}

} // namespace strait::control
