// SPDX-License-Identifier: BSD-3-Clause
// What an end that speaks VXLAN (RFC 7348) over IPv4 puts around its frames and takes off what
// arrives. It is a host of the underlay: it answers ARP (RFC 826), by which the switch finds it and
// it finds the switch.
#pragma once

#include "bench/generator/frames.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::bench {

// Addresses are in host order.
struct vxlan_place {
    std::uint32_t network = 0; // the VNI, 24 bits
    std::uint32_t own = 0;     // 0: the end does not speak VXLAN
    std::uint32_t far = 0;     // the switch's

    bool operator==(const vxlan_place&) const = default;
};

class vxlan {
public:
    // Ethernet, IPv4, UDP and VXLAN, which stand before the frame.
    static constexpr std::uint16_t header = 50;
    static constexpr std::uint16_t port = 4789;

    vxlan(side which, const vxlan_place& place) noexcept;

    // Writes the header of a frame of `bytes` that stands behind it, of that flow. UDP has no
    // checksum, and a source port from 49152 that the flow decides.
    void write(std::byte* to, std::uint16_t bytes, std::uint32_t flow) const noexcept;

    // Whether what arrives is a frame in VXLAN. What is not may be a question for the end's own
    // address: then an answer is owed.
    [[nodiscard]] bool take(std::span<const std::byte> head) noexcept;

    // Whether the header of a whole frame is right in each byte but source port, identification,
    // type of service and TTL, which are the sender's to choose; a checksum of UDP may be there.
    [[nodiscard]] bool check(std::span<const std::byte> frame) const noexcept;

    [[nodiscard]] bool owes_answer() const noexcept { return owes_answer_; }
    // The answer to the last question; returns its size. At most smallest_frame bytes.
    [[nodiscard]] std::uint16_t write_answer(std::byte* to) noexcept;

private:
    using mac = std::array<std::byte, 6>;
    void learn(const std::byte* from) noexcept;

    vxlan_place place_;
    mac own_;
    mac far_; // everybody's until the switch has asked or sent
    bool knows_far_ = false;
    bool owes_answer_ = false;
};

} // namespace strait::bench
