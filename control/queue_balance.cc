// SPDX-License-Identifier: BSD-3-Clause
// Step by step: what helps the worker most that has most to do.
#include "control/queue_balance.hh"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>

namespace strait::control {

namespace {

std::vector<double> loads_of(std::span<const queue_load> queues, std::size_t workers)
{
    std::vector<double> loads(workers, 0);
    for (const queue_load& q : queues) {
        loads[q.worker] += q.load;
    }
    return loads;
}

// One queue from the busiest worker to the one with least, maybe in exchange for one of that one's.
struct change {
    std::size_t queue;
    std::optional<std::size_t> in_exchange{};
    double most; // that one of the two has to do then
};

// In n log n steps of n queues: for each of the one's, that of the other's which comes nearest to
// leaving both with as much.
std::optional<change> best_change(std::span<const queue_load> queues,
                                  const std::vector<double>& loads, std::size_t from,
                                  std::size_t to)
{
    // With less it would not end, for rounding.
    constexpr double worth_it = 1e-6;
    std::optional<change> best;
    const auto consider = [&](std::size_t queue, std::optional<std::size_t> other) {
        const double moved = queues[queue].load - (other ? queues[*other].load : 0);
        const double most = std::max(loads[from] - moved, loads[to] + moved);
        if (most < (best ? best->most : loads[from] - worth_it)) {
            best = {.queue = queue, .in_exchange = other, .most = most};
        }
    };
    std::vector<std::size_t> others; // the lightest first
    for (std::size_t q = 0; q < queues.size(); ++q) {
        if (!queues[q].stays && queues[q].worker == from) {
            consider(q, std::nullopt);
        } else if (!queues[q].stays && queues[q].worker == to) {
            others.push_back(q);
        }
    }
    if (best || others.empty()) {
        return best; // rather one queue than two
    }
    const auto load_of = [&](std::size_t q) { return queues[q].load; };
    std::ranges::sort(others, {}, load_of);
    const double wanted = (loads[from] - loads[to]) / 2;
    for (std::size_t q = 0; q < queues.size(); ++q) {
        if (queues[q].stays || queues[q].worker != from) {
            continue;
        }
        const auto next = std::ranges::lower_bound(others, load_of(q) - wanted, {}, load_of);
        if (next != others.end()) {
            consider(q, *next);
        }
        if (next != others.begin()) {
            consider(q, *std::prev(next));
        }
    }
    return best;
}

} // namespace

std::vector<queue_step> plan_balance(std::span<const queue_load> queues, std::size_t workers,
                                     double gain)
{
    std::vector<queue_load> placed{queues.begin(), queues.end()};
    std::vector<double> loads = loads_of(placed, workers);
    const double before = std::ranges::max(loads);
    const double mean =
        std::accumulate(loads.begin(), loads.end(), 0.0) / static_cast<double>(workers);
    constexpr double near_enough = 0.01;
    // Of queues that have little to do it takes many; who measures again in a moment need not do
    // all at once.
    constexpr unsigned enough = 1000;
    for (unsigned rounds = 0; rounds < enough; ++rounds) {
        const auto place = [&](auto found) {
            return static_cast<std::size_t>(found - loads.begin());
        };
        const std::size_t from = place(std::ranges::max_element(loads));
        const std::size_t to = place(std::ranges::min_element(loads));
        if (loads[from] - mean < near_enough) {
            break;
        }
        const auto step = best_change(placed, loads, from, to);
        if (!step) {
            break;
        }
        placed[step->queue].worker = to;
        if (step->in_exchange) {
            placed[*step->in_exchange].worker = from;
        }
        loads = loads_of(placed, workers);
    }
    std::vector<queue_step> steps;
    if (before - std::ranges::max(loads) < gain) {
        return steps;
    }
    for (std::size_t q = 0; q < placed.size(); ++q) {
        if (placed[q].worker != queues[q].worker) {
            steps.push_back({q, placed[q].worker});
        }
    }
    return steps;
}

} // namespace strait::control
