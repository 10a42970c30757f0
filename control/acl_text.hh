// SPDX-License-Identifier: BSD-3-Clause
// Rule sets as text: a rule a line, "from allow tcp,tp_dst=80". What becomes of them is
// acl_stages.hh's business.
#pragma once

#include "control/flow_text.hh"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// Rules of a set, and matches that they consist of (a range of ports is several).
inline constexpr std::size_t most_acl_rules = 8192;
inline constexpr std::size_t most_acl_matches = 16'384;

struct acl_rule {
    bool sends{false}; // of what a port sends; else of what it is sent
    bool allows{false};
    std::vector<flow::match> matches; // one of them
    std::string text;                 // as it was said, with one blank between words
    bool operator==(const acl_rule&) const = default;
};

// Errors begin with "file:line:column: ".
[[nodiscard]] ports::result<std::vector<acl_rule>> read_acl(const flow_lines& lines);

} // namespace strait::control
