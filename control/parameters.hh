// SPDX-License-Identifier: BSD-3-Clause
// Fetching parameters that were checked against the method table.
#pragma once

#include <boost/json/object.hpp>

#include <string_view>

namespace strait::control {

// Whether a flag was given, and as true. Any thread.
[[nodiscard]] inline bool is_set(const boost::json::object& p, std::string_view name)
{
    const auto* value = p.if_contains(name);
    return value != nullptr && value->as_bool();
}

} // namespace strait::control
