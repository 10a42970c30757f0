// SPDX-License-Identifier: BSD-3-Clause
// One end of the traffic: a network device's rings, frames in them that are built once and sent
// again and again, and what arrived. Pacing and the order of things are the caller's
// (generator.cc).

#pragma once

#include "bench/generator/frames.hh"
#include "bench/generator/histogram.hh"
#include "bench/generator/options.hh"
#include "bench/guest/front_end.hh"

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

namespace strait::bench {

// What one end sent and received since the counts were last cleared.
struct counts {
    std::uint64_t sent = 0;
    // Times the ring took less than it was offered.
    std::uint64_t blocked = 0;
    std::uint64_t bursts = 0;
    std::uint64_t received = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t checked = 0;
    std::uint64_t corrupt = 0;
    std::uint64_t foreign = 0;
    // Sent, each the first of its flow.
    std::uint64_t new_flows = 0;
    // Longest time between two arrivals, in TSC cycles.
    std::uint64_t longest_gap = 0;
};

// Used by one thread. Frames go out and come in in bursts of up to `burst`.
class endpoint {
public:
    static constexpr std::uint16_t burst = 32;

    // Connects to the switch, or listens for it. Throws std::runtime_error, with a sentence.
    endpoint(side which, const options& settings);
    endpoint(const endpoint&) = delete;
    endpoint& operator=(const endpoint&) = delete;

    // Waits for the switch, if it is to connect, and hands it the rings. Throws likewise.
    void attach(std::chrono::milliseconds patience);

    // Throws when the switch has gone.
    void expect_connected() const { device_.expect_connected(); }

    // Offers up to `most` frames (at most `burst`) to the ring and returns how many it had room
    // for. `now` stamps them when latency is measured.
    unsigned transmit(unsigned most, std::uint64_t now) noexcept;

    // Takes one burst out of the ring, counts it and returns its size.
    unsigned receive(std::uint64_t now) noexcept;

    // The next frame sent is of flow `flow`, and each is of the next flow from there, `stride` on.
    void start_flows(std::uint32_t flow, std::uint32_t stride) noexcept;
    // Frames sent are of the flows in `order`, from `first` on and again and again, but for those
    // that are the first ones of their flows.
    void follow(std::span<const std::uint32_t> order, std::size_t first) noexcept;
    // This share of the frames to come is of flows never sent before.
    void begin_flows(double share) noexcept;

    // Starts counts, gaps and latencies anew.
    void clear(std::uint64_t now) noexcept;

    [[nodiscard]] const counts& counted() const noexcept { return counts_; }
    [[nodiscard]] const histogram& latency() const noexcept { return *latency_; }

private:
    [[nodiscard]] std::uint32_t next_flow() noexcept;
    void shape(std::uint16_t buffer, std::uint64_t now) noexcept;
    // One filled buffer, the header included if it begins a frame.
    void take(std::span<const std::byte> part, std::uint64_t now) noexcept;
    void check(std::span<const std::byte> frame) noexcept;

    side side_;
    bool mergeable_;
    // Frames are sent as they were built: one flow, one size, no stamps.
    bool fixed_ = false;
    bool writes_flow_ = false;
    bool several_sizes_ = false;
    bool stamps_ = false;
    flow_kind kind_ = flow_kind::macs;
    std::uint32_t flows_ = 1;
    std::uint32_t next_flow_ = 0;
    std::uint32_t stride_ = 1;
    std::span<const std::uint32_t> order_; // empty: at a stride
    std::size_t next_in_order_ = 0;
    std::uint64_t new_share_ = 0; // of 2^32
    std::uint64_t new_due_ = 0;
    std::uint32_t next_new_ = 0;
    std::uint32_t next_size_ = 0;
    std::uint32_t verify_every_ = 0;
    std::uint64_t verify_at_ = 0;
    std::uint64_t last_arrival_ = 0;
    counts counts_;

    // The frame that is coming in, which may take several buffers.
    std::uint32_t buffers_left_ = 0;
    std::uint32_t frame_length_ = 0;
    bool checks_ = false; // gathered, to be compared when it is complete
    std::array<std::byte, largest_frame> gathered_{};

    std::array<frame_size, 3> sizes_{};
    std::size_t size_count_ = 1;
    std::unique_ptr<histogram> latency_ = std::make_unique<histogram>();
    front_end device_;
};

} // namespace strait::bench
