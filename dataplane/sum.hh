// SPDX-License-Identifier: BSD-3-Clause
// The sum under Internet checksums (RFC 1071), of short messages: offload.cc has that of payload.
#pragma once

#include "dataplane/parse.hh"

#include <cstddef>
#include <cstdint>

namespace strait::dataplane {

// Of private bytes, to be folded. An odd last byte is followed by a zero. Any thread.
[[nodiscard]] inline std::uint64_t sum_of(const std::byte* at, std::size_t size) noexcept
{
    std::uint64_t sum = 0;
    for (; size >= 2; at += 2, size -= 2) {
        sum += load<std::uint16_t>(at);
    }
    return size == 1 ? sum + load<std::uint8_t>(at) : sum;
}

} // namespace strait::dataplane
