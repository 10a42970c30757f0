// SPDX-License-Identifier: BSD-3-Clause
// What the ring engines of all kinds of ports are timed with by stage, so that their cycles can be
// held beside each other: the frame, the L2 path between two rings, what a worker does for a
// receiver that wants its checksum whole, and medians of bursts.

#pragma once

#include "bench/generator/histogram.hh"
#include "dataplane/counters.hh"
#include "dataplane/output_lists.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

struct rte_mempool;

namespace strait::bench {

// Cycles a packet of each burst, of which the median counts: a burst that was interrupted does not.
class stage_meter {
public:
    void add(std::uint64_t cycles, std::uint64_t packets) noexcept
    {
        histogram_->add((cycles << 10U) / packets);
    }
    [[nodiscard]] double cycles_a_packet() const
    {
        return static_cast<double>(histogram_->percentile(0.5)) / 1024;
    }

private:
    std::unique_ptr<histogram> histogram_ = std::make_unique<histogram>();
};

// A TCP segment over IPv4, 54 bytes or longer, from the sender to the receiver. Its checksum is
// left: there is but the pseudo-header's sum in it.
[[nodiscard]] std::vector<std::byte> make_segment(std::uint32_t bytes);
// The same with its checksum.
[[nodiscard]] std::vector<std::byte> make_whole_segment(std::uint32_t bytes);

// What a worker does to packets whose checksums were left, before they go to a port that takes none
// such: payload that is not local is copied first. The pool is for that.
void fill_checksums(std::span<dataplane::packet* const> packets, rte_mempool* pool) noexcept;

// A bridge of two ports, the sender's and the receiver's, which knows where the latter is.
class l2_path {
public:
    l2_path();

    // Of a burst that the sender's port took: what may leave by the receiver's, until clear().
    [[nodiscard]] std::span<dataplane::packet*> look_up(dataplane::burst& b) noexcept;
    void clear() noexcept { lists_.clear(); }
    [[nodiscard]] dataplane::port_counters& sender() noexcept { return counters_[0]; }
    [[nodiscard]] dataplane::port_counters& receiver() noexcept { return counters_[1]; }

private:
    dataplane::snapshot config_;
    dataplane::worker_counters worker_;
    std::array<dataplane::port_counters, 2> counters_;
    dataplane::output_lists lists_;
};

} // namespace strait::bench
