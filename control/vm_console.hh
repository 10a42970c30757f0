// SPDX-License-Identifier: BSD-3-Clause
// A virtual machine's console, relayed to the terminal.
#pragma once

#include "ports/error.hh"

#include <string>

namespace strait::control {

// Standard input goes to the socket, what comes from there to standard output, until either ends or
// Ctrl-] is typed. A terminal is raw meanwhile.
[[nodiscard]] ports::result<void> relay_console(const std::string& socket);

} // namespace strait::control
