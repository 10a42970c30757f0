// SPDX-License-Identifier: BSD-3-Clause
// Buckets, and places for connections: each worker has some free ones, the depot all others.
#include "dataplane/conntrack/table.hh"

#include <algorithm>
#include <utility>

namespace strait::conntrack {

namespace {

// Each connection may have two entries, one a direction. At this load of the buckets nearly all
// find a place in one of two.
constexpr std::size_t entries_at_most(std::size_t ways) noexcept
{
    return ways * 2 / 3;
}

} // namespace

table::table(std::size_t connections, unsigned workers)
    : capacity_{std::clamp<std::size_t>(connections, 1, 1U << 30)},
      workers_{workers},
      // Of few connections no worker keeps many for itself.
      batch_{std::clamp<std::size_t>(capacity_ / (16 * std::size_t{workers}), 1, 64)},
      places_{capacity_ + 4 * batch_ * workers},
      bucket_count_{capacity_ * 2 / entries_at_most(bucket::ways) + 1},
      memory_{bucket_count_ * sizeof(bucket) +
              (places_ + 1) *
                  (sizeof(connection) + sizeof(ipv6_connection) + 2 * sizeof(connection_details) +
                   2 * sizeof(std::atomic<bool>) + 2 * sizeof(connection_id))},
      buckets_{reinterpret_cast<bucket*>(memory_.data())},
      stashes_{std::make_unique<stash[]>(workers)}
{
    std::byte* at = memory_.data() + bucket_count_ * sizeof(bucket);
    const auto take = [&at, this](std::size_t size) noexcept {
        std::byte* const out = at;
        at += (places_ + 1) * size;
        return out;
    };
    ipv4_ = reinterpret_cast<connection*>(take(sizeof(connection)));
    ipv6_ = reinterpret_cast<ipv6_connection*>(take(sizeof(ipv6_connection)));
    for (connection_details*& d : details_) {
        d = reinterpret_cast<connection_details*>(take(sizeof(connection_details)));
    }
    for (connection_id*& c : chains_) {
        c = reinterpret_cast<connection_id*>(take(sizeof(connection_id)));
    }
    for (std::atomic<bool>*& t : timed_) {
        t = reinterpret_cast<std::atomic<bool>*>(take(sizeof(std::atomic<bool>)));
    }
    depot_.room = capacity_;
}

std::size_t table::size() const noexcept
{
    std::uint64_t sum = 0; // one worker erases what another has made
    for (unsigned w = 0; w < workers_; ++w) {
        sum += stashes_[w].size.read();
    }
    // What was made and erased while this went on may have been seen to be erased alone.
    const auto seen = std::max<std::int64_t>(static_cast<std::int64_t>(sum), 0);
    return std::min(static_cast<std::size_t>(seen), capacity_);
}

std::size_t table::bytes() const noexcept
{
    return bucket_count_ * sizeof(bucket) +
           places(false) * (sizeof(connection) + sizeof(connection_details)) +
           places(true) * (sizeof(ipv6_connection) + sizeof(connection_details));
}

std::size_t table::bucket::size() const noexcept
{
    std::size_t out = 0;
    for (unsigned way = 0; way < ways; ++way) {
        out += id(way) != no_connection ? 1U : 0U;
    }
    return out;
}

whole_tuple table::original(const connection& c) const noexcept
{
    whole_tuple out{c.original};
    if (c.original.ipv6()) {
        out.addresses = static_cast<const ipv6_connection&>(c).original_addresses;
    }
    return out;
}

whole_tuple table::reply(const connection& c) const noexcept
{
    whole_tuple out{c.reply()};
    if (c.original.ipv6()) {
        out.addresses = static_cast<const ipv6_connection&>(c).answering_addresses;
    }
    return out;
}

match table::find(const whole_tuple& t, std::uint64_t hash) const noexcept
{
    for (const bucket* const b : {&first_bucket(hash), &other_bucket(hash)}) {
        for (unsigned ways = b->matching(signature_of(hash)); ways != 0; ways &= ways - 1) {
            const connection_id id = b->id(static_cast<unsigned>(std::countr_zero(ways)));
            match out{nullptr, id};
            if (id != no_connection && fits(at(id), t, out.reply)) {
                out.of = &at(id);
                return out;
            }
        }
    }
    return {};
}

// Some of what the depot has.
bool table::get_room(stash& own) noexcept
{
    lock_holder held{workers_ == 1};
    held.take(depot_.lock);
    const std::size_t n = std::min(batch_, depot_.room);
    depot_.room -= n;
    own.room += n;
    return n != 0;
}

// Those that somebody gave back, or that nobody has had.
void table::get_places(stash::family& own, bool ipv6) noexcept
{
    lock_holder held{workers_ == 1};
    held.take(depot_.lock);
    if (depot_.chains[ipv6] > 0) {
        own.loaded = {chains_[ipv6][--depot_.chains[ipv6]], static_cast<std::uint32_t>(batch_)};
        return;
    }
    const std::uint32_t used = places(ipv6);
    const auto n = static_cast<std::uint32_t>(std::min(batch_, places_ - used));
    own.fresh = used;
    own.fresh_end = used + n;
    depot_.used[ipv6].store(used + n, std::memory_order_relaxed);
}

connection_id table::allocate(stash& own, bool ipv6) noexcept
{
    if (own.room == 0 && !get_room(own)) {
        return no_connection;
    }
    stash::family& f = own.of[ipv6];
    if (f.loaded.count == 0) {
        std::swap(f.loaded, f.full);
    }
    if (f.loaded.count == 0 && f.fresh == f.fresh_end) {
        get_places(f, ipv6);
    }
    if (f.loaded.count > 0) {
        const connection_id id = f.loaded.first;
        f.loaded = {connection_id{details(id).next}, f.loaded.count - 1};
        return id;
    }
    return f.fresh == f.fresh_end ? no_connection : place(ipv6, ++f.fresh);
}

void table::release(stash& own, connection_id id) noexcept
{
    connection& c = at(id);
    const bool ipv6 = c.original.ipv6();
    stash::family& f = own.of[ipv6];
    c.set_rest(0);
    details(id).next = static_cast<std::uint32_t>(f.loaded.first);
    f.loaded = {id, f.loaded.count + 1};
    if (f.loaded.count < batch_) {
        return;
    }
    if (f.full.count > 0) {
        lock_holder held{workers_ == 1};
        held.take(depot_.lock);
        chains_[ipv6][depot_.chains[ipv6]++] = f.full.first;
    }
    f.full = f.loaded;
    f.loaded = {};
}

// Several may do so in one bucket.
bool table::take_way(bucket& b, connection_id id, std::uint64_t hash) noexcept
{
    for (unsigned way = 0; way < bucket::ways; ++way) {
        connection_id none = no_connection;
        if (b.id(way) != none) {
            continue;
        }
        if (workers_ == 1) {
            b.ids[way].store(id, std::memory_order_relaxed);
        } else if (!b.ids[way].compare_exchange_strong(none, id, std::memory_order_acquire,
                                                       std::memory_order_relaxed)) {
            continue;
        }
        b.signatures[way].store(signature_of(hash), std::memory_order_relaxed);
        return true;
    }
    return false;
}

bool table::link(connection_id id, std::uint64_t hash) noexcept
{
    constexpr std::size_t crowded = bucket::ways - 2;
    bucket* b = &first_bucket(hash);
    bucket* next = nullptr;
    if (const std::size_t size = b->size(); size >= crowded) {
        next = &other_bucket(hash);
        if (next->size() < size) {
            std::swap(b, next);
        }
    }
    return take_way(*b, id, hash) || (next != nullptr && take_way(*next, id, hash));
}

// The other direction may be in the same buckets.
void table::unlink(connection_id id, std::uint64_t hash) noexcept
{
    for (bucket* const b : {&first_bucket(hash), &other_bucket(hash)}) {
        for (unsigned ways = b->matching(signature_of(hash)); ways != 0; ways &= ways - 1) {
            const auto way = static_cast<unsigned>(std::countr_zero(ways));
            if (b->id(way) == id) {
                b->signatures[way].store(0, std::memory_order_relaxed);
                b->ids[way].store(no_connection, std::memory_order_release);
                return;
            }
        }
    }
}

connection_id table::insert(unsigned worker, const whole_tuple& original,
                            const whole_tuple& reply) noexcept
{
    stash& own = stashes_[worker];
    const bool ipv6 = original.packed.ipv6();
    const connection_id id = allocate(own, ipv6);
    if (id == no_connection) {
        return id;
    }
    connection& c = at(id);
    c.original.addresses = original.packed.addresses;
    c.reply_addresses = reply.packed.addresses;
    c.reply_ports = reply.packed.ports();
    if (ipv6) {
        auto& wide = static_cast<ipv6_connection&>(c);
        wide.original_addresses = original.addresses;
        wide.answering_addresses = reply.addresses;
    }
    c.stream = {};
    c.set_rest(original.packed.rest);
    details(id) = {};
    const std::uint64_t hash = original.packed.hash();
    const std::uint64_t answers = reply.packed.hash();
    if (!link(id, hash)) {
        release(own, id);
        return no_connection;
    }
    if (answers != hash && !link(id, answers)) {
        unlink(id, hash);
        release(own, id);
        return no_connection;
    }
    --own.room;
    own.size.add(1);
    return id;
}

void table::erase(unsigned worker, connection_id id) noexcept
{
    const connection& c = at(id);
    const std::uint64_t hash = c.original.hash();
    const std::uint64_t answers = c.reply().hash();
    unlink(id, hash);
    if (answers != hash) {
        unlink(id, answers);
    }
    stash& own = stashes_[worker];
    release(own, id);
    own.size.add(~std::uint64_t{0});
    if (++own.room >= 2 * batch_) {
        lock_holder held{workers_ == 1};
        held.take(depot_.lock);
        depot_.room += batch_;
        own.room -= batch_;
    }
}

void table::prefetch_erase(const connection& c) const noexcept
{
    const std::uint64_t hash = c.original.hash();
    __builtin_prefetch(&first_bucket(hash), 1);
    if (c.has(note::translated)) {
        __builtin_prefetch(&first_bucket(c.reply().hash()), 1);
    }
}

} // namespace strait::conntrack
