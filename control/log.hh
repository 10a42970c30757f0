// SPDX-License-Identifier: BSD-3-Clause
// The log of the daemon and of the VMM: one line an event on stderr, "time level subsystem: text".
// DPDK's own lines are led here by eal.cc. Workers and vCPUs do not log.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace strait::control {

enum class log_level : std::uint8_t { error, warning, info, debug };

[[nodiscard]] std::optional<log_level> parse_log_level(std::string_view text);
[[nodiscard]] std::string_view name_of(log_level level) noexcept;
// RFC 3339, in UTC, with milliseconds: "2026-11-28T09:30:00.123Z".
[[nodiscard]] std::string time_text(std::chrono::system_clock::time_point when);
// Lines above `most` are left out. Any thread.
void set_log_level(log_level most) noexcept;
[[nodiscard]] log_level current_log_level() noexcept;

// Any thread but workers. Control characters in `text` are shown as '?', and what makes a line
// longer than PIPE_BUF is cut off. Never waits for whoever reads stderr: a line that cannot be
// written at once is lost and counted, and the next one that can be says so.
void log(log_level level, std::string_view subsystem, std::string_view text);
// For lines that guests and their VMMs cause, as many as they like: of all of these a few are
// written each while, the rest counted. With debug lines wanted, all are.
void log_limited(log_level level, std::string_view subsystem, std::string_view text);
// stderr, a file that this process alone appends to, begins anew when it has come to so many bytes,
// and says so; 0, as at first: it grows. At start, before there are other threads. False: it is no
// file that is appended to, and has no limit.
bool set_log_file_limit(std::uint64_t bytes) noexcept;
// Says how many lines were left out, where it has not been said yet. To be called now and then.
void log_left_out();

// How many lines may pass each while.
class line_limit {
public:
    using clock = std::chrono::steady_clock;

    constexpr line_limit(unsigned lines, clock::duration window) noexcept
        : lines_{lines}, window_{window}
    {}
    [[nodiscard]] bool pass(clock::time_point now) noexcept;
    // Lines that did not pass, once their while is over; each is told of once.
    [[nodiscard]] std::uint64_t left_out(clock::time_point now) noexcept;

private:
    unsigned lines_;
    clock::duration window_;
    clock::time_point began_{};
    unsigned passed_{0};
    std::uint64_t left_out_{0};
};

} // namespace strait::control
