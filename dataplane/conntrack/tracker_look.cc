// SPDX-License-Identifier: BSD-3-Clause
// What tracking would say to a packet, for who only wants to know (job.hh).
#include "dataplane/conntrack/tracker.hh"

namespace strait::conntrack {

using dataplane::drop_reason;

namespace {

// A packet that is made of words has no flags unless they are said: it stands for any.
bool stands_for_any(const request& r, packet_kind kind) noexcept
{
    return kind == packet_kind::tcp && read_segment(r).flags == 0;
}

} // namespace

void tracker::look(job& j, seconds_t now) noexcept
{
    request& r = *j.asked_;
    question q;
    ask(r, q);
    q.likely = no_connection;
    lock_holder held{alone_};
    held.take(all_.shard_of(r.asked.zone).lock);
    if (q.kind == packet_kind::later_fragment) { // alone, as it is here
        drop(r, drop_reason::ct_fragment);
        return;
    }
    if (q.kind == packet_kind::unknown || (q.again && (r.answer.state & state::invalid) != 0)) {
        r.answer = invalid_in(r.asked.zone);
        return;
    }
    const match m = find(q, now);
    if (m.of != nullptr && !j.room_.empty()) {
        j.room_.front() = record_of(*m.of, m.id, now);
        j.count_ = 1;
    }
    if (q.kind == packet_kind::error) {
        if (m.of == nullptr || (r.asked.force && r.asked.commit && m.reply)) {
            j.count_ = 0;
            r.answer = invalid_in(r.asked.zone);
            return;
        }
        (void)tell_error(r, m);
        if (r.asked.commit) {
            give_marks(r.answer, r.asked);
        }
    } else if (m.of == nullptr || !look_on(r, q, m)) {
        j.count_ = 0;
        look_at_new(r, q, now);
    }
}

// False: it would be as one of no connection.
bool tracker::look_on(request& r, const question& q, const match& m) noexcept
{
    const connection& c = *m.of;
    if (r.asked.force && r.asked.commit && m.reply) {
        return false;
    }
    if (q.kind == packet_kind::tcp && !q.again && !stands_for_any(r, q.kind)) {
        const tcp::segment s = read_segment(r);
        tcp::stream stream = c.stream;
        tcp::resync ignored = table_.details(m.id).ignored;
        const tcp::verdict v = tcp::has_valid_flags(s.flags)
                                   ? tcp::advance(stream, ignored, s, m.reply)
                                   : tcp::verdict::invalid;
        if (v == tcp::verdict::invalid) {
            r.answer = invalid_in(r.asked.zone);
            return true;
        }
        if (v != tcp::verdict::valid) {
            return false;
        }
    }
    tell(r, c, m.id, m.reply);
    if (r.asked.commit) {
        give_marks(r.answer, r.asked);
    }
    if (r.asked.translation != nullptr && c.has(note::translated) &&
        !translator_.translate(r, (m.reply ? table_.original(c) : table_.reply(c)).reversed())) {
        drop(r, drop_reason::ct_no_translation);
    }
    return true;
}

void tracker::look_at_new(request& r, const question& q, seconds_t now) noexcept
{
    if (!stands_for_any(r, q.kind) && !may_begin(r, q)) {
        r.answer = invalid_in(r.asked.zone);
        return;
    }
    const expectation* const announced = tell_fresh(r, q, now);
    if (!r.asked.commit) {
        return;
    }
    const std::optional<whole_tuple> reply = admit(r, q, announced, now);
    if (!reply) {
        return;
    }
    give_marks(r.answer, r.asked);
    const std::uint8_t differs = what_differs(q.asked.reversed(), *reply);
    r.answer.state |= std::uint32_t{differs} << 4; // as tell() has it
    if (differs != 0 && !translator_.translate(r, reply->reversed())) {
        drop(r, drop_reason::ct_no_translation);
    }
}

} // namespace strait::conntrack
