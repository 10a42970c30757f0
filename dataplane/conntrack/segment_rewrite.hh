// SPDX-License-Identifier: BSD-3-Clause
// Segments of TCP connections whose streams have edits (stream_edits.hh): numbers in headers, and
// texts in payloads, whose length changes. Payload stays where it is but for the part with the
// text, which is copied; checksums of changed payload are left to be filled, and what has become
// longer than its sender's segments are is left to be cut (offload.hh).
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/stream_edits.hh"
#include "dataplane/conntrack/tcp.hh"

#include <array>
#include <cstddef>

struct rte_mempool;

namespace strait::conntrack {

// Where TCP's or UDP's payload lies in a frame; {0, 0}: there is none. Of a frame that has all that
// IP says: extract() finds no TCP or UDP in others.
struct payload_extent {
    std::size_t begin{0};
    std::size_t end{0};
    [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
};
[[nodiscard]] payload_extent payload_of(const request& r, bool tcp) noexcept;

// Whether a segment's checksum is right, or still to be filled: what it says is what was sent. Its
// payload is local then. `pool`: for payload that is not.
[[nodiscard]] bool is_intact(request& r, rte_mempool* pool) noexcept;

// What of a segment is told in the other side's numbers, in those of that side: it is read before
// it is rewritten. `room` is for its options, which `s` points to then.
using option_room = std::array<std::byte, 40>;
void number_as_sent(tcp::segment& s, const stream_edits& other_side, option_room& room) noexcept;

// The packet becomes what its receiver is to see. False: it cannot, and must not go on.
[[nodiscard]] bool rewrite_segment(request& r, const connection_edits& edits, bool reply,
                                   rte_mempool* pool) noexcept;

} // namespace strait::conntrack
