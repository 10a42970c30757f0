// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user protocol's numbers and payloads (QEMU's docs/interop/vhost-user.rst), for both of
// its sides.
#pragma once

#include <cstddef>
#include <cstdint>

namespace strait::vhost {

enum class request : std::uint32_t {
    get_features = 1,
    set_features = 2,
    set_owner = 3,
    reset_owner = 4,
    set_mem_table = 5,
    set_log_base = 6,
    set_log_fd = 7,
    set_vring_num = 8,
    set_vring_addr = 9,
    set_vring_base = 10,
    get_vring_base = 11,
    set_vring_kick = 12,
    set_vring_call = 13,
    set_vring_err = 14,
    get_protocol_features = 15,
    set_protocol_features = 16,
    get_queue_num = 17,
    set_vring_enable = 18,
    send_rarp = 19,
    net_set_mtu = 20,
    set_backend_req_fd = 21,
    get_inflight_fd = 31,
    set_inflight_fd = 32,
    set_status = 39,
    get_status = 40,
};

struct vring_state {
    std::uint32_t index;
    std::uint32_t value;
};
static_assert(sizeof(vring_state) == 8);

struct vring_address {
    std::uint32_t index;
    std::uint32_t flags;
    std::uint64_t descriptors; // front end's addresses
    std::uint64_t used;
    std::uint64_t available;
    std::uint64_t log; // guest physical; of the used ring, with ring_flag_log
};
static_assert(sizeof(vring_address) == 40);

// vring_address::flags: what is written to the used ring is to be marked at `log`.
inline constexpr std::uint32_t ring_flag_log = 1;

// SET_LOG_BASE's: the bitmap in the file that is passed with it.
struct log_area {
    std::uint64_t size;
    std::uint64_t offset;
};
static_assert(sizeof(log_area) == 16);

struct memory_region {
    std::uint64_t guest_address;
    std::uint64_t size;
    std::uint64_t user_address; // the front end's
    std::uint64_t map_offset;   // into the descriptor passed with it
};
static_assert(sizeof(memory_region) == 32);

// SET_MEM_TABLE's; the descriptors come in the order of the regions.
inline constexpr std::size_t max_message_regions = 8;
struct memory_table {
    std::uint32_t count;
    std::uint32_t padding;
    memory_region regions[max_message_regions]; // NOLINT(modernize-avoid-c-arrays)
};

// Where a back end notes which descriptors it has taken and not returned.
struct inflight_area {
    std::uint64_t size;
    std::uint64_t offset; // into the descriptor passed with it
    std::uint16_t queues;
    std::uint16_t queue_size;
};

// Bits of GET_PROTOCOL_FEATURES.
namespace protocol_feature {
inline constexpr unsigned multiqueue = 0;
inline constexpr unsigned log_shared_memory = 1;
inline constexpr unsigned rarp = 2;
inline constexpr unsigned reply_ack = 3;
inline constexpr unsigned mtu = 4;
inline constexpr unsigned inflight = 12;
} // namespace protocol_feature

inline constexpr std::uint64_t ring_index_mask = 0xff; // kick, call and error messages
inline constexpr std::uint64_t no_descriptor = 0x100;

} // namespace strait::vhost
