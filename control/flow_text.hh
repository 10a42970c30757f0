// SPDX-License-Identifier: BSD-3-Clause
// Flows as text, in ovs-ofctl's syntax: one flow, a file of them, matches and actions alone. What
// each word is, docs/flows.md says. Both straitd and straitctl read and write flows by this; it
// knows no switch, only what dataplane/flow has of words.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/key.hh"
#include "ports/error.hh"

#include "control/flow_ports.hh"
#include "control/flow_words.hh"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// What is to be done with a flow. Not all words are for all of these.
enum class flow_command : std::uint8_t {
    add,
    modify,        // the actions of flows that are within the match; adds one if there is none
    modify_strict, // of the flow with just this match and priority
    remove,        // flows within the match
    remove_strict,
    list, // flows within the match
};

struct flow_flags {
    bool send_flow_rem{false};
    bool check_overlap{false};
    bool reset_counts{false};
    bool no_packet_counts{false};
    bool no_byte_counts{false};
    bool operator==(const flow_flags&) const = default;
};

inline constexpr std::uint16_t default_priority = 0x8000;

struct flow_spec {
    flow::table_id table{0}; // flow::all_tables: in all of them, but for `add`
    std::uint16_t priority{default_priority};
    std::optional<std::uint64_t> cookie; // to have; `add`: 0 if none is given
    // Of modify, remove and list: flows whose cookie is this under the mask.
    std::uint64_t cookie_wanted{0};
    std::uint64_t cookie_mask{0};
    std::uint16_t idle_timeout{0}; // seconds; 0: none
    std::uint16_t hard_timeout{0};
    std::uint16_t importance{0};
    flow_flags flags;
    flow::match match;
    flow::action_list actions;
    // Of remove and list: flows with an output to it.
    std::optional<flow::port_number> out_port;
    std::optional<std::uint32_t> out_group;
    bool operator==(const flow_spec&) const = default;
};

// One flow, or several with the same actions: a range of ports (tp_dst=1000-1999) becomes as many
// as it has masks, most_matches at most. An error begins with the word's place, "column 5: ".
[[nodiscard]] ports::result<std::vector<flow_spec>>
parse_flow(std::string_view text, flow_command command, const port_names& names = {});

struct flow_change {
    flow_command command{flow_command::add};
    flow_spec flow;
    std::size_t line{0}; // 1 is the first
};
// A text with a flow a line, and where it is from.
struct flow_lines {
    std::string_view text;
    std::string file;
    std::size_t first_line{1};
    flow_command command{flow_command::add}; // of lines that say none
};
// Calls `read` for each line that says something, without its comment, and ends with the first
// fault, or the first error that `read` got elsewhere: "file:line:column: ", "file:line: ".
[[nodiscard]] ports::result<void>
read_lines(const flow_lines& lines,
           const std::function<flow_result<ports::result<void>>(std::string_view line,
                                                                std::size_t number)>& read);
// Calls `take` for each flow of a text, in their order, and ends with the first error, its own or
// take's. # begins a comment. A line may begin with add, modify, modify_strict, delete or
// delete_strict. Errors begin with "file:line:column: ", take's with "file:line: ".
[[nodiscard]] ports::result<void>
read_flows(const flow_lines& lines, const port_names& names,
           const std::function<ports::result<void>(flow_change&&)>& take);
// All of them.
[[nodiscard]] ports::result<std::vector<flow_change>>
parse_flow_file(std::string_view text, const std::string& file, const port_names& names = {});

// A match alone, and actions on packets that `m` matches. Errors as parse_flow()'s.
[[nodiscard]] ports::result<std::vector<flow::match>> parse_match(std::string_view text,
                                                                  const port_names& names = {});
[[nodiscard]] ports::result<flow::action_list>
parse_action_list(std::string_view text, const flow::match& m, const port_names& names = {});
// Those of a group's bucket, which has no match.
[[nodiscard]] ports::result<flow::action_list> parse_bucket_list(std::string_view text,
                                                                 const port_names& names = {});

// What `parse_flow(..., add)` reads as the same flow, as ovs-ofctl --no-stats dump-flows prints
// flows. Ports are named if there are names.
[[nodiscard]] std::string format_flow(const flow_spec& f, const port_names* names = nullptr);
[[nodiscard]] std::string format_match(const flow::match& m, const port_names* names = nullptr);
// `m` says what the packets are, so that fields have their names.
[[nodiscard]] std::string format_actions(const flow::action_list& actions, const flow::match& m,
                                         const port_names* names = nullptr);

} // namespace strait::control
