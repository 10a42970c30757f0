// SPDX-License-Identifier: BSD-3-Clause
// What a shaped port costs a packet: one that leaves at once, as the queue alone would have it; and
// one that waits, is owned, and leaves later, of one class and of eight, of one sender and of 32.

#include "bench/micro/cycles.hh"
#include "dataplane/engine.hh"
#include "dataplane/shaper.hh"

#include <array>
#include <memory>

#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace strait::bench {

namespace {

using namespace dataplane;

class no_queue final : public ports::tx_queue {
public:
    void transmit(std::span<packet* const> packets,
                  const ports::queue_context& context) noexcept override
    {
        for (packet* const p : packets) {
            benchmark::DoNotOptimize(p->data);
        }
        context.counters->tx_packets.add(packets.size());
    }
};

struct pool_deleter {
    void operator()(rte_mempool* pool) const noexcept { rte_mempool_free(pool); }
};

class shaped {
public:
    static constexpr std::uint32_t length = 64;
    static constexpr std::uint64_t hz = 1'000'000'000;

    shaped(std::size_t classes, std::size_t senders)
        : pool_{rte_pktmbuf_pool_create("shaper_benchmark", 4095, 256, handover_area,
                                        RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY)}
    {
        shaping s;
        s.kbps = 1'000'000;
        s.burst_kbit = 400;
        for (std::size_t i = 0; i < classes; ++i) {
            s.classes[i] = shaper_class{.rate_kbps = 100'000, .burst_kbit = 400};
        }
        shaper_ = std::make_unique<shaper>(queue_, s, hz, now_);
        for (std::size_t i = 0; i < burst::capacity; ++i) {
            packet_slot& p = from_->slots[i];
            static_cast<packet&>(p) = {};
            p.data = p.head.data();
            p.length = length;
            p.head_length = length;
            p.destinations = 1;
            p.in_port = port_index{static_cast<std::uint16_t>(i % senders)};
            p.note = packet_note::with_queue(0, static_cast<unsigned>(i % classes));
            packets_[i] = &p;
        }
    }
    [[nodiscard]] bool has_memory() const noexcept { return pool_ != nullptr; }
    void give() { shaper_->transmit(packets_, context()); }
    void give_alone() { queue_.transmit(packets_, context()); }
    // With no credit left, all of them wait.
    void use_up()
    {
        packet_slot& large = *large_;
        static_cast<packet&>(large) = {};
        while (!shaper_->waits()) {
            large.data = large.head.data();
            large.length = 64;
            large.head_length = 64;
            large.destinations = 1;
            packet* const one[] = {&large};
            shaper_->transmit(one, context());
        }
    }
    std::size_t release() { return shaper_->release(context(), *scratch_); }
    void pass(std::uint64_t cycles) noexcept { now_ += cycles; }

private:
    ports::queue_context context() { return {now_, pool_.get(), counters_.get(), nullptr}; }

    std::unique_ptr<rte_mempool, pool_deleter> pool_;
    no_queue queue_;
    std::unique_ptr<burst> from_{new burst};
    std::unique_ptr<burst> scratch_{new burst};
    std::unique_ptr<packet_slot> large_{new packet_slot};
    std::array<packet*, burst::capacity> packets_{};
    std::unique_ptr<port_counters> counters_{new port_counters};
    std::uint64_t now_{hz};
    std::unique_ptr<shaper> shaper_;
};

void without_shaper(benchmark::State& state)
{
    shaped s{1, 1};
    cycle_meter meter{state};
    for (auto _ : state) {
        meter.start();
        s.give_alone();
        meter.stop(burst::capacity);
    }
    meter.report();
}

void shaper_at_once(benchmark::State& state)
{
    shaped s{1, 1};
    cycle_meter meter{state};
    for (auto _ : state) {
        s.pass(shaped::hz);
        meter.start();
        s.give();
        meter.stop(burst::capacity);
    }
    meter.report();
}

void shaper_waits(benchmark::State& state)
{
    shaped s{static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1))};
    if (!s.has_memory()) {
        state.SkipWithError("no memory for a packet pool");
        return;
    }
    cycle_meter meter{state};
    for (auto _ : state) {
        s.use_up();
        meter.start();
        s.give();
        meter.stop(burst::capacity);
        s.pass(shaped::hz / 20);
        while (s.release() > 0) {}
    }
    meter.report();
}

void shaper_releases(benchmark::State& state)
{
    shaped s{static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1))};
    if (!s.has_memory()) {
        state.SkipWithError("no memory for a packet pool");
        return;
    }
    cycle_meter meter{state};
    for (auto _ : state) {
        s.use_up();
        s.give();
        s.pass(shaped::hz / 20);
        meter.start();
        const std::size_t released = s.release();
        meter.stop(released);
    }
    meter.report();
}

BENCHMARK(without_shaper)->UseManualTime();
BENCHMARK(shaper_at_once)->UseManualTime();
BENCHMARK(shaper_waits)->UseManualTime()->Args({1, 1})->Args({8, 1})->Args({1, 32})->Args({8, 32});
BENCHMARK(shaper_releases)
    ->UseManualTime()
    ->Args({1, 1})
    ->Args({8, 1})
    ->Args({1, 32})
    ->Args({8, 32});

} // namespace

} // namespace strait::bench
