// SPDX-License-Identifier: BSD-3-Clause
// Taking the steps of a plan, and taking them back.
#include "control/config_plan.hh"

#include "control/log.hh"
#include "control/parameters.hh"

#include <algorithm>
#include <utility>

namespace strait::control {

namespace json = boost::json;
using json::object;

namespace {

// What others lead to goes when nobody leads to it any more; bridges last, with their flows.
bool goes_late(const config_kind& kind)
{
    return kind.name == "acls" || kind.name == "bridges" || kind.named_by_lines;
}

} // namespace

outcome<void> config_plan::take(const rpc& handler, const step& s, bool removing)
{
    const auto call = [&](std::string_view method, const object& parameters) -> outcome<void> {
        const auto done = handler.call(method, parameters);
        return done.has_error() ? outcome<void>{done.error()} : outcome<void>{};
    };
    outcome<void> done;
    if (removing) {
        const auto c = s.kind->remove(config_->sources(), s.from);
        done = call(c.method, c.parameters);
    } else if (s.does == action::change) {
        for (const config_call& c : s.calls) {
            done = done.has_error() ? done : call(c.method, c.parameters);
        }
    } else {
        done = config_->make(*s.kind, s.to);
    }
    if (done.has_error()) {
        return failure{done.error().kind,
                       (s.place.empty() ? wanted_.file + ": without " +
                                              control::describe(*s.kind, s.from) + ": "
                                        : wanted_.where(s.place)) +
                           done.error().message};
    }
    return done;
}

// Ports that stay may exchange their numbers in spanning tree: one after the other, each would find
// that of another taken.
void config_plan::renumber_trees() const
{
    std::map<std::string, stp::port_number> numbers;
    for (const step& s : steps_) {
        if (s.kind->name != "ports" || s.does != action::change) {
            continue;
        }
        const std::int64_t to = number_of(s.to, "rstp_port_num").value_or(0);
        const std::string name = text_of(s.to, "name").value();
        if (to != number_of(s.from, "rstp_port_num").value_or(0) &&
            virtual_switch::may_have_tree(switch_->ports().at(name).request.type)) {
            numbers.emplace(name, static_cast<stp::port_number>(to));
        }
    }
    if (!numbers.empty()) {
        switch_->set_tree_numbers(numbers);
    }
}

outcome<void> config_plan::take_steps(const rpc& handler)
{
    const auto removes = [this](const step& s) {
        return (s.does == action::remove || s.does == action::remake) &&
               !forgotten_.contains(s.key) &&
               !(s.kind->named_by_lines && loses_parent(*s.kind, s.from));
    };
    const auto is_late = [](const step& s) {
        return s.does == action::remove && goes_late(*s.kind);
    };
    for (auto i = steps_.rbegin(); i != steps_.rend(); ++i) {
        const step& s = *i;
        if (removes(s) && !is_late(s)) {
            if (auto done = take(handler, s, true); done.has_error()) {
                return done;
            }
        }
    }
    renumber_trees();
    for (const step& s : steps_) {
        if (s.does != action::remove) {
            if (auto done = take(handler, s, false); done.has_error()) {
                return done;
            }
        }
    }
    if (auto done = commit_lines(); done.has_error()) {
        return done;
    }
    for (auto i = steps_.rbegin(); i != steps_.rend(); ++i) {
        const step& s = *i;
        if (removes(s) && is_late(s)) {
            if (auto done = take(handler, s, true); done.has_error()) {
                return done;
            }
        }
    }
    return {};
}

// Each bridge's at once.
outcome<void> config_plan::commit_lines()
{
    std::string last;
    for (const line_change& c : lines_) {
        if (c.bridge == last) {
            continue;
        }
        last = c.bridge;
        (void)switch_->keep_trees();
        bridge_flows& flows = *switch_->bridges().at(c.bridge).flows;
        if (!prepared_.contains(c.bridge)) {
            auto b = prepare(flows, c.bridge);
            if (b.has_error()) {
                return b.error();
            }
            prepared_.emplace(c.bridge, std::move(*b));
        }
        if (const auto done = flows.commit_objects(std::move(prepared_.at(c.bridge)));
            done.has_error()) {
            return failure{done.error().kind, wanted_.file + ": the flows of bridge " + c.bridge +
                                                  ": " + done.error().message};
        }
    }
    return {};
}

outcome<object> config_plan::carry_out(const rpc& handler)
{
    if (auto room = config_->make_room(2 * wanted_.text.size()); room.has_error()) {
        return room.error();
    }
    for (const step& s : steps_) {
        const bool bridge_goes = s.kind->name == "bridges" && s.does == action::remake;
        const auto there = switch_->bridges().find(text_of(s.from, "name").value_or(""));
        if (!bridge_goes || there == switch_->bridges().end()) {
            continue;
        }
        auto& lost = lost_[there->first];
        for (const line_kind kind : line_kinds) {
            for (std::string& text : list_lines(kind, *there->second.flows)) {
                lost[static_cast<std::size_t>(kind)].push_back({std::move(text), {}});
            }
        }
    }
    if (auto done = take_steps(handler); done.has_error()) {
        return failure{done.error().kind, done.error().message + bring_back(handler)};
    }
    for (const std::string& key : forgotten_) {
        config_->forget(key);
    }
    switch_->events().add(
        event_kind::config_applied, {}, {},
        {{"file", wanted_.file}, {"changes", steps_.size()}, {"lists_of_lines", lines_.size()}});
    log(log_level::info, "control",
        "the configuration in " + wanted_.file + " was applied: " + std::to_string(steps_.size()) +
            " changes, and of " + std::to_string(lines_.size()) + " lists of lines");
    return describe();
}

// The end of a sentence.
std::string config_plan::bring_back(const rpc& handler) const
{
    config_document before;
    before.file = "what was there before";
    for (const records& all : current_) {
        auto& kind = before.kinds.emplace_back();
        for (const auto& [key, record] : all) {
            kind.emplace(key, config_document::entry{record, {}});
        }
    }
    before.bridges = lost_;
    config_plan back{*config_, *switch_, std::move(before)};
    back.compare();
    std::string left;
    const auto attempt = [&](const step& s, bool removing) {
        if (const auto done = back.take(handler, s, removing); done.has_error()) {
            left += (left.empty() ? "" : "; ") + done.error().message;
        }
    };
    for (auto i = back.steps_.rbegin(); i != back.steps_.rend(); ++i) {
        const step& s = *i;
        if (s.does == action::remove || s.does == action::remake) {
            attempt(s, true);
        }
    }
    back.renumber_trees();
    for (const step& s : back.steps_) {
        if (s.does != action::remove && !config_->all_missing().contains(s.key)) {
            attempt(s, false);
        }
    }
    for (const auto& [name, lines] : lost_) {
        if (const auto there = switch_->bridges().find(name); there != switch_->bridges().end()) {
            back.lines_.push_back({name, line_kind::flows, {}, {}});
        }
    }
    if (const auto done = back.commit_lines(); done.has_error()) {
        left += (left.empty() ? "" : "; ") + done.error().message;
    }
    return left.empty() ? "; nothing is changed"
                        : "; and of what was there before this is not there again: " + left;
}

} // namespace strait::control
