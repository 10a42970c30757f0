// SPDX-License-Identifier: BSD-3-Clause
// A text in parts that end with a line's end.
#include "control/flow_upload.hh"

#include "control/parameters.hh"

#include <algorithm>
#include <string_view>

namespace strait::control {

namespace json = boost::json;

namespace {

// With JSON's escapes, a byte for a byte at the most, it is less than a request may be long.
constexpr std::size_t part_size = 500 * 1024;

// What flow.put calls a command.
std::string_view command_of(const method& m, bool strict)
{
    if (m.name == "flow.mod") {
        return strict ? "modify_strict" : "modify";
    }
    if (m.name == "flow.del") {
        return strict ? "delete_strict" : "delete";
    }
    return "add";
}

// As many lines as there is room for, or one.
std::string_view next_part(std::string_view text)
{
    if (text.size() <= part_size) {
        return text;
    }
    auto end = text.rfind('\n', part_size - 1);
    if (end == std::string_view::npos) {
        end = std::min(text.find('\n'), text.size() - 1);
    }
    return text.substr(0, end + 1);
}

// "rules.txt:7: "
std::string place(const json::object& parameters, std::int64_t line)
{
    const auto* const file = parameters.if_contains("file");
    return (file == nullptr ? std::string{"flows"}
                            : std::string{std::string_view{file->as_string()}}) +
           ":" + std::to_string(line) + ": ";
}

} // namespace

bool wants_upload(const method& m, const json::object& parameters)
{
    const auto* const flows = parameters.if_contains("flows");
    return (m.name == "flow.add" || m.name == "flow.mod" || m.name == "flow.del" ||
            m.name == "flow.replace") &&
           flows != nullptr && flows->as_string().size() > part_size;
}

json::value upload(client& connection, const method& m, const json::object& parameters)
{
    json::object begin;
    if (const auto* const bridge = parameters.if_contains("bridge")) {
        begin["bridge"] = *bridge;
    }
    if (m.name == "flow.replace") {
        begin["replace"] = true;
    }
    std::string_view rest{parameters.at("flows").as_string()};
    const json::value bundle = connection.call("flow.begin", begin).as_object().at("bundle");
    std::int64_t line = 1;
    while (!rest.empty()) {
        const std::string_view part = next_part(rest);
        if (part.size() > part_size) {
            throw call_error{true, place(parameters, line) + "this line has " +
                                       std::to_string(part.size()) + " bytes; a flow may have " +
                                       std::to_string(part_size)};
        }
        json::object put{{"bundle", bundle},
                         {"flows", part},
                         {"command", command_of(m, is_set(parameters, "strict"))},
                         {"first_line", line}};
        if (const auto* const file = parameters.if_contains("file")) {
            put["file"] = *file;
        }
        (void)connection.call("flow.put", put);
        line += std::ranges::count(part, '\n');
        rest.remove_prefix(part.size());
    }
    return connection.call("flow.commit", {{"bundle", bundle}});
}

} // namespace strait::control
