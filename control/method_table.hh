// SPDX-License-Identifier: BSD-3-Clause
// Tables of methods, each said once: dispatch, the checking of parameters, the schema that a
// service serves and the command line of a program are all made from one. straitd's is in
// methods.cc.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

enum class value_kind : std::uint8_t {
    text,    // 1 to `maximum` bytes, no control characters
    lines,   // the same with ends of lines and tabs; on the command line it, or the path of a file
    name,    // of a port or bridge: 1 to 63 letters, digits, '.', '_', '-'
    mac,     // 52:54:00:12:34:56, or with '-'
    integer, // `minimum` to `maximum`
    truth,   // true or false; on the command line an option alone, or with on or off
    choice,  // one of `choices`
    vlan_list, // integers and ranges "20-29"; on the command line 10,20-29
    options,   // an object of `members`; on the command line KEY=VALUE,KEY=VALUE
    file,      // of command lines only: a JSON file with more of the method's parameters
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
    // Of options: how many there may be, in JSON an array, on the command line an option each (0:
    // it may be given once, and is no array); and what they have. A positional member may stand
    // without its key. Those without help are not listed.
    std::size_t repeats{0};
    std::vector<parameter> members{};
    std::string_view members_form{}; // which there are, where no list of them would be read
    // Of text that is not right in any form: whether this one is.
    bool (*fits)(std::string_view text){nullptr};
    std::string_view form{};   // what is right, where the kind alone does not say it well
    std::string_view option{}; // on the command line, in place of its name
    char letter{0};            // on the command line -w is the same as --write
};

// One member of a method's result, or of each element of it when the result is a list.
struct result_member {
    std::string_view name;
    std::string_view type; // JSON Schema's: "string", "integer", "number", "boolean", "object", …
    std::string_view help;
    bool nullable{false};
};

// Whether what a method changes is there again after a restart.
enum class kept : std::uint8_t {
    undecided,     // nobody has said so: no such method may be served
    nothing,       // it is of the moment, like what was learned
    configuration, // it is kept, and part of what config show shows
};

struct method {
    std::string_view name; // "port.add", on the command line "port add"
    std::string_view summary;
    bool changes;                // changes something; these may stand in a file of commands
    kept keeps{kept::undecided}; // of one that changes something
    std::vector<parameter> parameters{};
    bool result_is_list{false};
    std::vector<result_member> result{};
    bool for_programs{false}; // and no command
};

using method_table = std::vector<method>;

[[nodiscard]] const method* find_method(const method_table& table, std::string_view name);

// How an error names a parameter: "vlan" to programs, --vlan to people.
enum class wording : std::uint8_t { program, command_line };

// Nothing when `value` is right for `p`; otherwise one sentence.
[[nodiscard]] std::optional<std::string> check_value(const method& m, const parameter& p,
                                                     const boost::json::value& value, wording w);
// The same for parameters that are given: unknown ones, wrong ones.
[[nodiscard]] std::optional<std::string>
check_given(const method& m, const boost::json::object& parameters, wording w);
// And for all: missing ones, too, and ones that a port's type does not have.
[[nodiscard]] std::optional<std::string>
check_parameters(const method& m, const boost::json::object& parameters, wording w);

// What a right value would be: "an integer from 1 to 4094".
[[nodiscard]] std::string describe_kind(const parameter& p);
// "--socket-mode" or "NAME" or "\"socket_mode\"".
[[nodiscard]] std::string label(const parameter& p, wording w);
[[nodiscard]] std::string command_words(const method& m); // "port add"
// What sentences about a method begin with: "port add: "; nothing for one without a name.
[[nodiscard]] std::string prefix(const method& m, wording w);

// The VLANs of a checked vlan_list, ascending, each once.
[[nodiscard]] std::vector<std::uint16_t> expand_vlans(const boost::json::value& list);

// An OpenRPC document of a service with this table.
[[nodiscard]] boost::json::object schema(const method_table& table, std::string_view title);

// The candidate that `word` is most likely a misspelling of; nothing when none is near.
[[nodiscard]] std::optional<std::string> nearest(std::string_view word,
                                                 const std::vector<std::string>& candidates);

} // namespace strait::control
