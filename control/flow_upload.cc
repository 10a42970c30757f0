// SPDX-License-Identifier: BSD-3-Clause
// A text in parts that end with a line's end.
#include "control/flow_upload.hh"

#include "control/parameters.hh"

#include <algorithm>
#include <string_view>

namespace strait::control {

namespace json = boost::json;

namespace {

constexpr std::size_t part_size = 512 * 1024; // JSON's escapes come on top

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
    const json::value bundle = connection.call("flow.begin", begin).as_object().at("bundle");
    std::string_view rest{parameters.at("flows").as_string()};
    std::int64_t line = 1;
    while (!rest.empty()) {
        std::size_t size = std::min(rest.size(), part_size);
        if (size < rest.size()) {
            const auto end = rest.rfind('\n', size);
            size = end == std::string_view::npos ? std::min(rest.find('\n'), rest.size() - 1) + 1
                                                 : end + 1;
        }
        const std::string_view part = rest.substr(0, size);
        json::object put{{"bundle", bundle},
                         {"flows", part},
                         {"command", command_of(m, is_set(parameters, "strict"))},
                         {"first_line", line}};
        if (const auto* const file = parameters.if_contains("file")) {
            put["file"] = *file;
        }
        (void)connection.call("flow.put", put);
        line += std::ranges::count(part, '\n');
        rest.remove_prefix(size);
    }
    return connection.call("flow.commit", {{"bundle", bundle}});
}

} // namespace strait::control
