// SPDX-License-Identifier: BSD-3-Clause
// Fetching parameters that were checked against a method table. Any thread.
#pragma once

#include <boost/json/object.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace strait::control {

// Whether a flag was given, and as true.
[[nodiscard]] inline bool is_set(const boost::json::object& p, std::string_view name)
{
    const auto* value = p.if_contains(name);
    return value != nullptr && value->as_bool();
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

// A path as it is from anywhere, without dots and a slash at its end.
[[nodiscard]] inline std::string absolute_path(std::string_view path)
{
    std::error_code ignored;
    const auto whole = std::filesystem::absolute(path, ignored).lexically_normal();
    return (whole.has_filename() ? whole : whole.parent_path()).string();
}

} // namespace strait::control
