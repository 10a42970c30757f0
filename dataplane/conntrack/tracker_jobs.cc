// SPDX-License-Identifier: BSD-3-Clause
// The worker's side of what control asks (job.hh).
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/parse.hh"

namespace strait::conntrack {

namespace {

// What matches see of a connection's first packet.
[[nodiscard]] flow::key key_of(const connection_record& c) noexcept
{
    using enum flow::field;
    const tuple& t = c.original;
    flow::key k;
    k.set(eth_type, t.ipv6 ? dataplane::ethertype_ipv6 : dataplane::ethertype_ipv4);
    k.set(t.ipv6 ? ipv6_src : nw_src, t.source);
    k.set(t.ipv6 ? ipv6_dst : nw_dst, t.destination);
    k.set(nw_proto, t.protocol);
    const bool icmp = is_icmp(t.protocol);
    k.set(tp_src, icmp ? t.destination_port >> 8 : t.source_port);
    k.set(tp_dst, icmp ? t.destination_port & 0xff : t.destination_port);
    put_zone(k, t.zone);
    k.set(ct_mark, c.mark);
    k.set(ct_label, c.label);
    return k;
}

} // namespace

connection_record tracker::record_of(const connection& c, connection_id id,
                                     seconds_t now) const noexcept
{
    connection_record out{.original = table_.original(c).open(),
                          .reply = table_.reply(c).open(),
                          .seconds_left = c.deadline > now ? c.deadline - now : 0,
                          .tcp = c.stream.is,
                          .notes = c.stream.note};
    if (c.has(note::marked)) {
        const connection_details& d = table_.details(id);
        out.mark = d.mark;
        out.label = d.label;
    }
    return out;
}

void tracker::serve(job& j, seconds_t now) noexcept
{
    if (j.what_ == job::kind::look) {
        look(j, now);
        finish(j);
        return;
    }
    constexpr unsigned looks = 64;
    for (unsigned i = 0; i < looks; ++i) {
        if (j.zone_ && zones_.used(*j.zone_) == 0) { // no connection is left to be found
            j.at_end_ = true;
            finish(j);
            return;
        }
        if (j.position_ >= table_.places(j.ipv6_)) {
            if (j.ipv6_) {
                j.at_end_ = true;
                finish(j);
                return;
            }
            j.ipv6_ = true;
            j.position_ = 0;
            continue;
        }
        if (!do_for(j, table::place(j.ipv6_, j.position_ + 1), now)) {
            finish(j);
            return;
        }
        ++j.position_;
    }
}

// False: there is no room to show it.
bool tracker::do_for(job& j, connection_id id, seconds_t now) noexcept
{
    lock_holder held{alone_};
    const connection& c = table_.at(id);
    const std::uint64_t rest = c.rest();
    if (rest == 0 || (j.zone_ && packed_tuple::zone_in(rest) != *j.zone_)) {
        return true; // nobody is to wait for that
    }
    // Those whose time is over are not shown, but they are somebody's that is to be forgotten.
    if (!enter(held, c) || (j.what_ == job::kind::show && c.deadline <= now)) {
        return true;
    }
    const connection_record record = record_of(c, id, now);
    if (!j.which_.matches(key_of(record))) {
        return true;
    }
    if (j.what_ == job::kind::show) {
        if (j.count_ == j.room_.size()) {
            return false;
        }
        j.room_[j.count_] = record;
    } else {
        counters.flushed.add(1);
        remove(id);
    }
    ++j.count_;
    return true;
}

void tracker::finish(job& j) noexcept
{
    job_.store(nullptr, std::memory_order_relaxed);
    j.done_.store(true, std::memory_order_release);
}

} // namespace strait::conntrack
