// SPDX-License-Identifier: BSD-3-Clause
// The command language of all of Strait's programs, and of the daemon's configuration file: words
// to a method and its parameters, made from a method table. Doing it and showing its result are not
// here.
#pragma once

#include "control/method_table.hh"
#include "ports/error.hh"

#include <boost/json/object.hpp>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control::cli {

// Whose command line it is.
struct program {
    std::string_view name;
    const method_table* commands; // one method without a name: the program takes its options alone
    bool asks_daemon{false};      // there are --run-dir and --json
    std::string_view purpose{};   // for the help text, as is
    std::string_view ending{};    // its last paragraph
};

// The options that belong to the program and not to a command; they may stand anywhere.
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
[[nodiscard]] ports::result<command> parse(const program& p, std::span<const std::string> words);

// Whether it has --rates and --watch.
[[nodiscard]] bool has_rates(const method& m);

// A line into words: blanks separate, '…' and "…" keep them, \ takes the next character as it is
// (within "…" only before " and \), # at a word's start begins a comment.
[[nodiscard]] ports::result<std::vector<std::string>> split_words(std::string_view line);

struct config_command {
    std::size_t line; // 1 is the first
    command what;
};
// The commands of a configuration text. `file` is for messages, which begin "file:line: ".
[[nodiscard]] ports::result<std::vector<config_command>>
parse_config(const program& p, std::string_view text, const std::string& file);

} // namespace strait::control::cli
