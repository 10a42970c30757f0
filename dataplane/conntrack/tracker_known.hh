// SPDX-License-Identifier: BSD-3-Clause
// The short way: see known.hh. What it says and does is what a tracker's find(), advance() and
// tell() would. Inline, for who goes it.
#pragma once

#include "dataplane/conntrack/tracker.hh"

namespace strait::conntrack {

inline known_connection tracker::meet(const plain_packet& q, seconds_t now) const noexcept
{
    if (q.likely == no_connection) [[unlikely]] {
        return {};
    }
    connection& c = table_.at(q.likely);
    bool reply = false;
    if (!table::fits(c, q.tuple, reply) || c.deadline <= now) [[unlikely]] {
        return {};
    }
    const unsigned n = c.stream.note;
    if ((n & (note::helped | note::edited | note::translated)) != 0) [[unlikely]] {
        return {};
    }
    known_connection out{.of = &c, .id = q.likely, .reply = reply};
    out.state = static_cast<std::uint8_t>(state::tracked | (n & note::related) >> 2 |
                                          (reply ? state::established | state::reply
                                           : (n & note::seen_reply) != 0 ? state::established
                                                                         : state::fresh));
    if ((n & note::marked) != 0) {
        out.mark = table_.details(q.likely).mark;
    }
    return out;
}

inline bool tracker::follow(const plain_packet& q, const known_connection& k,
                            seconds_t now) noexcept
{
    connection& c = *k.of;
    if (q.tuple.protocol() == dataplane::protocol_tcp) {
        if (!follow_segment(q, c, k.id, k.reply, now)) [[unlikely]] {
            return false;
        }
    } else {
        const bool answered = k.reply || c.has(note::seen_reply);
        c.live_until(now + (answered ? times_.datagram : times_.datagram_first));
        if (k.reply) {
            c.set(note::assured);
        }
    }
    if (k.reply) {
        c.set(note::seen_reply);
    }
    return true;
}

} // namespace strait::conntrack
