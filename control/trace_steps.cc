// SPDX-License-Identifier: BSD-3-Clause
#include "control/trace_steps.hh"

#include "control/flow_flags.hh"
#include "control/flow_packet.hh"

#include <array>

namespace strait::control {

namespace json = boost::json;

namespace {

// The way from one hidden table to another is nobody's.
bool is_told_of_hidden(const flow::action& what)
{
    return !std::holds_alternative<flow::goto_table>(what.is) &&
           !std::holds_alternative<flow::ct_clear>(what.is) &&
           !std::holds_alternative<flow::ct>(what.is);
}

} // namespace

void step_list::looked_up(flow::table_id table, const flow::rule* found, const flow::key& with)
{
    match_.push_back(found == nullptr ? flow::match{} : found->match());
    tables_.push_back(table);
    if (flow::is_hidden(table)) {
        met_hidden(table, found);
        return;
    }
    const std::size_t depth = depth_++;
    if (is_full()) {
        return;
    }
    std::string key = format_key(with, names_);
    json::value rule;
    length_ += key.size();
    if (found != nullptr) {
        const std::string text = format_flow(spec_of(*found), names_);
        length_ += text.size();
        rule = text;
    }
    add({{"depth", depth}, {"table", table}, {"flow", std::move(key)}, {"rule", std::move(rule)}});
}

void step_list::does(const flow::action& what)
{
    if (is_full() || (is_within_hidden() && !is_told_of_hidden(what))) {
        return;
    }
    std::string text =
        format_actions({what}, match_.empty() ? flow::match{} : match_.back(), names_);
    length_ += text.size();
    add({{"depth", depth_}, {"action", std::move(text)}});
}

void step_list::came_back()
{
    depth_ -= is_within_hidden() ? std::size_t{0} : 1;
    tables_.pop_back();
    match_.pop_back();
}

void step_list::begins(const flow::bucket_group& of, const flow::bucket& one)
{
    match_.emplace_back();
    tables_.push_back(flow::all_tables);
    const std::size_t depth = depth_++;
    if (!is_full()) {
        add({{"depth", depth}, {"group", of.id()}, {"bucket", one.id}});
    }
}

void step_list::says(std::string_view sentence)
{
    if (!is_full()) {
        add({{"depth", depth_}, {"note", sentence}});
    }
}

void step_list::goes_on(flow::table_id table, const flow::key& with)
{
    if (!is_full() && !flow::is_hidden(table)) {
        std::string key = format_key(with, names_);
        length_ += key.size();
        add({{"depth", depth_}, {"goes_on", table}, {"flow", std::move(key)}});
    }
}

void step_list::tracked(const conntrack::result& answer, json::value owner, json::value connection)
{
    if (is_full()) {
        return;
    }
    std::string state;
    append_flags(state, value_form::ct_flags, 32, {answer.state, flow::wide::ones(32)});
    const bool of_port = conntrack::is_of_port(answer.zone);
    add({{"depth", depth_},
         {"zone", of_port ? json::value{} : json::value(conntrack::number_of(answer.zone))},
         {"port", std::move(owner)},
         {"ct_state", std::move(state)},
         {"connection", std::move(connection)}});
}

void step_list::cached(const flow::match& told_by, json::array workers)
{
    if (is_full()) {
        return;
    }
    std::string text = format_match(told_by, names_);
    length_ += text.size();
    add({{"depth", depth_}, {"cached_by", std::move(text)}, {"workers", std::move(workers)}});
}

void step_list::comes_from(std::string_view port, const flow::key& with)
{
    if (!is_full()) {
        add({{"depth", depth_}, {"comes_from", port}, {"flow", format_key(with, names_)}});
    }
}

void step_list::met_hidden(flow::table_id table, const flow::rule* found)
{
    static constexpr std::array<std::string_view, flow::stage_count> stages{
        "binding", "acl from", "suppression", "acl to"};
    std::string text = found == nullptr ? std::string{} : flows_->describe_hidden(*found);
    if (text.empty() || is_full()) {
        return;
    }
    length_ += text.size();
    add({{"depth", depth_},
         {"stage", stages[static_cast<std::size_t>(flow::stage_of(table))]},
         {"rule", std::move(text)}});
}

// Rules may make a packet take millions of steps, which nobody reads and memory does not hold.
bool step_list::is_full()
{
    constexpr std::size_t most = 20'000;
    constexpr std::size_t longest = std::size_t{8} << 20;
    if (steps_.size() < most && length_ < longest) {
        return false;
    }
    if (!told_) {
        told_ = true;
        add({{"depth", depth_}, {"note", "what follows is too long to be shown"}});
    }
    return true;
}

void choice_list::took(const flow::bucket_group& of, std::size_t bucket, std::uint64_t hash)
{
    if (bucket == flow::bucket_group::no_bucket) {
        choices_.push_back({{"group", of.id()}, {"bucket", nullptr}, {"why", "no bucket is live"}});
        return;
    }
    std::string why = "it is the first that is live";
    if (of.type() == flow::group_type::select) {
        const std::size_t first = of.slot_of(hash);
        const bool usual = of.choose(hash, [](const flow::bucket&) { return true; }) == bucket;
        why = "the packet's hash leads to slot " + std::to_string(first) + " of " +
              std::to_string(of.slots()) +
              (usual ? "" : ", whose own bucket is not live; it takes this one's place");
    }
    choices_.push_back(
        {{"group", of.id()}, {"bucket", of.buckets()[bucket].id}, {"why", std::move(why)}});
}

void choice_list::met(const flow::packet_meter& m, bool passes)
{
    choices_.push_back({{"meter", m.id()},
                        {"passes", passes},
                        {"why", passes ? "it is within the meter's rate"
                                       : "it is more than the meter's rate at this moment"}});
}

} // namespace strait::control
