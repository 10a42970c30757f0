// SPDX-License-Identifier: BSD-3-Clause
// Who goes next, who waits, and who has waited too long.
#include "dataplane/shaper.hh"

#include "dataplane/offload.hh"

#include <rte_mbuf.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace strait::dataplane {

namespace {

// What goes with an mbuf that waits, in its private area.
struct waiting_note {
    rte_mbuf* next;
    std::uint64_t since; // TSC
    offload_intent offload;
    port_index in_port;
};
static_assert(sizeof(waiting_note) <= 32); // handover_area (engine.hh)

waiting_note& note_of(rte_mbuf* m) noexcept
{
    return *static_cast<waiting_note*>(rte_mbuf_to_priv(m));
}

constexpr std::uint64_t bytes_a_kbit = 125;
constexpr std::uint64_t ms_a_second = 1000;
// Of senders, in bytes: two frames of the usual size.
constexpr std::int32_t sender_quantum = 3028;
// Of classes: the one with the highest rate has the most.
constexpr std::int64_t most_quantum = 60'000;
constexpr std::int64_t least_quantum = 1514;

std::uint64_t cost_of(rte_mbuf* m) noexcept
{
    return on_wire(m->pkt_len, note_of(m).offload).bytes;
}

std::uint16_t sender_of(port_index in_port) noexcept
{
    return static_cast<std::uint16_t>(std::min(to_index(in_port), max_ports));
}

// Of what waited, its first piece is shown.
void drop(rte_mbuf* m, drop_reason reason, port_counters& counters) noexcept
{
    packet p{};
    p.data = rte_pktmbuf_mtod(m, std::byte*);
    p.length = m->pkt_len;
    p.head_length = m->data_len;
    p.in_port = note_of(m).in_port;
    counters.drop(reason, p);
    rte_pktmbuf_free(m);
}

} // namespace

shaper::shaper(ports::tx_queue& queue, const shaping& settings, std::uint64_t tsc_hz,
               std::uint64_t now)
    : queue_{queue}, tsc_hz_{tsc_hz}, settings_{settings}
{
    for (one_class& c : classes_) {
        c.senders = std::make_unique<std::array<sender, sender_count>>();
    }
    apply(now, nullptr);
}

shaper::~shaper()
{
    for (one_class& c : classes_) {
        while (c.first_turn != nobody) {
            sender& s = (*c.senders)[c.first_turn];
            while (s.first != nullptr) {
                rte_pktmbuf_free(take_first(c, s));
            }
            end_turn(c, c.first_turn);
        }
    }
}

void shaper::set(const shaping& settings)
{
    const std::lock_guard lock{mutex_};
    settings_ = settings;
    version_.fetch_add(1, std::memory_order_release);
}

shaping shaper::settings() const
{
    const std::lock_guard lock{mutex_};
    return settings_;
}

void shaper::apply(std::uint64_t now, port_counters* counters) noexcept
{
    const std::unique_lock lock{mutex_, std::try_to_lock};
    if (!lock.owns_lock()) {
        return; // the next time
    }
    applied_ = version_.load(std::memory_order_relaxed);
    limits_ = settings_.kbps != 0;
    port_.set(bytes_a_kbit * settings_.kbps, bytes_a_kbit * burst_kbit_of(settings_), tsc_hz_, now);
    std::uint32_t highest = 1;
    for (const auto& c : settings_.classes) {
        highest = std::max(highest, c ? c->rate_kbps : 0);
    }
    for (std::size_t i = 0; i < shaper_classes; ++i) {
        one_class& c = classes_[i];
        const auto& to = settings_.classes[i];
        c.exists = to.has_value() || i == 0;
        if (c.exists) {
            set_class(i, to.value_or(shaper_class{}), now);
            c.quantum = std::max(least_quantum, most_quantum * (to ? to->rate_kbps : 0) / highest);
        }
    }
    for (std::size_t i = 1; i < shaper_classes; ++i) {
        if (!classes_[i].exists) {
            move_to_default(classes_[i], now, counters);
        }
    }
    next_ = 0;
}

void shaper::set_class(std::size_t i, const shaper_class& to, std::uint64_t now) noexcept
{
    one_class& c = classes_[i];
    c.priority = to.priority;
    c.rate.set(bytes_a_kbit * to.rate_kbps, bytes_a_kbit * usual_or(to.burst_kbit, to.rate_kbps),
               tsc_hz_, now);
    c.has_ceil = to.ceil_kbps != 0;
    c.ceil.set(bytes_a_kbit * ceil_kbps_of(to, settings_),
               bytes_a_kbit * ceil_burst_kbit_of(to, settings_), tsc_hz_, now);
    c.limit = to.limit;
    c.limit_bytes = to.limit_bytes;
    c.max_wait = to.max_wait_ms * tsc_hz_ / ms_a_second;
    c.next_expiry = now;
}

// Its senders take turns, while there is room. What finds some has just come, as far as waiting is
// concerned: the order of all that wait is that of their times.
void shaper::move_to_default(one_class& from, std::uint64_t now, port_counters* counters) noexcept
{
    one_class& to = classes_[0];
    while (from.packets > 0) {
        for (std::uint16_t of = from.first_turn; of != nobody;) {
            sender& s = (*from.senders)[of];
            const std::uint16_t next = s.next;
            rte_mbuf* const m = take_first(from, s);
            if (s.first == nullptr) {
                end_turn(from, of);
            }
            of = next;
            if (to.buffers >= to.limit || to.bytes + m->pkt_len > to.limit_bytes) {
                to.counts.dropped.add(1);
                drop(m, drop_reason::shaper_full, *counters);
                continue;
            }
            note_of(m).since = now;
            append(to, m);
        }
    }
    settle(from);
    settle(to);
}

std::size_t shaper::class_of(const packet& p) const noexcept
{
    const std::size_t asked = p.note >> packet_note::tunnel_bits;
    return asked < shaper_classes && classes_[asked].exists ? asked : 0;
}

// Takes the credit, if so.
bool shaper::leaves_at_once(one_class& c, std::uint64_t cost, std::uint64_t now) noexcept
{
    if (busy_classes_ != 0 || full_) {
        return false;
    }
    if (!limits_) {
        return true;
    }
    const bool ceil = !c.has_ceil || c.ceil.has(cost, now);
    const bool guaranteed = c.rate.has(cost, now);
    if (!ceil || !port_.has(cost, now)) {
        return false;
    }
    if (guaranteed) {
        c.rate.take(cost);
    }
    c.ceil.take(cost);
    port_.take(cost);
    return true;
}

void shaper::transmit(std::span<packet* const> packets,
                      const ports::queue_context& context) noexcept
{
    if (version_.load(std::memory_order_acquire) != applied_) [[unlikely]] {
        apply(context.now, &of_others(context));
    }
    std::array<packet*, burst::capacity> leaving;
    std::size_t count = 0;
    for (packet* const p : packets) {
        const std::size_t to = class_of(*p);
        one_class& c = classes_[to];
        if (!leaves_at_once(c, on_wire(p->length, p->offload).bytes, context.now)) {
            wait(*p, to, context);
            continue;
        }
        leaving[count++] = p;
    }
    if (count > 0) {
        transmit_at_once(std::span{leaving}.first(count), context);
    }
}

// What the queue has no room for is lost, as without a shaper; the next ones wait for that.
void shaper::transmit_at_once(std::span<packet* const> packets,
                              const ports::queue_context& context) noexcept
{
    const counter& full =
        context.counters->drops[static_cast<std::size_t>(drop_reason::receiver_full)];
    const std::uint64_t before = full.read();
    std::array<std::uint32_t, burst::capacity> lengths;
    std::ranges::transform(packets, lengths.begin(), [](const packet* p) { return p->length; });
    queue_.transmit(packets, context);
    const std::uint64_t lost = full.read() - before;
    full_ = lost > 0;
    const std::size_t sent = packets.size() - std::min<std::uint64_t>(lost, packets.size());
    for (std::size_t i = 0; i < sent; ++i) {
        shaper_counters& counts = classes_[class_of(*packets[i])].counts;
        counts.sent_packets.add(1);
        counts.sent_bytes.add(lengths[i]);
    }
}

void shaper::wait(packet& p, std::size_t to, const ports::queue_context& context) noexcept
{
    one_class& c = classes_[to];
    rte_mbuf* evicted = nullptr;
    const bool fits = make_room(c, p, evicted);
    const waiting_note note{
        .next = nullptr, .since = context.now, .offload = p.offload, .in_port = p.in_port};
    rte_mbuf* const m = fits ? own(p, context.pool) : nullptr;
    if (m == nullptr) {
        restore(c, evicted);
        settle(c);
        c.counts.dropped.add(fits ? 0 : 1);
        context.counters->drop(fits ? drop_reason::no_memory : drop_reason::shaper_full, p);
        return;
    }
    drop_evicted(c, evicted, of_others(context));
    note_of(m) = note;
    if (c.packets == 0) {
        c.next_expiry = context.now + c.max_wait;
        next_ = 0;
    }
    append(c, m);
    settle(c);
}

// Whoever has most of a full class makes room, with what has waited longest; all of that is in
// `evicted` then, the last first, and its senders still have their turns. False: it is the packet's
// own sender.
bool shaper::make_room(one_class& c, const packet& p, rte_mbuf*& evicted) noexcept
{
    const auto lacks_bytes = [&]() noexcept { return c.bytes + p.length > c.limit_bytes; };
    const std::uint16_t own = sender_of(p.in_port);
    while (c.buffers >= c.limit || lacks_bytes()) {
        const bool by_bytes = lacks_bytes();
        const auto share = [&](std::uint16_t of) noexcept {
            const sender& s = (*c.senders)[of];
            return by_bytes ? s.bytes : s.buffers;
        };
        std::uint16_t biggest = c.first_turn;
        for (std::uint16_t i = biggest; i != nobody; i = (*c.senders)[i].next) {
            biggest = share(i) > share(biggest) ? i : biggest;
        }
        const std::uint32_t more = by_bytes ? p.length : 1;
        if (biggest == nobody || share(own) + more > share(biggest)) {
            return false;
        }
        rte_mbuf* const m = take_first(c, (*c.senders)[biggest]);
        note_of(m).next = evicted;
        evicted = m;
    }
    return true;
}

void shaper::restore(one_class& c, rte_mbuf* evicted) noexcept
{
    while (evicted != nullptr) {
        rte_mbuf* const m = evicted;
        evicted = note_of(m).next;
        prepend(c, (*c.senders)[sender_of(note_of(m).in_port)], m);
    }
}

void shaper::drop_evicted(one_class& c, rte_mbuf* evicted, port_counters& counters) noexcept
{
    if (evicted == nullptr) {
        return;
    }
    while (evicted != nullptr) {
        rte_mbuf* const m = evicted;
        evicted = note_of(m).next;
        c.counts.dropped.add(1);
        drop(m, drop_reason::shaper_full, counters);
    }
    for (std::uint16_t of = c.first_turn; of != nobody;) {
        const std::uint16_t next = (*c.senders)[of].next;
        if ((*c.senders)[of].first == nullptr) {
            end_turn(c, of);
        }
        of = next;
    }
}

void shaper::append(one_class& c, rte_mbuf* m) noexcept
{
    const std::uint16_t of = sender_of(note_of(m).in_port);
    sender& s = (*c.senders)[of];
    note_of(m).next = nullptr;
    if (s.first == nullptr) {
        s.first = m;
        // What it took too much is a debt while others wait: with one large frame at a time it
        // would have nearly all.
        s.deficit = (s.debt_of == c.emptied ? std::min(s.deficit, 0) : 0) + sender_quantum;
        s.debt_of = c.emptied;
        s.next = nobody;
        if (c.first_turn == nobody) {
            c.first_turn = of;
        } else {
            (*c.senders)[c.last_turn].next = of;
        }
        c.last_turn = of;
    } else {
        note_of(s.last).next = m;
    }
    s.last = m;
    add(c, s, m);
}

// What was taken just now, and goes on waiting.
void shaper::put_first(one_class& c, rte_mbuf* m) noexcept
{
    const std::uint16_t of = sender_of(note_of(m).in_port);
    sender& s = (*c.senders)[of];
    if (s.first == nullptr) {
        s.debt_of = c.emptied;
        s.next = c.first_turn;
        c.last_turn = c.first_turn == nobody ? of : c.last_turn;
        c.first_turn = of;
    }
    prepend(c, s, m);
}

void shaper::prepend(one_class& c, sender& s, rte_mbuf* m) noexcept
{
    note_of(m).next = s.first;
    s.last = s.first == nullptr ? m : s.last;
    s.first = m;
    add(c, s, m);
}

void shaper::add(one_class& c, sender& s, const rte_mbuf* m) noexcept
{
    s.bytes += m->pkt_len;
    s.buffers += m->nb_segs;
    c.bytes += m->pkt_len;
    c.buffers += m->nb_segs;
    ++c.packets;
}

rte_mbuf* shaper::take_first(one_class& c, sender& s) noexcept
{
    rte_mbuf* const m = s.first;
    s.first = note_of(m).next;
    s.bytes -= m->pkt_len;
    s.buffers -= m->nb_segs;
    c.bytes -= m->pkt_len;
    c.buffers -= m->nb_segs;
    --c.packets;
    return m;
}

// Of one that has nothing any more.
void shaper::end_turn(one_class& c, std::uint16_t of) noexcept
{
    auto& all = *c.senders;
    std::uint16_t before = nobody;
    for (std::uint16_t i = c.first_turn; i != of; i = all[i].next) {
        before = i;
    }
    (before == nobody ? c.first_turn : all[before].next) = all[of].next;
    if (c.last_turn == of) {
        c.last_turn = before;
    }
}

// The one whose turn it is; it stays where it is.
rte_mbuf* shaper::next_of(one_class& c) noexcept
{
    auto& all = *c.senders;
    while (all[c.first_turn].deficit <= 0) {
        const std::uint16_t of = c.first_turn;
        all[of].deficit += sender_quantum;
        if (of != c.last_turn) {
            c.first_turn = all[of].next;
            all[c.last_turn].next = of;
            all[of].next = nobody;
            c.last_turn = of;
        }
    }
    return all[c.first_turn].first;
}

void shaper::remove(one_class& c, std::uint16_t from, drop_reason reason,
                    port_counters& counters) noexcept
{
    sender& s = (*c.senders)[from];
    drop(take_first(c, s), reason, counters);
    if (s.first == nullptr) {
        end_turn(c, from);
    }
}

// What waits is in the order in which it came, of each sender.
void shaper::expire(one_class& c, std::uint64_t now, port_counters& counters) noexcept
{
    for (std::uint16_t of = c.first_turn; of != nobody;) {
        const sender& s = (*c.senders)[of];
        const std::uint16_t next = s.next;
        while (s.first != nullptr && now - note_of(s.first).since >= c.max_wait) {
            c.counts.dropped.add(1);
            remove(c, of, drop_reason::shaper_timeout, counters);
        }
        of = next;
    }
    c.next_expiry = now + std::max<std::uint64_t>(c.max_wait / 8, 1);
    settle(c);
}

// After something came or went.
void shaper::settle(one_class& c) noexcept
{
    const unsigned bit = 1U << static_cast<unsigned>(&c - classes_.data());
    busy_classes_ = c.packets > 0 ? busy_classes_ | bit : busy_classes_ & ~bit;
    if (c.packets == 0) {
        ++c.emptied;
        for (std::int64_t& d : c.deficit) {
            d = std::min<std::int64_t>(d, 0);
        }
    }
    c.counts.waiting_packets.set(c.packets);
    c.counts.waiting_bytes.set(c.bytes);
}

// Of classes of one priority: each sends its quantum, in turn.
std::size_t shaper::take_turns(unsigned eligible, phase by) noexcept
{
    const auto p = static_cast<std::size_t>(by);
    for (;;) {
        const unsigned behind = eligible >> turn_[p] << turn_[p];
        const auto i = static_cast<std::size_t>(std::countr_zero(behind != 0 ? behind : eligible));
        turn_[p] = i;
        one_class& c = classes_[i];
        if (c.deficit[p] > 0) {
            return i;
        }
        c.deficit[p] += c.quantum;
        turn_[p] = (i + 1) % shaper_classes;
    }
}

shaper::choice shaper::choose(std::uint64_t now) noexcept
{
    // First those that have credit of their own, then those that may borrow; of each the lowest
    // priority.
    std::array<unsigned, phases> eligible{};
    std::array<unsigned, phases> priority{256, 256};
    choice out{0, phase::guaranteed, nullptr, never};
    for (unsigned left = busy_classes_; left != 0; left &= left - 1) {
        const auto i = static_cast<std::size_t>(std::countr_zero(left));
        one_class& c = classes_[i];
        const std::uint64_t cost = cost_of(next_of(c));
        if (limits_ && c.has_ceil && !c.ceil.has(cost, now)) {
            out.when = std::min(out.when, c.ceil.when(cost));
            continue;
        }
        const std::size_t p = c.rate.has(cost, now) ? 0 : 1;
        if (p == 1) { // then it goes before who waits for the port now
            out.when = std::min(out.when, c.rate.when(cost));
        }
        if (c.priority < priority[p]) {
            priority[p] = c.priority;
            eligible[p] = 0;
        }
        if (c.priority == priority[p]) {
            eligible[p] |= 1U << i;
        }
    }
    out.by = eligible[0] != 0 ? phase::guaranteed : phase::borrowed;
    const unsigned those = eligible[static_cast<std::size_t>(out.by)];
    if (those == 0) {
        return out;
    }
    // Nobody passes who waits for the port's credit: a large packet would never have it.
    out.number = take_turns(those, out.by);
    rte_mbuf* const m = next_of(classes_[out.number]);
    const std::uint64_t cost = cost_of(m);
    if (limits_ && !port_.has(cost, now)) {
        out.when = std::min(out.when, port_.when(cost));
        return out;
    }
    out.packet = m;
    out.cost = cost;
    return out;
}

// Takes it from its list, and the credit.
void shaper::charge(const choice& next) noexcept
{
    one_class& c = classes_[next.number];
    const std::uint16_t of = c.first_turn;
    sender& s = (*c.senders)[of];
    (void)take_first(c, s);
    s.deficit -= static_cast<std::int32_t>(next.cost);
    if (s.first == nullptr) {
        end_turn(c, of);
    }
    c.deficit[static_cast<std::size_t>(next.by)] -= static_cast<std::int64_t>(next.cost);
    if (next.by == phase::guaranteed) {
        c.rate.take(next.cost);
    }
    c.ceil.take(next.cost);
    port_.take(next.cost);
    settle(c);
}

// What charge() took for the packet of this slot.
void shaper::take_back(std::size_t slot, rte_mbuf* m) noexcept
{
    const choice& was = loaded_[slot];
    one_class& c = classes_[was.number];
    put_first(c, m);
    (*c.senders)[sender_of(note_of(m).in_port)].deficit += static_cast<std::int32_t>(was.cost);
    c.deficit[static_cast<std::size_t>(was.by)] += static_cast<std::int64_t>(was.cost);
    if (was.by == phase::guaranteed) {
        c.rate.give_back(was.cost);
    }
    c.ceil.give_back(was.cost);
    port_.give_back(was.cost);
    settle(c);
}

std::size_t shaper::release(const ports::queue_context& context, burst& scratch) noexcept
{
    constexpr std::size_t most = 4 * burst::capacity;
    if (version_.load(std::memory_order_acquire) != applied_) [[unlikely]] {
        apply(context.now, &of_others(context));
    }
    std::uint64_t expiry = never;
    for (unsigned left = busy_classes_; left != 0; left &= left - 1) {
        one_class& c = classes_[static_cast<std::size_t>(std::countr_zero(left))];
        if (context.now >= c.next_expiry) {
            expire(c, context.now, *context.counters);
        }
        expiry = std::min(expiry, c.next_expiry);
    }
    std::size_t chosen = 0;
    std::size_t kept = 0;
    full_ = false;
    next_ = context.now; // there may be more
    while (busy_classes_ != 0 && chosen < most) {
        const choice next = choose(context.now);
        if (next.packet == nullptr) {
            next_ = std::min(next.when, expiry);
            break;
        }
        if (scratch.count == burst::capacity ||
            scratch.segments_used + next.packet->nb_segs > burst::segment_capacity) {
            kept = send(scratch, context);
            if (kept > 0) {
                break;
            }
            continue; // what was chosen is in its place still
        }
        charge(next);
        chosen += load(next, scratch, *context.counters) ? 1U : 0U;
    }
    kept += send(scratch, context);
    if (kept > 0) {
        full_ = true;
        next_ = context.now;
    }
    return chosen - kept;
}

// Makes an owned packet of it again.
bool shaper::load(const choice& c, burst& to, port_counters& counters) noexcept
{
    rte_mbuf* const m = c.packet;
    const waiting_note note = note_of(m);
    packet_slot& p = to.slots[to.count];
    // What own() made has all of the head in one piece; an intent trusts in that.
    if (!from_mbuf(p, m, to) || note.offload.header_length > p.head_length) [[unlikely]] {
        drop(m, drop_reason::no_memory, counters);
        return false;
    }
    p.in_port = note.in_port;
    p.vlan = {};
    p.priority = 0;
    p.tagged = as_it_is;
    p.tags = 0;
    p.origin = 0;
    p.note = 0;
    p.destinations = 1;
    p.offload = note.offload;
    loaded_[to.count++] = c;
    return true;
}

// Returns how many go on waiting: the queue has no room for them.
std::size_t shaper::send(burst& b, const ports::queue_context& context) noexcept
{
    if (b.count == 0) {
        return 0;
    }
    std::array<packet*, burst::capacity> packets;
    std::array<std::uint32_t, burst::capacity> lengths;
    for (std::size_t i = 0; i < b.count; ++i) {
        packets[i] = &b.slots[i];
        lengths[i] = b.slots[i].length;
    }
    const std::size_t kept = queue_.transmit_some(std::span{packets}.first(b.count), context);
    for (std::size_t i = kept; i > 0; --i) { // each goes to the front
        auto& p = static_cast<packet_slot&>(*packets[i - 1]);
        const auto slot = static_cast<std::size_t>(&p - b.slots.data());
        take_back(slot, std::exchange(p.mbuf, nullptr));
        lengths[slot] = 0;
    }
    for (std::size_t i = 0; i < b.count; ++i) {
        if (lengths[i] > 0) {
            shaper_counters& counts = classes_[loaded_[i].number].counts;
            counts.sent_packets.add(1);
            counts.sent_bytes.add(lengths[i]);
        }
        rte_pktmbuf_free(b.slots[i].mbuf);
    }
    b.clear();
    return kept;
}

void shaper::drop_all(drop_reason reason, port_counters& counters) noexcept
{
    for (one_class& c : classes_) {
        while (c.packets > 0) {
            c.counts.dropped.add(1);
            remove(c, c.first_turn, reason, counters);
        }
        settle(c);
    }
}

} // namespace strait::dataplane
