// SPDX-License-Identifier: BSD-3-Clause
// Writing lines to stderr.
#include "control/log.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <ctime>
#include <string>

#include <unistd.h>

namespace strait::control {

namespace {

constexpr std::array<std::string_view, 4> names = {"error", "warning", "info", "debug"};
std::atomic<log_level> limit{log_level::info};

} // namespace

std::optional<log_level> parse_log_level(std::string_view text)
{
    const auto* const found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) {
        return std::nullopt;
    }
    return static_cast<log_level>(found - names.begin());
}

void set_log_level(log_level most) noexcept
{
    limit = most;
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
    timespec now{};
    (void)::clock_gettime(CLOCK_REALTIME, &now);
    tm utc{};
    (void)::gmtime_r(&now.tv_sec, &utc);
    constexpr long nanoseconds_in_millisecond = 1'000'000;
    std::array<char, 64> time{};
    const std::size_t length = std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)std::snprintf(time.data() + length, time.size() - length, ".%03ldZ",
                        now.tv_nsec / nanoseconds_in_millisecond);
    std::string line = time.data();
    line += ' ';
    line += names[static_cast<std::size_t>(level)];
    line += ' ';
    line += subsystem;
    line += ": ";
    const std::size_t begin = line.size();
    line += text;
    std::replace_if(
        line.begin() + static_cast<std::ptrdiff_t>(begin), line.end(),
        [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
    line += '\n';
    // One write a line, so that threads do not mix theirs.
    std::string_view rest = line;
    while (!rest.empty()) {
        const ssize_t written = ::write(STDERR_FILENO, rest.data(), rest.size());
        if (written <= 0) {
            return; // nowhere to complain
        }
        rest.remove_prefix(static_cast<std::size_t>(written));
    }
}

} // namespace strait::control
