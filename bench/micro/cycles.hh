// SPDX-License-Identifier: BSD-3-Clause
// Time as these benchmarks tell it: only what is between start() and stop() counts, in TSC cycles,
// so that what a guest's driver does between two bursts stays out; beside the time, cycles a
// packet.

#pragma once

#include "bench/generator/histogram.hh"

#include <cstdint>
#include <memory>

#include <benchmark/benchmark.h>
#include <rte_cycles.h>

namespace strait::bench {

// For a benchmark registered with UseManualTime().
class cycle_meter {
public:
    explicit cycle_meter(benchmark::State& state) noexcept : state_(state) {}

    void start() noexcept { start_ = rte_rdtsc_precise(); }
    // `packets` went through since start().
    void stop(std::uint64_t packets) noexcept
    {
        const std::uint64_t cycles = rte_rdtsc_precise() - start_;
        packets_ += packets;
        // In 1024ths of a cycle, so that bursts of any size compare.
        per_packet_->add((cycles << 10) / packets);
        state_.SetIterationTime(static_cast<double>(cycles) /
                                static_cast<double>(rte_get_tsc_hz()));
    }
    void report()
    {
        state_.SetItemsProcessed(static_cast<std::int64_t>(packets_));
        state_.counters["cycles/packet"] = static_cast<double>(per_packet_->percentile(0.5)) / 1024;
    }

private:
    benchmark::State& state_;
    std::uint64_t start_ = 0;
    std::uint64_t packets_ = 0;
    std::unique_ptr<histogram> per_packet_ = std::make_unique<histogram>();
};

} // namespace strait::bench
