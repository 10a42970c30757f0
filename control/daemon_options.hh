// SPDX-License-Identifier: BSD-3-Clause
// The options of straitd.
#pragma once

#include "control/eal.hh"
#include "control/log.hh"
#include "control/metrics_server.hh"

#include <optional>
#include <span>
#include <string>

namespace strait::control {

struct daemon_options {
    eal_settings eal; // run_dir in it is as given, not yet opened
    std::optional<std::string> config;
    std::optional<std::string> state_dir;
    bool no_persist{false};
    std::string xen{"auto"}; // where Xen guests are: auto, off, libxen, simulated:SOCKET
    bool busy_poll{false};   // workers never sleep
    bool no_balance{false};  // queues change their workers only when they are told to
    std::optional<metrics_address> metrics; // nothing: they are not given
    log_level log{log_level::info};
    bool help{false};
    bool version{false};
};

// One sentence on error, with what would be right.
[[nodiscard]] ports::result<daemon_options>
parse_daemon_options(std::span<const std::string> words);
[[nodiscard]] std::string daemon_help();
// Where the configuration is kept; nothing: nowhere, as a file of commands says it or nobody wants
// it kept. `run_dir` as opened.
[[nodiscard]] std::optional<std::string> state_dir_of(const daemon_options& options,
                                                      const std::string& run_dir);

} // namespace strait::control
