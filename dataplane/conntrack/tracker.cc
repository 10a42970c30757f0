// SPDX-License-Identifier: BSD-3-Clause
// A burst's packets in stages: what each asks for, and the bucket; the connection; the answer.
#include "dataplane/conntrack/tracker.hh"

#include "dataplane/ip.hh"

#include <algorithm>

namespace strait::conntrack {

using dataplane::drop_reason;

tracker::tracker(store& all, unsigned worker, rte_mempool* pool)
    : all_{all},
      table_{all.connections()},
      zones_{all.limits()},
      times_{all.settings().times},
      worker_{worker},
      alone_{all.alone()},
      pool_{pool},
      questions_{std::make_unique<std::array<question, batch>>()}
{}

void tracker::track(std::span<request> requests, seconds_t now) noexcept
{
    asked_ = requests.data();
    released_count_ = 0;
    if (owed_ > 0) [[unlikely]] {
        make_room(now);
    }
    while (!requests.empty()) {
        const std::span<request> some = requests.first(std::min(batch, requests.size()));
        requests = requests.subspan(some.size());
        question* q = questions_->data();
        for (request& r : some) {
            ask(r, *q);
            table_.prefetch_bucket(q->hash);
            ++q;
        }
        q = questions_->data();
        for (std::size_t i = 0; i < some.size(); ++i, ++q) {
            q->likely = table_.prefetch_likely(q->hash);
        }
        if (alone_) {
            answer_in_order(some, now);
        } else {
            answer_by_shard(some, now);
        }
    }
}

void tracker::ask(const request& r, question& q) noexcept
{
    q.kind = classify(r, q.asked);
    q.again = (r.answer.state & state::tracked) != 0 && r.answer.zone == r.asked.zone;
    q.hash = q.asked.packed.hash();
}

void tracker::answer_any(request& r, question& q, seconds_t now) noexcept
{
    if (r.at.fragment) [[unlikely]] {
        answer_fragment(r, q, now);
    } else {
        answer(r, q, now);
    }
}

void tracker::answer_in_order(std::span<request> requests, seconds_t now) noexcept
{
    question* q = questions_->data();
    for (request& r : requests) {
        answer_any(r, *q++, now);
    }
}

void tracker::answer_by_shard(std::span<request> requests, seconds_t now) noexcept
{
    constexpr std::uint8_t none = 0xff;
    static_assert(batch < none && store::shards <= none);
    // A list of requests of each shard that there are any of.
    std::array<std::uint8_t, store::shards> first;
    std::array<std::uint8_t, store::shards> last;
    std::array<std::uint8_t, batch> next;
    std::array<std::uint8_t, store::shards> met;
    std::size_t count = 0;
    first.fill(none);
    for (std::size_t i = 0; i < requests.size(); ++i) {
        const unsigned s = store::shard_number(requests[i].asked.zone);
        if (first[s] == none) {
            first[s] = static_cast<std::uint8_t>(i);
            met[count++] = static_cast<std::uint8_t>(s);
        } else {
            next[last[s]] = static_cast<std::uint8_t>(i);
        }
        last[s] = static_cast<std::uint8_t>(i);
        next[i] = none;
    }
    lock_holder held{alone_};
    for (const std::uint8_t s : std::span{met}.first(count)) {
        held.take(all_.shard_at(s).lock);
        work_ = 0;
        for (std::uint8_t i = first[s]; i != none; i = next[i]) {
            answer_any(requests[i], (*questions_)[i], now);
            if (work_ > most_work) [[unlikely]] {
                held.let_others();
                work_ = 0;
            }
        }
    }
}

void tracker::answer_fragment(request& r, question& q, seconds_t now) noexcept
{
    const bool later = q.kind == packet_kind::later_fragment;
    if (!later && q.kind == packet_kind::unknown) {
        set_invalid(r);
        return;
    }
    fragments& datagrams = all_.shard_of(r.asked.zone).datagrams;
    const auto [whole, early] = datagrams.meet(r, q.asked, later, q.again, now);
    if (whole == nullptr) {
        drop(r, drop_reason::ct_fragment);
        r.waits = early && !q.again && datagrams.keep(r, q.asked, now, pool_);
        all_.count_waiting(r.waits ? 1 : 0);
        return;
    }
    if (later && whole->dropped) {
        drop(r, whole->reason);
        return;
    }
    if (later && whole->invalid) {
        set_invalid(r);
        return;
    }
    if (later) {
        q.hash = q.asked.packed.hash();
        q.likely = no_connection;
    }
    answer(r, q, now);
    if (!later) {
        whole->invalid = (r.answer.state & state::invalid) != 0;
        whole->dropped = r.dropped;
        whole->reason = r.reason;
        if (datagrams.waiting() > 0) {
            release(r, q.asked);
        }
    }
}

// Those that have waited for this one: what is asked of them now is answered as it was.
void tracker::release(const request& r, const whole_tuple& datagram) noexcept
{
    std::array<rte_mbuf*, fragments::most_waiting> taken;
    const std::size_t room = std::min(released_.size() - released_count_, taken.size());
    const std::size_t count =
        all_.shard_of(r.asked.zone).datagrams.release(r, datagram, std::span{taken}.first(room));
    for (rte_mbuf* const m : std::span{taken}.first(count)) {
        released_[released_count_++] = {static_cast<std::size_t>(&r - asked_), m};
    }
    all_.count_waiting(-static_cast<std::int32_t>(count));
}

void tracker::answer(request& r, const question& q, seconds_t now) noexcept
{
    if (q.kind == packet_kind::unknown || (q.again && (r.answer.state & state::invalid) != 0))
        [[unlikely]] {
        set_invalid(r);
        return;
    }
    const match m = find(q, now);
    if (q.kind == packet_kind::error) [[unlikely]] {
        answer_error(r, m);
        return;
    }
    if (m.of == nullptr || !follow(r, q, m, now)) [[unlikely]] {
        begin(r, q, now);
    }
}

match tracker::find(const question& q, seconds_t now) noexcept
{
    match m;
    if (q.likely != no_connection && table::fits(table_.at(q.likely), q.asked, m.reply))
        [[likely]] {
        m.id = q.likely;
        m.of = &table_.at(q.likely);
    } else {
        m = table_.find(q.asked, q.hash);
        if (m.of == nullptr && q.again) {
            // A packet that has been translated is the opposite of those that answer.
            const whole_tuple opposite = q.asked.reversed();
            m = table_.find(opposite, opposite.packed.hash());
            m.reply = !m.reply;
            m.translated = true;
        }
    }
    if (m.of != nullptr && m.of->deadline <= now) [[unlikely]] {
        counters.ended.add(1);
        remove(m.id);
        return {};
    }
    return m;
}

void tracker::answer_error(request& r, const match& m) noexcept
{
    if (m.of == nullptr) {
        set_invalid(r);
        return;
    }
    if (r.asked.force && r.asked.commit && m.reply) { // it ends the connection, and begins none
        counters.ended.add(1);
        remove(m.id);
        set_invalid(r);
        return;
    }
    counters.related.add(1);
    if (r.asked.commit) {
        set_marks(r, *m.of, m.id);
    }
    if (tell_error(r, m)) {
        counters.translated.add(1);
    }
}

bool tracker::tell_error(request& r, const match& m) noexcept
{
    tell(r, *m.of, m.id, m.reply);
    r.answer.state &= ~(state::fresh | state::established);
    r.answer.state |= state::related;
    if (r.asked.translation == nullptr || !m.of->has(note::translated)) {
        return false;
    }
    // The message goes the way of the connection's packets that its sender would send.
    const whole_tuple seen_there = m.reply ? table_.original(*m.of) : table_.reply(*m.of);
    const bool source_end = m.of->has(note::source_translated);
    const bool destination_end = m.of->has(note::destination_translated);
    translator::error_change wanted{seen_there, seen_there.reversed(),
                                    m.reply ? destination_end : source_end,
                                    m.reply ? source_end : destination_end};
    if (m.of->has(note::edited) && !m.translated) {
        wanted.sent_by = &edits_of(m.id)[m.reply ? 0 : 1];
    }
    if (!translator_.translate_error(r, wanted)) {
        drop(r, drop_reason::ct_no_translation);
        return false;
    }
    return true;
}

tracker::progress tracker::advance(const request& r, const question& q, const match& m,
                                   seconds_t now) noexcept
{
    connection& c = *m.of;
    switch (q.kind) {
    case packet_kind::tcp: {
        const tcp::segment s = read_segment(r);
        if (!tcp::has_valid_flags(s.flags)) [[unlikely]] {
            return progress::invalid;
        }
        const tcp::state before = c.stream.is;
        const tcp::verdict v =
            c.has(note::edited) ? advance_edited(m, s)
                                : tcp::advance(c.stream, table_.details(m.id).ignored, s, m.reply);
        if (v != tcp::verdict::valid) [[unlikely]] {
            return v == tcp::verdict::invalid ? progress::invalid : progress::begins_anew;
        }
        const tcp::state is = c.stream.is;
        if (is == tcp::state::established && (before == tcp::state::syn_received || before == is) &&
            c.has(note::seen_reply)) {
            c.set(note::assured);
        }
        c.live_until(now + times_.tcp[static_cast<std::size_t>(is)]);
        break;
    }
    case packet_kind::query:
        c.live_until(now + times_.query);
        break;
    case packet_kind::later_fragment: // it tells nothing that the first did not
        break;
    default: {
        const bool answered = m.reply || c.has(note::seen_reply);
        const auto protocol = c.original.protocol();
        const bool ports =
            protocol == dataplane::protocol_udp || protocol == dataplane::protocol_sctp;
        const seconds_t datagram = answered ? times_.datagram : times_.datagram_first;
        c.live_until(now + (ports ? datagram : times_.other_protocol));
        if (m.reply) {
            c.set(note::assured);
        }
        break;
    }
    }
    const bool refused = m.reply && !c.has(note::seen_reply) && q.kind == packet_kind::tcp &&
                         c.stream.is == tcp::state::closed;
    if (m.reply) {
        c.set(note::seen_reply);
    }
    return refused ? progress::ends : progress::goes_on;
}

bool tracker::follow(request& r, const question& q, const match& m, seconds_t now) noexcept
{
    connection& c = *m.of;
    if (r.asked.force && r.asked.commit && m.reply) [[unlikely]] {
        counters.ended.add(1);
        remove(m.id);
        return false;
    }
    progress p = progress::goes_on;
    next_byte next;
    if (c.has(note::helped)) [[unlikely]] {
        next = next_of(c, m.reply);
    }
    if (!q.again) [[likely]] {
        p = advance(r, q, m, now);
    }
    if (p == progress::invalid) [[unlikely]] {
        set_invalid(r);
        return true;
    }
    if (p == progress::begins_anew) [[unlikely]] {
        counters.ended.add(1);
        remove(m.id);
        return false;
    }
    counters.found.add(1);
    if (r.asked.commit) [[unlikely]] {
        set_marks(r, c, m.id);
    }
    tell(r, c, m.id, m.reply);
    if (c.has(note::helped) && !q.again) [[unlikely]] {
        listen(r, c, m.id, m.reply, next, now);
    }
    if (r.asked.translation != nullptr && c.has(note::translated)) {
        if (c.has(note::edited) && !m.translated) [[unlikely]] {
            rewrite(r, c, m.id, m.reply);
        }
        translate(r, c, m.reply);
    }
    if (p == progress::ends) [[unlikely]] { // nothing came of it that anybody must remember
        counters.ended.add(1);
        remove(m.id);
    }
    return true;
}

bool tracker::may_begin(const request& r, const question& q) noexcept
{
    switch (q.kind) {
    case packet_kind::tcp: {
        const tcp::segment s = read_segment(r);
        return tcp::has_valid_flags(s.flags) && tcp::may_begin(s);
    }
    case packet_kind::query:
        return may_begin_query(q.asked.packed);
    default:
        return true;
    }
}

void tracker::begin(request& r, const question& q, seconds_t now) noexcept
{
    if (!may_begin(r, q)) {
        set_invalid(r);
        return;
    }
    counters.fresh.add(1);
    expectation* const announced = tell_fresh(r, q, now);
    if (r.asked.commit && q.kind != packet_kind::later_fragment) {
        commit(r, q, announced, now);
    }
}

expectation* tracker::tell_fresh(request& r, const question& q, seconds_t now) noexcept
{
    const tuple t = q.asked.open();
    const bool icmp = is_icmp(t.protocol);
    r.answer = {.state = state::tracked | state::fresh,
                .zone = r.asked.zone,
                .protocol = t.protocol,
                .ipv6 = t.ipv6,
                .source_port =
                    icmp ? static_cast<std::uint16_t>(t.destination_port >> 8) : t.source_port,
                .destination_port = icmp ? static_cast<std::uint16_t>(t.destination_port & 0xff)
                                         : t.destination_port,
                .source = t.source,
                .destination = t.destination};
    expectation* const announced = all_.shard_of(r.asked.zone).expected.find(q.asked, now);
    if (announced != nullptr) {
        r.answer.state |= state::related;
        r.answer.mark = announced->mark;
        r.answer.label = announced->label;
    }
    return announced;
}

bool tracker::is_free(const whole_tuple& t, seconds_t now) noexcept
{
    ++work_;
    const match m = table_.find(t, t.packed.hash());
    if (m.of == nullptr) {
        return true;
    }
    if (m.of->deadline > now) {
        return false;
    }
    counters.ended.add(1);
    remove(m.id);
    return true;
}

std::optional<whole_tuple> tracker::reply_to(const request& r, const question& q,
                                             const expectation* announced, seconds_t now) noexcept
{
    const flow::nat* const nat = r.asked.translation;
    whole_tuple out = q.asked.reversed();
    if (nat != nullptr && announced != nullptr) {
        out = answers_to(*announced, q.asked, now);
    } else if (nat != nullptr && nat->which != flow::nat::side::restore) {
        free_tuples all{*this, now};
        return ports_.choose(all, *nat, q.asked);
    }
    return is_free(out, now) ? std::optional{out} : std::nullopt;
}

std::optional<whole_tuple> tracker::admit(request& r, const question& q,
                                          const expectation* announced, seconds_t now) noexcept
{
    if (!zones_.has_room(r.asked.zone)) {
        drop(r, drop_reason::ct_zone_full);
        return std::nullopt;
    }
    const std::optional<whole_tuple> reply = reply_to(r, q, announced, now);
    if (!reply) {
        drop(r, drop_reason::ct_no_translation);
    }
    return reply;
}

void tracker::commit(request& r, const question& q, expectation* announced, seconds_t now) noexcept
{
    const std::optional<whole_tuple> reply = admit(r, q, announced, now);
    if (!reply) {
        return;
    }
    const connection_id id = make(q.asked, *reply, now);
    if (id == no_connection) {
        drop(r, drop_reason::ct_table_full);
        return;
    }
    connection& c = table_.at(id);
    set_translated(c);
    switch (q.kind) {
    case packet_kind::tcp:
        tcp::begin(c.stream, read_segment(r));
        c.deadline = now + times_.tcp[static_cast<std::size_t>(c.stream.is)];
        break;
    case packet_kind::query:
        c.deadline = now + times_.query;
        break;
    default:
        c.deadline =
            now + (q.asked.packed.ports() != 0 ? times_.datagram_first : times_.other_protocol);
        break;
    }
    schedule(id, c, now);
    if (announced != nullptr) {
        inherit(c, id, *announced);
        expectations::remove(*announced);
    }
    set_marks(r, c, id);
    take_helper(r, c);
    tell(r, c, id, false);
    if (c.has(note::helped)) {
        listen(r, c, id, false, {}, now);
    }
    if (c.has(note::translated)) {
        if (c.has(note::edited)) [[unlikely]] {
            rewrite(r, c, id, false);
        }
        translate(r, c, false);
    }
}

void tracker::inherit(connection& c, connection_id id, const expectation& from) noexcept
{
    c.set(note::related);
    counters.related.add(1);
    if (from.mark != 0 || !from.label.is_zero()) {
        connection_details& d = table_.details(id);
        d.mark = from.mark;
        d.label = from.label;
        c.set(note::marked);
    }
}

// What differs between where a packet goes to and where its answers come from is translated.
void tracker::set_translated(connection& c) const noexcept
{
    const whole_tuple there = table_.original(c).reversed();
    const whole_tuple back = table_.reply(c);
    if (there != back) {
        c.set(what_differs(there, back));
    }
}

std::uint8_t tracker::what_differs(const whole_tuple& there, const whole_tuple& back) noexcept
{
    std::uint8_t out = 0;
    const tuple a = there.open();
    const tuple b = back.open();
    const bool icmp = is_icmp(a.protocol);
    if (a.destination != b.destination || a.destination_port != b.destination_port ||
        (icmp && a.source_port != b.source_port)) {
        out |= note::source_translated;
    }
    if (a.source != b.source || (!icmp && a.source_port != b.source_port)) {
        out |= note::destination_translated;
    }
    return out;
}

connection_id tracker::make(const whole_tuple& original, const whole_tuple& reply,
                            seconds_t now) noexcept
{
    connection_id id = table_.insert(worker_, original, reply);
    if (id == no_connection && evict(original.packed, now)) {
        id = table_.insert(worker_, original, reply);
    }
    if (id == no_connection) {
        return id;
    }
    table_.at(id).deadline = now;
    zones_.add(original.packed.zone(), 1);
    counters.created.add(1);
    ++made_;
    return id;
}

void tracker::set_marks(const request& r, connection& c, connection_id id) noexcept
{
    const parameters& a = r.asked;
    if (a.mark_mask == 0 && a.label_mask.is_zero()) {
        return;
    }
    give_marks(table_.details(id), a);
    c.set(note::marked);
}

void tracker::translate(request& r, const connection& c, bool reply) noexcept
{
    const whole_tuple wanted = (reply ? table_.original(c) : table_.reply(c)).reversed();
    if (!translator_.translate(r, wanted)) {
        drop(r, drop_reason::ct_no_translation);
        return;
    }
    counters.translated.add(1);
}

void tracker::tell(request& r, const connection& c, connection_id id, bool reply) const noexcept
{
    static_assert(note::source_translated << 4 == state::source_translated &&
                  note::destination_translated << 4 == state::destination_translated &&
                  note::related >> 2 == state::related);
    const unsigned n = c.stream.note;
    unsigned translated = n & note::translated;
    if (reply && r.asked.translation != nullptr) { // on the way back it is the packet's other end
        static_assert(note::destination_translated == note::source_translated << 1);
        translated = (translated << 1 | translated >> 1) & note::translated;
    }
    result& a = r.answer;
    a.state = state::tracked | translated << 4 | (n & note::related) >> 2 |
              (reply                         ? state::established | state::reply
               : (n & note::seen_reply) != 0 ? state::established
                                             : state::fresh);
    a.zone = c.original.zone();
    a.protocol = c.original.protocol();
    a.ipv6 = c.original.ipv6();
    a.source_port = c.original.source_port();
    a.destination_port = c.original.destination_port();
    if (is_icmp(a.protocol)) [[unlikely]] {
        a.source_port = a.destination_port >> 8;
        a.destination_port &= 0xff;
    }
    if (a.ipv6) {
        const ipv6_addresses& from = static_cast<const ipv6_connection&>(c).original_addresses;
        a.source = {from[0], from[1]};
        a.destination = {from[2], from[3]};
    } else {
        a.source = c.original.addresses >> 32;
        a.destination = c.original.addresses & 0xffff'ffff;
    }
    if ((n & note::marked) != 0) {
        const connection_details& d = table_.details(id);
        a.mark = d.mark;
        a.label = d.label;
    } else {
        a.mark = 0;
        a.label = {};
    }
}

void tracker::set_invalid(request& r) noexcept
{
    counters.invalid.add(1);
    r.answer = invalid_in(r.asked.zone);
}

void tracker::drop(request& r, drop_reason reason) noexcept
{
    r.dropped = true;
    r.waits = false;
    r.reason = reason;
}

void tracker::remove(connection_id id) noexcept
{
    const connection& c = table_.at(id);
    zones_.add(c.original.zone(), -1);
    if (c.has(note::edited)) [[unlikely]] {
        all_.edits().give_back(table_.details(id).next);
    }
    table_.erase(worker_, id);
}

} // namespace strait::conntrack
