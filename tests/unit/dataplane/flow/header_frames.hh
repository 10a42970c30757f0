// SPDX-License-Identifier: BSD-3-Clause
// Frames of every kind that the flows' parser knows, right and broken; and a reader of them that
// shares nothing with it: slow, and as plain as can be. It knows only whole frames.
#pragma once

#include "tests/unit/dataplane/ip_frame.hh"

#include "dataplane/flow/key.hh"

#include <cstdint>
#include <iosfwd>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace strait::flow {

// For GoogleTest's messages: words that are not 0, in hex.
void PrintTo(const key& k, std::ostream* out); // NOLINT(readability-identifier-naming)

} // namespace strait::flow

namespace strait::test {

struct plain_headers {
    flow::key fields;
    std::set<flow::field> present;
    std::size_t network{0};
    std::size_t transport{0}; // of what may have a checksum
    std::size_t end{0};       // of the IP packet
    std::uint8_t protocol{0};
    unsigned tags{0};
    bool ipv6{false};
    bool fragment{false};
    bool routed{false};
};
[[nodiscard]] plain_headers read_plainly(const frame& f);

// How wrong each checksum of a frame is, which no change of a field may change: 0 is right.
struct checksum_faults {
    unsigned ipv4{0};
    unsigned transport{0};
    std::uint32_t sctp{0};
    bool udp_without{false};
    bool operator==(const checksum_faults&) const = default;
};
[[nodiscard]] checksum_faults faults_of(const frame& f, const plain_headers& h);

// Bit by bit; as the field has it.
[[nodiscard]] std::uint32_t plain_crc32c(const frame& f, std::size_t from, std::size_t to);

using random_source = std::mt19937_64;

// A well-formed frame, its checksums right: any tags, any network, any transport.
[[nodiscard]] frame random_frame(random_source& random);
// One with bytes changed, cut off or added.
[[nodiscard]] frame damaged(frame f, random_source& random);

// For messages, in hex.
[[nodiscard]] std::string to_text(const frame& f);

} // namespace strait::test
