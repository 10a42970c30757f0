// SPDX-License-Identifier: BSD-3-Clause
// The watching of a translation, and the catching of what its program sends.
#include "control/flow_trace.hh"

#include "control/acl_stages.hh"
#include "control/flow_flags.hh"
#include "control/flow_frame.hh"
#include "control/flow_packet.hh"
#include "control/flow_text.hh"
#include "control/ip_text.hh"
#include "dataplane/flow/forward.hh"
#include "dataplane/flow/passes.hh"
#include "dataplane/guard/inspector.hh"
#include "dataplane/guard/port_security.hh"
#include "dataplane/parse.hh"
#include "dataplane/tap.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include <rte_cycles.h>

namespace strait::control {

namespace json = boost::json;
using dataplane::drop_reason;
using dataplane::packet_slot;
using dataplane::port_index;
using dataplane::to_index;

namespace {

std::string hexadecimal(std::span<const std::byte> bytes)
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    out.reserve(2 * bytes.size());
    for (const std::byte b : bytes) {
        out += digits[std::to_integer<std::size_t>(b) / digits.size()];
        out += digits[std::to_integer<std::size_t>(b) % digits.size()];
    }
    return out;
}

// Writes the steps down. Each has the depth that it is at: tables that lead into others.
class step_list final : public flow::observer {
public:
    step_list(const port_names& names, const bridge_flows& flows) : names_{names}, flows_{flows} {}

    void looked_up(flow::table_id table, const flow::rule* found, const flow::key& with) override
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
        std::string key = format_key(with, &names_);
        json::value rule;
        length_ += key.size();
        if (found != nullptr) {
            const std::string text = format_flow(spec_of(*found), &names_);
            length_ += text.size();
            rule = text;
        }
        steps_.push_back({{"depth", depth},
                          {"table", table},
                          {"flow", std::move(key)},
                          {"rule", std::move(rule)}});
    }
    void does(const flow::action& what) override
    {
        if (is_full() || (is_within_hidden() && !is_told_of_hidden(what))) {
            return;
        }
        std::string text =
            format_actions({what}, match_.empty() ? flow::match{} : match_.back(), &names_);
        length_ += text.size();
        steps_.push_back({{"depth", depth_}, {"action", std::move(text)}});
    }
    void came_back() override
    {
        depth_ -= is_within_hidden() ? std::size_t{0} : 1;
        tables_.pop_back();
        match_.pop_back();
    }
    void begins(const flow::bucket_group& of, const flow::bucket& one) override
    {
        match_.emplace_back();
        tables_.push_back(flow::all_tables);
        const std::size_t depth = depth_++;
        if (!is_full()) {
            steps_.push_back({{"depth", depth}, {"group", of.id()}, {"bucket", one.id}});
        }
    }
    void ends_bucket() override { came_back(); }
    void says(std::string_view sentence) override
    {
        if (!is_full()) {
            steps_.push_back({{"depth", depth_}, {"note", sentence}});
        }
    }
    // Behind a ct action.
    void goes_on(flow::table_id table, const flow::key& with)
    {
        if (!is_full() && !flow::is_hidden(table)) {
            std::string key = format_key(with, &names_);
            length_ += key.size();
            steps_.push_back({{"depth", depth_}, {"goes_on", table}, {"flow", std::move(key)}});
        }
    }
    [[nodiscard]] json::array take() noexcept { return std::move(steps_); }

private:
    [[nodiscard]] bool is_within_hidden() const
    {
        return !tables_.empty() && flow::is_hidden(tables_.back());
    }
    // The way from one to another is nobody's.
    [[nodiscard]] static bool is_told_of_hidden(const flow::action& what)
    {
        return !std::holds_alternative<flow::goto_table>(what.is) &&
               !std::holds_alternative<flow::ct_clear>(what.is) &&
               !std::holds_alternative<flow::ct>(what.is);
    }
    void met_hidden(flow::table_id table, const flow::rule* found)
    {
        static constexpr std::array<std::string_view, flow::stage_count> stages{
            "binding", "acl from", "suppression", "acl to"};
        std::string text = found == nullptr ? std::string{} : flows_.describe_hidden(*found);
        if (text.empty() || is_full()) {
            return;
        }
        length_ += text.size();
        steps_.push_back({{"depth", depth_},
                          {"stage", stages[static_cast<std::size_t>(flow::stage_of(table))]},
                          {"rule", std::move(text)}});
    }
    // Rules may make a packet take millions of steps, which nobody reads and memory does not hold.
    [[nodiscard]] bool is_full()
    {
        constexpr std::size_t most = 20'000;
        constexpr std::size_t longest = std::size_t{8} << 20;
        if (steps_.size() < most && length_ < longest) {
            return false;
        }
        if (!told_) {
            told_ = true;
            steps_.push_back({{"depth", depth_}, {"note", "what follows is too long to be shown"}});
        }
        return true;
    }

    const port_names& names_;
    const bridge_flows& flows_;
    std::size_t depth_{0};
    std::size_t length_{0}; // of what the steps say
    bool told_{false};
    std::vector<flow::match> match_; // of the rules that are under way
    std::vector<flow::table_id> tables_;
    json::array steps_;
};

// Writes down what is found when the packet is there.
class choice_list final : public flow::run_observer {
public:
    void took(const flow::bucket_group& of, std::size_t bucket, std::uint64_t hash) override
    {
        if (bucket == flow::bucket_group::no_bucket) {
            choices_.push_back(
                {{"group", of.id()}, {"bucket", nullptr}, {"why", "no bucket is live"}});
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
    void met(const flow::packet_meter& m, bool passes) override
    {
        choices_.push_back({{"meter", m.id()},
                            {"passes", passes},
                            {"why", passes ? "it is within the meter's rate"
                                           : "it is more than the meter's rate at this moment"}});
    }
    [[nodiscard]] json::array take() noexcept { return std::move(choices_); }

private:
    json::array choices_;
};

// A frame as a worker has it: its head in a slot, the rest as if it were a guest's.
class traced_frame {
public:
    explicit traced_frame(std::span<const std::byte> frame)
        : bytes_{frame.begin(), frame.end()}, burst_{std::make_unique<dataplane::burst>()}
    {
        packet_slot& p = burst_->slots[0];
        static_cast<dataplane::packet&>(p) = {};
        const std::size_t head = std::min(bytes_.size(), dataplane::head_copy);
        p.data = p.head.data();
        std::memcpy(p.data, bytes_.data(), head);
        p.length = static_cast<std::uint32_t>(bytes_.size());
        p.head_length = static_cast<std::uint16_t>(head);
        p.segments = burst_->segments.data();
        if (head < bytes_.size()) {
            burst_->segments[0] = dataplane::guest_span{bytes_.data() + head, bytes_.size() - head};
            burst_->segments_used = 1;
            p.segment_count = 1;
        }
        burst_->count = 1;
    }
    [[nodiscard]] packet_slot& get() noexcept { return burst_->slots[0]; }
    [[nodiscard]] dataplane::burst& burst() noexcept { return *burst_; }

private:
    std::vector<std::byte> bytes_;
    std::unique_ptr<dataplane::burst> burst_;
};

// Mirrors that have the packet, each once, at the first place where they see it.
class mirror_notes {
public:
    explicit mirror_notes(const dataplane::snapshot& config) : config_{config} {}

    void received(const dataplane::packet& p, const dataplane::port_config& in)
    {
        look(p, in, &dataplane::tap_filter::received, "received");
    }
    void sent(const dataplane::packet& p, const dataplane::port_config& by)
    {
        look(p, by, &dataplane::tap_filter::sent, "sent");
    }
    [[nodiscard]] json::array take() noexcept { return std::move(notes_); }

private:
    void look(const dataplane::packet& p, const dataplane::port_config& at,
              dataplane::port_set dataplane::tap_filter::*where, std::string_view event)
    {
        if (!config_.taps) {
            return;
        }
        for (const dataplane::tap& t : config_.taps->all) {
            if (t.outlet->once != 0 && (had_ & t.outlet->once) == 0 &&
                (t.filter.*where)[to_index(at.index)] &&
                t.filter.wants(p, at, config_.port(p.in_port))) {
                had_ |= t.outlet->once;
                notes_.push_back({{"mirror", t.outlet->name}, {"event", event}, {"port", at.name}});
            }
        }
    }

    const dataplane::snapshot& config_;
    std::uint32_t had_{0};
    json::array notes_;
};

std::vector<std::byte> bytes_of(const dataplane::packet& p)
{
    std::vector<std::byte> out(p.length);
    dataplane::copy_frame(p, 0, out.data(), out.size());
    return out;
}

// Takes what is on the lists, as the ports would let it out.
class catcher final : public flow::delivery {
public:
    // Whether a port's rules let a packet out; what they drop they count.
    using judgement =
        std::function<bool(const dataplane::packet& p, const dataplane::port_config& port,
                           dataplane::port_counters& counters)>;
    catcher(const dataplane::snapshot& config, dataplane::output_lists& lists,
            const port_names& names, mirror_notes& mirrors)
        : config_{config}, lists_{lists}, names_{names}, mirrors_{mirrors}
    {}

    void deliver_lists() noexcept override
    {
        for (const port_index to : lists_.ports()) {
            const dataplane::port_config& port = *config_.ports[to_index(to)];
            dataplane::port_counters counters;
            const std::span<dataplane::packet*> listed = lists_.packets(to);
            const auto kept = dataplane::admit(listed, port, counters);
            for (const dataplane::packet* const p : listed.first(kept.count)) {
                if (port.judged && judge_ && !judge_(*p, port, counters)) {
                    continue;
                }
                mirrors_.sent(*p, port);
                add(*p, port);
            }
            count(counters, port);
        }
        lists_.clear();
    }
    void judge_by(judgement judge) { judge_ = std::move(judge); }
    void count(const dataplane::port_counters& counters, const dataplane::port_config& port)
    {
        for (const auto& reason : dataplane::drop_reasons()) {
            if (counters.drops[static_cast<std::size_t>(reason.reason)].read() > 0) {
                drops_.push_back({{"port", port.name},
                                  {"reason", reason.name},
                                  {"explanation", reason.explanation}});
            }
        }
    }
    [[nodiscard]] json::array outputs() noexcept { return std::move(outputs_); }
    [[nodiscard]] json::array drops() noexcept { return std::move(drops_); }

private:
    void add(const dataplane::packet& p, const dataplane::port_config& port)
    {
        const std::vector<std::byte> frame = bytes_of(p);
        traced_frame again{frame};
        flow::key k;
        flow::header_layout at;
        (void)flow::extract(again.get(), k, at);
        outputs_.push_back({{"port", port.name},
                            {"number", port.number},
                            {"queue", p.note >> dataplane::packet_note::tunnel_bits},
                            {"frame", hexadecimal(frame)},
                            {"flow", format_key(k, &names_)}});
    }

    const dataplane::snapshot& config_;
    dataplane::output_lists& lists_;
    const port_names& names_;
    mirror_notes& mirrors_;
    judgement judge_;
    json::array outputs_;
    json::array drops_;
};

// A packet's passes: those of all its copies behind one ct action, then those behind the next.
class walk_through_passes {
public:
    walk_through_passes(const flow::pipeline& flows, const flow::surroundings& around,
                        step_list& steps, std::span<const std::uint32_t>& ct_states,
                        bool leaves = false)
        : flows_{flows}, around_{around}, steps_{steps}, ct_states_{ct_states}, leaves_{leaves}
    {
        left_.fill(flow::max_passes_in_all);
        for (std::size_t i = 0; i <= flow::max_passes; ++i) {
            levels_.push_back(std::make_unique<level>(left_));
        }
    }

    void run(traced_frame& frame, const flow::key& k, const flow::header_layout& at,
             flow::table_id begins)
    {
        packet_slot& p = frame.get();
        p.destinations = 1; // nothing of it goes anywhere
        translate_and_run(0, p, at, k, {nullptr, around_.in.number, &frame.burst(), 0},
                          {.table = begins, .stack = {}, .set = {}});
        go_on(0);
    }

private:
    struct level {
        explicit level(flow::pass_stage::budget& left) : asked{left} {}
        dataplane::burst copies;
        dataplane::burst forks;
        flow::pass_stage asked;
        flow::runner runs{copies, asked};
    };

    void translate_and_run(std::size_t number, packet_slot& p, const flow::header_layout& at,
                           const flow::key& k, const flow::pass_state& state,
                           const flow::pass_start& begin)
    {
        flow::translate(flows_, k, *made_, &steps_, begin);
        if (made_->words().empty()) {
            around_.in_counters.drop(made_->reason);
            return;
        }
        run_words(number, made_->words(), p, at, state);
    }
    void run_words(std::size_t number, std::span<const std::uint64_t> words, packet_slot& p,
                   const flow::header_layout& at, const flow::pass_state& state)
    {
        level& here = *levels_[number];
        here.runs.run(words, p, at, state, around_);
        around_.lists.deliver_lists();
        // Among what goes on may be copies.
        if (here.asked.is_full() || here.copies.count > dataplane::burst::capacity / 2) {
            go_on(number);
            here.copies.clear();
        }
    }
    void go_on(std::size_t number)
    {
        level& here = *levels_[number];
        flow::pass_stage& stage = here.asked;
        if (stage.count() == 0) {
            return;
        }
        if (number == flow::max_passes) {
            around_.in_counters.drop(drop_reason::flow_too_complex, stage.count());
            stage.clear();
            return;
        }
        for (std::size_t i = 0; i < stage.count(); ++i) {
            auto& asked = stage.requests()[i];
            answer(asked, stage.goes_on(i));
            stage.complete(i);
            if (stage.goes_on(i)) {
                begin_pass(number, i, asked);
            }
            if (!stage.rest(i).empty()) {
                run_words(number + 1, stage.rest(i), *asked.p, asked.at, stage.state(i));
            }
        }
        stage.clear();
        go_on(number + 1);
    }
    void begin_pass(std::size_t number, std::size_t i, const conntrack::request& asked)
    {
        level& here = *levels_[number];
        if (here.forks.count > dataplane::burst::capacity / 2) {
            go_on(number + 1);
            here.forks.clear();
        }
        packet_slot* const p = flow::runner::copy(*asked.p, here.forks, around_);
        if (p == nullptr) {
            return;
        }
        p->destinations = 1;
        steps_.goes_on(here.asked.table(i), here.asked.fields(i));
        flow::pass_state state = here.asked.state(i);
        state.payload = &here.forks;
        translate_and_run(number + 1, *p, asked.at, here.asked.fields(i), state,
                          here.asked.start(i));
    }
    void answer(conntrack::request& asked, bool goes_on)
    {
        using namespace conntrack::state;
        // What the packet's connection was given before, it still has.
        const conntrack::parameters& with = asked.asked;
        const bool known = asked.answer.state != 0 && asked.answer.zone == with.zone;
        const conntrack::result before = known ? asked.answer : conntrack::result{};
        asked.answer = {.state = tracked | fresh,
                        .mark = (before.mark & ~with.mark_mask) | with.mark,
                        .label = (before.label & ~with.label_mask) | with.label,
                        .zone = with.zone};
        if (goes_on && !ct_states_.empty()) {
            asked.answer.state = ct_states_.front();
            ct_states_ = ct_states_.subspan(1);
            // Rule sets know by the mark who began a connection, which the direction tells here.
            const bool is_reply = (asked.answer.state & reply) != 0;
            if (conntrack::is_of_port(with.zone) && (asked.answer.state & established) != 0 &&
                is_reply == leaves_) {
                asked.answer.mark |= acl_mark_from;
            }
        }
    }

    const flow::pipeline& flows_;
    const flow::surroundings& around_;
    step_list& steps_;
    std::span<const std::uint32_t>& ct_states_; // those that nobody took yet
    bool leaves_;                               // it is about to leave by a port
    flow::pass_stage::budget left_{};
    std::unique_ptr<flow::translation> made_{std::make_unique<flow::translation>()};
    std::vector<std::unique_ptr<level>> levels_;
};

// What workers do with all that is to leave by a port with rules for that.
class let_out final : public flow::delivery {
public:
    explicit let_out(dataplane::output_lists& lists) : lists_{lists} {}
    void deliver_lists() noexcept override
    {
        is_ = is_ || !lists_.ports().empty();
        lists_.clear();
    }
    [[nodiscard]] bool is() const noexcept { return is_; }

private:
    dataplane::output_lists& lists_;
    bool is_{false};
};

} // namespace

ports::result<std::vector<std::byte>> parse_frame(std::string_view text, const port_names& names)
{
    constexpr std::string_view digits = "0123456789abcdefABCDEF";
    if (text.find_first_not_of(digits) != std::string_view::npos) {
        const auto packet = parse_packet(text, names);
        return packet.has_error() ? ports::result<std::vector<std::byte>>{packet.error()}
                                  : frame_of(*packet);
    }
    if (text.size() % 2 != 0 || text.size() < 2 * dataplane::ethernet_header) {
        return ports::error{"a frame has two hexadecimal digits for each byte, and " +
                            std::to_string(dataplane::ethernet_header) +
                            " bytes or more; this has " + std::to_string(text.size()) + " digits"};
    }
    std::vector<std::byte> out;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        constexpr int hexadecimal_base = 16;
        unsigned value = 0;
        std::from_chars(text.data() + i, text.data() + i + 2, value, hexadecimal_base);
        out.push_back(static_cast<std::byte>(value));
    }
    return out;
}

ports::result<std::vector<std::uint32_t>> parse_ct_states(std::string_view text)
{
    std::vector<std::uint32_t> out;
    while (!text.empty()) {
        const std::size_t comma = std::min(text.find(','), text.size());
        const auto state = parse_flags(value_form::ct_flags, 32, "ct_state", text.substr(0, comma));
        if (state.has_error()) {
            return ports::error{state.error().message};
        }
        out.push_back(static_cast<std::uint32_t>(state->value.low) | conntrack::state::tracked);
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return out;
}

namespace {

// What is done with a frame before flows see it, by the bindings of ports; whether it goes on.
bool pass_guard(const dataplane::snapshot& config, const dataplane::port_config& in,
                const packet_slot& p, const flow::key& k, const flow::header_layout& at,
                dataplane::port_counters& counters, step_list& steps)
{
    if (!in.guard) {
        return true;
    }
    const guard::port_guard& g = *in.guard;
    if (g.security) {
        if (const auto wrong = guard::check_sender(g, in, p, k, at)) {
            steps.says("port security: not from what is bound to the port");
            counters.drop(*wrong);
            return false;
        }
        steps.says("port security: from what is bound to the port");
    }
    if (const auto wrong = guard::check_dhcp(g, in, p, k, at)) {
        steps.says(*wrong == drop_reason::dhcp_not_trusted
                       ? "DHCP snooping: no server is trusted here"
                       : "DHCP snooping: the switch could not follow the client");
        counters.drop(*wrong);
        return false;
    }
    const auto* const found = g.suppresses ? guard::find_answer(g, in, p, at, config) : nullptr;
    if (found == nullptr) {
        return true;
    }
    steps.says("the switch answers it: " + to_text(found->address) + " is bound to " +
               found->mac.to_string());
    return false;
}

} // namespace

json::object trace(const virtual_switch& sw, const virtual_switch::port& from,
                   std::span<const std::byte> frame, std::span<const std::uint32_t> ct_states)
{
    const dataplane::snapshot& config = sw.engine().current();
    const dataplane::port_config& in = *config.port(from.config->index);
    const bridge_flows& flows = *sw.bridges().at(from.request.bridge).flows;
    const port_names names = sw.port_names_of(from.request.bridge);
    const auto pipeline = flows.pipeline();

    traced_frame traced{frame};
    packet_slot& p = traced.get();
    flow::key k;
    flow::header_layout at;
    if (!flow::extract(p, k, at)) {
        dataplane::lengthen_head(p, traced.burst());
        (void)flow::extract(p, k, at);
    }
    k.set(flow::field::in_port, in.number);
    p.in_port = in.index;
    p.tags = at.tags;

    step_list steps{names, flows};
    dataplane::output_lists lists;
    dataplane::worker_counters worker;
    dataplane::port_counters counters;
    mirror_notes mirrors{config};
    catcher caught{config, lists, names, mirrors};
    mirrors.received(traced.get(), in);
    choice_list choices;
    const flow::surroundings around{
        *pipeline,          in,      {&config, sw.engine().now(), &worker, false},
        counters,           lists,   caught,
        sw.engine().pool(), nullptr, {},
        rte_rdtsc(),        &choices};
    std::span<const std::uint32_t> states_left = ct_states;
    caught.judge_by([&](const dataplane::packet& leaving, const dataplane::port_config& port,
                        dataplane::port_counters& port_counters) {
        steps.says("it is to leave by " + port.name + ", whose rule sets it meets");
        traced_frame again{bytes_of(leaving)};
        flow::key its;
        flow::header_layout its_at;
        if (!flow::extract(again.get(), its, its_at)) {
            dataplane::lengthen_head(again.get(), again.burst());
            (void)flow::extract(again.get(), its, its_at);
        }
        its.set(flow::field::in_port, port.number);
        dataplane::output_lists out;
        let_out leaves{out};
        const flow::surroundings there{
            *pipeline, port, around.context, port_counters, out, leaves, sw.engine().pool(),
            nullptr,   {},   around.tsc,     &choices};
        constexpr flow::table_id begins = first_table(flow::stage::acl_to);
        if (pipeline->find(begins) == nullptr) {
            return true;
        }
        walk_through_passes{*pipeline, there, steps, states_left, true}.run(again, its, its_at,
                                                                            begins);
        return leaves.is();
    });
    if (in.bridge == dataplane::no_bridge) {
        counters.drop(drop_reason::mirror_output);
    } else if (!in.admin_up) {
        counters.drop(drop_reason::ingress_disabled);
    } else if (pass_guard(config, in, p, k, at, counters, steps)) {
        walk_through_passes{*pipeline, around, steps, states_left}.run(
            traced, k, at, pipeline->first_table_of(in.index));
    }
    caught.deliver_lists();
    caught.count(counters, in);
    return {{"flow", format_key(k, &names)}, {"steps", steps.take()},
            {"choices", choices.take()},     {"outputs", caught.outputs()},
            {"mirrors", mirrors.take()},     {"drops", caught.drops()}};
}

} // namespace strait::control
