// SPDX-License-Identifier: BSD-3-Clause
// The netif protocol as it stands in memory: Xen's public io/netif.h and io/ring.h, "split" network
// devices of one page a ring. Directions are the guest's: tx is from the guest to the switch.
#pragma once

#include "dataplane/guest_span.hh"

#include <cstddef>
#include <cstdint>

namespace strait::xen::netif {

// ---- rings: indices, then slots; requests and responses share the slots ----

inline constexpr std::uint32_t ring_size = 256; // slots of either ring
inline constexpr std::size_t slots_offset = 64; // bytes into the page

// Indices of the ring's header: free-running counts.
enum class ring_field : std::uint8_t { req_prod = 0, req_event = 1, rsp_prod = 2, rsp_event = 3 };

struct tx_request {
    std::uint32_t grant;
    std::uint16_t offset; // into the granted page
    std::uint16_t flags;
    std::uint16_t id;   // the guest's own, given back in the response
    std::uint16_t size; // bytes; of a frame's first request: of the whole frame
};
static_assert(sizeof(tx_request) == 12);

// Takes the place of the request behind the first of a frame.
struct extra_info {
    std::uint8_t type;
    std::uint8_t flags;
    std::uint8_t body[6];
};
static_assert(sizeof(extra_info) == 8);

struct tx_response {
    std::uint16_t id;
    std::int16_t status;
};
static_assert(sizeof(tx_response) == 4);

struct rx_request {
    std::uint16_t id;
    std::uint16_t padding;
    std::uint32_t grant;
};
static_assert(sizeof(rx_request) == 8);

struct rx_response {
    std::uint16_t id;
    std::uint16_t offset; // of the first byte in the page
    std::uint16_t flags;
    std::int16_t status; // bytes, or negative
};
static_assert(sizeof(rx_response) == 8);

namespace tx_flag {
inline constexpr std::uint16_t checksum_blank = 1U << 0;
inline constexpr std::uint16_t data_validated = 1U << 1;
inline constexpr std::uint16_t more_data = 1U << 2;
inline constexpr std::uint16_t extra_info = 1U << 3;
} // namespace tx_flag

// Not the same bits.
namespace rx_flag {
inline constexpr std::uint16_t data_validated = 1U << 0;
inline constexpr std::uint16_t checksum_blank = 1U << 1;
inline constexpr std::uint16_t more_data = 1U << 2;
inline constexpr std::uint16_t extra_info = 1U << 3;
} // namespace rx_flag

enum class extra : std::uint8_t {
    gso = 1,
    multicast_add = 2,
    multicast_del = 3,
    hash = 4,
    xdp = 5
};
inline constexpr std::uint8_t extra_more = 1; // another extra_info follows
inline constexpr std::uint8_t gso_tcp_v4 = 1;
inline constexpr std::uint8_t gso_tcp_v6 = 2;

namespace status {
inline constexpr std::int16_t null = 1; // in place of an extra_info
inline constexpr std::int16_t okay = 0;
inline constexpr std::int16_t error = -1;
inline constexpr std::int16_t dropped = -2;
} // namespace status

// What Linux's backend lets a frame have, and so what guests rely on: longer frames are dropped,
// and from fatal_slots on the device is given up.
inline constexpr std::uint32_t max_slots = 18;
inline constexpr std::uint32_t fatal_slots = 20;

// ---- hashes: what the control ring and extra::hash speak of ----

namespace hash_type {
inline constexpr std::uint32_t ipv4 = 1U << 0;
inline constexpr std::uint32_t ipv4_tcp = 1U << 1;
inline constexpr std::uint32_t ipv6 = 1U << 2;
inline constexpr std::uint32_t ipv6_tcp = 1U << 3;
inline constexpr std::uint32_t all = 0xf;
} // namespace hash_type
namespace hash_algorithm {
inline constexpr std::uint32_t none = 0;
inline constexpr std::uint32_t toeplitz = 1;
} // namespace hash_algorithm

// The control ring has 16-byte slots of both kinds.
struct control_request {
    std::uint16_t id;
    std::uint16_t type;
    std::uint32_t data[3];
};
static_assert(sizeof(control_request) == 16);
struct control_response {
    std::uint16_t id;
    std::uint16_t type;
    std::uint32_t status;
    std::uint32_t data;
};
static_assert(sizeof(control_response) == 12);
inline constexpr std::uint32_t control_ring_size = 128; // slots

enum class control_type : std::uint16_t {
    invalid = 0,
    get_hash_flags = 1,
    set_hash_flags = 2,
    set_hash_key = 3,
    get_hash_mapping_size = 4,
    set_hash_mapping_size = 5,
    set_hash_mapping = 6,
    set_hash_algorithm = 7,
    get_grant_mapping_size = 8,
    add_grant_mapping = 9,
    delete_grant_mapping = 10,
};
namespace control_status {
inline constexpr std::uint32_t success = 0;
inline constexpr std::uint32_t not_supported = 1;
inline constexpr std::uint32_t invalid_parameter = 2;
inline constexpr std::uint32_t buffer_overflow = 3;
} // namespace control_status

// ---- one ring as this end has it mapped ----

// A page that the guest writes at the same time; nothing of it is read twice.
template <typename Slot, std::uint32_t Size>
class back_ring {
public:
    static constexpr std::uint32_t size = Size;

    back_ring() noexcept = default;
    explicit back_ring(void* page) noexcept
        : indices_{page},
          // One element too many fits no page: slots are addressed by mask only.
          slots_{static_cast<std::byte*>(page) + slots_offset}
    {}

    // The guest's stores to the slots before it are visible.
    [[nodiscard]] std::uint32_t request_producer() const noexcept
    {
        return indices_.load_acquire(index(ring_field::req_prod));
    }
    [[nodiscard]] std::uint32_t response_producer() const noexcept
    {
        return indices_.load_acquire(index(ring_field::rsp_prod));
    }
    void publish_responses(std::uint32_t producer) const noexcept
    {
        indices_.store_release(index(ring_field::rsp_prod), producer);
    }
    // The guest tells us of requests from this one on.
    void ask_for_events(std::uint32_t at) const noexcept
    {
        indices_.store(index(ring_field::req_event), at);
    }
    [[nodiscard]] std::uint32_t wanted_event() const noexcept
    {
        return indices_.load(index(ring_field::rsp_event));
    }

    template <typename T>
    [[nodiscard]] T read(std::uint32_t at) const noexcept
    {
        static_assert(sizeof(T) <= sizeof(Slot));
        return slot<T>(at).load(0);
    }
    template <typename T>
    void write(std::uint32_t at, const T& value) const noexcept
    {
        static_assert(sizeof(T) <= sizeof(Slot));
        slot<T>(at).store(0, value);
    }
    void prefetch(std::uint32_t at) const noexcept { slots_.prefetch(at & (size - 1)); }

private:
    [[nodiscard]] static constexpr std::size_t index(ring_field f) noexcept
    {
        return static_cast<std::size_t>(f);
    }
    template <typename T>
    [[nodiscard]] dataplane::guest_array<T> slot(std::uint32_t at) const noexcept
    {
        return slots_.template element<T>(at & (size - 1));
    }

    dataplane::guest_array<std::uint32_t> indices_;
    dataplane::guest_array<Slot> slots_;
};

using tx_ring = back_ring<tx_request, ring_size>;
using rx_ring = back_ring<rx_request, ring_size>;
using control_ring = back_ring<control_request, control_ring_size>;

} // namespace strait::xen::netif
