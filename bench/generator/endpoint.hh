// SPDX-License-Identifier: BSD-3-Clause
// One end of the traffic: a virtio-user device, a pool of frames that are built once and sent again
// and again, and what arrived. Pacing and the order of things are the caller's (generator.cc).

#pragma once

#include "bench/generator/frames.hh"
#include "bench/generator/histogram.hh"
#include "bench/generator/options.hh"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct rte_mbuf;
struct rte_mempool;

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
    // Longest time between two arrivals, in TSC cycles.
    std::uint64_t longest_gap = 0;
};

// Used by one thread. Frames go out and come in in bursts of up to `burst`.
class endpoint {
public:
    static constexpr std::uint16_t burst = 32;

    // Creates the device and starts its queues. The answer, if not an endpoint, is what was wrong.
    static std::unique_ptr<endpoint> create(side which, const options& settings,
                                            std::string& error);

    endpoint(const endpoint&) = delete;
    endpoint& operator=(const endpoint&) = delete;
    ~endpoint();

    // Whether the other end of the socket is there.
    [[nodiscard]] bool connected() const noexcept;

    // Offers up to `most` frames (at most `burst`) to the ring and returns how many it took. The
    // rest is offered first next time. `now` stamps them when latency is measured.
    unsigned transmit(unsigned most, std::uint64_t now) noexcept;

    // Takes one burst out of the ring, counts it and returns its size.
    unsigned receive(std::uint64_t now) noexcept;

    // The next frame sent is of flow `flow`, and each is of the next flow from there, `stride` on.
    void start_flows(std::uint32_t flow, std::uint32_t stride) noexcept;

    // Starts counts, gaps and latencies anew.
    void clear(std::uint64_t now) noexcept;

    [[nodiscard]] const counts& counted() const noexcept { return counts_; }
    [[nodiscard]] const histogram& latency() const noexcept { return *latency_; }

private:
    endpoint(side which, const options& settings) noexcept;

    std::optional<std::string> start(const options& settings);
    void stamp_and_shape(std::span<rte_mbuf* const> frames, std::uint64_t now) noexcept;
    void check(const rte_mbuf& frame) noexcept;
    void record_latency(std::span<rte_mbuf* const> frames, std::uint64_t now) noexcept;

    side side_;
    std::uint16_t device_ = 0;
    bool device_exists_ = false;
    bool device_started_ = false;
    // Frames are sent as they were built: one flow, one size, no stamps.
    bool fixed_ = false;
    bool writes_flow_ = false;
    bool several_sizes_ = false;
    bool stamps_ = false;
    std::uint32_t flows_ = 1;
    std::uint32_t next_flow_ = 0;
    std::uint32_t stride_ = 1;
    std::uint32_t next_size_ = 0;
    std::uint32_t verify_every_ = 0;
    std::uint64_t verify_at_ = 0;
    std::uint64_t last_arrival_ = 0;

    rte_mempool* frames_ = nullptr;
    rte_mempool* buffers_ = nullptr;
    std::array<rte_mbuf*, burst> pending_{};
    unsigned pending_count_ = 0;
    counts counts_;

    std::array<frame_size, 3> sizes_{};
    std::size_t size_count_ = 1;
    std::unique_ptr<histogram> latency_ = std::make_unique<histogram>();
};

// The EAL's device argument for one end, as `--vdev` takes it.
std::string device_argument(side which, const options& settings);

} // namespace strait::bench
