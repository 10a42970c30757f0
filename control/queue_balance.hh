// SPDX-License-Identifier: BSD-3-Clause
// Which worker is to serve which queue, by what each took of its worker's time. What a queue is,
// and how it moves, is not known here.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace strait::control {

struct queue_load {
    std::size_t worker;
    double load; // of a worker's time, 0 to 1
    bool stays;  // where it is, whatever the load
};

struct queue_step {
    std::size_t queue; // its place in what plan_balance() was given
    std::size_t to;    // another worker
    bool operator==(const queue_step&) const noexcept = default;
};

// A balance is made only where a worker has at least this much to do: below it nobody waits.
inline constexpr double busy_worker = 0.6;
// And only if the worker that has most is then rid of this much. What is measured varies by less.
inline constexpr double least_gain = 0.1;

// Few steps after which the worker that has most to do has less; none if it is less by no more
// than `gain`, or if there is nothing to gain. Any thread.
[[nodiscard]] std::vector<queue_step> plan_balance(std::span<const queue_load> queues,
                                                   std::size_t workers, double gain);

} // namespace strait::control
