// SPDX-License-Identifier: BSD-3-Clause
// An end that is a KVM guest's network device: rings in its own memory, in whose transmit buffers
// the frames lie.
#pragma once

#include "bench/generator/endpoint.hh"
#include "bench/guest/front_end.hh"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace strait::bench {

class vhost_endpoint final : public endpoint {
public:
    // Connects to the switch, or listens for it.
    vhost_endpoint(std::size_t which, const options& settings);

    void attach(std::chrono::milliseconds patience) override;
    void expect_connected() override { device_.expect_connected(); }
    void follow_switch() override { device_.follow(); }
    unsigned transmit(unsigned most, std::uint64_t now) noexcept override;
    unsigned receive(std::uint64_t now) noexcept override;

private:
    void fill(unsigned pair, std::uint16_t buffer, std::uint64_t now) noexcept;
    // As transmit(), each frame into the queue of its flow.
    unsigned transmit_by_flow(unsigned most, std::uint64_t now) noexcept;
    // One burst of a queue's; returns whether there was something.
    bool receive_from(unsigned pair, std::uint64_t now) noexcept;
    // One filled buffer, the header included if it begins a frame.
    void take(std::span<const std::byte> part, std::uint64_t now) noexcept;

    vhost::net_header header_{}; // of each frame sent
    bool mergeable_;
    unsigned receiving_ = 0; // the queue looked at next
    // The frame that is coming in, which may take several buffers.
    std::uint32_t buffers_left_ = 0;
    std::uint32_t frame_length_ = 0;
    bool partial_ = false;
    std::vector<std::byte> gathered_;
    front_end device_;
};

} // namespace strait::bench
