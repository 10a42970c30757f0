// SPDX-License-Identifier: BSD-3-Clause
// The loops that move frames. They run in ring 3, which a KVM without hardware virtualisation runs
// at full speed, and return to ring 0 to sleep.
#pragma once

#include "tests/vmm/guest/ring.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::guest {

inline constexpr std::uint16_t max_ring = 1024;
inline constexpr std::size_t max_pairs = 16;
using mac_address = std::array<std::uint8_t, 6>;

// A virtqueue with a buffer for each descriptor. A buffer begins with the virtio header; the frame
// after it is aligned to 16 bytes.
struct data_queue {
    virtqueue ring;
    std::uint64_t notify{0};
    std::uint16_t index{0};
    std::uint16_t message{0};
    std::byte* buffers{nullptr};
    std::uint32_t length{0};
    std::uint32_t stride{0};
    std::array<std::uint16_t, max_ring> idle{};
    std::uint16_t idle_count{0};
    std::uint16_t rest{0};    // buffers to come of the frame that has begun
    std::uint32_t rest_at{0}; // bytes of it so far; 0: none of ours

    [[nodiscard]] std::byte* buffer(std::uint16_t id) const noexcept
    {
        return buffers + std::size_t{stride} * id;
    }
};

struct queue_pair {
    data_queue receive;
    data_queue transmit;
};

// Frames of ours: Ethernet header with the type of local experiments, `mark`, an 8-byte sequence
// number, and bytes that follow from their offset.
inline constexpr std::size_t mark_at = 14;
inline constexpr std::uint32_t mark = 0x74727473;      // "strt"
inline constexpr std::uint32_t stop_mark = 0x706f7473; // "stop": a frame that ends echo and receive
inline constexpr std::size_t sequence_at = 18;
inline constexpr std::size_t pattern_at = 26;
inline constexpr std::size_t max_frame = 65536;

struct traffic {
    enum class kind : std::uint8_t { transmit, receive, echo, ping, pass };
    enum class result : std::uint8_t { count, stop, time, idle };

    kind what{kind::echo};
    bool yields{false}; // returns `idle` when nothing is to be done
    std::span<queue_pair> pairs{};
    queue_pair* sender{nullptr};        // pass: what is sent by; the others receive it
    std::span<const std::byte> model{}; // the frame that is sent, but for echo
    std::span<const std::byte> all{};   // the longest one there can be, which it is the begin of
    bool stop{false};                   // transmit: send stop frames
    std::uint64_t count{0};
    std::uint64_t deadline{0};

    std::uint64_t sent{0};
    std::uint64_t sent_bytes{0};
    std::uint64_t taken{0}; // of those sent, what the device has finished with
    std::uint64_t received{0};
    std::uint64_t received_bytes{0};
    std::uint64_t buffers{0}; // that they came in
    std::uint64_t ours{0};
    std::uint64_t bad{0};     // ours, but changed
    std::uint64_t gaps{0};    // ours, but neither the next one nor a first one
    std::uint64_t skipped{0}; // echo: what fits no one buffer
    std::uint64_t next_sequence{0};
    std::uint64_t kicks{0};
    std::uint64_t first_cycle{0};
    std::uint64_t last_cycle{0};

    // ping
    bool waiting{false};
    std::uint64_t asked{0};
    std::uint64_t shortest{~std::uint64_t{0}};
    std::uint64_t longest{0};
    std::uint64_t total{0};
};

// For call_in_ring_3(): `argument` is a struct traffic; a traffic::result.
std::uint64_t run_traffic(void* argument);

// For the same: `argument` is a struct queue_pair, whose buffers are offered or made idle.
std::uint64_t fill_queues(void* argument);

} // namespace strait::guest
