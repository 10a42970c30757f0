// SPDX-License-Identifier: BSD-3-Clause
// Finding out what differs.
#include "control/config_plan.hh"

#include "control/flow_group_text.hh"
#include "control/flow_meter_text.hh"
#include "control/flow_options.hh"
#include "control/parameters.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <utility>

namespace strait::control {

namespace json = boost::json;
using json::object;

namespace {

constexpr std::size_t bridges_kind = 0;
constexpr std::size_t ports_kind = 1;

std::size_t options_kind()
{
    return static_cast<std::size_t>(find_config_kind("options") - config_kinds().data());
}

std::string name_in(const object& record)
{
    return text_of(record, "name").value_or("");
}

template <typename Object, typename Format>
std::map<std::uint32_t, std::string> texts(const flow::id_map<Object>& all, const Format& format)
{
    std::map<std::uint32_t, std::string> out;
    all.for_each([&](const Object& o) { out.emplace(o.id(), format(o)); });
    return out;
}

std::string meter_text(const flow::packet_meter& m)
{
    return format_meter(m.settings());
}

// Those of `all` that are not among `others`; both in one order.
std::vector<std::string> not_in(std::vector<std::string> all, std::vector<std::string> others)
{
    std::ranges::sort(all);
    std::ranges::sort(others);
    std::vector<std::string> out;
    std::ranges::set_difference(all, others, std::back_inserter(out));
    return out;
}

// Takes away what is not wanted, as far as it is not led to.
outcome<void> drop_others(const bridge_flows& flows, bridge_flows::bundle& b,
                          const std::set<std::uint32_t>& groups,
                          const std::set<std::uint32_t>& meters)
{
    std::vector<std::uint32_t> going;
    flows.groups().for_each([&](const flow::bucket_group& g) {
        if (!groups.contains(g.id())) {
            going.push_back(g.id());
        }
    });
    std::optional<failure> led_to;
    for (std::size_t before = going.size() + 1; !going.empty() && going.size() < before;) {
        before = going.size();
        std::erase_if(going, [&](std::uint32_t id) {
            group_change change{.command = group_command::remove, .group = {}};
            change.group.id = id;
            const auto done = flows.apply(b, change);
            led_to = done.has_error() ? std::optional{done.error()} : led_to;
            return done.has_value();
        });
    }
    if (!going.empty()) {
        return *led_to;
    }
    std::vector<std::uint32_t> others;
    flows.meters().for_each([&](const flow::packet_meter& m) {
        if (!meters.contains(m.id())) {
            others.push_back(m.id());
        }
    });
    for (const std::uint32_t id : others) {
        meter_change change{.command = meter_command::remove, .meter = {}};
        change.meter.id = id;
        if (auto done = flows.apply(b, change); done.has_error()) {
            return done;
        }
    }
    return {};
}

// After each line: a document may have millions of them, and neighbours in spanning tree wait for
// none.
void pause_after(std::size_t line, virtual_switch& sw)
{
    constexpr std::size_t often = 256;
    if (line % often == 0) {
        (void)sw.keep_trees();
    }
}

json::array to_array(const std::vector<std::string>& all)
{
    return json::array(all.begin(), all.end());
}

} // namespace

config_plan::config_plan(configuration& config, virtual_switch& sw, config_document wanted)
    : config_{&config}, switch_{&sw}, wanted_{std::move(wanted)}
{
    for (const config_kind& kind : config_kinds()) {
        records& now = current_.emplace_back();
        kind.list(config.sources(),
                  [&](object record) { now.emplace(key_of(kind, record), std::move(record)); });
        for (const auto& [key, m] : config.all_missing()) {
            if (m.kind == &kind) {
                now.emplace(key, m.record);
            }
        }
    }
}

outcome<config_plan> config_plan::make(configuration& config, virtual_switch& sw,
                                       config_document wanted)
{
    config_plan plan{config, sw, std::move(wanted)};
    if (auto done = plan.number_ports(); done.has_error()) {
        return done.error();
    }
    if (auto done = plan.check_tree_numbers(); done.has_error()) {
        return done.error();
    }
    if (auto done = plan.read_options(); done.has_error()) {
        return done.error();
    }
    plan.compare();
    if (auto done = plan.compare_lines(); done.has_error()) {
        return done.error();
    }
    return plan;
}

// Ports that do not say theirs keep what they have, or have the lowest that is free.
outcome<void> config_plan::number_ports()
{
    auto& ports = wanted_.kinds[ports_kind];
    std::map<std::int64_t, std::string> used;
    for (const auto& [name, p] : switch_->ports()) {
        if (config_->sources().adoption.has_adopted(name)) {
            used.emplace(p.number, "the adopted port " + name);
        }
    }
    for (const bool given : {true, false}) { // then those that are there already
        for (auto& [key, entry] : ports) {
            const auto before = current_[ports_kind].find(key);
            if (entry.record.contains("number") != given ||
                (!given &&
                 (before == current_[ports_kind].end() || !before->second.contains("number")))) {
                continue;
            }
            const std::int64_t number =
                given ? *number_of(entry.record, "number") : *number_of(before->second, "number");
            const auto [other, is_new] = used.emplace(number, "port " + name_in(entry.record));
            if (given && !is_new) {
                return failure{failure_kind::in_use, wanted_.where(entry.place) + "the number " +
                                                         std::to_string(number) + " is that of " +
                                                         other->second + ", too"};
            }
            if (is_new) {
                entry.record["number"] = number;
            }
        }
    }
    std::int64_t next = 1;
    for (auto& [key, entry] : ports) {
        if (!entry.record.contains("number")) {
            while (used.contains(next)) {
                ++next;
            }
            used.emplace(next, key);
            entry.record["number"] = next;
        }
    }
    return {};
}

// In spanning tree. Only ports that say one have it for themselves.
outcome<void> config_plan::check_tree_numbers() const
{
    std::map<std::pair<std::string, std::int64_t>, std::string> used;
    for (const auto& [key, entry] : wanted_.kinds[ports_kind]) {
        const std::int64_t number = number_of(entry.record, "rstp_port_num").value_or(0);
        if (number == 0) {
            continue;
        }
        const auto [other, is_new] = used.try_emplace(
            {text_of(entry.record, "bridge").value(), number}, name_in(entry.record));
        if (!is_new) {
            return failure{failure_kind::in_use,
                           wanted_.where(entry.place) + "the number " + std::to_string(number) +
                               " in spanning tree is that of port " + other->second + ", too"};
        }
    }
    return {};
}

void config_plan::compare()
{
    for (std::size_t i = 0; i < current_.size(); ++i) {
        if (config_kinds()[i].declared) {
            compare_kind(i);
        }
    }
}

// Whether what it belongs to goes in between, or the port of a bridge's own with its last address.
bool config_plan::loses_parent(const config_kind& kind, const object& r) const
{
    const auto parents = parents_of(kind, r);
    if (std::ranges::any_of(parents, [this](const auto& p) { return anew_.contains(p); })) {
        return true;
    }
    return kind.name == "local_ports" && std::ranges::any_of(steps_, [&r](const step& s) {
               return s.kind->name == "addresses" && s.does != action::add &&
                      text_of(s.from, "bridge") == name_in(r);
           });
}

void config_plan::compare_kind(std::size_t i)
{
    const config_kind& kind = config_kinds()[i];
    const auto& missing = config_->all_missing();
    for (const auto& [key, record] : current_[i]) {
        if (wanted_.kinds[i].contains(key)) {
            continue;
        }
        if (missing.contains(key)) {
            forgotten_.insert(key);
        }
        anew_.insert(key);
        steps_.push_back({&kind, key, action::remove, record, {}, {}, {}});
    }
    for (const auto& [key, entry] : wanted_.kinds[i]) {
        const auto before = current_[i].find(key);
        if (before == current_[i].end()) {
            steps_.push_back({&kind, key, action::add, {}, entry.record, {}, entry.place});
            continue;
        }
        const bool is_same = before->second == entry.record;
        const bool lost = loses_parent(kind, before->second);
        if (is_same && !lost) {
            continue;
        }
        if (missing.contains(key)) {
            if (!is_same) {
                steps_.push_back(
                    {&kind, key, action::add, before->second, entry.record, {}, entry.place});
            }
            continue;
        }
        auto calls = lost || kind.change == nullptr ? std::vector<config_call>{}
                                                    : kind.change(before->second, entry.record);
        const action does = calls.empty() ? action::remake : action::change;
        if (does == action::remake) {
            anew_.insert(key);
        }
        steps_.push_back(
            {&kind, key, does, before->second, entry.record, std::move(calls), entry.place});
    }
}

// Options are where the flows have them now.
port_names config_plan::names_on(const std::string& bridge, const bridge_flows& flows) const
{
    port_names out = flows.names();
    for (const auto& [key, entry] : wanted_.kinds[ports_kind]) {
        if (text_of(entry.record, "bridge") == bridge) {
            out.add(static_cast<flow::port_number>(*number_of(entry.record, "number")),
                    name_in(entry.record));
        }
    }
    for (const auto& [name, p] : switch_->ports()) {
        if (p.request.bridge == bridge && config_->sources().adoption.has_adopted(name)) {
            out.add(p.number, name);
        }
    }
    return out;
}

outcome<void> config_plan::read_options()
{
    for (const auto& [key, entry] : wanted_.kinds[options_kind()]) {
        const auto read = parse_options(text_of(entry.record, "options").value(), false);
        if (read.has_error()) {
            return failure{failure_kind::invalid,
                           wanted_.where(entry.place) + read.error().message};
        }
        if (read->size() != 1) {
            return failure{failure_kind::invalid,
                           wanted_.where(entry.place) + "each option is an entry of its own here"};
        }
        auto& known = options_[text_of(entry.record, "bridge").value()];
        if (const auto done = add_option(known, read->front()); done.has_error()) {
            return failure{done.error().kind, wanted_.where(entry.place) + done.error().message};
        }
    }
    return {};
}

// Then what flows may name is not known before its steps are taken.
bool config_plan::changes_options(const std::string& bridge) const
{
    return std::ranges::any_of(steps_, [&](const step& s) {
        return s.kind->named_by_lines &&
               text_of(s.does == action::remove ? s.from : s.to, "bridge") == bridge;
    });
}

// What the bridge is to have, in a bundle; refused with the line's place.
outcome<bridge_flows::bundle> config_plan::prepare(const bridge_flows& flows,
                                                   const std::string& bridge) const
{
    const auto found = wanted_.bridges.find(bridge);
    static const config_document::lines none;
    const auto& lines = found == wanted_.bridges.end() ? none : found->second;
    const port_names names = names_on(bridge, flows);
    auto b = flows.begin_empty();
    const auto refuse = [this](const config_document::line& l, const std::string& why) {
        return failure{failure_kind::invalid, wanted_.where(l.place) + why};
    };
    std::size_t line = 0;
    std::set<std::uint32_t> meters;
    for (const auto& l : lines[static_cast<std::size_t>(line_kind::meters)]) {
        pause_after(++line, *switch_);
        auto read = parse_meter(l.text, meter_command::add);
        if (read.has_error()) {
            return refuse(l, read.error().message);
        }
        const auto* const before = flows.meters().find(read->meter.id);
        if (!meters.insert(read->meter.id).second) {
            return refuse(l, "meter " + std::to_string(read->meter.id) + " is there twice");
        }
        if (before != nullptr && format_meter(before->settings()) == format_meter(read->meter)) {
            continue;
        }
        read->command = before == nullptr ? meter_command::add : meter_command::modify;
        if (auto done = flows.apply(b, *read); done.has_error()) {
            return refuse(l, done.error().message);
        }
    }
    std::set<std::uint32_t> groups;
    for (const auto& l : lines[static_cast<std::size_t>(line_kind::groups)]) {
        pause_after(++line, *switch_);
        auto read = parse_group(l.text, group_command::add_or_modify, names);
        if (read.has_error()) {
            return refuse(l, read.error().message);
        }
        number_buckets(read->group);
        const auto* const before = flows.groups().find(read->group.id);
        if (!groups.insert(read->group.id).second) {
            return refuse(l, "group " + std::to_string(read->group.id) + " is there twice");
        }
        if (before != nullptr &&
            format_group(before->settings(), &names) == format_group(read->group, &names)) {
            continue;
        }
        if (auto done = flows.apply(b, *read); done.has_error()) {
            return refuse(l, done.error().message);
        }
    }
    if (const auto done = drop_others(flows, b, groups, meters); done.has_error()) {
        return failure{done.error().kind,
                       wanted_.file + ": bridge " + bridge + ": " + done.error().message};
    }
    for (const auto& l : lines[static_cast<std::size_t>(line_kind::flows)]) {
        pause_after(++line, *switch_);
        auto read = parse_flow(l.text, flow_command::add, names);
        if (read.has_error()) {
            return refuse(l, read.error().message);
        }
        for (flow_spec& f : *read) {
            if (auto done = flows.apply(b, flow_change{flow_command::add, std::move(f), 0});
                done.has_error()) {
                return refuse(l, done.error().message);
            }
        }
    }
    return b;
}

outcome<void> config_plan::compare_lines()
{
    for (const auto& [key, entry] : wanted_.kinds[bridges_kind]) {
        const std::string name = name_in(entry.record);
        const auto there = switch_->bridges().find(name);
        if (there != switch_->bridges().end() && !anew_.contains(key) && !changes_options(name)) {
            auto b = prepare(*there->second.flows, name);
            if (b.has_error()) {
                return b.error();
            }
            note_lines(*there->second.flows, name, *b);
            prepared_.emplace(name, std::move(*b));
            continue;
        }
        // One that is not there yet, or not as it will be: what cannot be is found out elsewhere.
        retired_flows retired{switch_->engine()};
        bridge_flows scratch{switch_->engine(), retired};
        if (const auto options = options_.find(name); options != options_.end()) {
            scratch.set_options(std::make_shared<const flow::option_map>(options->second));
        }
        auto b = prepare(scratch, name);
        if (b.has_error()) {
            return b.error();
        }
        const bool stays = there != switch_->bridges().end() && !anew_.contains(key);
        if (!stays) {
            note_lines(scratch, name, *b);
        }
        if (const auto done = scratch.commit_objects(std::move(*b)); done.has_error()) {
            return failure{failure_kind::invalid,
                           wanted_.where(entry.place) + done.error().message};
        }
        for (const line_kind kind : stays ? std::span{line_kinds} : std::span<const line_kind>{}) {
            const auto before = list_lines(kind, *there->second.flows);
            const auto after = list_lines(kind, scratch);
            line_change change{name, kind, not_in(before, after), not_in(after, before)};
            if (!change.removed.empty() || !change.added.empty()) {
                lines_.push_back(std::move(change));
            }
        }
    }
    return {};
}

void config_plan::note_lines(const bridge_flows& flows, const std::string& bridge,
                             const bridge_flows::bundle& b)
{
    const auto differs = flows.compare(b);
    line_change change{bridge, line_kind::flows, {}, {}};
    std::size_t line = 0;
    for (const auto& r : differs.removed) {
        pause_after(++line, *switch_);
        change.removed.push_back(format_flow(spec_of(*r), &flows.names()));
    }
    for (const auto& r : differs.added) {
        pause_after(++line, *switch_);
        change.added.push_back(format_flow(spec_of(*r), &flows.names()));
    }
    std::ranges::sort(change.removed);
    std::ranges::sort(change.added);
    const auto note = [&](line_kind kind, const auto& before, const auto& after) {
        line_change c{bridge, kind, {}, {}};
        for (const auto& [id, text] : before) {
            if (const auto now = after.find(id); now == after.end() || now->second != text) {
                c.removed.push_back(text);
            }
        }
        for (const auto& [id, text] : after) {
            if (const auto old = before.find(id); old == before.end() || old->second != text) {
                c.added.push_back(text);
            }
        }
        if (!c.removed.empty() || !c.added.empty()) {
            lines_.push_back(std::move(c));
        }
    };
    note(line_kind::meters, texts(flows.meters(), meter_text), texts(b.meters(), meter_text));
    const auto group_text = [&flows](const flow::bucket_group& g) {
        return format_group(g.settings(), &flows.names());
    };
    note(line_kind::groups, texts(flows.groups(), group_text), texts(b.groups(), group_text));
    if (!change.removed.empty() || !change.added.empty()) {
        lines_.push_back(std::move(change));
    }
}

object config_plan::describe() const
{
    static constexpr std::array<std::string_view, 4> words{"add", "change", "remove", "remake"};
    json::array changes;
    for (const step& s : steps_) {
        const bool removes = s.does == action::remove;
        const auto or_null = [](const object& o) {
            return o.empty() ? json::value(nullptr) : json::value(o);
        };
        changes.push_back(object{{"action", words[static_cast<std::size_t>(s.does)]},
                                 {"kind", s.kind->name},
                                 {"what", control::describe(*s.kind, removes ? s.from : s.to)},
                                 {"from", or_null(s.from)},
                                 {"to", or_null(s.to)}});
    }
    json::array lines;
    for (const line_change& c : lines_) {
        lines.push_back(object{{"bridge", c.bridge},
                               {"kind", name_of(c.kind)},
                               {"removed", to_array(c.removed)},
                               {"added", to_array(c.added)}});
    }
    return {{"changes", std::move(changes)}, {"lines", std::move(lines)}};
}

} // namespace strait::control
