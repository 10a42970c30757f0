// SPDX-License-Identifier: BSD-3-Clause
// Files that command lines name: the one of --config, and others.
#pragma once

#include "ports/error.hh"

#include <cstddef>
#include <string>
#include <string_view>

namespace strait::control {

// A switch's with static addresses for all of its tables is smaller.
inline constexpr std::size_t longest_config = std::size_t{16} << 20U; // bytes

// All of it. A regular file or, as /dev/stdin may be, a pipe: what else there is may have no end,
// or nobody who writes.
struct named_file {
    std::string_view what{"the configuration"};
    std::string_view taker{"--config"};
    std::size_t longest{longest_config};
};
[[nodiscard]] ports::result<std::string> read_config_file(const std::string& path,
                                                          const named_file& named = {});

} // namespace strait::control
