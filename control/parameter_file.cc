// SPDX-License-Identifier: BSD-3-Clause
// Reading parameters from a file.
#include "control/parameter_file.hh"

#include "control/config_file.hh"
#include "control/json_place.hh"
#include "control/json_text.hh"

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace strait::control {

namespace json = boost::json;
using ports::error;
using ports::result;

namespace {

result<json::object> read(const std::string& path)
{
    const auto text = read_config_file(path);
    if (text.has_error()) {
        return text.error();
    }
    constexpr std::size_t levels = 8;
    const auto parsed = parse_json(*text, levels);
    if (parsed.has_error()) {
        const json_fault& f = parsed.error();
        return error{path + (f.at ? ':' + line_and_column(*text, *f.at) : "") + ": " + f.message};
    }
    const json::value& value = *parsed;
    if (!value.is_object()) {
        return error{path + ": this is no JSON object of options: {\"name\": value, ...}"};
    }
    return value.get_object();
}

} // namespace

result<text_of_word> text_or_file(const std::string& word)
{
    std::error_code ignored;
    const bool is_file =
        word == "-" || word.starts_with('/') || word.starts_with('.') ||
        (word.find('=') == std::string::npos && std::filesystem::exists(word, ignored));
    if (!is_file) {
        return text_of_word{word, std::nullopt};
    }
    constexpr std::size_t longest = std::size_t{1} << 30U;
    auto text = read_config_file(word == "-" ? "/dev/stdin" : word,
                                 {.what = "the file", .taker = "this", .longest = longest});
    if (text.has_error()) {
        return text.error();
    }
    return text_of_word{std::move(*text), word == "-" ? "standard input" : word};
}

result<void> add_from_file(const method& m, json::object& given)
{
    const auto file = std::ranges::find(m.parameters, value_kind::file, &parameter::kind);
    if (file == m.parameters.end() || !given.contains(file->name)) {
        return {};
    }
    const std::string path{std::string_view{given.at(file->name).as_string()}};
    given.erase(file->name);
    auto there = read(path);
    if (there.has_error()) {
        return there.error();
    }
    if (const auto wrong = check_given(m, *there, wording::program)) {
        return error{path + ": " + *wrong};
    }
    for (const auto& p : m.parameters) {
        auto* value = there->if_contains(p.name);
        if (value == nullptr) {
            continue;
        }
        if (given.contains(p.name) && p.repeats != 0) {
            return error{prefix(m, wording::command_line) + label(p, wording::command_line) +
                         " is given, and " + path + " has " + label(p, wording::program) +
                         ", too; say all of them in one place"};
        }
        if (!given.contains(p.name)) {
            given[p.name] = std::move(*value);
        }
    }
    return {};
}

} // namespace strait::control
