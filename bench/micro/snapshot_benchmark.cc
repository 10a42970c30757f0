// SPDX-License-Identifier: BSD-3-Clause
// What a change of configuration costs: the copy of a snapshot with one port changed, its
// publication and the grace period, with a polling worker on the other lcore.

#include "dataplane/engine.hh"
#include "dataplane/snapshot.hh"

#include <memory>
#include <vector>

#include <benchmark/benchmark.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

namespace strait::bench {

namespace {

using namespace dataplane;

struct pool_deleter {
    void operator()(rte_mempool* pool) const noexcept { rte_mempool_free(pool); }
};

std::unique_ptr<snapshot> with_ports(std::uint16_t count)
{
    auto made = std::make_unique<snapshot>();
    auto bridge = std::make_shared<bridge_config>();
    bridge->macs = std::make_shared<mac_table>(65536);
    for (std::uint16_t i = 0; i < count; ++i) {
        auto port = std::make_shared<port_config>();
        port->index = port_index{i};
        port->incarnation = 1;
        bridge->members.push_back(port->index);
        made->ports.push_back(std::move(port));
    }
    made->bridges.push_back(std::move(bridge));
    return made;
}

void snapshot_switch(benchmark::State& state)
{
    const std::unique_ptr<rte_mempool, pool_deleter> pool{rte_pktmbuf_pool_create(
        "snapshots", 1023, 0, handover_area, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY)};
    if (!pool) {
        state.SkipWithError("no memory for a packet pool");
        return;
    }
    engine_settings settings;
    settings.lcores = {rte_get_next_lcore(~0U, 1, 0)};
    settings.share_cpus = true;
    settings.pool = pool.get();
    engine the_engine{std::move(settings)};
    the_engine.publish(with_ports(static_cast<std::uint16_t>(state.range(0))));
    std::uint32_t incarnation = 1;
    for (auto _ : state) {
        auto next = std::make_unique<snapshot>(the_engine.current());
        auto port = std::make_shared<port_config>(*next->ports[0]);
        port->incarnation = ++incarnation;
        next->ports[0] = std::move(port);
        the_engine.publish(std::move(next));
    }
    if (the_engine.current().ports[0]->incarnation != incarnation) {
        state.SkipWithError("the last change was not published");
    }
    the_engine.publish(std::make_unique<snapshot>());
}

// What a worker pays for it: one report a round.
void snapshot_quiescent(benchmark::State& state)
{
    rcu_domain rcu;
    rcu.go_online(worker_index{0});
    for (auto _ : state) {
        rcu.quiescent(worker_index{0});
    }
    rcu.go_offline(worker_index{0});
}

} // namespace

BENCHMARK(snapshot_switch)->Arg(2)->Arg(64)->Arg(1000)->UseRealTime();
BENCHMARK(snapshot_quiescent);

} // namespace strait::bench
