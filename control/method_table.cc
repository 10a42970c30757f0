// SPDX-License-Identifier: BSD-3-Clause
// Checking parameters against a table, and the schema made from it.
#include "control/method_table.hh"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <bitset>
#include <charconv>
#include <numeric>

#include "control/utf8.hh"
#include "control/version.hh"
#include "dataplane/types.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

constexpr std::size_t longest_name = 63;
constexpr int max_vlan_number = 4094;

std::string with_dashes(std::string_view name)
{
    std::string out{name};
    std::replace(out.begin(), out.end(), '_', '-');
    return out;
}

std::string shortened(std::string text)
{
    constexpr std::size_t longest = 80;
    if (text.size() > longest) {
        text.resize(longest);
        // Not in the middle of a UTF-8 sequence.
        while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0U) == 0x80U) {
            text.pop_back();
        }
        if (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80U) != 0) {
            text.pop_back();
        }
        text += "…";
    }
    return text;
}

bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_name(std::string_view text)
{
    return !text.empty() && text.size() <= longest_name && is_letter_or_digit(text.front()) &&
           std::all_of(text.begin(), text.end(), [](char c) {
               return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-';
           });
}

bool has_control_character(std::string_view text)
{
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::optional<std::int64_t> to_integer(const json::value& value)
{
    if (value.is_int64()) {
        return value.get_int64();
    }
    return std::nullopt; // uint64 only beyond int64's range
}

std::optional<std::pair<int, int>> parse_vlan_range(std::string_view text)
{
    int first = 0;
    int last = 0;
    const char* const end = text.data() + text.size();
    auto [at, error] = std::from_chars(text.data(), end, first);
    if (error != std::errc{}) {
        return std::nullopt;
    }
    last = first;
    if (at != end) {
        if (*at != '-') {
            return std::nullopt;
        }
        const auto tail = std::from_chars(at + 1, end, last);
        if (tail.ec != std::errc{} || tail.ptr != end) {
            return std::nullopt;
        }
    }
    if (first < 1 || last > max_vlan_number || first > last) {
        return std::nullopt;
    }
    return std::pair{first, last};
}

std::optional<std::pair<int, int>> vlan_range(const json::value& element)
{
    if (element.is_string()) {
        return parse_vlan_range(std::string_view{element.get_string()});
    }
    const auto n = to_integer(element);
    if (!n || *n < 1 || *n > max_vlan_number) {
        return std::nullopt;
    }
    return std::pair{static_cast<int>(*n), static_cast<int>(*n)};
}

bool is_right(const parameter& p, const json::value& value)
{
    switch (p.kind) {
    case value_kind::text:
    case value_kind::file: {
        if (!value.is_string()) {
            return false;
        }
        const std::string_view text{value.get_string()};
        return !text.empty() && text.size() <= static_cast<std::size_t>(p.maximum) &&
               !has_control_character(text) && is_utf8(text) && (p.fits == nullptr || p.fits(text));
    }
    case value_kind::lines: {
        if (!value.is_string()) {
            return false;
        }
        const std::string_view text{value.get_string()};
        return text.size() <= static_cast<std::size_t>(p.maximum) && is_utf8(text) &&
               std::ranges::none_of(text, [](char c) {
                   return has_control_character({&c, 1}) && c != '\n' && c != '\r' && c != '\t';
               });
    }
    case value_kind::name:
        return value.is_string() && is_name(std::string_view{value.get_string()});
    case value_kind::mac:
        return value.is_string() &&
               dataplane::mac_address::parse(std::string_view{value.get_string()});
    case value_kind::integer: {
        const auto n = to_integer(value);
        return n && *n >= p.minimum && *n <= p.maximum;
    }
    case value_kind::truth:
        return value.is_bool();
    case value_kind::choice:
        return value.is_string() &&
               std::find(p.choices.begin(), p.choices.end(),
                         std::string_view{value.get_string()}) != p.choices.end();
    case value_kind::vlan_list: {
        constexpr std::size_t longest_list = 4094;
        if (!value.is_array()) {
            return false;
        }
        const auto& list = value.get_array();
        return !list.empty() && list.size() <= longest_list &&
               std::all_of(list.begin(), list.end(),
                           [](const json::value& v) { return vlan_range(v).has_value(); });
    }
    case value_kind::options:
        return value.is_object(); // the members are looked at one by one
    }
    return false;
}

template <typename Words>
std::string one_of(const Words& words)
{
    std::string out;
    std::size_t i = 0;
    for (const auto& word : words) {
        out += i == 0 ? "" : i + 1 == words.size() ? " or " : ", ";
        out += word;
        ++i;
    }
    return out;
}

bool has_type(const parameter& p, std::string_view type)
{
    return p.port_types.empty() ||
           std::find(p.port_types.begin(), p.port_types.end(), type) != p.port_types.end();
}

std::string member_label(std::string_view name, wording w)
{
    return w == wording::program ? '"' + std::string{name} + '"' : with_dashes(name);
}

// As people read it in a sentence.
std::string shown(const json::value& value, wording w)
{
    // Text that a person typed is shown as typed.
    std::string out = w == wording::command_line && value.is_string()
                          ? std::string{std::string_view{value.get_string()}}
                          : json::serialize(value);
    out = as_utf8(out);
    // In quotes where it could not be told from the sentence without.
    if (has_control_character(out) || out.empty() ||
        (w == wording::command_line && out.find(' ') != std::string::npos)) {
        out = json::serialize(json::value(out));
    }
    return shortened(out);
}

std::string unknown_name(std::string_view name, const std::vector<std::string>& names)
{
    const auto near = nearest(name, names);
    return near            ? "; did you mean " + *near + "?"
           : names.empty() ? "; it takes none"
                           : "; it takes " + one_of(names);
}

std::optional<std::string> check_one(const std::string& where, const parameter& p,
                                     const json::value& value, wording w);

std::optional<std::string> check_members(const std::string& where, const parameter& p,
                                         const json::object& given, wording w)
{
    for (const auto& [key, value] : given) {
        const std::string_view name{key};
        const auto member = std::ranges::find(p.members, name, &parameter::name);
        if (member == p.members.end()) {
            std::vector<std::string> names;
            for (const auto& q : p.members) {
                names.push_back(member_label(q.name, w));
            }
            return where + " has no " +
                   shown(json::value(w == wording::program ? name : with_dashes(name)), w) +
                   (p.members_form.empty() ? unknown_name(member_label(name, w), names)
                                           : "; it takes " + std::string{p.members_form});
        }
        if (auto wrong = check_one(where + ' ' + member_label(name, w), *member, value, w)) {
            return wrong;
        }
    }
    for (const auto& member : p.members) {
        if (member.required && !given.contains(member.name)) {
            return where + " has no " + member_label(member.name, w) + "; it must be " +
                   describe_kind(w == wording::program ? member : p);
        }
    }
    return std::nullopt;
}

// Of what may be given several times: one of them.
std::optional<std::string> check_one(const std::string& where, const parameter& p,
                                     const json::value& value, wording w)
{
    if (!is_right(p, value)) {
        std::string should_be = describe_kind(p);
        if (w == wording::command_line && p.kind == value_kind::truth) {
            should_be = "on or off";
        }
        if (w == wording::program && p.kind == value_kind::options) {
            should_be = "an object";
        }
        return where + " is " + shown(value, w) + "; it must be " + should_be;
    }
    return p.kind == value_kind::options ? check_members(where, p, value.get_object(), w)
                                         : std::nullopt;
}

json::object value_schema(const parameter& p)
{
    json::object s;
    switch (p.kind) {
    case value_kind::text:
        s = {{"type", "string"}, {"minLength", 1}, {"maxLength", p.maximum}};
        break;
    case value_kind::lines:
        s = {{"type", "string"}, {"maxLength", p.maximum}};
        break;
    case value_kind::name:
        s = {{"type", "string"}, {"pattern", "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}};
        break;
    case value_kind::mac:
        s = {{"type", "string"},
             {"pattern", "^[0-9A-Fa-f]{2}((:[0-9A-Fa-f]{2}){5}|(-[0-9A-Fa-f]{2}){5})$"}};
        break;
    case value_kind::integer:
        s = {{"type", "integer"}, {"minimum", p.minimum}, {"maximum", p.maximum}};
        break;
    case value_kind::truth:
        s = {{"type", "boolean"}};
        break;
    case value_kind::choice: {
        json::array choices;
        for (const auto choice : p.choices) {
            choices.emplace_back(choice);
        }
        s = {{"type", "string"}, {"enum", std::move(choices)}};
        break;
    }
    case value_kind::vlan_list:
        s = {{"type", "array"},
             {"minItems", 1},
             {"items",
              {{"oneOf",
                {{{"type", "integer"}, {"minimum", 1}, {"maximum", max_vlan_number}},
                 {{"type", "string"}, {"pattern", "^[0-9]{1,4}(-[0-9]{1,4})?$"}}}}}}};
        break;
    case value_kind::options: {
        json::object members;
        for (const auto& member : p.members) {
            members[member.name] = value_schema(member);
        }
        s = {{"type", "object"}, {"properties", std::move(members)}};
        break;
    }
    case value_kind::file:
        break;
    }
    if (p.repeats != 0) {
        s = {{"type", "array"}, {"maxItems", p.repeats}, {"items", std::move(s)}};
    }
    return s;
}

json::object result_schema(const method& m)
{
    json::object members;
    for (const auto& member : m.result) {
        json::value type{member.type};
        if (member.nullable) {
            type = {member.type, "null"};
        }
        members[member.name] = {{"type", std::move(type)}, {"description", member.help}};
    }
    json::object object{{"type", "object"}, {"properties", std::move(members)}};
    if (!m.result_is_list) {
        return object;
    }
    return {{"type", "array"}, {"items", std::move(object)}};
}

json::object method_schema(const method& m)
{
    json::array parameters;
    for (const auto& p : m.parameters) {
        std::string help{p.help};
        if (!p.port_types.empty()) {
            help += " (type " + one_of(p.port_types) + " only" +
                    (p.required ? ", required there)" : ")");
        }
        parameters.emplace_back(json::object{{"name", p.name},
                                             {"description", help},
                                             {"required", p.required && p.port_types.empty()},
                                             {"schema", value_schema(p)}});
    }
    return {{"name", m.name},
            {"summary", m.summary},
            {"paramStructure", "by-name"},
            {"params", std::move(parameters)},
            {"result", {{"name", "result"}, {"schema", result_schema(m)}}}};
}

} // namespace

const method* find_method(const method_table& table, std::string_view name)
{
    const auto found = std::ranges::find(table, name, &method::name);
    return found == table.end() ? nullptr : &*found;
}

std::string prefix(const method& m, wording w)
{
    return m.name.empty() ? std::string{}
                          : (w == wording::program ? std::string{m.name} : command_words(m)) + ": ";
}

std::string command_words(const method& m)
{
    std::string words{m.name};
    std::replace(words.begin(), words.end(), '.', ' ');
    return words;
}

std::string label(const parameter& p, wording w)
{
    if (w == wording::program) {
        return '"' + std::string{p.name} + '"';
    }
    return p.positional ? std::string{p.placeholder}
                        : "--" + with_dashes(p.option.empty() ? p.name : p.option);
}

std::string describe_kind(const parameter& p)
{
    if (!p.form.empty()) {
        return std::string{p.form};
    }
    switch (p.kind) {
    case value_kind::text:
        return "text of 1 to " + std::to_string(p.maximum) +
               " bytes of UTF-8 without control characters";
    case value_kind::lines:
        return "lines of UTF-8 without control characters, of " + std::to_string(p.maximum) +
               " bytes at most";
    case value_kind::name:
        return "a name of 1 to 63 letters, digits, '.', '_' or '-', a letter or digit first";
    case value_kind::mac:
        return "a MAC address like 52:54:00:12:34:56";
    case value_kind::integer:
        return "an integer from " + std::to_string(p.minimum) + " to " + std::to_string(p.maximum);
    case value_kind::truth:
        return "true or false";
    case value_kind::choice:
        return one_of(p.choices);
    case value_kind::vlan_list:
        return "a list of VLANs from 1 to 4094 and ranges of them, like 10,20-29";
    case value_kind::file:
        return "the path of a JSON file";
    case value_kind::options:
        break; // they have a form
    }
    return {};
}

std::optional<std::string> check_value(const method& m, const parameter& p,
                                       const json::value& value, wording w)
{
    const std::string where = prefix(m, w) + label(p, w);
    if (p.repeats == 0) {
        return check_one(where, p, value, w);
    }
    if (!value.is_array()) {
        return where + " is " + shown(value, w) + "; it must be an array";
    }
    const auto& list = value.get_array();
    if (list.size() > p.repeats) {
        return where + " is given " + std::to_string(list.size()) + " times; at most " +
               std::to_string(p.repeats) + (p.repeats == 1 ? " is" : " are") + " possible";
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
        const std::string which = w == wording::program ? '[' + std::to_string(i) + ']' : "";
        if (auto wrong = check_one(where + which, p, list[i], w)) {
            return wrong;
        }
    }
    return std::nullopt;
}

std::optional<std::string> check_given(const method& m, const json::object& parameters, wording w)
{
    for (const auto& [key, value] : parameters) {
        const std::string_view name{key};
        const auto p = std::ranges::find(m.parameters, name, &parameter::name);
        if (p == m.parameters.end() || p->kind == value_kind::file) {
            std::vector<std::string> names;
            for (const auto& q : m.parameters) {
                if (q.kind != value_kind::file) {
                    names.push_back('"' + std::string{q.name} + '"');
                }
            }
            return prefix(m, w) + "there is no parameter " +
                   json::serialize(json::value(shortened(as_utf8(name)))) +
                   unknown_name('"' + std::string{name} + '"', names);
        }
        if (auto wrong = check_value(m, *p, value, w)) {
            return wrong;
        }
    }
    return std::nullopt;
}

std::optional<std::string> check_parameters(const method& m, const json::object& parameters,
                                            wording w)
{
    if (auto wrong = check_given(m, parameters, w)) {
        return wrong;
    }
    std::string_view type;
    if (const auto* given = parameters.if_contains("type")) {
        type = std::string_view{given->get_string()};
    }
    for (const auto& p : m.parameters) {
        if (parameters.contains(p.name) && !has_type(p, type)) {
            return prefix(m, w) + label(p, w) + " is for ports of type " + one_of(p.port_types) +
                   (type.empty() ? "" : ", not " + std::string{type});
        }
    }
    for (const auto& p : m.parameters) {
        if (parameters.contains(p.name) || !p.required || !has_type(p, type)) {
            continue;
        }
        if (p.port_types.empty()) {
            return prefix(m, w) + label(p, w) + " is missing: " + std::string{p.help};
        }
        return prefix(m, w) + "a port of type " + std::string{type} + " needs " + label(p, w) +
               ": " + std::string{p.help};
    }
    return std::nullopt;
}

std::vector<std::uint16_t> expand_vlans(const json::value& list)
{
    std::bitset<max_vlan_number + 1> set;
    for (const auto& element : list.get_array()) {
        const auto range = vlan_range(element).value();
        for (int v = range.first; v <= range.second; ++v) {
            set.set(static_cast<std::size_t>(v));
        }
    }
    std::vector<std::uint16_t> out;
    for (std::size_t v = 1; v < set.size(); ++v) {
        if (set[v]) {
            out.push_back(static_cast<std::uint16_t>(v));
        }
    }
    return out;
}

json::object schema(const method_table& table, std::string_view title)
{
    json::array list;
    for (const auto& m : table) {
        list.emplace_back(method_schema(m));
    }
    return {{"openrpc", "1.2.6"},
            {"info",
             {{"title", title},
              {"version", version()},
              {"description", "JSON-RPC 2.0 over a UNIX stream socket, one message a line"}}},
            {"methods", std::move(list)}};
}

std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates)
{
    constexpr std::size_t longest = 64;
    if (word.size() > longest) {
        return std::nullopt;
    }
    std::optional<std::string> best;
    // A misspelling has about one wrong letter in three.
    std::size_t best_distance = std::max<std::size_t>(1, (word.size() + 2) / 3) + 1;
    for (const auto& candidate : candidates) {
        std::vector<std::size_t> row(candidate.size() + 1);
        std::iota(row.begin(), row.end(), std::size_t{0});
        for (std::size_t i = 1; i <= word.size(); ++i) {
            std::size_t diagonal = row[0];
            row[0] = i;
            for (std::size_t j = 1; j <= candidate.size(); ++j) {
                const std::size_t replaced = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
            }
        }
        if (row.back() < best_distance) {
            best_distance = row.back();
            best = candidate;
        }
    }
    return best;
}

} // namespace strait::control
