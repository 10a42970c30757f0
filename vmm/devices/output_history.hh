// SPDX-License-Identifier: BSD-3-Clause
// The newest of what a serial port has sent: bytes that vCPUs put in and never wait for, and that
// another thread takes when it can.
#pragma once

#include "vmm/event.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

namespace strait::vmm {

class output_history {
public:
    static constexpr std::size_t capacity = std::size_t{64} << 10;

    // Signals `news` when there is something again for a reader that had read all.
    explicit output_history(const event& news) noexcept : news_{news} {}

    // Any thread. The oldest bytes make room.
    void put(std::span<const std::byte> from) noexcept;

    // Where a reader begins that wants all there is. There is one reader at a time.
    [[nodiscard]] std::uint64_t oldest() const noexcept;
    // Copies what follows `position`, which moves on, and says how many bytes; what went before it
    // was read is skipped.
    [[nodiscard]] std::size_t read(std::uint64_t& position, std::span<std::byte> to) noexcept;
    // Bytes that were skipped so. Any thread.
    [[nodiscard]] std::uint64_t lost() const noexcept;

private:
    [[nodiscard]] std::uint64_t kept_from() const noexcept;

    const event& news_;
    mutable std::mutex mutex_; // what is below
    std::uint64_t end_{0};     // bytes since the beginning of time; so is every position
    std::uint64_t lost_{0};
    bool awaited_{false};
    std::array<std::byte, capacity> bytes_;
};

} // namespace strait::vmm
