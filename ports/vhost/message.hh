// SPDX-License-Identifier: BSD-3-Clause
// A vhost-user message as DPDK's vhost library passes it to its message hooks. Its layout is in no
// public header of the library: it is declared here once, and checked against the library's
// behaviour by tests/unit/ports/vhost/connection_test.cc.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <unistd.h>

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
    std::uint64_t log;
};
static_assert(sizeof(vring_address) == 40);

struct memory_region {
    std::uint64_t guest_address;
    std::uint64_t size;
    std::uint64_t user_address; // the front end's
    std::uint64_t map_offset;   // into the descriptor passed with it
};
static_assert(sizeof(memory_region) == 32);

inline constexpr std::size_t max_message_regions = 8;
inline constexpr std::uint64_t ring_index_mask = 0xff; // kick, call and error messages
inline constexpr std::uint64_t no_descriptor = 0x100;

// What the hook's void pointer refers to: the library's packed structure, so of no alignment.
struct hook_message {
    std::uint32_t request;
    std::uint32_t flags;
    std::uint32_t size; // bytes of the payload
    std::array<std::byte, 632> payload;
    std::array<std::int32_t, max_message_regions> descriptors; // -1: none, or taken
    std::int32_t descriptor_count;
};
static_assert(offsetof(hook_message, payload) == 12);
static_assert(offsetof(hook_message, descriptors) == 644);
static_assert(offsetof(hook_message, descriptor_count) == 676);
static_assert(sizeof(hook_message) == 680);

// Reads and answers a message in place.
class message {
public:
    explicit message(void* at) noexcept : at_{static_cast<std::byte*>(at)} {}

    [[nodiscard]] vhost::request request() const noexcept
    {
        return static_cast<vhost::request>(field<std::uint32_t>(offsetof(hook_message, request)));
    }
    [[nodiscard]] std::uint32_t size() const noexcept
    {
        return field<std::uint32_t>(offsetof(hook_message, size));
    }
    // Bytes from `offset` of the payload; what lies beyond size() is not the sender's.
    template <typename T>
    [[nodiscard]] T payload(std::size_t offset = 0) const noexcept
    {
        return field<T>(offsetof(hook_message, payload) + offset);
    }
    [[nodiscard]] std::size_t descriptor_count() const noexcept
    {
        const auto count = field<std::int32_t>(offsetof(hook_message, descriptor_count));
        return static_cast<std::size_t>(std::clamp<std::int32_t>(count, 0, max_message_regions));
    }
    [[nodiscard]] int descriptor(std::size_t index) const noexcept
    {
        return field<std::int32_t>(offsetof(hook_message, descriptors) + index * sizeof(int));
    }

    // Who answers a message in the library's place closes what came with it.
    void close_descriptors() noexcept
    {
        for (std::size_t i = 0; i < descriptor_count(); ++i) {
            if (const int fd = descriptor(i); fd >= 0) {
                ::close(fd);
            }
            set<std::int32_t>(offsetof(hook_message, descriptors) + i * sizeof(int), -1);
        }
        set<std::int32_t>(offsetof(hook_message, descriptor_count), 0);
    }
    void answer(std::uint64_t value) noexcept
    {
        close_descriptors();
        set<std::uint64_t>(offsetof(hook_message, payload), value);
        set<std::uint32_t>(offsetof(hook_message, size), sizeof(value));
    }

private:
    template <typename T>
    [[nodiscard]] T field(std::size_t offset) const noexcept
    {
        static_assert(std::is_trivially_copyable_v<T>);
        T value;
        std::memcpy(&value, at_ + offset, sizeof(T));
        return value;
    }
    template <typename T>
    void set(std::size_t offset, T value) noexcept
    {
        std::memcpy(at_ + offset, &value, sizeof(T));
    }

    std::byte* at_;
};

} // namespace strait::vhost
