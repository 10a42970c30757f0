// SPDX-License-Identifier: BSD-3-Clause
// The daemon's log: one line an event on stderr, "time level subsystem: text". DPDK's own lines are
// led here by eal.cc. Workers do not log.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace strait::control {

enum class log_level : std::uint8_t { error, warning, info, debug };

[[nodiscard]] std::optional<log_level> parse_log_level(std::string_view text);
// Lines above `most` are left out. Before other threads log.
void set_log_level(log_level most) noexcept;
[[nodiscard]] log_level current_log_level() noexcept;

// Any thread but workers. Control characters in `text` are shown as '?'.
void log(log_level level, std::string_view subsystem, std::string_view text);

} // namespace strait::control
