// SPDX-License-Identifier: BSD-3-Clause
// Which connections go, and when: those whose time is over, and those in whose place another wants
// to be.
#include "dataplane/conntrack/tracker.hh"

#include <algorithm>

namespace strait::conntrack {

// Of both families: they share the room. Those of the newcomer's come first.
bool tracker::evict(const packed_tuple& for_whom, seconds_t now) noexcept
{
    const unsigned held = store::shard_number(for_whom.zone());
    const bool ipv6 = for_whom.ipv6();
    const bool done = evict(ipv6, held, now) || evict(!ipv6, held, now);
    owed_ = done ? 0 : owed_;
    return done;
}

bool tracker::evict(bool ipv6, std::optional<unsigned> held, seconds_t now) noexcept
{
    constexpr std::uint32_t looks = 32;
    constexpr std::uint32_t ahead = 4;
    const std::uint32_t places = table_.places(ipv6);
    std::uint32_t& hand = hands_[ipv6 ? 1 : 0];
    work_ += looks;
    for (std::uint32_t i = 0; i < looks && i < places; ++i) {
        hand = hand >= places ? 1 : hand + 1;
        if (hand + ahead <= places) {
            __builtin_prefetch(&table_.at(table::place(ipv6, hand + ahead)));
        }
        if (evict(table::place(ipv6, hand), held, now)) {
            return true;
        }
    }
    return false;
}

// One of a zone that another worker is busy with stays while a lock is held: to wait then could be
// for ever. Room is made for those that follow when it can be waited.
bool tracker::evict(connection_id id, std::optional<unsigned> held, seconds_t now) noexcept
{
    const connection& c = table_.at(id);
    const std::uint64_t rest = c.rest();
    const zone_id zone = packed_tuple::zone_in(rest);
    lock_holder other{alone_};
    if (rest == 0) {
        return false;
    }
    if (!held) {
        other.take(all_.shard_of(zone).lock);
    } else if (store::shard_number(zone) != *held && !other.try_take(all_.shard_of(zone).lock)) {
        owed_ = room_ahead;
        return false;
    }
    const bool same = alone_ || (c.in_use() && c.original.zone() == zone);
    if (!same || (c.has(note::assured) && c.stream.is < tcp::state::fin_wait && c.deadline > now)) {
        return false;
    }
    counters.evicted.add(1);
    remove(id);
    return true;
}

// No lock is held.
void tracker::make_room(seconds_t now) noexcept
{
    for (; owed_ > 0; --owed_) {
        (void)(evict(false, {}, now) || evict(true, {}, now));
    }
}

std::size_t tracker::expire_fragments(std::span<fragments::waiting_packet> to,
                                      seconds_t now) noexcept
{
    std::size_t count = 0;
    lock_holder held{alone_};
    for (unsigned s = 0; s < store::shards; ++s) {
        held.take(all_.shard_at(s).lock);
        count += all_.shard_at(s).datagrams.expire(now, to.subspan(count));
    }
    all_.count_waiting(-static_cast<std::int32_t>(count));
    if (count < to.size()) {
        looked_at_fragments_ = now;
    }
    return count;
}

void tracker::schedule(connection_id id, const connection& c, seconds_t now) noexcept
{
    std::atomic<bool>& timed = table_.timed(id);
    bool before = timed.load(std::memory_order_relaxed);
    if (alone_) {
        timed.store(true, std::memory_order_relaxed);
    } else {
        before = timed.exchange(true, std::memory_order_acq_rel);
    }
    if (!before) {
        all_.wheel(worker_).add(id, c.deadline, now);
    }
}

void tracker::maintain(seconds_t now) noexcept
{
    constexpr std::size_t usual = 16;
    timer_wheel& own = all_.wheel(worker_);
    if (own.lag(now) > 0) {
        turn(own, usual + 2 * made_, now);
    }
    made_ = 0;
    make_room(now);
    if (!alone_) {
        help_others(now);
    }
    if (job* const j = job_.load(std::memory_order_acquire); j != nullptr) {
        serve(*j, now);
    }
}

std::size_t tracker::turn(timer_wheel& wheel, std::size_t budget, seconds_t now) noexcept
{
    std::array<connection_id, 32> due;
    while (budget > 0) {
        const std::size_t n = wheel.take(std::span{due}.first(std::min(budget, due.size())), now);
        if (n == 0) {
            break;
        }
        forget(std::span{due}.first(n), now);
        budget -= n;
    }
    return budget;
}

// Those of workers that sleep, or have too much to do.
void tracker::help_others(seconds_t now) noexcept
{
    constexpr seconds_t late = 2;
    constexpr std::size_t usual = 16;
    if (now != looked_at_others_) {
        looked_at_others_ = now;
        others_ = 0;
    }
    for (; others_ < all_.workers(); ++others_) {
        timer_wheel& other = all_.wheel(others_);
        if (others_ != worker_ && !other.empty() && other.lag(now) > late &&
            turn(other, usual, now) == 0) {
            return; // there is more, for the next time
        }
    }
}

bool tracker::enter(lock_holder& held, const connection& c) noexcept
{
    for (;;) {
        const std::uint64_t rest = c.rest();
        if (rest == 0) {
            return false;
        }
        if (alone_) {
            return true;
        }
        const zone_id zone = packed_tuple::zone_in(rest);
        held.take(all_.shard_of(zone).lock);
        const std::uint64_t again = c.rest();
        if (again != 0 && packed_tuple::zone_in(again) == zone) {
            return true;
        }
    }
}

void tracker::forget(std::span<const connection_id> due, seconds_t now) noexcept
{
    for (const connection_id id : due) {
        __builtin_prefetch(&table_.at(id), 1);
        __builtin_prefetch(&table_.timed(id), 1);
    }
    lock_holder held{alone_};
    for (const connection_id id : due) {
        const connection& c = table_.at(id);
        if (enter(held, c) && c.deadline <= now) {
            table_.prefetch_erase(c);
            __builtin_prefetch(&table_.details(id), 1);
        }
    }
    for (const connection_id id : due) {
        // Whoever uses the place from now on puts it into a wheel, or is seen here.
        if (alone_) {
            table_.timed(id).store(false, std::memory_order_relaxed);
        } else {
            (void)table_.timed(id).exchange(false, std::memory_order_acq_rel);
        }
        connection& c = table_.at(id);
        if (!enter(held, c)) {
            continue;
        }
        if (c.deadline > now) {
            schedule(id, c, now);
            continue;
        }
        counters.ended.add(1);
        remove(id);
        held.let_others();
    }
}

} // namespace strait::conntrack
