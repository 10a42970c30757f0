// SPDX-License-Identifier: BSD-3-Clause
// Parsing of commands, and the help texts.
#include "control/cli.hh"

#include "control/parameter_file.hh"
#include "ports/number.hh"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <set>

namespace strait::control::cli {

namespace json = boost::json;
using ports::error;
using ports::result;

namespace {

std::string quoted(std::string_view word)
{
    return json::serialize(json::value(word));
}

std::string option_name(const parameter& p)
{
    return label(p, wording::command_line);
}

std::vector<std::string> groups(const method_table& table)
{
    std::vector<std::string> out;
    for (const auto& m : table) {
        std::string group{m.name.substr(0, m.name.find('.'))};
        if (std::find(out.begin(), out.end(), group) == out.end()) {
            out.push_back(std::move(group));
        }
    }
    return out;
}

std::vector<std::string> verbs_of(const method_table& table, std::string_view group)
{
    std::vector<std::string> out;
    for (const auto& m : table) {
        const auto dot = m.name.find('.');
        if (dot != std::string_view::npos && m.name.substr(0, dot) == group) {
            out.emplace_back(m.name.substr(dot + 1));
        }
    }
    return out;
}

std::string joined(const std::vector<std::string>& words)
{
    std::string out;
    for (const auto& word : words) {
        out += (out.empty() ? "" : ", ") + word;
    }
    return out;
}

std::string value_form(const parameter& p)
{
    std::string value{p.placeholder};
    for (const auto choice : p.choices) {
        value += (value.empty() ? "" : "|") + std::string{choice};
    }
    return value;
}

std::string option_form(const parameter& p)
{
    const std::string value = value_form(p);
    return option_name(p) + (value.empty() ? "" : " " + value);
}

// queues=N; PATH for one that may stand without its name.
std::string member_form(const parameter& p)
{
    const std::string value = p.kind == value_kind::truth ? "on|off" : value_form(p);
    return p.positional ? value : option_name(p).substr(2) + "=" + value;
}

std::string padded(std::string text, std::size_t width)
{
    text.resize(std::max(text.size() + 2, width), ' ');
    return text;
}

constexpr std::size_t options_column = 34;

// Those that every program has.
std::string program_options(std::size_t column = options_column)
{
    return padded("  --version", column) + "show the version\n" + padded("  --help", column) +
           "show help, also of a command\n";
}

std::string options_help(const method& m)
{
    constexpr std::size_t column = options_column;
    std::string out;
    for (const auto& p : m.parameters) {
        if (p.positional) {
            continue;
        }
        std::string note;
        for (const auto type : p.port_types) {
            note += (note.empty() ? "" : ", ") + std::string{type};
        }
        note += note.empty() ? "" : " only";
        if (p.repeats > 1) {
            note += "up to " + std::to_string(p.repeats) + " times";
        }
        const std::string letter = p.letter == 0 ? "" : std::string{'-', p.letter, ',', ' '};
        out += padded("  " + letter + option_form(p), column) + std::string{p.help} +
               (note.empty() ? "" : " (" + note + ")") + "\n";
        for (const auto& member : p.members) {
            if (!member.help.empty()) {
                out += padded("      " + member_form(member), column) + std::string{member.help} +
                       "\n";
            }
        }
    }
    if (has_rates(m)) {
        out += padded("  --rates", column) + "rates over a second, or between two looks\n";
        out += padded("  --watch [SECONDS]", column) + "again and again, until interrupted\n";
    }
    return out;
}

std::string command_help(const program& program, const method& m)
{
    std::string synopsis{program.name};
    synopsis += m.name.empty() ? "" : " " + command_words(m);
    for (const auto& p : m.parameters) {
        if (p.positional) {
            synopsis += p.required ? " " + std::string{p.placeholder}
                                   : " [" + std::string{p.placeholder} + "]";
        } else if (p.required && p.port_types.empty()) {
            synopsis += " " + option_form(p);
        }
    }
    std::string options = options_help(m);
    if (m.name.empty()) {
        options += program_options();
    }
    return synopsis + (options.empty() ? "" : " [OPTIONS]") + "\n  " + std::string{m.summary} +
           ".\n" + options;
}

std::string general_help(const program& program)
{
    constexpr std::size_t column = 18;
    std::string out{program.name};
    out += program.asks_daemon ? " [--run-dir DIR] [--json]" : "";
    out += " COMMAND\n" + std::string{program.purpose} + "\n\nCommands:\n";
    for (const auto& m : *program.commands) {
        out += padded("  " + command_words(m), column) + std::string{m.summary} + "\n";
    }
    out += padded("  help", column) + "This text; help COMMAND tells its options\n\nOptions:\n";
    if (program.asks_daemon) {
        out += padded("  --run-dir DIR", column) +
               "the daemon's run folder; /run/strait unless given\n" + padded("  --json", column) +
               "results as JSON\n";
    }
    return out + program_options(column) + "\n" + std::string{program.ending} + "\n";
}

// The words of one invocation, consumed from the left.
class parser {
public:
    parser(const program& p, std::span<const std::string> words)
        : program_{p},
          words_{words},
          without_command_{p.commands->size() == 1 && p.commands->front().name.empty()}
    {
        if (without_command_) {
            result_.method = &p.commands->front();
        }
    }

    result<command> run()
    {
        while (at_ < words_.size()) {
            auto done = only_words_ ? take_word(words_[at_++]) : take_next();
            if (done.has_error()) {
                return done.error();
            }
        }
        return finish();
    }

private:
    result<void> take_next()
    {
        const std::string& word = words_[at_++];
        if (word == "--") {
            only_words_ = true;
            return {};
        }
        if (word == "-h") {
            help_ = true;
            return {};
        }
        if (word.size() > 2 && word.starts_with("--")) {
            return take_option(word);
        }
        if (word.size() == 2 && word.front() == '-' && result_.method) {
            const auto& all = result_.method->parameters;
            const auto p = std::ranges::find(all, word.back(), &parameter::letter);
            if (p != all.end()) {
                return take_parameter(option_name(*p), std::nullopt);
            }
        }
        if (word.size() > 1 && word.front() == '-') {
            return error{"there is no option " + quoted(word) + "; options begin with --"};
        }
        return take_word(word);
    }

    result<void> take_option(const std::string& word)
    {
        const auto equals = word.find('=');
        const std::string name = word.substr(0, equals);
        std::optional<std::string> value;
        if (equals != std::string::npos) {
            value = word.substr(equals + 1);
        }
        if (name == "--help" || name == "--version") {
            return take_switch(name, value.has_value());
        }
        if (program_.asks_daemon) {
            if (name == "--run-dir") {
                return take_run_dir(value);
            }
            if (name == "--json" || name == "--rates") {
                return take_switch(name, value.has_value());
            }
            if (name == "--watch") {
                return take_watch(value);
            }
        }
        if (!result_.method) {
            if (!group_.empty()) {
                return error{group_ + " needs one of " + verbs() + " before " + name};
            }
            return error{"there is no option " + name + " before the command; there are " +
                         (program_.asks_daemon ? "--run-dir, --json, " : "") +
                         "--version and --help"};
        }
        return take_parameter(name, value);
    }

    result<void> take_run_dir(std::optional<std::string> value)
    {
        if (!value) {
            if (at_ >= words_.size()) {
                return error{"--run-dir needs the daemon's run folder after it"};
            }
            value = words_[at_++];
        }
        if (value->empty()) {
            return error{"--run-dir is empty; it must be the daemon's run folder"};
        }
        if (result_.global.run_dir_given) {
            return error{"--run-dir is given twice"};
        }
        result_.global.run_dir = *value;
        result_.global.run_dir_given = true;
        return {};
    }

    result<void> take_switch(const std::string& name, bool has_value)
    {
        if (has_value) {
            return error{name + " takes no value"};
        }
        if (name == "--rates") {
            if (!result_.method || !has_rates(*result_.method)) {
                return error{"--rates is for stats and worker list"};
            }
            result_.rates = true;
            return {};
        }
        if (name == "--help") {
            help_ = true;
            return {};
        }
        (name == "--json" ? result_.global.json : result_.global.version) = true;
        return {};
    }

    result<void> take_watch(std::optional<std::string> value)
    {
        if (!result_.method || !has_rates(*result_.method)) {
            return error{"--watch is for stats and worker list"};
        }
        // The seconds may be left out; a port is never named by a number that starts the next word
        // unless it is meant as these.
        if (!value && at_ < words_.size() && !words_[at_].empty() &&
            words_[at_].find_first_not_of("0123456789.") == std::string::npos) {
            value = words_[at_++];
        }
        double seconds = 1;
        if (value) {
            seconds = to_number<double>(*value).value_or(0);
            if (!(seconds >= 0.1) || !(seconds <= 3600)) {
                return wrong_interval(*value);
            }
        } else {
            after_bare_watch_ = at_;
        }
        constexpr double milliseconds = 1000;
        result_.watch = std::chrono::milliseconds{static_cast<int>(seconds * milliseconds)};
        return {};
    }

    static error wrong_interval(const std::string& value)
    {
        // As typed, like other values, unless it has what must be escaped.
        const std::string safe = quoted(value);
        const bool plain = !value.empty() && safe.size() == value.size() + 2;
        return {"--watch is " + (plain ? value : safe) + "; it must be seconds from 0.1 to 3600"};
    }

    result<void> take_parameter(const std::string& name, std::optional<std::string> value)
    {
        const method& m = *result_.method;
        const auto p =
            std::find_if(m.parameters.begin(), m.parameters.end(), [&](const parameter& q) {
                return !q.positional && option_name(q) == name;
            });
        if (p == m.parameters.end()) {
            return unknown_option(name);
        }
        if (!value && p->kind == value_kind::truth) {
            // on or off may follow, or be left out.
            if (at_ < words_.size() && (words_[at_] == "on" || words_[at_] == "off")) {
                value = words_[at_++];
            } else {
                value = "on";
                bare_flag_ = &*p;
                after_bare_flag_ = at_;
            }
        }
        if (!value) {
            // What follows is the value even if it looks like an option, but for long options,
            // where a forgotten value is far more likely.
            if (at_ >= words_.size() || words_[at_].starts_with("--")) {
                return error{begin() + name + " needs a value: " + describe_kind(*p)};
            }
            value = words_[at_++];
        }
        return set(*p, *value);
    }

    [[nodiscard]] error unknown_option(const std::string& name) const
    {
        const method& m = *result_.method;
        std::vector<std::string> names = {"--help"};
        if (program_.asks_daemon) {
            names.insert(names.end(), {"--json", "--run-dir"});
        }
        std::vector<std::string> own;
        for (const auto& p : m.parameters) {
            if (!p.positional) {
                own.push_back(option_name(p));
            }
        }
        if (has_rates(m)) {
            own.insert(own.end(), {"--rates", "--watch"});
        }
        names.insert(names.end(), own.begin(), own.end());
        const auto near = nearest(name, names);
        return {(without_command_ ? std::string{program_.name} : command_words(m)) +
                " has no option " + name +
                (near          ? "; did you mean " + *near + "?"
                 : own.empty() ? "; it takes none"
                               : "; it has " + joined(own))};
    }

    result<void> take_word(const std::string& word)
    {
        if (!result_.method) {
            return take_command_word(word);
        }
        const bool after_watch = after_bare_watch_ && at_ == *after_bare_watch_ + 1;
        for (const auto& p : result_.method->parameters) {
            if (p.positional && !result_.parameters.contains(p.name)) {
                if (after_watch) {
                    result_.after_watch = word;
                }
                return set(p, word);
            }
        }
        if (bare_flag_ != nullptr && at_ == after_bare_flag_ + 1) {
            return wrong(*bare_flag_, word);
        }
        if (after_watch) {
            return wrong_interval(word);
        }
        return error{begin() + quoted(word) + " is one word too many"};
    }

    result<void> take_command_word(const std::string& word)
    {
        if (group_.empty()) {
            if (word == "help") {
                help_ = true;
                return {};
            }
            if (const auto* m = find_method(*program_.commands, word)) {
                result_.method = m;
                return {};
            }
            const auto known = groups(*program_.commands);
            if (std::find(known.begin(), known.end(), word) == known.end()) {
                const auto near = nearest(word, known);
                return error{"there is no command " + quoted(word) +
                             (near ? "; did you mean " + *near + "?"
                                   : "; there are " + joined(known) + " and help")};
            }
            group_ = word;
            return {};
        }
        result_.method = find_method(*program_.commands, group_ + "." + word);
        if (!result_.method) {
            const auto known = verbs_of(*program_.commands, group_);
            const auto near = nearest(word, known);
            return error{"there is no command " + quoted(group_ + " " + word) +
                         (near ? "; did you mean " + group_ + " " + *near + "?"
                               : "; " + group_ + " has " + joined(known))};
        }
        return {};
    }

    result<void> set(const parameter& p, const std::string& word)
    {
        json::value value;
        if (p.kind == value_kind::options) {
            auto members = to_members(p, word);
            if (members.has_error()) {
                return members.error();
            }
            value = std::move(members).value();
        } else if (p.kind == value_kind::lines) {
            auto text = text_or_file(word);
            if (text.has_error()) {
                return error{begin() + text.error().message};
            }
            value = std::move(text->text);
            if (text->file) {
                if (check_value(*result_.method, p, value, wording::command_line)) {
                    return error{begin() + *text->file +
                                 " has bytes that no text has; it must have lines of UTF-8 "
                                 "without control characters"};
                }
                result_.parameters["file"] = *text->file;
            }
        } else {
            value = to_value(p, word);
        }
        if (p.repeats != 0) {
            json::array all;
            if (auto* before = result_.parameters.if_contains(p.name)) {
                all = before->as_array();
            }
            all.push_back(std::move(value));
            value = std::move(all);
        } else if (result_.parameters.contains(p.name)) {
            return error{begin() + option_name(p) + " is given twice"};
        }
        if (auto why = check_value(*result_.method, p, value, wording::command_line)) {
            return p.kind == value_kind::options ? error{std::move(*why)} : wrong(p, word);
        }
        result_.parameters[p.name] = std::move(value);
        return {};
    }

    // KEY=VALUE,KEY=VALUE; what is wrong with them is for the check to say.
    [[nodiscard]] result<json::value> to_members(const parameter& p, std::string_view word) const
    {
        json::object members;
        for (bool last = false; !last;) {
            const auto comma = std::min(word.find(','), word.size());
            const std::string_view part = word.substr(0, comma);
            last = comma == word.size();
            word.remove_prefix(last ? comma : comma + 1);
            const auto equals = std::min(part.find('='), part.size());
            std::string key{part.substr(0, equals)};
            std::replace(key.begin(), key.end(), '-', '_');
            std::string value{part.substr(std::min(equals + 1, part.size()))};
            auto member = std::ranges::find(p.members, key, &parameter::name);
            if (equals == part.size()) {
                if (member != p.members.end() && !member->positional) {
                    return error{begin() + option_name(p) + " has " + quoted(part) +
                                 " without a value; it must be " + member_form(*member)};
                }
                member = std::ranges::find_if(p.members, &parameter::positional);
                if (member == p.members.end() || part.empty()) {
                    return error{begin() + option_name(p) + " has " + quoted(part) +
                                 " in it; it must be " + describe_kind(p)};
                }
                key = member->name;
                value = part;
            }
            if (members.contains(key)) {
                std::replace(key.begin(), key.end(), '_', '-');
                return error{begin() + option_name(p) + " has two values for " + key +
                             "; one is right"};
            }
            members[key] =
                member == p.members.end() ? json::value(value) : to_value(*member, value);
        }
        return json::value(std::move(members));
    }

    // What sentences about the command begin with.
    [[nodiscard]] std::string begin() const
    {
        return prefix(*result_.method, wording::command_line);
    }
    [[nodiscard]] std::string verbs() const { return joined(verbs_of(*program_.commands, group_)); }

    // Shown as it was typed: as text, which is right for no kind that is made of it.
    [[nodiscard]] error wrong(const parameter& p, const std::string& word) const
    {
        return {check_value(*result_.method, p, json::value(word), wording::command_line).value()};
    }

    // What the words say; where they do not say it, the text, which the check then names.
    static json::value to_value(const parameter& p, const std::string& word)
    {
        switch (p.kind) {
        case value_kind::integer: {
            const auto n = to_number<std::int64_t>(word);
            return n ? json::value(*n) : json::value(word);
        }
        case value_kind::truth:
            return word == "on"    ? json::value(true)
                   : word == "off" ? json::value(false)
                                   : json::value(word);
        case value_kind::vlan_list:
            return to_list(word);
        case value_kind::text:
        case value_kind::lines:
        case value_kind::name:
        case value_kind::mac:
        case value_kind::choice:
        case value_kind::options:
        case value_kind::file:
            break;
        }
        return json::value(word);
    }

    static json::value to_list(const std::string& word)
    {
        json::array list;
        std::size_t begin = 0;
        while (begin <= word.size()) {
            const auto comma = std::min(word.find(',', begin), word.size());
            const std::string element = word.substr(begin, comma - begin);
            if (const auto n = to_number<std::int64_t>(element)) {
                list.emplace_back(*n);
            } else {
                list.emplace_back(element);
            }
            begin = comma + 1;
        }
        return list;
    }

    result<command> finish()
    {
        if (help_) {
            result_.help = result_.method   ? command_help(program_, *result_.method)
                           : group_.empty() ? general_help(program_)
                                            : group_help();
            result_.method = nullptr;
            return std::move(result_);
        }
        if (result_.global.version &&
            (without_command_ || !program_.asks_daemon || (!result_.method && group_.empty()))) {
            result_.method = nullptr;
            return std::move(result_);
        }
        if (!result_.method) {
            if (group_.empty()) {
                return error{"a command is missing; there are " +
                             joined(groups(*program_.commands)) + " and help"};
            }
            return error{group_ + " needs one of " + verbs() + " after it"};
        }
        if ((result_.rates || result_.watch) && result_.parameters.contains("clear")) {
            return error{"--clear is of one look; leave out --rates and --watch"};
        }
        if (auto added = add_from_file(*result_.method, result_.parameters); added.has_error()) {
            return added.error();
        }
        if (auto wrong =
                check_parameters(*result_.method, result_.parameters, wording::command_line)) {
            return error{std::move(*wrong)};
        }
        return std::move(result_);
    }

    [[nodiscard]] std::string group_help() const
    {
        std::string out;
        for (const auto& verb : verbs_of(*program_.commands, group_)) {
            out += (out.empty() ? "" : "\n") +
                   command_help(program_, *find_method(*program_.commands, group_ + "." + verb));
        }
        return out;
    }

    const program& program_;
    std::span<const std::string> words_;
    bool without_command_;
    std::size_t at_{0};
    bool only_words_{false};
    bool help_{false};
    std::string group_;
    const parameter* bare_flag_{nullptr}; // the last that was given neither on nor off
    std::size_t after_bare_flag_{0};      // where the word behind it is
    std::optional<std::size_t> after_bare_watch_;
    command result_;
};

} // namespace

result<command> parse(const program& p, std::span<const std::string> words)
{
    return parser{p, words}.run();
}

result<std::vector<std::string>> split_words(std::string_view line)
{
    std::vector<std::string> words;
    std::string word;
    bool in_word = false;
    char quote = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (quote == '\'') {
            if (c == '\'') {
                quote = 0;
            } else {
                word += c;
            }
        } else if (quote == '"') {
            if (c == '"') {
                quote = 0;
            } else if (c == '\\' && i + 1 < line.size() &&
                       (line[i + 1] == '"' || line[i + 1] == '\\')) {
                word += line[++i];
            } else {
                word += c;
            }
        } else if (c == '\'' || c == '"') {
            quote = c;
            in_word = true;
        } else if (c == '\\') {
            if (i + 1 == line.size()) {
                return error{"a \\ at the end of the line has nothing to stand before"};
            }
            word += line[++i];
            in_word = true;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            if (in_word) {
                words.push_back(std::move(word));
                word.clear();
                in_word = false;
            }
        } else if (c == '#' && !in_word) {
            break;
        } else {
            word += c;
            in_word = true;
        }
    }
    if (quote != 0) {
        return error{std::string{"the quote "} + quote + " is not closed on this line"};
    }
    if (in_word) {
        words.push_back(std::move(word));
    }
    return words;
}

result<std::vector<config_command>> parse_config(const program& p, std::string_view text,
                                                 const std::string& file)
{
    std::vector<config_command> commands;
    std::size_t number = 0;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::string where = file + ":" + std::to_string(++number) + ": ";
        auto split = split_words(line);
        if (split.has_error()) {
            return error{where + split.error().message};
        }
        auto words = std::move(split).value();
        if (!words.empty() && words.front() == p.name) {
            words.erase(words.begin());
        }
        if (words.empty()) {
            continue;
        }
        auto parsed = parse(p, words);
        if (parsed.has_error()) {
            return error{where + parsed.error().message};
        }
        command& c = parsed.value();
        if (!c.method || !c.method->changes) {
            return error{where + "only commands that change the configuration may stand here"};
        }
        if (c.global.json || c.global.version || c.global.run_dir_given) {
            return error{where + "--run-dir, --json and --version have no place here"};
        }
        commands.push_back({number, std::move(c)});
    }
    return commands;
}

bool has_rates(const method& m)
{
    return m.name == "stats" || m.name == "worker.list";
}

} // namespace strait::control::cli
