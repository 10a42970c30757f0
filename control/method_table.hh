// SPDX-License-Identifier: BSD-3-Clause
// The methods of the control service, said once: dispatch, the checking of parameters, the schema
// that the daemon serves and the command line of straitctl are all made from this table. What a
// method does is in service.cc; the table itself is in methods.cc.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

enum class value_kind : std::uint8_t {
    text,      // 1 to `maximum` bytes, no control characters
    name,      // of a port or bridge: 1 to 63 letters, digits, '.', '_', '-'
    mac,       // 52:54:00:12:34:56, or with '-'
    integer,   // `minimum` to `maximum`
    truth,     // true or false; on the command line an option alone, or with on or off
    choice,    // one of `choices`
    vlan_list, // integers and ranges "20-29"; on the command line 10,20-29
};

struct parameter {
    std::string_view name; // as in JSON; on the command line '_' becomes '-'
    value_kind kind{value_kind::text};
    std::string_view help; // completes "NAME: …", no full stop
    std::string_view placeholder{};
    bool required{false};
    bool positional{false}; // on the command line a word without an option
    std::int64_t minimum{0};
    std::int64_t maximum{0};
    std::vector<std::string_view> choices{};
    // Of port.add: the types that have it, empty for all; `required` then means: for these types.
    std::vector<std::string_view> port_types{};
};

// One member of a method's result, or of each element of it when the result is a list.
struct result_member {
    std::string_view name;
    std::string_view type; // JSON Schema's: "string", "integer", "number", "boolean", "object", …
    std::string_view help;
    bool nullable{false};
};

struct method {
    std::string_view name; // "port.add", on the command line "port add"
    std::string_view summary;
    bool changes; // changes the configuration; these may stand in a configuration file
    std::vector<parameter> parameters{};
    bool result_is_list{false};
    std::vector<result_member> result{};
};

[[nodiscard]] const std::vector<method>& methods();
[[nodiscard]] const method* find_method(std::string_view name);

// How an error names a parameter: "vlan" to programs, --vlan to people.
enum class wording : std::uint8_t { program, command_line };

// Nothing when `value` is right for `p`; otherwise one sentence.
[[nodiscard]] std::optional<std::string> check_value(const method& m, const parameter& p,
                                                     const boost::json::value& value, wording w);
// The same for all parameters: unknown ones, missing ones, wrong ones, ones that a port's type does
// not have.
[[nodiscard]] std::optional<std::string>
check_parameters(const method& m, const boost::json::object& parameters, wording w);

// What a right value would be: "an integer from 1 to 4094".
[[nodiscard]] std::string describe_kind(const parameter& p);
// "--socket-mode" or "NAME" or "\"socket_mode\"".
[[nodiscard]] std::string label(const parameter& p, wording w);
[[nodiscard]] std::string command_words(const method& m); // "port add"

// The VLANs of a checked vlan_list, ascending, each once.
[[nodiscard]] std::vector<std::uint16_t> expand_vlans(const boost::json::value& list);

// An OpenRPC document of the table.
[[nodiscard]] boost::json::object schema();

// The candidate that `word` is most likely a misspelling of; nothing when none is near.
[[nodiscard]] std::optional<std::string> nearest(std::string_view word,
                                                 const std::vector<std::string>& candidates);

} // namespace strait::control
