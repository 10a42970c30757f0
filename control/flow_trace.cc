// SPDX-License-Identifier: BSD-3-Clause
// The watching of a translation, and the catching of what its program sends.
#include "control/flow_trace.hh"

#include "control/flow_flags.hh"
#include "control/flow_frame.hh"
#include "control/flow_packet.hh"
#include "control/flow_text.hh"
#include "control/ip_text.hh"
#include "control/trace_connections.hh"
#include "control/trace_passes.hh"
#include "control/trace_steps.hh"
#include "control/trace_tunnels.hh"
#include "dataplane/bpdu.hh"
#include "dataplane/guard/inspector.hh"
#include "dataplane/guard/port_security.hh"
#include "dataplane/parse.hh"
#include "dataplane/tap.hh"
#include "dataplane/tunnel/notes.hh"

#include <boost/json/array.hpp>

#include <algorithm>
#include <charconv>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <rte_cycles.h>

namespace strait::control {

namespace json = boost::json;
using dataplane::drop_reason;
using dataplane::packet_slot;
using dataplane::port_config;
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

// Mirrors that have the packet, each once, at the first place where they see it.
class mirror_notes {
public:
    explicit mirror_notes(const dataplane::snapshot& config) : config_{config} {}

    void received(const dataplane::packet& p, const port_config& in)
    {
        look(p, in, &dataplane::tap_filter::received, "received");
    }
    void sent(const dataplane::packet& p, const port_config& by)
    {
        look(p, by, &dataplane::tap_filter::sent, "sent");
    }
    [[nodiscard]] json::array take() noexcept { return std::move(notes_); }

private:
    void look(const dataplane::packet& p, const port_config& at,
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

// What is done with a frame before flows see it, by the bindings of ports; whether it goes on.
bool pass_guard(const dataplane::snapshot& config, const port_config& in, const packet_slot& p,
                const flow::key& k, const flow::header_layout& at,
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

// One frame, from a port to all that comes of it.
class tracer final : public flow::delivery {
public:
    tracer(const virtual_switch& sw, std::span<const std::uint32_t> ct_states)
        : switch_{sw}, connections_{sw, ct_states, steps_}
    {}

    [[nodiscard]] json::object trace(const virtual_switch::port& from, const frame_to_trace& frame);

    void deliver_lists() noexcept override;

private:
    // Where a packet is now.
    struct place {
        std::string bridge;
        port_names names;
        std::shared_ptr<const flow::pipeline> flows;
    };

    void be_on(const std::string& bridge);
    [[nodiscard]] const std::string* name_of(dataplane::bridge_index bridge) const;
    [[nodiscard]] flow::surroundings around(const port_config& in, dataplane::output_lists& lists,
                                            flow::delivery& by) noexcept
    {
        return {*at_.flows,
                in,
                context_,
                counters_[to_index(in.index)],
                lists,
                by,
                switch_.engine().pool(),
                tunnels_ ? &tunnels_->notes() : nullptr,
                {},
                rte_rdtsc(),
                nullptr,
                &choices_};
    }
    void forward(traced_frame& frame, const port_config& in, bool first);
    void carry();
    [[nodiscard]] bool judge(const dataplane::packet& leaving, const port_config& port);
    void add(const dataplane::packet& p, const port_config& port);
    [[nodiscard]] json::array drops() const;

    const virtual_switch& switch_;
    const dataplane::snapshot& config_{switch_.engine().current()};
    place at_;
    step_list steps_;
    choice_list choices_;
    trace_cache caches_{switch_.engine(), steps_};
    trace_connections connections_;
    mirror_notes mirrors_{config_};
    dataplane::output_lists lists_;
    dataplane::worker_counters worker_;
    const dataplane::forward_context context_{&config_, switch_.engine().now(), &worker_, false};
    std::unique_ptr<dataplane::port_counters[]> counters_{
        new dataplane::port_counters[dataplane::max_ports]};
    std::optional<trace_tunnels> tunnels_;
    std::size_t depth_{0};
    // To ports without queues, with where they came from.
    struct handed_over {
        trace_tunnels::carried what;
        port_index from;
    };
    std::deque<handed_over> handed_over_;
    json::array outputs_;
};

const std::string* tracer::name_of(dataplane::bridge_index bridge) const
{
    for (const auto& [name, b] : switch_.bridges()) {
        if (b.index == bridge) {
            return &name;
        }
    }
    return nullptr;
}

void tracer::be_on(const std::string& bridge)
{
    const bridge_flows& flows = *switch_.bridges().at(bridge).flows;
    at_ = {bridge, switch_.port_names_of(bridge), flows.pipeline()};
    steps_.is_on(at_.names, flows);
}

// As the ports would let it out.
void tracer::deliver_lists() noexcept
{
    for (const port_index to : lists_.ports()) {
        const port_config& port = *config_.ports[to_index(to)];
        const std::span<dataplane::packet*> listed = lists_.packets(to);
        const auto kept = dataplane::admit(listed, port, counters_[to_index(to)]);
        for (const dataplane::packet* const p : listed.first(kept.count)) {
            if (!port.judged || judge(*p, port)) {
                mirrors_.sent(*p, port);
                add(*p, port);
            }
        }
    }
    lists_.clear();
}

void tracer::add(const dataplane::packet& p, const port_config& port)
{
    std::vector<std::byte> frame = bytes_of(p);
    traced_frame again{frame};
    flow::key k;
    flow::header_layout at;
    again.read(k, at);
    if (port.tunnel) { // that it goes into
        tunnels_->notes().read(p.note, k);
    }
    outputs_.push_back({{"port", port.name},
                        {"number", port.number},
                        {"queue", p.note >> dataplane::packet_note::tunnel_bits},
                        {"frame", hexadecimal(frame)},
                        {"flow", format_key(k, &at_.names)}});
    if (port.has_no_queues() && tunnels_) {
        handed_over_.push_back(
            {{std::move(frame), port.index, trace_tunnels::tunnel_of(p, tunnels_->notes()), depth_},
             p.in_port});
    }
}

// Whether the port's rules let it out.
bool tracer::judge(const dataplane::packet& leaving, const port_config& port)
{
    steps_.says("it is to leave by " + port.name + ", whose rule sets it meets");
    traced_frame again{bytes_of(leaving)};
    flow::key k;
    flow::header_layout at;
    again.read(k, at);
    k.set(flow::field::in_port, port.number);
    constexpr flow::table_id begins = first_table(flow::stage::acl_to);
    if (at_.flows->find(begins) == nullptr) {
        return true;
    }
    dataplane::output_lists out;
    let_out leaves{out};
    const flow::surroundings there = around(port, out, leaves);
    trace_passes{there, steps_, caches_, connections_, true}.run(again, k, at, begins);
    return leaves.is();
}

void tracer::forward(traced_frame& frame, const port_config& in, bool first)
{
    packet_slot& p = frame.get();
    flow::key k;
    flow::header_layout at;
    frame.read(k, at);
    k.set(flow::field::in_port, in.number);
    std::optional<flow::key> fields; // beside the headers
    if (tunnels_) {
        fields = trace_tunnels::tunnel_of(p, tunnels_->notes());
    }
    if (fields) {
        tunnels_->notes().read(p.note, k);
        fields->set(flow::field::in_port, in.number);
    }
    p.in_port = in.index;
    p.tags = at.tags;
    if (first) {
        mirrors_.received(p, in);
    } else {
        steps_.comes_from(in.name, k);
    }
    dataplane::port_counters& counters = counters_[to_index(in.index)];
    if (in.bridge == dataplane::no_bridge) {
        counters.drop(drop_reason::mirror_output);
    } else if (!in.admin_up) {
        counters.drop(drop_reason::ingress_disabled);
    } else if (in.guard && in.guard->bpdus && dataplane::may_be_bpdu({p.data, p.head_length})) {
        steps_.says("spanning tree: a BPDU, which is the switch's own");
    } else if (!in.passes()) {
        steps_.says("spanning tree: the port does not forward");
        counters.drop(drop_reason::ingress_blocked);
    } else if (pass_guard(config_, in, p, k, at, counters, steps_)) {
        const flow::surroundings here = around(in, lists_, *this);
        trace_passes{here, steps_, caches_, connections_}.run(
            frame, k, at, at_.flows->first_table_of(in.index), fields ? &*fields : nullptr);
    }
    deliver_lists();
}

// What is handed over to ports without queues, and all that comes of it.
void tracer::carry()
{
    constexpr std::size_t most = 256; // frames
    for (std::size_t done = 0; !handed_over_.empty(); ++done) {
        const handed_over next = std::move(handed_over_.front());
        handed_over_.pop_front();
        const port_config& port = *config_.port(next.what.at);
        if (done == most) {
            steps_.says("more goes on through tunnels than is shown");
            return;
        }
        if (next.what.depth == tunnel::most_rounds) {
            counters_[to_index(port.index)].drop(drop_reason::tunnel_nested);
            continue;
        }
        std::vector<trace_tunnels::carried> gone_on;
        if (!tunnels_->take(next.what, next.from, gone_on)) {
            steps_.says(port.name +
                        ": the next hop's MAC is not known; the packet would wait for " +
                        std::to_string(tunnel::carrier::patience) + " s while it is asked for");
        }
        for (const trace_tunnels::carried& one : gone_on) {
            const port_config& in = *config_.port(one.at);
            const std::string* const bridge = name_of(in.bridge);
            if (bridge == nullptr) {
                continue;
            }
            be_on(*bridge);
            depth_ = one.depth;
            traced_frame frame{one.frame};
            // The notes of what was handed over are done with.
            tunnels_->notes().clear();
            if (one.tunnel) {
                frame.get().note = tunnels_->notes().add(*one.tunnel);
            }
            forward(frame, in, false);
        }
    }
}

json::array tracer::drops() const
{
    json::array out;
    for (const auto& port : config_.ports) {
        if (!port) {
            continue;
        }
        for (const auto& reason : dataplane::drop_reasons()) {
            if (counters_[to_index(port->index)]
                    .drops[static_cast<std::size_t>(reason.reason)]
                    .read() > 0) {
                out.push_back({{"port", port->name},
                               {"reason", reason.name},
                               {"explanation", reason.explanation}});
            }
        }
    }
    return out;
}

json::object tracer::trace(const virtual_switch::port& from, const frame_to_trace& frame)
{
    be_on(from.request.bridge);
    if (std::ranges::any_of(config_.ports, [](const auto& p) { return p && p->has_no_queues(); })) {
        tunnels_.emplace(switch_.engine(), counters_.get());
    }
    traced_frame traced{frame.bytes};
    flow::key k;
    flow::header_layout at;
    traced.read(k, at);
    const port_config& in = *config_.port(from.config->index);
    k.set(flow::field::in_port, in.number);
    if (in.tunnel) {
        traced.get().note = tunnels_->notes().add(frame.beside);
        tunnels_->notes().read(traced.get().note, k);
    }
    std::string flow = format_key(k, &at_.names);
    forward(traced, in, true);
    carry();
    return {{"flow", std::move(flow)},    {"steps", steps_.take()},
            {"choices", choices_.take()}, {"outputs", std::move(outputs_)},
            {"mirrors", mirrors_.take()}, {"drops", drops()}};
}

} // namespace

ports::result<frame_to_trace> parse_frame(std::string_view text, const port_names& names)
{
    constexpr std::string_view digits = "0123456789abcdefABCDEF";
    if (text.find_first_not_of(digits) != std::string_view::npos) {
        const auto packet = parse_packet(text, names);
        if (packet.has_error()) {
            return packet.error();
        }
        return frame_to_trace{frame_of(*packet), *packet};
    }
    if (text.size() % 2 != 0 || text.size() < 2 * dataplane::ethernet_header) {
        return ports::error{"a frame has two hexadecimal digits for each byte, and " +
                            std::to_string(dataplane::ethernet_header) +
                            " bytes or more; this has " + std::to_string(text.size()) + " digits"};
    }
    frame_to_trace out;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        constexpr int hexadecimal_base = 16;
        unsigned value = 0;
        std::from_chars(text.data() + i, text.data() + i + 2, value, hexadecimal_base);
        out.bytes.push_back(static_cast<std::byte>(value));
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

json::object trace(const virtual_switch& sw, const virtual_switch::port& from,
                   const frame_to_trace& frame, std::span<const std::uint32_t> ct_states)
{
    return std::make_unique<tracer>(sw, ct_states)->trace(from, frame);
}

} // namespace strait::control
