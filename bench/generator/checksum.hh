// SPDX-License-Identifier: BSD-3-Clause
// The Internet checksum (RFC 1071) of headers that are written or looked at one by one. What is
// changed for each frame sent is summed in frames.cc.
#pragma once

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::bench {

// The ones' complement sum of `bytes` as words in network order, and of `sum`: 0xffff if the
// checksum among them is right, and the complement of that checksum if it is 0.
[[nodiscard]] inline std::uint16_t internet_sum(std::span<const std::byte> bytes,
                                                std::uint64_t sum = 0) noexcept
{
    std::size_t i = 0;
    for (; i + 2 <= bytes.size(); i += 2) {
        sum += dataplane::load<dataplane::be16>(&bytes[i]);
    }
    if (i < bytes.size()) {
        sum += std::to_integer<std::uint64_t>(bytes[i]) << 8;
    }
    return dataplane::fold(sum);
}

} // namespace strait::bench
