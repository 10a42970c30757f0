// SPDX-License-Identifier: BSD-3-Clause
// What may stand next on a command line, made from the table that reads it. The shell's part is one
// short function: it asks `straitctl completion words WORD...`, whose last word is the one that is
// being typed.
#pragma once

#include "control/cli.hh"

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

struct completion {
    std::vector<std::string> words; // that begin with what was typed; by name
    bool files{false};              // those that do as well
};

// Names of what a running switch has, by the placeholder of the parameter: "PORT", "BRIDGE".
// `run_dir` as in the words so far.
using known_names = std::function<std::vector<std::string>(const std::string& run_dir,
                                                           const method& m, const parameter& p)>;

[[nodiscard]] completion complete(const cli::program& p, std::span<const std::string> words,
                                  const known_names& names);

// The method `completion`, which straitctl does itself.
[[nodiscard]] bool is_completion(const method& m);
[[nodiscard]] method completion_method();
[[nodiscard]] std::string bash_completion();
// Whether these are the words of the function's question, and its answer then: a word a line, and
// a line ":files". Nobody answers within two seconds: there are no names.
[[nodiscard]] bool asks_for_words(std::span<const std::string> words);
[[nodiscard]] std::string completed_words(std::span<const std::string> words);

} // namespace strait::control
