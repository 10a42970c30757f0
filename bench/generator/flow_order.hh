// SPDX-License-Identifier: BSD-3-Clause
// In which order a side's frames are of its flows, computed before anything is sent. What a flow's
// frames look like is in frames.hh.
#pragma once

#include <cstdint>
#include <vector>

namespace strait::bench {

enum class flow_order : std::uint8_t {
    round,   // by number, or at a stride: neighbours in time are none in a table
    uniform, // all of them in an order by chance, again and again in another
    zipf,    // flow i (from 0) 1 / (i + 1) times as often as flow 0
};

// Numbers of flows below `flows`, to be repeated; empty for `round`. The same each time.
std::vector<std::uint32_t> make_order(flow_order order, std::uint32_t flows);

// The same flows as often and in their order, but those of one of `queues` queues (a flow's number
// says which) in runs of `run` on average: a guest's CPUs each send by their own queue.
void gather_by_queue(std::vector<std::uint32_t>& order, std::uint32_t queues, std::uint32_t run);

} // namespace strait::bench
