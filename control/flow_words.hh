// SPDX-License-Identifier: BSD-3-Clause
// The words that a flow's text consists of: keys, and their values, separated by commas and blanks.
// And how errors point at one. What the words mean is not known here.
#pragma once

#include <boost/system/result.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// What is wrong with a part of a text, which `at` points into: the end of a sentence that begins
// with the place.
struct flow_fault {
    std::string_view at;
    std::string message;
};
template <typename T>
using flow_result = boost::system::result<T, flow_fault>;

[[noreturn]] void throw_exception_from_error(const flow_fault& f,
                                             const boost::source_location& where);

// key, key=value, key:value or key(value). Behind the parenthesis there may be an arrow:
// key(value)->target.
struct flow_word {
    std::string_view all;
    std::string_view key;
    std::string_view value;
    std::string_view target;
    char mark{0}; // '=', ':', '(', or 0: the key alone
};

class flow_words {
public:
    explicit flow_words(std::string_view text) noexcept : rest_{text} {}

    // Nothing at the end. Faults: a parenthesis or a quotation that is not closed, something
    // directly behind a closing parenthesis.
    [[nodiscard]] flow_result<std::optional<flow_word>> next();
    // What has not been read.
    [[nodiscard]] std::string_view rest() const noexcept { return rest_; }

private:
    std::string_view rest_;
};

// Where in `text` a fault is: "column 5: ", and what it is. Columns are counted from 1.
[[nodiscard]] std::size_t column_of(std::string_view text, const flow_fault& f);
[[nodiscard]] std::string at_column(std::string_view text, const flow_fault& f);

// A word as a message has it: in quotes, short, on one line.
[[nodiscard]] std::string shown(std::string_view word);
// "; did you mean X?" if one of `names` is near, otherwise `otherwise`.
[[nodiscard]] std::string suggestion(std::string_view word, const std::vector<std::string>& names,
                                     std::string_view otherwise = {});
// Without blanks around it.
[[nodiscard]] std::string_view trimmed(std::string_view text) noexcept;

} // namespace strait::control
