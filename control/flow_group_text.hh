// SPDX-License-Identifier: BSD-3-Clause
// Groups as text, in ovs-ofctl's syntax: one, or a file of them. What their buckets do is
// flow_action_text.hh's business.
#pragma once

#include "control/flow_ports.hh"
#include "control/flow_text.hh"
#include "dataplane/flow/group.hh"
#include "ports/error.hh"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace strait::control {

enum class group_command : std::uint8_t {
    add,
    modify,
    add_or_modify,
    remove,
    insert_buckets,
    remove_buckets,
};

// A bucket's id that was not said: a new one is chosen when the group is made.
inline constexpr std::uint32_t any_bucket = 0xffff'ffff;

struct group_change {
    // Of commands about buckets: the one before which, behind which, or which.
    enum class place : std::uint8_t { first, last, all };

    group_command command{group_command::add};
    bool every{false};          // of `remove`: all groups
    flow::group_settings group; // of those that do not say a type, the id and buckets alone
    std::variant<place, std::uint32_t> where{place::last};
};

// An error begins with the word's place, "column 5: ".
[[nodiscard]] ports::result<group_change> parse_group(std::string_view text, group_command command,
                                                      const port_names& names = {});
// As read_flows(): a group a line. A line may begin with add, modify, add_or_mod, delete,
// insert_bucket or remove_bucket.
[[nodiscard]] ports::result<void>
read_groups(const flow_lines& lines, group_command command, const port_names& names,
            const std::function<ports::result<void>(group_change&&)>& take);

// What does not go together in a group; empty: nothing.
[[nodiscard]] std::string group_fault(const flow::group_settings& g);
// Gives those an id that have none.
void number_buckets(flow::group_settings& g);

// What parse_group(..., add) reads as the same group.
[[nodiscard]] std::string format_group(const flow::group_settings& g,
                                       const port_names* names = nullptr);
// Its fields, as in text: "ip_src,tcp_src=0xff".
[[nodiscard]] std::string format_selection_fields(const flow::selection& s);
[[nodiscard]] std::string_view type_word(flow::group_type type);
[[nodiscard]] std::string_view method_word(flow::selection::method by);

} // namespace strait::control
