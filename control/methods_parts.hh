// SPDX-License-Identifier: BSD-3-Clause
// Parameters that methods of several kinds have. For the files with tables of methods alone.
#pragma once

#include "control/method_table.hh"

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace strait::control {

using kind = value_kind;

inline constexpr std::int64_t longest_text = 4095;

[[nodiscard]] inline parameter flag(std::string_view name, std::string_view help,
                                    std::vector<std::string_view> types = {})
{
    return {.name = name, .kind = kind::truth, .help = help, .port_types = std::move(types)};
}

[[nodiscard]] inline parameter vlan(std::string_view help)
{
    return {.name = "vlan",
            .kind = kind::integer,
            .help = help,
            .placeholder = "VLAN",
            .minimum = 1,
            .maximum = 4094};
}

// Of a table of what a bridge has learned.
[[nodiscard]] inline parameter entry_limit()
{
    return {.name = "limit",
            .kind = kind::integer,
            .help = "entries to answer with at most; 65536 unless given",
            .placeholder = "N",
            .minimum = 0,
            .maximum = 262'144};
}

// Positional; its name is "port", or as what it is a part of calls it.
[[nodiscard]] inline parameter port(bool required, std::string_view help,
                                    std::string_view name = "port")
{
    return {.name = name,
            .kind = kind::name,
            .help = help,
            .placeholder = "PORT",
            .required = required,
            .positional = true};
}

[[nodiscard]] inline parameter flow_bridge()
{
    return {.name = "bridge",
            .kind = kind::name,
            .help = "the bridge; may be left out where there is one",
            .placeholder = "BRIDGE"};
}

// `help`: what messages call the text of what.
[[nodiscard]] inline parameter file_name(std::string_view help)
{
    return {.name = "file", .help = help, .placeholder = "NAME", .maximum = longest_text};
}

} // namespace strait::control
