// SPDX-License-Identifier: BSD-3-Clause
// Reading and writing documents.
#include "control/config_document.hh"

#include "control/acl_text.hh"
#include "control/json_text.hh"
#include "control/methods.hh"
#include "control/parameters.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

namespace strait::control {

namespace json = boost::json;
using json::object;

namespace {

constexpr std::size_t levels = 8;
constexpr std::string_view version_name = "version";
constexpr std::string_view missing_name = "missing"; // of what is shown, and not read

// Text of lines is a list of them in documents.
constexpr std::string_view lines_member = "rules";

object to_document(object record)
{
    auto* const text = record.if_contains(lines_member);
    if (text == nullptr || !text->is_string()) {
        return record;
    }
    json::array lines;
    std::string_view rest{text->get_string()};
    while (!rest.empty()) {
        const auto end = std::min(rest.find('\n'), rest.size());
        lines.emplace_back(json::string{rest.substr(0, end)});
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    *text = std::move(lines);
    return record;
}

// False: it is no list of lines.
bool from_document(object& record)
{
    auto* const list = record.if_contains(lines_member);
    if (list == nullptr || !list->is_array()) {
        return list == nullptr || list->is_string();
    }
    std::string text;
    for (const auto& line : list->get_array()) {
        if (!line.is_string() || line.get_string().find('\n') != json::string::npos) {
            return false;
        }
        text += std::string_view{line.get_string()};
        text += '\n';
    }
    *list = std::move(text);
    return true;
}

class reader {
public:
    reader(config_document& out, const config_sources& sources) : out_{out}, sources_{sources} {}

    std::optional<failure> read(const object& all)
    {
        for (const auto& [key, value] : all) {
            const std::string name{key};
            if (name == version_name || name == missing_name) {
                continue;
            }
            if (!value.is_array()) {
                return wrong({name},
                             is_known(name) ? "this must be a list, [ ... ]" : unknown(name));
            }
            if (!is_known(name)) {
                return wrong({name}, unknown(name));
            }
        }
        if (auto why = read_version(all)) {
            return why;
        }
        out_.kinds.resize(config_kinds().size());
        for (std::size_t i = 0; i < out_.kinds.size(); ++i) {
            if (auto why = read_kind(all, config_kinds()[i], out_.kinds[i])) {
                return why;
            }
        }
        for (const line_kind kind : line_kinds) {
            if (auto why = read_lines_of(all, kind)) {
                return why;
            }
        }
        give_vlans();
        auto why = check_parents();
        return why ? why : check_sets();
    }

private:
    failure wrong(const json_path& place, const std::string& why) const
    {
        return {failure_kind::invalid, out_.where(place) + why};
    }

    static std::vector<std::string> names()
    {
        std::vector<std::string> out;
        for (const config_kind& kind : config_kinds()) {
            if (kind.declared) {
                out.emplace_back(kind.name);
            }
        }
        for (const line_kind kind : line_kinds) {
            out.emplace_back(name_of(kind));
        }
        return out;
    }

    static bool is_known(const std::string& name)
    {
        const auto all = names();
        return std::ranges::find(all, name) != all.end();
    }

    static std::string unknown(const std::string& name)
    {
        const auto near = nearest(name, names());
        std::string list;
        for (const std::string& known : names()) {
            list += (list.empty() ? "" : ", ") + known;
        }
        return "a configuration has no such part; " +
               (near ? "did you mean " + *near + "?" : "it has version, " + list);
    }

    std::optional<failure> read_version(const object& all) const
    {
        const auto* const version = all.if_contains(version_name);
        if (version == nullptr) {
            return wrong({}, "\"version\" is missing: the format is " +
                                 std::to_string(document_version));
        }
        if (!version->is_int64() || version->get_int64() != document_version) {
            const bool newer = version->is_int64() && version->get_int64() > document_version;
            return wrong({std::string{version_name}},
                         newer ? "this is a newer straitd's format; this one reads " +
                                     std::to_string(document_version)
                               : "this must be " + std::to_string(document_version));
        }
        return std::nullopt;
    }

    std::optional<failure> read_kind(const object& all, const config_kind& kind,
                                     std::map<std::string, config_document::entry>& to) const
    {
        const auto* const list = all.if_contains(kind.name);
        if (list == nullptr) {
            return std::nullopt;
        }
        method m = *find_method(methods(), kind.make);
        m.name = {}; // sentences begin with the place
        const auto& elements = list->get_array();
        for (std::size_t i = 0; i < elements.size(); ++i) {
            const json_path place{std::string{kind.name}, i};
            if (!elements[i].is_object()) {
                return wrong(place, "this must be an object, { ... }");
            }
            object record = elements[i].get_object();
            if (!from_document(record)) {
                return wrong(place, "\"rules\" must be a list of rules, each one line");
            }
            if (const auto why = check_parameters(m, record, wording::program)) {
                return wrong(place_within(place, record, m), *why);
            }
            if (auto why = check_rules(place, record)) {
                return why;
            }
            record = kind.normal(record);
            std::string key = key_of(kind, record);
            if (const auto there = to.find(key); there != to.end()) {
                return wrong(place, describe(kind, record) +
                                        " is there twice; the first is in line " +
                                        line_of(there->second.place));
            }
            to.emplace(std::move(key), config_document::entry{std::move(record), place});
        }
        return std::nullopt;
    }

    // A rule set's own language, with the rule's place.
    std::optional<failure> check_rules(json_path place, const object& record) const
    {
        const auto text = text_of(record, lines_member);
        if (!text) {
            return std::nullopt;
        }
        const auto read = read_acl({.text = *text, .file = ""});
        if (read.has_value()) {
            return std::nullopt;
        }
        // ":LINE:COLUMN: why"
        const std::string message = read.error().message;
        std::string_view why = message;
        std::size_t line = 0;
        why.remove_prefix(std::min<std::size_t>(1, why.size()));
        (void)std::from_chars(why.data(), why.data() + why.size(), line);
        why.remove_prefix(std::min(why.find(':') + 1, why.size()));
        place.emplace_back(std::string{lines_member});
        place.emplace_back(line - 1);
        return wrong(place, "column " + std::string{why});
    }

    // Of the first member that is wrong by itself, if one is.
    static json_path place_within(json_path place, const object& record, const method& m)
    {
        for (const auto& [key, value] : record) {
            const auto p = std::ranges::find(m.parameters, std::string_view{key}, &parameter::name);
            if (p == m.parameters.end() || check_value(m, *p, value, wording::program)) {
                place.emplace_back(std::string{key});
                break;
            }
        }
        return place;
    }

    std::string line_of(const json_path& place) const
    {
        const std::string both = line_and_column(out_.text, find_place(out_.text, place));
        return both.substr(0, both.find(':'));
    }

    std::optional<failure> read_lines_of(const object& all, line_kind kind)
    {
        const std::string name{name_of(kind)};
        const auto* const list = all.if_contains(name);
        if (list == nullptr) {
            return std::nullopt;
        }
        const auto& elements = list->get_array();
        std::set<std::string> seen;
        for (std::size_t i = 0; i < elements.size(); ++i) {
            const json_path place{name, i};
            const auto* const o = elements[i].if_object();
            const auto* const bridge = o == nullptr ? nullptr : o->if_contains("bridge");
            const auto* const lines = o == nullptr ? nullptr : o->if_contains(name);
            if (bridge == nullptr || !bridge->is_string() || lines == nullptr ||
                !lines->is_array() || o->size() != 2) {
                return wrong(place, "this must be {\"bridge\": NAME, \"" + name + "\": [ ... ]}");
            }
            const std::string on{std::string_view{bridge->get_string()}};
            if (!out_.kinds.front().contains("bridges " + on)) {
                return wrong(place, "there is no bridge " + on + " in this configuration");
            }
            if (!seen.insert(on).second) {
                return wrong(place, "the " + name + " of bridge " + on +
                                        " are there twice; say all of them in one place");
            }
            if (auto why = take_lines(kind, place, lines->get_array(), on)) {
                return why;
            }
        }
        return std::nullopt;
    }

    std::optional<failure> take_lines(line_kind kind, json_path place, const json::array& lines,
                                      const std::string& bridge)
    {
        auto& to = out_.bridges[bridge];
        said_flows_.insert(kind == line_kind::flows ? bridge : std::string{});
        place.emplace_back(std::string{name_of(kind)});
        place.emplace_back(std::size_t{0});
        for (std::size_t i = 0; i < lines.size(); ++i) {
            place.back() = i;
            if (!lines[i].is_string()) {
                return wrong(place, "this must be a line, \"...\"");
            }
            to[static_cast<std::size_t>(kind)].push_back(
                {std::string{std::string_view{lines[i].get_string()}}, place});
        }
        return std::nullopt;
    }

    // A bridge of which no flows are said has what a new one has. Static MACs without a VLAN are in
    // that of their port's untagged frames.
    void give_vlans()
    {
        for (const auto& [key, bridge] : out_.kinds.front()) {
            const std::string name = text_of(bridge.record, "name").value();
            auto& lines = out_.bridges[name];
            if (!said_flows_.contains(name)) {
                lines[static_cast<std::size_t>(line_kind::flows)].push_back(
                    {"priority=0 actions=NORMAL", bridge.place});
            }
        }
        const config_kind* const kind = find_config_kind("macs");
        auto& macs = out_.kinds[static_cast<std::size_t>(kind - config_kinds().data())];
        std::map<std::string, config_document::entry> with;
        for (auto& [key, entry] : macs) {
            const auto port = ports().find("ports " + text_of(entry.record, "port").value());
            if (!entry.record.contains("vlan") && port != ports().end()) {
                for (const std::string_view name : {"vlan", "qinq", "native"}) {
                    if (const auto* const vlan = port->second.record.if_contains(name)) {
                        entry.record["vlan"] = *vlan;
                    }
                }
            }
            with.emplace(key_of(*kind, entry.record), std::move(entry));
        }
        macs = std::move(with);
    }

    const std::map<std::string, config_document::entry>& ports() const { return out_.kinds[1]; }

    // Sets that are attached.
    std::optional<failure> check_sets() const
    {
        const auto index = [](std::string_view name) {
            return static_cast<std::size_t>(find_config_kind(name) - config_kinds().data());
        };
        for (const auto& [key, entry] : out_.kinds[index("attachments")]) {
            for (const std::string& name : split_list(text_of(entry.record, "names").value())) {
                if (!out_.kinds[index("acls")].contains("acls " + name)) {
                    return wrong(entry.place,
                                 "there is no rule set " + name + " in this configuration");
                }
            }
        }
        return std::nullopt;
    }

    std::optional<failure> check_parents() const
    {
        for (std::size_t i = 0; i < out_.kinds.size(); ++i) {
            for (const auto& [key, entry] : out_.kinds[i]) {
                for (const std::string& parent : parents_of(config_kinds()[i], entry.record)) {
                    if (!has(parent)) {
                        return wrong(
                            entry.place,
                            "there is no " +
                                std::string{parent.starts_with("ports ") ? "port " : "bridge "} +
                                parent.substr(parent.find(' ') + 1) + " in this configuration");
                    }
                }
            }
        }
        return std::nullopt;
    }

    bool has(const std::string& parent) const
    {
        if (parent.starts_with("bridges ")) {
            return out_.kinds.front().contains(parent);
        }
        const std::string name = parent.substr(parent.find(' ') + 1);
        return ports().contains(parent) || sources_.adoption.has_adopted(name) ||
               out_.kinds.front().contains("bridges " + name); // its own port
    }

    config_document& out_;
    const config_sources& sources_;
    std::set<std::string> said_flows_;
};

} // namespace

std::string config_document::where(const json_path& place) const
{
    const std::string path = to_text(place);
    return file + ':' + line_and_column(text, find_place(text, place)) + ": " + path +
           (path.empty() ? "" : ": ");
}

outcome<config_document> read_document(std::string_view text, std::string file,
                                       const config_sources& sources)
{
    config_document out;
    out.text = text;
    out.file = std::move(file);
    auto value = parse_json(text, levels);
    if (value.has_error()) {
        const json_fault& f = value.error();
        return failure{failure_kind::invalid, out.file +
                                                  (f.at ? ':' + line_and_column(text, *f.at) : "") +
                                                  ": " + f.message};
    }
    if (!value->is_object()) {
        return failure{failure_kind::invalid,
                       out.where({}) + "a configuration is an object, {\"version\": " +
                           std::to_string(document_version) + ", ...}, as config show prints it"};
    }
    if (auto why = reader{out, sources}.read(value->get_object())) {
        return std::move(*why);
    }
    return out;
}

object show_document(const configuration& from)
{
    object out{{version_name, document_version}};
    const auto& missing = from.all_missing();
    for (const config_kind& kind : config_kinds()) {
        if (!kind.declared) {
            continue;
        }
        std::map<std::string, object> records;
        kind.list(from.sources(), [&](object record) {
            std::string key = key_of(kind, record);
            records.emplace(std::move(key), to_document(std::move(record)));
        });
        for (const auto& [key, m] : missing) {
            if (m.kind == &kind) {
                records.emplace(key, to_document(m.record));
            }
        }
        json::array list;
        for (auto& [key, record] : records) {
            list.push_back(std::move(record));
        }
        if (!list.empty()) {
            out[kind.name] = std::move(list);
        }
    }
    for (const line_kind kind : line_kinds) {
        json::array list;
        for (const auto& [name, b] : from.sources().sw.bridges()) {
            json::array lines;
            for (const std::string& line : list_lines(kind, *b.flows)) {
                lines.emplace_back(line);
            }
            for (const auto& [key, m] : missing) {
                if (m.kind == nullptr && key.starts_with(line_prefix(kind, name))) {
                    lines.emplace_back(m.text);
                }
            }
            if (!lines.empty() || kind == line_kind::flows) {
                list.push_back(object{{"bridge", name}, {name_of(kind), std::move(lines)}});
            }
        }
        if (!list.empty()) {
            out[name_of(kind)] = std::move(list);
        }
    }
    if (!missing.empty()) {
        json::array list;
        for (const auto& [key, m] : missing) {
            list.push_back(object{{"what", m.what}, {"why", m.why}});
        }
        out[missing_name] = std::move(list);
    }
    return out;
}

} // namespace strait::control
