// SPDX-License-Identifier: BSD-3-Clause
// Where in a text a part of its JSON stands, for messages about what is JSON and wrong all the
// same.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace strait::control {

// From the outermost value inwards: members by name, elements by number.
using json_path = std::vector<std::variant<std::string, std::size_t>>;

// "ports[2].vlan"
[[nodiscard]] std::string to_text(const json_path& path);
// Of what the path leads to in `text`, which is JSON; where it leads nowhere, of the last part that
// is there.
[[nodiscard]] std::size_t find_place(std::string_view text, const json_path& path);
// "line:column" of a place in a text, both from 1.
[[nodiscard]] std::string line_and_column(std::string_view text, std::size_t at);

} // namespace strait::control
