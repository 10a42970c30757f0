// SPDX-License-Identifier: BSD-3-Clause
// What whoever started this process wants it not to hear: nohup has it ignore SIGHUP, and a shell
// SIGINT where it runs something in the background.
#pragma once

#include <csignal>

namespace strait::control {

[[nodiscard]] inline bool is_ignored(int signal) noexcept
{
    struct sigaction now {};
    return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

} // namespace strait::control
