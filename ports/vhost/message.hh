// SPDX-License-Identifier: BSD-3-Clause
// A vhost-user message as DPDK's vhost library passes it to its message hooks. Its layout is in no
// public header of the library: it is declared here once, and checked against the library's
// behaviour by tests/unit/ports/vhost/connection_test.cc.
#pragma once

#include "ports/vhost/protocol.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <unistd.h>

namespace strait::vhost {

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
    // With nothing, or one word.
    void answer() noexcept
    {
        close_descriptors();
        set<std::uint32_t>(offsetof(hook_message, size), 0);
    }
    void answer(std::uint64_t value) noexcept
    {
        answer();
        set<std::uint64_t>(offsetof(hook_message, payload), value);
        set<std::uint32_t>(offsetof(hook_message, size), sizeof(value));
    }
    // In place of the one word that was sent.
    void replace(std::uint64_t value) noexcept
    {
        set<std::uint64_t>(offsetof(hook_message, payload), value);
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
