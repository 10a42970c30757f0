// SPDX-License-Identifier: BSD-3-Clause
// The classifier of flow tables: lookups by number of rules and masks, how long a table takes to be
// filled and changed, and what a rule of it costs in memory.

#include "bench/micro/cycles.hh"
#include "dataplane/flow/flow_tables.hh"

#include <cstddef>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>
#include <malloc.h>

namespace strait::bench {

namespace {

using flow::field;

std::shared_ptr<const flow::action_list> to_port(flow::port_number port)
{
    return std::make_shared<const flow::action_list>(
        flow::action_list{flow::action{flow::output{port}}});
}

void require_prefix(flow::match& what, field f, std::uint32_t value, unsigned length)
{
    const flow::wide mask = flow::wide::ones(length) << (32 - length);
    what.require(f, flow::wide{value} & mask, mask);
}

// An IPv4 5-tuple.
flow::match five_tuple(std::uint32_t number)
{
    flow::match out;
    out.require(field::eth_type, 0x0800);
    out.require(field::nw_proto, 6);
    out.require(field::nw_src, 0x0a000000 + number % 65521);
    out.require(field::nw_dst, 0x14000000 + number / 7);
    out.require(field::tp_src, number % 50021);
    out.require(field::tp_dst, 1000 + number % 13);
    return out;
}

std::size_t bytes_in_use()
{
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

// `masks` masks of IPv4 prefixes, protocol and ports, and `count` rules on them in turn.
class rule_set {
public:
    rule_set(unsigned count, unsigned masks, unsigned priorities) : engine_{count + masks}
    {
        for (unsigned i = 0; i < count; ++i) {
            const auto priority = static_cast<flow::priority_t>(1 + below(priorities));
            const flow::match what = match_of(i % masks);
            rules_.push_back(flow::rule::make({.priority = priority}, what, to_port(1)));
        }
        for (const flow::rule_ptr& r : rules_) {
            table.insert(r);
        }
    }
    // Packets that meet a rule, and as many that may meet none.
    std::vector<flow::key> packets(std::size_t count)
    {
        std::vector<flow::key> out(count);
        for (std::size_t i = 0; i < count; ++i) {
            flow::key& k = out[i];
            k = any_packet();
            if (i % 2 == 0) {
                const flow::match what =
                    rules_[below(static_cast<unsigned>(rules_.size()))]->match();
                for (std::size_t w = 0; w < flow::key_words; ++w) {
                    k.words[w] = (k.words[w] & ~what.mask.words[w]) | what.value.words[w];
                }
            }
        }
        return out;
    }

    flow::classifier table;

private:
    unsigned below(unsigned limit) { return static_cast<unsigned>(engine_() % limit); }

    // Each number has a mask of its own.
    flow::match match_of(unsigned mask)
    {
        flow::match out;
        out.require(field::eth_type, 0x0800);
        require_prefix(out, field::nw_dst, any_address(), 8 + mask % 25);
        mask /= 25;
        if (const unsigned length = mask % 4 * 8; length != 0) {
            require_prefix(out, field::nw_src, any_address(), length);
        }
        mask /= 4;
        if (mask % 2 != 0) {
            out.require(field::nw_proto, 6);
            out.require(field::tp_dst, below(1024));
        }
        if (mask / 2 != 0) {
            out.require(field::in_port, 1 + below(64));
        }
        return out;
    }
    std::uint32_t any_address() { return static_cast<std::uint32_t>(engine_()); }
    flow::key any_packet()
    {
        flow::key k;
        k.set(field::in_port, 1 + below(64));
        k.set(field::eth_dst, engine_());
        k.set(field::eth_src, engine_());
        k.set(field::eth_type, 0x0800);
        k.set(field::nw_proto, 6);
        k.set(field::nw_ttl, 64);
        k.set(field::nw_src, any_address());
        k.set(field::nw_dst, any_address());
        k.set(field::tp_src, below(65536));
        k.set(field::tp_dst, below(1024));
        return k;
    }

    std::mt19937_64 engine_;
    std::vector<flow::rule_ptr> rules_;
};

// Arguments: rules, masks, priorities, whether the bits consulted are asked for.
void classifier_lookup(benchmark::State& state)
{
    rule_set set{static_cast<unsigned>(state.range(0)), static_cast<unsigned>(state.range(1)),
                 static_cast<unsigned>(state.range(2))};
    // More than a branch predictor learns by heart.
    const std::vector<flow::key> packets = set.packets(1 << 15);
    const bool consulting = state.range(3) != 0;
    flow::key consulted;
    std::size_t at = 0;
    std::size_t met = 0;
    for (auto _ : state) {
        const flow::key& k = packets[at++ % packets.size()];
        const flow::rule* const found = set.table.lookup(k, consulting ? &consulted : nullptr);
        met += found != nullptr ? 1 : 0;
        benchmark::DoNotOptimize(found);
    }
    benchmark::DoNotOptimize(consulted);
    state.SetItemsProcessed(state.iterations());
    state.counters["met"] = static_cast<double>(met) / static_cast<double>(state.iterations());
}
BENCHMARK(classifier_lookup)
    ->ArgNames({"rules", "masks", "priorities", "consulting"})
    ->Args({100, 5, 50, 0})
    ->Args({100, 5, 50, 1})
    ->Args({10000, 200, 1, 1})
    ->Args({10000, 200, 1000, 0})
    ->Args({10000, 200, 1000, 1})
    ->Args({1000000, 200, 1000, 1});

void classifier_lookup_of_a_million(benchmark::State& state)
{
    flow::classifier table;
    const auto count = static_cast<std::uint32_t>(state.range(0));
    for (std::uint32_t i = 0; i < count; ++i) {
        table.insert(flow::rule::make({}, five_tuple(i), {}));
    }
    std::uint32_t number = 0;
    for (auto _ : state) {
        number = (number + 611953) % count;
        benchmark::DoNotOptimize(table.lookup(five_tuple(number).value));
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(classifier_lookup_of_a_million)->ArgName("rules")->Arg(1000)->Arg(1000000);

void classifier_fill(benchmark::State& state)
{
    const auto count = static_cast<std::uint32_t>(state.range(0));
    std::size_t bytes = 0;
    for (auto _ : state) {
        const std::size_t before = bytes_in_use();
        flow::flow_tables tables;
        flow::classifier& table = tables.own(0);
        for (std::uint32_t i = 0; i < count; ++i) {
            table.insert(flow::rule::make({}, five_tuple(i), to_port(1)));
        }
        state.PauseTiming();
        bytes = bytes_in_use() - before;
        tables = {};
        state.ResumeTiming();
    }
    state.SetItemsProcessed(state.iterations() * count);
    state.counters["bytes_a_rule"] = static_cast<double>(bytes) / count;
}
BENCHMARK(classifier_fill)
    ->ArgName("rules")
    ->Arg(10000)
    ->Arg(1000000)
    ->Unit(benchmark::kMillisecond);

// As many masks as rules, which come and go.
void classifier_masks(benchmark::State& state)
{
    const auto count = static_cast<std::uint32_t>(state.range(0));
    for (auto _ : state) {
        flow::classifier table;
        std::vector<flow::rule_ptr> rules;
        for (std::uint32_t i = 1; i <= count; ++i) {
            flow::match what;
            what.require(field::xreg0, i, i);
            const auto priority = static_cast<flow::priority_t>(i * 40503);
            rules.push_back(flow::rule::make({.priority = priority}, what, {}));
            table.insert(rules.back());
        }
        for (const flow::rule_ptr& r : rules) {
            table.erase(*r);
        }
    }
    state.SetItemsProcessed(state.iterations() * 2 * count);
}
BENCHMARK(classifier_masks)->ArgName("masks")->Arg(100)->Arg(100000)->Unit(benchmark::kMillisecond);

// One rule of a published table changes: a copy is made, and one rule replaced in it.
void classifier_change(benchmark::State& state)
{
    const auto count = static_cast<std::uint32_t>(state.range(0));
    flow::flow_tables published;
    for (std::uint32_t i = 0; i < count; ++i) {
        published.own(0).insert(flow::rule::make({}, five_tuple(i), {}));
    }
    std::uint32_t number = 0;
    for (auto _ : state) {
        number = (number + 611953) % count;
        flow::flow_tables next = published;
        next.own(0).insert(flow::rule::make({}, five_tuple(number), to_port(1)));
        published = std::move(next);
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(classifier_change)->ArgName("rules")->Arg(1000)->Arg(1000000);

} // namespace

} // namespace strait::bench
