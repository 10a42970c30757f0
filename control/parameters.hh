// SPDX-License-Identifier: BSD-3-Clause
// Fetching parameters that were checked against a method table. Any thread.
#pragma once

#include "control/failure.hh"

#include <boost/json/object.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace strait::control {

// Whether a flag was given, and as true.
[[nodiscard]] inline bool is_set(const boost::json::object& p, std::string_view name)
{
    const auto* value = p.if_contains(name);
    return value != nullptr && value->as_bool();
}

// A flag, if it was given.
[[nodiscard]] inline std::optional<bool> truth(const boost::json::object& p, std::string_view name)
{
    return p.contains(name) ? std::optional{is_set(p, name)} : std::nullopt;
}

[[nodiscard]] inline std::optional<std::string> text_of(const boost::json::object& p,
                                                        std::string_view name)
{
    const auto* value = p.if_contains(name);
    return value != nullptr ? std::optional{std::string{std::string_view{value->as_string()}}}
                            : std::nullopt;
}

[[nodiscard]] inline std::optional<std::int64_t> number_of(const boost::json::object& p,
                                                           std::string_view name)
{
    const auto* value = p.if_contains(name);
    return value != nullptr ? std::optional{value->as_int64()} : std::nullopt;
}

template <typename Integer>
[[nodiscard]] std::optional<Integer> number_as(const boost::json::object& p, std::string_view name)
{
    const auto n = number_of(p, name);
    return n ? std::optional{static_cast<Integer>(*n)} : std::nullopt;
}

// What stands between the commas: at least one word, of which any may be empty.
[[nodiscard]] inline std::vector<std::string> split_list(std::string_view text)
{
    std::vector<std::string> out;
    for (;;) {
        const auto comma = text.find(',');
        out.emplace_back(text.substr(0, comma));
        if (comma == std::string_view::npos) {
            return out;
        }
        text.remove_prefix(comma + 1);
    }
}

// a,b,c; each once. Errors call the parameter `label`, and what the names are of `what`.
[[nodiscard]] inline outcome<std::vector<std::string>> listed_names(const boost::json::object& p,
                                                                    std::string_view name,
                                                                    std::string_view label,
                                                                    std::string_view what)
{
    std::vector<std::string> out;
    const auto text = text_of(p, name);
    if (!text) {
        return out;
    }
    for (std::string& one : split_list(*text)) {
        if (one.empty() || std::find(out.begin(), out.end(), one) != out.end()) {
            return failure{
                failure_kind::invalid,
                std::string{label} + " has " +
                    (one.empty() ? "a " + std::string{what} + " without a name" : one + " twice") +
                    "; it must be " + std::string{what} + "s with commas between them"};
        }
        out.push_back(std::move(one));
    }
    return out;
}

// A path as it is from anywhere, without dots and a slash at its end.
[[nodiscard]] inline std::string absolute_path(std::string_view path)
{
    std::error_code ignored;
    const auto whole = std::filesystem::absolute(path, ignored).lexically_normal();
    return (whole.has_filename() ? whole : whole.parent_path()).string();
}

} // namespace strait::control
