// SPDX-License-Identifier: BSD-3-Clause
// JSON that somebody else wrote.
#pragma once

#include <boost/json/value.hpp>
#include <boost/system/result.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace strait::control {

struct json_fault {
    std::string message;             // a sentence
    std::optional<std::size_t> at{}; // where in the text, if it is one place
};

// The value that is all of `text`, of at most `levels` levels of arrays and objects. An object that
// has a name twice is refused: which of the two counts is nothing that its writer could know.
[[nodiscard]] boost::system::result<boost::json::value, json_fault>
parse_json(std::string_view text, std::size_t levels);

} // namespace strait::control
