// SPDX-License-Identifier: BSD-3-Clause
// The MAC table: lookups and learning in bursts of 64 with the buckets prefetched first, as the
// forwarding path does it, by the number of addresses in play.

#include "bench/micro/cycles.hh"
#include "dataplane/mac_table.hh"
#include "dataplane/packet.hh"

#include <algorithm>
#include <array>
#include <memory>

namespace strait::bench {

namespace {

using dataplane::burst;
using dataplane::mac_address;
using dataplane::mac_table;
using dataplane::port_index;
using dataplane::vlan_id;

constexpr port_index here{1};
constexpr port_index there{2};

mac_table::key key_of(std::uint64_t number) noexcept
{
    // The number goes where hosts of one vendor differ: in the last bytes on the wire.
    return {mac_address{0x0002ULL | __builtin_bswap64(number << 16)}, vlan_id{}};
}

// Neighbours in time are no neighbours in the table: addresses come in the order of a full cycle.
class key_sequence {
public:
    explicit key_sequence(std::uint64_t count) noexcept : count_{count}
    {
        for (const std::uint64_t prime : {2654435761ULL, 40503ULL, 1ULL}) {
            if (count_ % prime != 0 || prime == 1) {
                stride_ = prime % count_;
                break;
            }
        }
    }
    mac_table::key operator()() noexcept
    {
        at_ = (at_ + stride_) % count_;
        return key_of(at_);
    }

private:
    std::uint64_t count_;
    std::uint64_t stride_{0};
    std::uint64_t at_{0};
};

// A table that knows `count` addresses behind `here`, with room for twice as many.
std::unique_ptr<mac_table> filled(std::uint64_t count)
{
    auto table = std::make_unique<mac_table>(std::max<std::size_t>(2 * count, 65536));
    for (std::uint64_t i = 0; i < count; ++i) {
        table->learn(key_of(i), here, 0);
    }
    return table;
}

// Prepares the probes of a burst of keys from `next`, then acts on each. Bursts come from `here`,
// or in turns from `here` and `there`.
template <typename Next, typename Act>
void in_bursts(benchmark::State& state, mac_table& table, Next next, Act act, bool in_turns = false)
{
    port_index from = here;
    cycle_meter meter{state};
    std::array<mac_table::key, burst::capacity> keys;
    std::array<mac_table::probe, burst::capacity> probes;
    for (auto _ : state) {
        for (auto& key : keys) {
            key = next();
        }
        meter.start();
        mac_table::session session{table, from, 0};
        for (std::size_t i = 0; i < keys.size(); ++i) {
            probes[i] = mac_table::probe{keys[i]};
            session.prepare(probes[i]);
        }
        for (const auto& probe : probes) {
            act(session, probe);
        }
        meter.stop(keys.size());
        from = in_turns && from == here ? there : here;
    }
    meter.report();
}

void mac_lookup_known(benchmark::State& state)
{
    const auto count = static_cast<std::uint64_t>(state.range(0));
    const auto table = filled(count);
    std::uint64_t missed = 0;
    in_bursts(state, *table, key_sequence{count}, [&](auto& session, const auto& probe) {
        missed += session.port(session.lookup(probe)) == here ? 0U : 1U;
    });
    if (missed > 0) {
        state.SkipWithError("an address that was learned was not found");
    }
}

void mac_lookup_unknown(benchmark::State& state)
{
    const auto count = static_cast<std::uint64_t>(state.range(0));
    const auto table = filled(count);
    constexpr std::uint64_t beyond = 1ULL << 30;
    std::uint64_t found = 0;
    std::uint64_t number = 0;
    const auto next = [&]() noexcept { return key_of(beyond + (number++ * 40503ULL & 0xfffffU)); };
    in_bursts(state, *table, next, [&](auto& session, const auto& probe) {
        found += session.port(session.lookup(probe)) == dataplane::no_port ? 0U : 1U;
    });
    if (found > 0) {
        state.SkipWithError("an address that nobody learned was found");
    }
}

// The address stands and was seen within this second: what nearly every packet of a flow meets.
void mac_learn_known(benchmark::State& state)
{
    const auto count = static_cast<std::uint64_t>(state.range(0));
    const auto table = filled(count);
    in_bursts(state, *table, key_sequence{count},
              [](auto& session, const auto& probe) { session.learn(probe); });
}

// Each burst finds its addresses behind the other port: the dearest way to learn what is known.
void mac_learn_moved(benchmark::State& state)
{
    const auto count = static_cast<std::uint64_t>(state.range(0));
    const auto table = filled(count);
    in_bursts(
        state, *table, key_sequence{count},
        [](auto& session, const auto& probe) { session.learn(probe); }, true);
}

void mac_flush_port(benchmark::State& state)
{
    const auto table = filled(static_cast<std::uint64_t>(state.range(0)));
    for (auto _ : state) {
        table->flush_port(here);
    }
}

} // namespace

BENCHMARK(mac_lookup_known)->Arg(2)->Arg(1000)->Arg(65536)->Arg(1000000)->UseManualTime();
BENCHMARK(mac_lookup_unknown)->Arg(2)->Arg(1000)->Arg(65536)->Arg(1000000)->UseManualTime();
BENCHMARK(mac_learn_known)->Arg(2)->Arg(1000)->Arg(65536)->Arg(1000000)->UseManualTime();
BENCHMARK(mac_learn_moved)->Arg(2)->Arg(65536)->UseManualTime();
BENCHMARK(mac_flush_port)->Arg(2)->Arg(1000000);

} // namespace strait::bench
