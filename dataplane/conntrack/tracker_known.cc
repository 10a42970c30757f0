// SPDX-License-Identifier: BSD-3-Clause
// The short way of TCP's segments.
#include "dataplane/conntrack/tracker_known.hh"

namespace strait::conntrack {

using dataplane::be16;
using dataplane::be32;
using dataplane::load;

bool tracker::follow_segment(const plain_packet& q, connection& c, connection_id id, bool reply,
                             seconds_t now) noexcept
{
    const auto flags = load<std::uint8_t>(q.transport + 13);
    constexpr std::uint8_t unusual = tcp::syn | tcp::fin | tcp::rst | tcp::urg;
    if ((flags & (unusual | tcp::ack)) != tcp::ack || c.stream.is != tcp::state::established)
        [[unlikely]] {
        return false;
    }
    const std::size_t size = (load<std::uint8_t>(q.transport + 12) >> 4) * std::size_t{4};
    tcp::segment s;
    s.sequence = load<be32>(q.transport + 4);
    s.acknowledged = load<be32>(q.transport + 8);
    s.window = load<be16>(q.transport + 14);
    s.flags = flags;
    s.length = static_cast<std::uint32_t>(q.carried - size);
    s.options = {q.transport + dataplane::min_tcp_header, size - dataplane::min_tcp_header};
    const tcp::stream before = c.stream;
    if (tcp::advance(c.stream, table_.details(id).ignored, s, reply) != tcp::verdict::valid)
        [[unlikely]] {
        c.stream = before;
        return false;
    }
    if (c.has(note::seen_reply)) {
        c.set(note::assured);
    }
    c.live_until(now + times_.tcp[static_cast<std::size_t>(tcp::state::established)]);
    return true;
}

} // namespace strait::conntrack
