// SPDX-License-Identifier: BSD-3-Clause
// Flows as text: what is beside matches and actions, and files.
#include "control/flow_text.hh"

#include "control/flow_action_text.hh"
#include "control/flow_match_text.hh"
#include "control/flow_values.hh"
#include "control/flow_words.hh"

#include <algorithm>
#include <array>
#include <limits>

namespace strait::control {

using ports::error;
using ports::result;

namespace {

struct flag_name {
    std::string_view name;
    bool flow_flags::*flag;
};
// As they are written one behind the other.
constexpr std::array<flag_name, 5> flag_names{{
    {"send_flow_rem", &flow_flags::send_flow_rem},
    {"check_overlap", &flow_flags::check_overlap},
    {"reset_counts", &flow_flags::reset_counts},
    {"no_packet_counts", &flow_flags::no_packet_counts},
    {"no_byte_counts", &flow_flags::no_byte_counts},
}};

bool adds(flow_command c)
{
    return c == flow_command::add || c == flow_command::modify || c == flow_command::modify_strict;
}

bool is_strict(flow_command c)
{
    return c == flow_command::modify_strict || c == flow_command::remove_strict;
}

std::string_view command_word(flow_command c)
{
    constexpr std::array<std::string_view, 6> words{"add",    "modify",        "modify_strict",
                                                    "delete", "delete_strict", "list"};
    return words.at(static_cast<std::size_t>(c));
}

// Of all flows that a line's ranges make of it.
constexpr std::size_t most_actions_of_ranges = 65'536;

// Those within others, too.
std::size_t count_of(const flow::action_list& actions)
{
    std::size_t out = actions.size();
    for (const flow::action& a : actions) {
        if (const auto* const copy = std::get_if<flow::clone>(&a.is)) {
            out += count_of(copy->actions);
        } else if (const auto* const later = std::get_if<flow::write_actions>(&a.is)) {
            out += count_of(later->actions);
        } else if (const auto* const connection = std::get_if<flow::ct>(&a.is)) {
            out += count_of(connection->exec);
        }
    }
    return out;
}

// The words before the actions.
class flow_reader {
public:
    flow_reader(flow_command command, const port_names& names)
        : command_{command}, names_{names}, match_{names}
    {
        flow_.table = command == flow_command::add ? flow::table_id{0} : flow::all_tables;
    }

    flow_result<std::vector<flow_spec>> read(std::string_view text)
    {
        flow_words words{text};
        std::optional<std::string_view> actions;
        while (!actions) {
            const auto before = words;
            const auto word = words.next();
            if (word.has_error()) {
                // Behind "actions" everything is theirs.
                actions = actions_in(before.rest());
                if (!actions) {
                    return word.error();
                }
                break;
            }
            if (!*word) {
                break;
            }
            if ((*word)->key == "actions" || (*word)->key == "action") {
                actions = actions_in(before.rest());
                if (!actions) {
                    return flow_fault{(*word)->all, "actions must be like actions=output:1"};
                }
                break;
            }
            if (const auto done = take(**word); done.has_error()) {
                return done.error();
            }
        }
        return finish(text, actions);
    }

private:
    // Behind "actions=", with which `text` begins; nothing if it does not.
    static std::optional<std::string_view> actions_in(std::string_view text)
    {
        text.remove_prefix(std::min(text.find_first_not_of(", \t\r\n"), text.size()));
        for (const std::string_view word : {"actions", "action"}) {
            if (text.starts_with(word)) {
                const std::string_view rest = trimmed(text.substr(word.size()));
                if (rest.starts_with('=')) {
                    return rest.substr(1);
                }
            }
        }
        return std::nullopt;
    }

    flow_result<void> take(const flow_word& word)
    {
        for (const auto& f : flag_names) {
            if (word.key == f.name) {
                flow_.flags.*f.flag = true;
                return !adds(command_)  ? not_for(word)
                       : word.mark != 0 ? flow_fault{word.all, shown(word.key) + " takes no value"}
                                        : flow_result<void>{};
            }
        }
        const auto matched = match_.take(word);
        if (matched.has_error()) {
            return matched.error();
        }
        return *matched ? flow_result<void>{} : take_property(word);
    }

    flow_result<void> not_for(const flow_word& word) const
    {
        return flow_fault{word.all, std::string{word.key} + " is not for " +
                                        std::string{command_word(command_)}};
    }

    flow_result<void> take_property(const flow_word& word)
    {
        const std::string_view key = word.key;
        // A cookie may be looked for and set.
        if (key != "cookie" && std::ranges::find(properties_, key) != properties_.end()) {
            return flow_fault{word.all, std::string{key} + " may be given once"};
        }
        properties_.push_back(key);
        if (key == "table") {
            return take_table(word);
        }
        if (key == "priority") {
            return adds(command_) || is_strict(command_)
                       ? take_number(word, flow_.priority)
                       : flow_fault{word.all, "priority is for add, modify and *_strict; " +
                                                  std::string{command_word(command_)} +
                                                  " takes flows of any"};
        }
        if (key == "cookie") {
            return take_cookie(word);
        }
        if (key == "idle_timeout" || key == "hard_timeout" || key == "importance") {
            return !adds(command_)         ? not_for(word)
                   : key == "idle_timeout" ? take_number(word, flow_.idle_timeout)
                   : key == "hard_timeout" ? take_number(word, flow_.hard_timeout)
                                           : take_number(word, flow_.importance);
        }
        if (key == "out_port" || key == "out_group") {
            return adds(command_) ? not_for(word) : take_out(word);
        }
        // What lists of flows have, so that they can be read.
        constexpr std::array<std::string_view, 5> ignored{"duration", "n_packets", "n_bytes",
                                                          "idle_age", "hard_age"};
        if (std::ranges::find(ignored, key) != ignored.end() && word.mark != 0) {
            return {};
        }
        return unknown(word);
    }

    static flow_result<void> unknown(const flow_word& word)
    {
        auto known = match_words();
        for (const auto* name : {"table", "priority", "cookie", "idle_timeout", "hard_timeout",
                                 "importance", "out_port", "out_group", "actions"}) {
            known.emplace_back(name);
        }
        for (const auto& f : flag_names) {
            known.emplace_back(f.name);
        }
        return flow_fault{word.key,
                          shown(word.key) + " is no word of a flow" + suggestion(word.key, known)};
    }

    template <typename Number>
    static flow_result<void> take_number(const flow_word& word, Number& out)
    {
        const auto number = parse_number(word.value, std::numeric_limits<Number>::max(), word.key);
        if (number.has_error()) {
            return number.error();
        }
        out = static_cast<Number>(*number);
        return {};
    }

    flow_result<void> take_table(const flow_word& word)
    {
        constexpr std::uint64_t last = flow::all_tables;
        const auto number = parse_number(word.value, last, "table");
        if (number.has_error()) {
            return flow_fault{word.value, shown(word.value) +
                                              " is no table; it must be a number from 0 to 254"};
        }
        if (*number != last) {
            flow_.table = static_cast<flow::table_id>(*number);
        }
        return {};
    }

    static std::optional<std::uint64_t> cookie_number(std::string_view text)
    {
        if (text == "-1") {
            return ~std::uint64_t{0};
        }
        const auto number = parse_integer(text);
        return number && number->high == 0 ? std::optional{number->low} : std::nullopt;
    }

    // cookie=value sets one, cookie=value/mask looks for one.
    flow_result<void> take_cookie(const flow_word& word)
    {
        const std::size_t slash = word.value.find('/');
        const auto value = cookie_number(word.value.substr(0, slash));
        const auto mask = slash == std::string_view::npos
                              ? std::optional{std::uint64_t{0}}
                              : cookie_number(word.value.substr(slash + 1));
        if (!value || !mask) {
            return flow_fault{word.value, shown(word.value) + " is no cookie; it must be a number "
                                                              "of 64 bits, or number/mask"};
        }
        if (slash == std::string_view::npos) {
            if (!adds(command_)) {
                return flow_fault{word.all, "a cookie that is looked for has a mask: cookie=" +
                                                std::string{word.value} + "/-1"};
            }
            // 0 is what a flow has that is added without one.
            flow_.cookie = command_ == flow_command::add && *value == 0 ? std::nullopt : value;
            return {};
        }
        if (command_ == flow_command::add) {
            return flow_fault{word.all, "a flow that is added has a cookie without a mask"};
        }
        flow_.cookie_wanted = *value & *mask;
        flow_.cookie_mask = *mask;
        return {};
    }

    flow_result<void> take_out(const flow_word& word)
    {
        if (word.key == "out_group") {
            constexpr std::uint64_t last_group = 0xffff'ff00;
            const auto group = parse_number(word.value, last_group, "group");
            if (group.has_error()) {
                return group.error();
            }
            flow_.out_group = static_cast<std::uint32_t>(*group);
            return {};
        }
        const auto port = parse_port(word.value, names_);
        if (port.has_error()) {
            return port.error();
        }
        flow_.out_port = *port;
        return {};
    }

    flow_result<std::vector<flow_spec>> finish(std::string_view text,
                                               std::optional<std::string_view> actions)
    {
        const auto matches = match_.finish();
        if (matches.has_error()) {
            return matches.error();
        }
        if (actions && !adds(command_)) {
            return flow_fault{*actions, std::string{command_word(command_)} +
                                            " takes a match and no actions"};
        }
        if (!actions && adds(command_)) {
            return flow_fault{text.substr(text.size()),
                              "the actions are missing: actions=output:1, or actions=drop"};
        }
        if (actions) {
            auto list = parse_actions(*actions, matches->front(), flow_.table, names_);
            if (list.has_error()) {
                return list.error();
            }
            flow_.actions = std::move(*list);
            const std::size_t each = count_of(flow_.actions);
            if (each * matches->size() > most_actions_of_ranges) {
                return flow_fault{*actions, "the ranges make " + std::to_string(matches->size()) +
                                                " flows of " + std::to_string(each) +
                                                " actions each; resubmit to a table that has them"};
            }
        }
        std::vector<flow_spec> out(matches->size(), flow_);
        for (std::size_t i = 0; i < out.size(); ++i) {
            out[i].match = (*matches)[i];
        }
        return out;
    }

    const flow_command command_;
    const port_names& names_;
    match_reader match_;
    flow_spec flow_;
    std::vector<std::string_view> properties_; // so far
};

flow_result<std::vector<flow_spec>> read_flow(std::string_view text, flow_command command,
                                              const port_names& names)
{
    return flow_reader{command, names}.read(text);
}

// Takes a command's word off the front, if there is one.
flow_command take_command(std::string_view& line, flow_command otherwise)
{
    line.remove_prefix(std::min(line.find_first_not_of(", \t\r"), line.size()));
    const std::string_view word = line.substr(0, line.find_first_of(", \t\r"));
    for (const auto c : {flow_command::add, flow_command::modify, flow_command::modify_strict,
                         flow_command::remove, flow_command::remove_strict}) {
        if (word == command_word(c)) {
            line.remove_prefix(word.size());
            return c;
        }
    }
    return otherwise;
}

// Takes what the flows of a match are left out.
std::string properties(const flow_spec& f)
{
    std::string out;
    const auto put = [&out](std::string_view name, std::uint64_t value) {
        if (value != 0) {
            out += name;
            append_decimal(out, value);
            out += ", ";
        }
    };
    if (f.cookie.value_or(0) != 0) {
        out += "cookie=";
        append_hexadecimal(out, flow::wide{*f.cookie});
        out += ", ";
    }
    put("table=", f.table == flow::all_tables ? 0 : f.table);
    put("idle_timeout=", f.idle_timeout);
    put("hard_timeout=", f.hard_timeout);
    for (const auto& flag : flag_names) {
        if (f.flags.*flag.flag) {
            out += flag.name;
            out += ' ';
        }
    }
    put("importance=", f.importance);
    return out;
}

void remove_comma(std::string& out)
{
    if (out.ends_with(',')) {
        out.pop_back();
    }
}

} // namespace

result<std::vector<flow_spec>> parse_flow(std::string_view text, flow_command command,
                                          const port_names& names)
{
    auto flows = read_flow(text, command, names);
    if (flows.has_error()) {
        return error{at_column(text, flows.error())};
    }
    return std::move(*flows);
}

result<void> read_lines(
    const flow_lines& lines,
    const std::function<flow_result<result<void>>(std::string_view line, std::size_t number)>& read)
{
    std::string_view text = lines.text;
    std::size_t number = lines.first_line - 1;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view whole = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        ++number;
        const std::string_view line = whole.substr(0, whole.find('#'));
        if (trimmed(line).empty()) {
            continue;
        }
        const std::string place = lines.file + ':' + std::to_string(number) + ':';
        const auto done = read(line, number);
        if (done.has_error()) {
            const flow_fault& f = done.error();
            return error{place + std::to_string(column_of(whole, f)) + ": " + f.message};
        }
        if (done->has_error()) {
            return error{place + ' ' + done->error().message};
        }
    }
    return {};
}

result<void> read_flows(const flow_lines& lines, const port_names& names,
                        const std::function<result<void>(flow_change&&)>& take)
{
    const auto read = [&](std::string_view line, std::size_t number) -> flow_result<result<void>> {
        const flow_command command = take_command(line, lines.command);
        auto flows = read_flow(line, command, names);
        if (flows.has_error()) {
            return flows.error();
        }
        for (auto& f : *flows) {
            if (auto taken = take({command, std::move(f), number}); taken.has_error()) {
                return taken;
            }
        }
        return result<void>{};
    };
    return read_lines(lines, read);
}

result<std::vector<flow_change>> parse_flow_file(std::string_view text, const std::string& file,
                                                 const port_names& names)
{
    std::vector<flow_change> out;
    const auto done = read_flows({text, file}, names, [&out](flow_change&& c) -> result<void> {
        out.push_back(std::move(c));
        return {};
    });
    if (done.has_error()) {
        return done.error();
    }
    return out;
}

result<std::vector<flow::match>> parse_match(std::string_view text, const port_names& names)
{
    match_reader reader{names};
    if (const auto read = read_match(text, reader); read.has_error()) {
        return error{at_column(text, read.error())};
    }
    auto matches = reader.finish();
    if (matches.has_error()) {
        return error{at_column(text, matches.error())};
    }
    return std::move(*matches);
}

result<flow::action_list> parse_action_list(std::string_view text, const flow::match& m,
                                            const port_names& names)
{
    auto actions = parse_actions(text, m, flow::all_tables, names);
    if (actions.has_error()) {
        return error{at_column(text, actions.error())};
    }
    return std::move(*actions);
}

result<flow::action_list> parse_bucket_list(std::string_view text, const port_names& names)
{
    auto actions = parse_bucket_actions(text, names);
    if (actions.has_error()) {
        return error{at_column(text, actions.error())};
    }
    return std::move(*actions);
}

std::string format_flow(const flow_spec& f, const port_names* names)
{
    std::string out = properties(f);
    if (f.priority != default_priority) {
        out += "priority=";
        append_decimal(out, f.priority);
        out += ',';
    }
    append_match(out, f.match, names);
    remove_comma(out);
    if (!out.empty() && !out.ends_with(' ')) {
        out += ' ';
    }
    out += "actions=";
    append_actions(out, f.actions, f.match, names);
    return out;
}

std::string format_match(const flow::match& m, const port_names* names)
{
    std::string out;
    append_match(out, m, names);
    remove_comma(out);
    return out;
}

std::string format_actions(const flow::action_list& actions, const flow::match& m,
                           const port_names* names)
{
    std::string out;
    append_actions(out, actions, m, names);
    return out;
}

} // namespace strait::control
