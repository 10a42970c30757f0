// SPDX-License-Identifier: BSD-3-Clause
// The file that a program's --config names.
#pragma once

#include "ports/error.hh"

#include <string>

namespace strait::control {

// All of it.
[[nodiscard]] ports::result<std::string> read_config_file(const std::string& path);

} // namespace strait::control
