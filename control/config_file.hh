// SPDX-License-Identifier: BSD-3-Clause
// The file that a program's --config names.
#pragma once

#include "ports/error.hh"

#include <cstddef>
#include <string>

namespace strait::control {

// A switch's with static addresses for all of its tables is smaller.
inline constexpr std::size_t longest_config = std::size_t{16} << 20U; // bytes

// All of it. A regular file or, as /dev/stdin may be, a pipe: what else there is may have no end,
// or nobody who writes.
[[nodiscard]] ports::result<std::string> read_config_file(const std::string& path);

} // namespace strait::control
