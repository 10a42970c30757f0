// SPDX-License-Identifier: BSD-3-Clause
// The command language: words to a request of the control service. straitctl and the daemon's
// configuration file both speak it. It is made from the method table; sending a request and showing
// its result are not here.
#pragma once

#include "control/method_table.hh"
#include "ports/port.hh"

#include <boost/json/object.hpp>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control::cli {

// The options that belong to straitctl and not to a command; they may stand anywhere.
struct global_options {
    std::string run_dir{"/run/strait"};
    bool run_dir_given{false};
    bool json{false};
    bool version{false};
};

struct command {
    global_options global;
    const control::method* method{nullptr}; // null: show `help` and be done
    boost::json::object parameters;
    // stats and worker list
    bool rates{false};
    std::optional<std::chrono::milliseconds> watch;
    std::optional<std::string> after_watch; // the word behind --watch, taken for the port
    std::string help;
};

// One sentence on error, with what would be right.
[[nodiscard]] ports::result<command> parse(std::span<const std::string> words);

[[nodiscard]] std::string general_help();
[[nodiscard]] std::string command_help(const control::method& m);

// A line into words: blanks separate, '…' and "…" keep them, \ takes the next character as it is
// (within "…" only before " and \), # at a word's start begins a comment.
[[nodiscard]] ports::result<std::vector<std::string>> split_words(std::string_view line);

struct config_command {
    std::size_t line; // 1 is the first
    command what;
};
// The commands of a configuration text. `file` is for messages, which begin "file:line: ".
[[nodiscard]] ports::result<std::vector<config_command>> parse_config(std::string_view text,
                                                                      const std::string& file);

} // namespace strait::control::cli
