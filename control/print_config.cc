// SPDX-License-Identifier: BSD-3-Clause
// A document, and lists of differences.
#include "control/print_config.hh"

#include "control/print_parts.hh"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <string_view>

namespace strait::control {

namespace json = boost::json;

namespace {

bool is_list_of_lines(const json::value& value)
{
    const auto* const list = value.if_array();
    return list != nullptr && !list->empty() &&
           std::ranges::all_of(*list, [](const json::value& v) { return v.is_string(); });
}

std::string quoted(std::string_view text)
{
    return json::serialize(json::value(json::string{text}));
}

std::string one_line(const json::object& record)
{
    std::string out = "{";
    for (const auto& [name, value] : record) {
        out += (out.size() > 1 ? ", " : "") + quoted(name) + ": ";
        if (is_list_of_lines(value)) {
            out += "[\n";
            const auto& lines = value.get_array();
            for (std::size_t i = 0; i < lines.size(); ++i) {
                out += "      " + json::serialize(lines[i]) + (i + 1 < lines.size() ? ",\n" : "\n");
            }
            out += "    ]";
        } else {
            out += json::serialize(value);
        }
    }
    return out + "}";
}

std::string changes_text(const json::object& c)
{
    const std::string action = plain(member(c, "action"));
    const std::string what = plain(member(c, "what"));
    const auto& from = member(c, "from");
    const auto& to = member(c, "to");
    if (action == "add") {
        return "+ " + what + " " + json::serialize(to) + "\n";
    }
    if (action == "remove") {
        return "- " + what + " " + json::serialize(from) + "\n";
    }
    std::string out = "~ " + what + (action == "remake" ? " (made anew)" : "") + ":";
    const auto name_difference = [&](std::string_view name, const json::value& old,
                                     const json::value& now) {
        if (old != now) {
            out += ' ' + std::string{name} + ' ' + json::serialize(old) + " -> " +
                   json::serialize(now);
        }
    };
    for (const auto& [name, value] : as_object(from)) {
        name_difference(name, value, member(as_object(to), name));
    }
    for (const auto& [name, value] : as_object(to)) {
        if (!as_object(from).contains(name)) {
            name_difference(name, nullptr, value);
        }
    }
    return out + "\n";
}

} // namespace

std::string config_text(const json::object& document)
{
    std::string out = "{";
    for (const auto& [name, value] : document) {
        out += (out.size() > 1 ? ",\n  " : "\n  ") + quoted(name) + ": ";
        const auto* const list = value.if_array();
        if (list == nullptr) {
            out += json::serialize(value);
            continue;
        }
        out += "[\n";
        for (std::size_t i = 0; i < list->size(); ++i) {
            out += "    " + one_line(as_object((*list)[i])) + (i + 1 < list->size() ? ",\n" : "\n");
        }
        out += "  ]";
    }
    return out + "\n}\n";
}

std::string config_result_text(const method& m, const json::value& result)
{
    const auto& o = as_object(result);
    if (m.name == "config.show") {
        return config_text(o);
    }
    if (m.name == "config.save") {
        return {};
    }
    std::string out;
    for (const auto& c : as_array(member(o, "changes"))) {
        out += changes_text(as_object(c));
    }
    for (const auto& element : as_array(member(o, "lines"))) {
        const auto& lines = as_object(element);
        out +=
            plain(member(lines, "kind")) + " of bridge " + plain(member(lines, "bridge")) + ":\n";
        for (const auto& line : as_array(member(lines, "removed"))) {
            out += "  - " + plain(line) + "\n";
        }
        for (const auto& line : as_array(member(lines, "added"))) {
            out += "  + " + plain(line) + "\n";
        }
    }
    return out.empty() ? "nothing differs\n" : out;
}

} // namespace strait::control
