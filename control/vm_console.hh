// SPDX-License-Identifier: BSD-3-Clause
// A virtual machine's console, relayed to the terminal.
#pragma once

#include "ports/error.hh"

#include <string>

namespace strait::control {

// Why it ended: Ctrl-] was typed, standard input ended, or the console did.
enum class console_end { left, no_input, gone };

// Standard input goes to the socket, what comes from there to standard output. A terminal is raw
// meanwhile. An error: it could not be reached or written, or a signal ended it.
[[nodiscard]] ports::result<console_end> relay_console(const std::string& socket);

} // namespace strait::control
