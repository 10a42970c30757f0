// SPDX-License-Identifier: BSD-3-Clause
// Words for what spanning tree is about.
#pragma once

#include "control/stp/bridge.hh"

#include <string>
#include <string_view>

namespace strait::stp {

// "32768.52:54:00:00:00:01"
[[nodiscard]] std::string to_text(bridge_id id);
// "designated"
[[nodiscard]] std::string_view to_text(role r) noexcept;
// "discarding"
[[nodiscard]] std::string_view to_text(state s) noexcept;
// auto, on or off
[[nodiscard]] std::string_view to_text(point_to_point p) noexcept;

} // namespace strait::stp
