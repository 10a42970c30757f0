// SPDX-License-Identifier: BSD-3-Clause
// Reading and writing groups.
#include "control/flow_group_text.hh"

#include "control/flow_action_text.hh"
#include "control/flow_fields.hh"
#include "control/flow_values.hh"
#include "control/flow_words.hh"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>
#include <vector>

namespace strait::control {

using flow::bucket;
using flow::group_settings;
using flow::group_type;
using flow::selection;

namespace {

constexpr std::array<std::pair<std::string_view, group_type>, 5> types{{
    {"all", group_type::all},
    {"select", group_type::select},
    {"indirect", group_type::indirect},
    {"ff", group_type::fast_failover},
    {"fast_failover", group_type::fast_failover},
}};

constexpr std::array<std::pair<std::string_view, group_command>, 6> commands{{
    {"add", group_command::add},
    {"modify", group_command::modify},
    {"add_or_mod", group_command::add_or_modify},
    {"delete", group_command::remove},
    {"insert_bucket", group_command::insert_buckets},
    {"remove_bucket", group_command::remove_buckets},
}};

std::string_view word_of(group_command c)
{
    return std::ranges::find(commands, c, &std::pair<std::string_view, group_command>::second)
        ->first;
}

// Whether a command says all of a group.
bool defines(group_command c)
{
    return c == group_command::add || c == group_command::modify ||
           c == group_command::add_or_modify;
}

// Where the text of the first bucket begins; its end: there is none.
std::size_t find_bucket(std::string_view text, std::size_t from)
{
    constexpr std::string_view word = "bucket=";
    constexpr std::string_view separators = ", \t\r\n";
    for (std::size_t at = text.find(word, from); at != std::string_view::npos;
         at = text.find(word, at + 1)) {
        if (at == 0 || separators.find(text[at - 1]) != std::string_view::npos) {
            return at;
        }
    }
    return text.size();
}

class group_reader {
public:
    group_reader(group_command command, const port_names& names) : names_{names}
    {
        out_.command = command;
    }

    flow_result<group_change> read(std::string_view text)
    {
        const std::size_t first = find_bucket(text, 0);
        flow_words words{text.substr(0, first)};
        for (;;) {
            const auto word = words.next();
            if (word.has_error()) {
                return word.error();
            }
            if (!*word) {
                break;
            }
            if (const auto done = take(**word); done.has_error()) {
                return done.error();
            }
        }
        if (const auto whole = check(text); whole.has_error()) {
            return whole.error();
        }
        for (std::size_t at = first; at < text.size();) {
            const std::size_t end = find_bucket(text, at + 1);
            if (const auto done = take_bucket(text.substr(at, end - at)); done.has_error()) {
                return done.error();
            }
            at = end;
        }
        return finish(text);
    }

private:
    using handler = flow_result<void> (group_reader::*)(const flow_word&);

    flow_result<void> take(const flow_word& word)
    {
        constexpr std::array<std::pair<std::string_view, handler>, 6> handlers{{
            {"group_id", &group_reader::take_id},
            {"type", &group_reader::take_type},
            {"command_bucket_id", &group_reader::take_place},
            {"selection_method", &group_reader::take_method},
            {"selection_method_param", &group_reader::take_parameter},
            {"fields", &group_reader::take_fields},
        }};
        if (std::ranges::find(seen_, word.key) != seen_.end()) {
            return flow_fault{word.all, std::string{word.key} + " may be given once"};
        }
        seen_.push_back(word.key);
        for (const auto& [name, take_it] : handlers) {
            if (word.key == name) {
                if (name != "group_id" && (name == "command_bucket_id") == defines(out_.command)) {
                    return flow_fault{word.all, std::string{name} + " is not for " +
                                                    std::string{word_of(out_.command)}};
                }
                return (this->*take_it)(word);
            }
        }
        std::vector<std::string> known{"bucket"};
        for (const auto& [name, take_it] : handlers) {
            known.emplace_back(name);
        }
        return flow_fault{word.key,
                          shown(word.key) + " is no word of a group" + suggestion(word.key, known)};
    }

    flow_result<void> take_id(const flow_word& word)
    {
        if (word.value == "all" && out_.command == group_command::remove) {
            out_.every = true;
            return {};
        }
        const auto id = parse_number(word.value, flow::last_group, "group_id");
        if (id.has_error()) {
            return id.error();
        }
        out_.group.id = static_cast<std::uint32_t>(*id);
        return {};
    }
    flow_result<void> take_type(const flow_word& word)
    {
        const auto* const found =
            std::ranges::find(types, word.value, &std::pair<std::string_view, group_type>::first);
        if (found == types.end()) {
            return flow_fault{word.value,
                              shown(word.value) +
                                  " is no type of group; it must be all, select, indirect or ff"};
        }
        out_.group.type = found->second;
        return {};
    }
    flow_result<void> take_place(const flow_word& word)
    {
        using place = group_change::place;
        if (word.value == "first") {
            out_.where = place::first;
        } else if (word.value == "last") {
            out_.where = place::last;
        } else if (word.value == "all" && out_.command == group_command::remove_buckets) {
            out_.where = place::all;
        } else {
            const auto id = parse_integer(word.value);
            if (!id || id->high != 0 || id->low > flow::last_bucket) {
                return flow_fault{
                    word.value, shown(word.value) + " is no bucket; it must be first, last" +
                                    (out_.command == group_command::remove_buckets ? ", all" : "") +
                                    " or a bucket_id"};
            }
            out_.where = static_cast<std::uint32_t>(id->low);
        }
        return {};
    }
    flow_result<void> take_method(const flow_word& word)
    {
        if (word.value == "hash") {
            out_.group.select.by = selection::method::hash;
        } else if (word.value == "dp_hash") {
            out_.group.select.by = selection::method::dp_hash;
        } else {
            return flow_fault{word.value,
                              shown(word.value) +
                                  " is no selection_method; it must be hash or dp_hash"};
        }
        return {};
    }
    flow_result<void> take_parameter(const flow_word& word)
    {
        const auto number = parse_number(word.value, std::numeric_limits<std::uint64_t>::max(),
                                         "selection_method_param");
        if (number.has_error()) {
            return number.error();
        }
        out_.group.select.parameter = *number;
        return {};
    }
    // fields=ip_src, fields(ip_src,tcp_src=0xff)
    flow_result<void> take_fields(const flow_word& word)
    {
        flow_words words{word.value};
        for (;;) {
            const auto next = words.next();
            if (next.has_error()) {
                return next.error();
            }
            if (!*next) {
                return {};
            }
            if (const auto done = take_field(**next); done.has_error()) {
                return done.error();
            }
        }
    }
    flow_result<void> take_field(const flow_word& word)
    {
        const flow_field* const f = find_field(word.key);
        if (f == nullptr) {
            return no_such_field(word.key);
        }
        if (f->is_option || f->of == flow::field::conj_id || f->of == flow::field::actset_output) {
            return flow_fault{word.key, std::string{word.key} + " is nothing to tell packets by"};
        }
        flow::wide mask = flow::wide::ones(f->width);
        if (word.mark != 0) {
            const auto value = parse_value(f->form, f->width, f->name, word.value, names_);
            if (value.has_error()) {
                return value.error();
            }
            if (value->mask != flow::wide::ones(f->width)) {
                return flow_fault{word.value, "what stands behind a field here is its mask, which "
                                              "has no slash"};
            }
            mask = value->value;
        }
        if (mask.is_zero()) {
            return flow_fault{word.value, "a mask of 0 leaves nothing of " + std::string{f->name}};
        }
        out_.group.select.fields.push_back({f->of, f->to_key(mask)});
        return {};
    }

    [[nodiscard]] bool was_said(std::string_view word) const
    {
        return std::ranges::find(seen_, word) != seen_.end();
    }
    // What comes before the buckets.
    flow_result<void> check(std::string_view text) const
    {
        const std::string_view end = text.substr(text.size());
        if (!was_said("group_id")) {
            return flow_fault{end, "the group's number is missing: group_id=1"};
        }
        if (defines(out_.command) && !was_said("type")) {
            return flow_fault{end, "the group's type is missing: type=all, select, indirect or ff"};
        }
        const bool about_buckets = out_.command == group_command::insert_buckets ||
                                   out_.command == group_command::remove_buckets;
        if (about_buckets && !was_said("command_bucket_id")) {
            return flow_fault{end,
                              "it is missing which bucket: command_bucket_id=first, last or its "
                              "bucket_id"};
        }
        if (out_.group.type != group_type::select) {
            for (const auto* name : {"selection_method", "selection_method_param", "fields"}) {
                if (was_said(name)) {
                    return flow_fault{text, std::string{name} + " is for type=select alone"};
                }
            }
        }
        if (was_said("selection_method_param") && !was_said("selection_method")) {
            return flow_fault{text, "selection_method_param needs a selection_method"};
        }
        if (was_said("fields") && out_.group.select.by != selection::method::hash) {
            return flow_fault{text, "fields need selection_method=hash"};
        }
        return {};
    }

    // "bucket=..." with all that belongs to it. What is said of the bucket is blanked out, and what
    // is left are its actions, in their places.
    flow_result<void> take_bucket(std::string_view text)
    {
        if (out_.command == group_command::remove ||
            out_.command == group_command::remove_buckets) {
            return flow_fault{text,
                              std::string{word_of(out_.command)} + " takes no buckets of its own"};
        }
        constexpr std::size_t name = std::string_view{"bucket="}.size();
        std::string actions{text};
        const auto blank = [&](std::string_view part) {
            std::fill_n(actions.begin() + (part.data() - text.data()), part.size(), ' ');
        };
        blank(text.substr(0, name));
        bucket made;
        made.id = any_bucket;
        std::vector<std::string_view> said;
        flow_words words{text.substr(name)};
        for (;;) {
            const auto word = words.next();
            if (word.has_error()) {
                return word.error();
            }
            if (!*word) {
                break;
            }
            const flow_word& w = **word;
            if (w.key == "actions" || w.key == "action") {
                if (w.mark == 0) {
                    return flow_fault{w.all, "actions must be like actions=output:1"};
                }
                blank(w.all.substr(0, w.key.size() + 1));
                continue;
            }
            const auto property = take_property(w, made);
            if (property.has_error()) {
                return property.error();
            }
            if (*property) {
                if (std::ranges::find(said, w.key) != said.end()) {
                    return flow_fault{w.all, std::string{w.key} + " may be given once"};
                }
                said.push_back(w.key);
                blank(w.all);
            }
        }
        auto list = parse_bucket_actions(actions, names_);
        if (list.has_error()) {
            const flow_fault& f = list.error();
            const std::size_t at = std::min(column_of(actions, f) - 1, text.size());
            return flow_fault{text.substr(at), f.message};
        }
        made.actions = std::move(*list);
        out_.group.buckets.push_back(std::move(made));
        return {};
    }

    // False: the word is an action.
    flow_result<bool> take_property(const flow_word& word, bucket& out) const
    {
        const auto number = [&word](std::uint64_t most) {
            return parse_number(word.value, most, word.key);
        };
        if (word.key == "weight") {
            const auto n = number(std::numeric_limits<std::uint16_t>::max());
            if (n.has_error()) {
                return n.error();
            }
            out.weight = static_cast<std::uint16_t>(*n);
        } else if (word.key == "bucket_id") {
            const auto n = number(flow::last_bucket);
            if (n.has_error()) {
                return n.error();
            }
            out.id = static_cast<std::uint32_t>(*n);
        } else if (word.key == "watch_group") {
            const auto n = number(flow::last_group);
            if (n.has_error()) {
                return n.error();
            }
            out.watch_group = static_cast<std::uint32_t>(*n);
        } else if (word.key == "watch_port") {
            const auto port = parse_port(word.value, names_);
            if (port.has_error()) {
                return port.error();
            }
            if (*port != flow::ports::none) {
                out.watch_port = *port;
            }
        } else {
            return false;
        }
        return true;
    }

    flow_result<group_change> finish(std::string_view text)
    {
        if (out_.command == group_command::insert_buckets && out_.group.buckets.empty()) {
            return flow_fault{text.substr(text.size()),
                              "there is nothing to insert: bucket=output:1"};
        }
        if (defines(out_.command)) {
            if (std::string why = group_fault(out_.group); !why.empty()) {
                return flow_fault{text, std::move(why)};
            }
        }
        return std::move(out_);
    }

    const port_names& names_;
    group_change out_;
    std::vector<std::string_view> seen_;
};

void append_bucket(std::string& out, const bucket& b, group_type type, const port_names* names)
{
    out += ",bucket=";
    if (b.id != any_bucket) {
        out += "bucket_id:";
        append_decimal(out, b.id);
        out += ',';
    }
    if (type == group_type::select && b.weight != 1) {
        out += "weight:";
        append_decimal(out, b.weight);
        out += ',';
    }
    if (b.watch_port) {
        out += "watch_port:";
        append_port(out, *b.watch_port, names);
        out += ',';
    }
    if (b.watch_group) {
        out += "watch_group:";
        append_decimal(out, *b.watch_group);
        out += ',';
    }
    out += "actions=" + format_actions(b.actions, {}, names);
}

} // namespace

ports::result<group_change> parse_group(std::string_view text, group_command command,
                                        const port_names& names)
{
    auto read = group_reader{command, names}.read(text);
    if (read.has_error()) {
        return ports::error{at_column(text, read.error())};
    }
    return std::move(*read);
}

ports::result<void> read_groups(const flow_lines& lines, group_command command,
                                const port_names& names,
                                const std::function<ports::result<void>(group_change&&)>& take)
{
    const auto read = [&](std::string_view line,
                          std::size_t /*number*/) -> flow_result<ports::result<void>> {
        group_command here = command;
        line.remove_prefix(std::min(line.find_first_not_of(", \t\r"), line.size()));
        const std::string_view word = line.substr(0, line.find_first_of(", \t\r"));
        for (const auto& [name, c] : commands) {
            if (word == name) {
                line.remove_prefix(word.size());
                here = c;
            }
        }
        auto change = group_reader{here, names}.read(line);
        if (change.has_error()) {
            return change.error();
        }
        return take(std::move(*change));
    };
    return read_lines(lines, read);
}

std::string group_fault(const group_settings& g)
{
    if (g.type == group_type::indirect && g.buckets.size() != 1) {
        return "a group of type indirect has one bucket, not " + std::to_string(g.buckets.size());
    }
    if (g.buckets.size() > flow::most_buckets) {
        return "a group has " + std::to_string(flow::most_buckets) + " buckets at most, not " +
               std::to_string(g.buckets.size());
    }
    std::set<std::uint32_t> ids;
    for (const bucket& b : g.buckets) {
        if (b.id != any_bucket && !ids.insert(b.id).second) {
            return "two buckets have the bucket_id " + std::to_string(b.id);
        }
        const bool watches = b.watch_port || b.watch_group;
        if (g.type == group_type::fast_failover && !watches) {
            return "each bucket of type ff must have a watch_port or a watch_group";
        }
        if (b.weight != 1 && g.type != group_type::select) {
            return "weight is for type select alone";
        }
        if (watches && g.type != group_type::fast_failover && g.type != group_type::select) {
            return "watch_port and watch_group are for types ff and select alone";
        }
    }
    return {};
}

// Behind the highest there is; round again where that is the last.
void number_buckets(group_settings& g)
{
    std::set<std::uint32_t> used;
    for (const bucket& b : g.buckets) {
        if (b.id != any_bucket) {
            used.insert(b.id);
        }
    }
    std::uint32_t next = used.empty() ? 0 : *used.rbegin() + 1;
    for (bucket& b : g.buckets) {
        if (b.id != any_bucket) {
            continue;
        }
        while (next > flow::last_bucket || used.contains(next)) {
            next = next > flow::last_bucket ? 0 : next + 1;
        }
        b.id = next++;
    }
}

std::string format_selection_fields(const selection& s)
{
    std::string out;
    for (const selection::part& p : s.fields) {
        const auto whole = flow::subfield::whole(p.of);
        const flow_field& f = field_for(whole, {});
        out += out.empty() ? "" : ",";
        out += f.name;
        if (const flow::wide mask = f.to_text(p.mask); mask != flow::wide::ones(f.width)) {
            out += '=';
            if (f.form == value_form::ethernet || f.form == value_form::ipv4 ||
                f.form == value_form::ipv6) {
                append_value(out, f.form, f.width, {mask, flow::wide::ones(f.width)}, nullptr);
            } else {
                append_hexadecimal(out, mask);
            }
        }
    }
    return out;
}

std::string_view type_word(group_type type)
{
    return std::ranges::find(types, type, &std::pair<std::string_view, group_type>::second)->first;
}

std::string_view method_word(selection::method by)
{
    return by == selection::method::usual     ? std::string_view{}
           : by == selection::method::dp_hash ? std::string_view{"dp_hash"}
                                              : std::string_view{"hash"};
}

std::string format_group(const group_settings& g, const port_names* names)
{
    std::string out = "group_id=";
    append_decimal(out, g.id);
    out += ",type=";
    out += type_word(g.type);
    if (g.select.by != selection::method::usual) {
        out += ",selection_method=";
        out += method_word(g.select.by);
        if (g.select.parameter != 0) {
            out += ",selection_method_param=";
            append_decimal(out, g.select.parameter);
        }
        if (!g.select.fields.empty()) {
            out += ",fields(" + format_selection_fields(g.select) + ")";
        }
    }
    for (const bucket& b : g.buckets) {
        append_bucket(out, b, g.type, names);
    }
    return out;
}

} // namespace strait::control
