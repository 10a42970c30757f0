// SPDX-License-Identifier: BSD-3-Clause
// Files that a command line may name in place of what they have: a JSON file of a method's
// parameters, or the text of one.
#pragma once

#include "control/method_table.hh"
#include "ports/error.hh"

#include <boost/json/object.hpp>

#include <optional>
#include <string>

namespace strait::control {

// If `given` names a file by the parameter of that kind: takes it out and adds what the file says.
// What was given on the command line goes before what the file says, but for what may be repeated:
// of that, only one of the two may speak. The file is an object with the parameters' names, and is
// checked, but for what is missing.
[[nodiscard]] ports::result<void> add_from_file(const method& m, boost::json::object& given);

// What a word stands for where there may be text or a file: "-", a path that begins with '/' or
// '.', and the name of a file that there is and has no '=' are read; anything else is the text.
struct text_of_word {
    std::string text;
    std::optional<std::string> file; // that it was read from, for messages
};
[[nodiscard]] ports::result<text_of_word> text_or_file(const std::string& word);

} // namespace strait::control
