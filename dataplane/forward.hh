// SPDX-License-Identifier: BSD-3-Clause
// L2 switching of one burst: VLAN classification, learning, lookup, flooding; and, per
// destination, what a port lets out and with which tag. No queue is touched here.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/output_lists.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::dataplane {

struct forward_context {
    const snapshot* config;
    seconds_t now;
    worker_counters* worker;
    bool learns{true}; // MACs, addresses; false: only asked, and nobody's credit is taken
    worker_index index{};
    std::uint64_t tsc{0};
};

// Of a packet that is about to be flooded: false, and counted, if `in` has had its share of that.
[[nodiscard]] bool may_flood(const packet& p, const port_config& in, const forward_context& context,
                             port_counters& in_counters) noexcept;

// Classifies packets that came from `in`, learns their sources, and puts each on the lists of the
// ports it goes to. What goes nowhere is counted in `in_counters`.
void forward(burst& b, const port_config& in, const forward_context& context,
             port_counters& in_counters, output_lists& out) noexcept;

void forward(std::span<packet_slot* const> packets, const port_config& in,
             const forward_context& context, port_counters& in_counters,
             output_lists& out) noexcept;

// The same for one packet as it stands, as if it had come from `in`: what flows that send it on by
// L2 switching come to.
void forward_one(packet& p, const port_config& in, const forward_context& context,
                 port_counters& in_counters, output_lists& out) noexcept;

struct admitted {
    std::size_t count; // packets kept, at the front
    bool complete;     // nothing is left to do to any of them, and no payload is remote
};

// Packets that a port's MTU has no room for, as they would have left by it.
struct too_long_packets {
    std::size_t count{0};
    std::array<packet*, burst::capacity> packets;
};

// Keeps of `packets` those that may leave by `port`, moved to the front, with the tag that the port
// wants; counts the others in `counters`. Those that are too long are put to `too_long`, if
// somebody wants to know.
[[nodiscard]] admitted admit(std::span<packet*> packets, const port_config& port,
                             port_counters& counters,
                             too_long_packets* too_long = nullptr) noexcept;

} // namespace strait::dataplane
