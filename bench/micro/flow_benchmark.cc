// SPDX-License-Identifier: BSD-3-Clause
// The flow path of a burst by the number of flows, each with a rule of its own; the short way of
// known connections by their number; translation, and first packets of flows, by rule sets like
// those of strait-bench. Parsing is in flow_headers_benchmark.cc, the classifier in
// classifier_benchmark.cc.

#include "bench/generator/flow_order.hh"
#include "bench/generator/frames.hh"
#include "bench/micro/cycles.hh"
#include "bench/micro/two_ports.hh"
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/flow/forward.hh"
#include "dataplane/flow/pass_layouts.hh"

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

namespace strait::bench {

namespace {

using namespace dataplane;
using flow::field;

constexpr std::uint16_t frame_length = 64;
constexpr std::size_t cache_bytes = std::size_t{256} << 20;

flow::match of_flow(flow_kind kind, std::uint32_t number, bool tracked)
{
    const flow_fields f = fields_of(kind, side::a, number);
    flow::match out;
    out.require(field::in_port, 1);
    out.require(field::eth_type, 0x0800);
    out.require(field::nw_dst, f.destination);
    if (kind == flow_kind::five_tuple) {
        out.require(field::nw_proto, 17);
        out.require(field::nw_src, f.source);
        out.require(field::tp_src, f.source_port);
        out.require(field::tp_dst, f.destination_port);
    }
    if (tracked) {
        out.require(field::ct_state, conntrack::state::tracked | conntrack::state::established);
    }
    return out;
}

// Rules whose prefixes and ports are some flow's: `masks` masks, the more specific first, and one
// rule for what is left. The first mask has all bits, so that each flow is one of its own.
void add_by_masks(flow::classifier& to, unsigned rules, unsigned masks,
                  const std::shared_ptr<const flow::action_list>& actions)
{
    std::mt19937 random{1};
    const auto prefix = [](std::uint64_t length) {
        return flow::wide{0xffffffff & ~(0xffffffffULL >> length)};
    };
    for (unsigned i = 0; i + 1 < rules; ++i) {
        const unsigned mask = i % masks;
        const unsigned source = mask == 0 ? 32 : 19 + mask % 10;
        const unsigned destination = mask == 0 ? 32 : 18 + mask / 10 % 10;
        const unsigned port_bits = mask == 0 ? 16 : mask / 100 * 4;
        const flow_fields f = fields_of(flow_kind::five_tuple, side::a,
                                        static_cast<std::uint32_t>(random() % 100000));
        flow::match out;
        out.require(field::in_port, 1);
        out.require(field::eth_type, 0x0800);
        out.require(field::nw_proto, 17);
        out.require(field::nw_src, f.source, prefix(source));
        out.require(field::nw_dst, f.destination, prefix(destination));
        out.require(field::tp_dst, f.destination_port, 0xffff & ~(0xffffU >> port_bits));
        to.insert(flow::rule::make(
            {.priority = static_cast<flow::priority_t>(100 + source + destination + port_bits)},
            out, actions));
    }
    flow::match rest;
    rest.require(field::in_port, 1);
    to.insert(flow::rule::make({.priority = 1}, rest, actions));
}

// A bridge with flows, whose first port's packets all go to the second.
class flow_switch {
public:
    // `fill` makes rules.
    template <typename Fill>
    explicit flow_switch(const Fill& fill)
    {
        bridge_of_two made{1024};
        auto numbers = std::make_shared<flow::port_numbers>();
        for (const auto& port : made.ports) {
            port->number = static_cast<std::uint16_t>(to_index(port->index) + 1);
            numbers->add(port->number, port->index);
        }
        config_ = std::move(made.config);
        fill(flows.tables.own(0), std::make_shared<const flow::action_list>(
                                      flow::action_list{flow::action{flow::output{2}}}));
        flows.ports = numbers;
        flow::action_uses{}.make_layouts(flows);
        flows.version = 1;
    }
    // Has all packets tracked before they come to the rules.
    void track_first()
    {
        flows.tables.own(1) = flows.tables.own(0);
        flow::classifier& first = flows.tables.own(0);
        first = {};
        flow::ct to_next;
        to_next.table = 1;
        const auto track =
            std::make_shared<const flow::action_list>(flow::action_list{flow::action{to_next}});
        flow::match ip;
        ip.require(field::eth_type, 0x0800);
        first.insert(flow::rule::make({.priority = 1}, ip, track));
        flow::action_uses uses;
        uses.add(0, *track);
        uses.make_layouts(flows);
        switcher.set_tracking(established_);
    }

    // Has all connections of either port's packets tracked, which go to the other one. By rules
    // that tell nothing but what is new, or others that ask for the source's port, too.
    void track_connections(bool by_port)
    {
        const auto list = [](flow::action_list actions) {
            return std::make_shared<const flow::action_list>(std::move(actions));
        };
        flow::ct to_next;
        to_next.table = 1;
        flow::ct commit;
        commit.commit = true;
        const auto track = list({flow::action{to_next}});
        const auto begin = list({flow::action{commit}, flow::action{flow::output{2}}});
        flow::action_uses uses;
        uses.add(0, *track);
        uses.add(1, *begin);
        flow::match ip;
        ip.require(field::eth_type, 0x0800);
        flows.tables.own(0) = {};
        flows.tables.own(0).insert(flow::rule::make({.priority = 1}, ip, track));
        flow::classifier& behind = flows.tables.own(1);
        behind.insert(flow::rule::make({.priority = 1, .table = 1}, ip, begin));
        for (const auto port : std::to_array<flow::port_number>({1, 2})) {
            flow::match known = ip;
            known.require(field::in_port, port);
            known.require(field::ct_state, conntrack::state::established,
                          conntrack::state::established);
            behind.insert(flow::rule::make(
                {.priority = 2, .table = 1}, known,
                list({flow::action{flow::output{static_cast<flow::port_number>(3 - port)}}})));
        }
        if (by_port) {
            flow::match apart = ip;
            apart.require(field::nw_proto, 17);
            apart.require(field::tp_src, 0); // nobody's
            behind.insert(flow::rule::make({.priority = 3, .table = 1}, apart, list({})));
        }
        uses.make_layouts(flows);
        store_ = std::make_unique<conntrack::store>(conntrack::store_settings{});
        tracker_ = std::make_unique<conntrack::tracker>(*store_);
        switcher.set_tracking(*tracker_);
    }

    // The first port's packets, or the other's; returns how many of them went to the other one.
    std::size_t forward(burst& b, std::size_t from = 0)
    {
        struct nowhere final : flow::delivery {
            explicit nowhere(output_lists& lists) noexcept : lists_{lists} {}
            void deliver_lists() noexcept override { lists_.clear(); }
            output_lists& lists_;
        } lists{out_};
        switcher.forward(b, {flows,
                             *config_.ports[from],
                             {&config_, 1, &worker_},
                             counters_,
                             out_,
                             lists,
                             nullptr});
        return out_.packets(port_index{static_cast<std::uint16_t>(1 - from)}).size();
    }
    void clear() noexcept
    {
        out_.clear();
        switcher.entries().bring_home(rte_rdtsc(), false);
    }

    flow::pipeline flows;
    flow::switcher switcher{cache_bytes};

private:
    // What passes cost, without what it costs to find a connection.
    struct all_established final : conntrack::tracking {
        void track(std::span<conntrack::request> asked, seconds_t) noexcept override
        {
            for (conntrack::request& r : asked) {
                r.answer.state = conntrack::state::tracked | conntrack::state::established;
            }
        }
    };

    snapshot config_;
    worker_counters worker_;
    port_counters counters_;
    output_lists out_;
    all_established established_;
    std::unique_ptr<conntrack::store> store_;
    std::unique_ptr<conntrack::tracker> tracker_;
};

flow_switch with_rule_a_flow(flow_kind kind, std::uint32_t count, bool tracked = false)
{
    return flow_switch{[&](flow::classifier& table, const auto& actions) {
        for (std::uint32_t i = 0; i < count; ++i) {
            table.insert(flow::rule::make({.priority = 100}, of_flow(kind, i, tracked), actions));
        }
    }};
}

flow_switch with_masks(unsigned rules, unsigned masks)
{
    return flow_switch{[&](flow::classifier& table, const auto& actions) {
        add_by_masks(table, rules, masks, actions);
    }};
}

// Frames as a port's receive() leaves them, of flows in an order by chance.
class frames_in_order {
public:
    frames_in_order(flow_kind kind, std::uint32_t count, side from = side::a)
        : kind_{kind}, from_{from}, order_{make_order(flow_order::uniform, count)}
    {
        b_->count = burst::capacity;
        for (packet_slot& p : b_->packets()) {
            build_frame(std::span{p.head}.first(frame_length), from_,
                        make_frame_size(frame_length));
        }
    }
    burst& next() noexcept
    {
        for (std::size_t i = 0; i < burst::capacity; ++i) {
            place(b_->slots[i], order_[at_]);
            at_ = at_ + 1 == order_.size() ? 0 : at_ + 1;
        }
        return *b_;
    }
    burst& next_new() noexcept
    {
        for (packet_slot& p : b_->packets()) {
            place(p, number_++);
        }
        return *b_;
    }
    [[nodiscard]] std::size_t bursts_of_all() const noexcept
    {
        return order_.size() / burst::capacity + 1;
    }

private:
    void place(packet_slot& p, std::uint32_t number) noexcept
    {
        static_cast<packet&>(p) = {};
        p.data = p.head.data();
        p.length = frame_length;
        p.head_length = frame_length;
        set_flow(p.data, from_, kind_, number);
    }

    flow_kind kind_;
    side from_;
    std::vector<std::uint32_t> order_;
    std::size_t at_{0};
    std::uint32_t number_{1U << 24};
    std::unique_ptr<burst> b_{new burst};
};

// Whether all of the first port's packets went to the other one.
bool measure_bursts(benchmark::State& state, flow_switch& here, frames_in_order& frames)
{
    std::size_t arrived = 0;
    std::size_t sent = 0;
    cycle_meter meter{state};
    for (auto _ : state) {
        burst& b = frames.next();
        meter.start();
        arrived += here.forward(b);
        meter.stop(b.count);
        sent += b.count;
        here.clear();
    }
    meter.report();
    return arrived == sent;
}

void forward_flows(benchmark::State& state, flow_kind kind, bool tracked = false)
{
    const auto count = static_cast<std::uint32_t>(state.range(0));
    flow_switch here = with_rule_a_flow(kind, count, tracked);
    if (tracked) {
        here.track_first();
    }
    frames_in_order frames{kind, count};
    for (std::size_t i = 0; i < frames.bursts_of_all(); ++i) {
        here.forward(frames.next());
        here.clear();
    }
    const bool all_arrived = measure_bursts(state, here, frames);
    // One in a hundred thousand flows finds no place of its own.
    if (const auto misses = here.switcher.entries().counters.misses.read();
        !all_arrived || misses > count + count / 1000 + (tracked ? 1 : 0)) {
        state.SkipWithError("not every packet met an entry and went to the other port");
    }
}

void flow_forward_nw_dst(benchmark::State& state)
{
    forward_flows(state, flow_kind::nw_dst);
}

void flow_forward_5tuple(benchmark::State& state)
{
    forward_flows(state, flow_kind::five_tuple);
}

void flow_forward_5tuple_tracked(benchmark::State& state)
{
    forward_flows(state, flow_kind::five_tuple, true);
}

void flow_short_way(benchmark::State& state, bool by_port)
{
    const auto count = static_cast<std::uint32_t>(state.range(0));
    flow_switch here{[](flow::classifier&, const auto&) {}};
    here.track_connections(by_port);
    frames_in_order frames{flow_kind::answered, count};
    frames_in_order answers{flow_kind::answered, count, side::b};
    for (std::size_t i = 0; i < 3 * frames.bursts_of_all(); ++i) {
        here.forward(frames.next());
        here.clear();
        here.forward(answers.next(), 1);
        here.clear();
    }
    const std::uint64_t misses = here.switcher.entries().counters.misses.read();
    const bool all_arrived = measure_bursts(state, here, frames);
    if (!all_arrived || here.switcher.entries().counters.misses.read() != misses) {
        state.SkipWithError("not every packet was of a known connection");
    }
}

void flow_translate(benchmark::State& state, const flow_switch& here, std::uint32_t flows)
{
    frames_in_order frames{flow_kind::five_tuple, flows};
    std::array<flow::key, burst::capacity> keys;
    flow::header_layout at;
    const auto made = std::make_unique<flow::translation>();
    cycle_meter meter{state};
    for (auto _ : state) {
        std::size_t i = 0;
        for (const packet_slot& p : frames.next().packets()) {
            (void)flow::extract(p, keys[i], at);
            keys[i++].set(field::in_port, 1);
        }
        meter.start();
        for (const flow::key& k : keys) {
            flow::translate(here.flows, k, *made);
            benchmark::DoNotOptimize(made->program_words);
        }
        meter.stop(keys.size());
    }
    meter.report();
}

void flow_translate_exact(benchmark::State& state)
{
    const auto count = static_cast<std::uint32_t>(state.range(0));
    const flow_switch here = with_rule_a_flow(flow_kind::five_tuple, count);
    flow_translate(state, here, count);
}

void flow_translate_masks(benchmark::State& state)
{
    const flow_switch here =
        with_masks(static_cast<unsigned>(state.range(0)), static_cast<unsigned>(state.range(1)));
    flow_translate(state, here, 100'000);
}

// Each packet is the first one of its flow. The cache is full from the start.
void flow_first_packets(benchmark::State& state)
{
    flow_switch here =
        with_masks(static_cast<unsigned>(state.range(0)), static_cast<unsigned>(state.range(1)));
    frames_in_order frames{flow_kind::five_tuple, 1000};
    constexpr std::size_t more_than_fit = cache_bytes / 64;
    for (std::size_t i = 0; i < more_than_fit; i += burst::capacity) {
        here.forward(frames.next_new());
        here.clear();
    }
    std::size_t arrived = 0;
    std::size_t sent = 0;
    cycle_meter meter{state};
    for (auto _ : state) {
        burst& b = frames.next_new();
        meter.start();
        arrived += here.forward(b);
        meter.stop(b.count);
        sent += b.count;
        here.clear();
    }
    meter.report();
    state.counters["uncached"] =
        static_cast<double>(here.switcher.entries().counters.uncached.read());
    if (arrived != sent) {
        state.SkipWithError("not every packet went to the other port");
    }
}

} // namespace

BENCHMARK(flow_forward_nw_dst)->Arg(1)->Arg(1000)->Arg(100'000)->Arg(1'000'000)->UseManualTime();
BENCHMARK(flow_forward_5tuple)->Arg(1)->Arg(1000)->Arg(100'000)->Arg(1'000'000)->UseManualTime();
BENCHMARK(flow_forward_5tuple_tracked)->Arg(1)->Arg(1000)->Arg(100'000)->UseManualTime();
BENCHMARK_CAPTURE(flow_short_way, by_state, false)->Arg(1000)->Arg(100'000)->UseManualTime();
BENCHMARK_CAPTURE(flow_short_way, by_port, true)->Arg(1000)->Arg(100'000)->UseManualTime();
BENCHMARK(flow_translate_exact)->Arg(1000)->Arg(100'000)->Arg(1'000'000)->UseManualTime();
BENCHMARK(flow_translate_masks)
    ->ArgNames({"rules", "masks"})
    ->Args({100, 4})
    ->Args({10'000, 200})
    ->UseManualTime();
BENCHMARK(flow_first_packets)
    ->ArgNames({"rules", "masks"})
    ->Args({100, 4})
    ->Args({10'000, 200})
    ->UseManualTime();

} // namespace strait::bench
