// SPDX-License-Identifier: BSD-3-Clause
// Buckets, and places for connections.
#include "dataplane/conntrack/table.hh"

#include <algorithm>
#include <new>

namespace strait::conntrack {

namespace {

// Each connection may have two entries, one a direction. At this load of the buckets nearly all
// find a place in one of two.
constexpr std::size_t entries_at_most(std::size_t ways) noexcept
{
    return ways * 2 / 3;
}

} // namespace

table::table(std::size_t connections)
    : capacity_{std::clamp<std::size_t>(connections, 1, 1U << 30)},
      bucket_count_{capacity_ * 2 / entries_at_most(bucket::ways) + 1},
      memory_{bucket_count_ * sizeof(bucket) +
              (capacity_ + 1) *
                  (sizeof(connection) + sizeof(ipv6_connection) + 2 * sizeof(connection_details))},
      buckets_{reinterpret_cast<bucket*>(memory_.data())}
{
    std::byte* at = memory_.data() + bucket_count_ * sizeof(bucket);
    const auto take = [&at, this](std::size_t size) noexcept {
        std::byte* const out = at;
        at += (capacity_ + 1) * size;
        return out;
    };
    ipv4_ = reinterpret_cast<connection*>(take(sizeof(connection)));
    ipv6_ = reinterpret_cast<ipv6_connection*>(take(sizeof(ipv6_connection)));
    for (connection_details*& d : details_) {
        d = reinterpret_cast<connection_details*>(take(sizeof(connection_details)));
    }
}

std::size_t table::bytes() const noexcept
{
    return bucket_count_ * sizeof(bucket) +
           pools_[0].used * (sizeof(connection) + sizeof(connection_details)) +
           pools_[1].used * (sizeof(ipv6_connection) + sizeof(connection_details));
}

std::size_t table::bucket::size() const noexcept
{
    return ways - static_cast<std::size_t>(std::ranges::count(ids, no_connection));
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
            const connection_id id = b->ids[static_cast<std::size_t>(std::countr_zero(ways))];
            match out{nullptr, id};
            if (id != no_connection && fits(at(id), t, out.reply)) {
                out.of = &at(id);
                return out;
            }
        }
    }
    return {};
}

connection_id table::allocate(bool ipv6) noexcept
{
    if (size_ == capacity_) {
        return no_connection;
    }
    pool& from = pools_[ipv6];
    if (from.free != no_connection) {
        const connection_id id = from.free;
        from.free = connection_id{details(id).next};
        return id;
    }
    return from.used == capacity_ ? no_connection : place(ipv6, ++from.used);
}

void table::release(connection_id id) noexcept
{
    connection& c = at(id);
    pool& to = pools_[c.original.ipv6()];
    c.original = {};
    c.stream.note &= note::timed;
    details(id).next = static_cast<std::uint32_t>(to.free);
    to.free = id;
}

bool table::link(connection_id id, std::uint64_t hash) noexcept
{
    constexpr std::size_t crowded = bucket::ways - 2;
    bucket* b = &first_bucket(hash);
    if (const std::size_t size = b->size(); size >= crowded) {
        bucket& other = other_bucket(hash);
        b = other.size() < size ? &other : b;
    }
    const auto way = std::ranges::find(b->ids, no_connection);
    if (way == b->ids.end()) {
        return false;
    }
    *way = id;
    b->signatures[static_cast<std::size_t>(way - b->ids.begin())] = signature_of(hash);
    return true;
}

void table::unlink(connection_id id, std::uint64_t hash) noexcept
{
    for (bucket* const b : {&first_bucket(hash), &other_bucket(hash)}) {
        const auto way = std::ranges::find(b->ids, id);
        if (way != b->ids.end()) {
            *way = no_connection;
            b->signatures[static_cast<std::size_t>(way - b->ids.begin())] = 0;
            return;
        }
    }
}

connection_id table::insert(const whole_tuple& original, const whole_tuple& reply) noexcept
{
    const bool ipv6 = original.packed.ipv6();
    const connection_id id = allocate(ipv6);
    if (id == no_connection) {
        return id;
    }
    connection& c = at(id);
    c.original = original.packed;
    c.reply_addresses = reply.packed.addresses;
    c.reply_ports = reply.packed.ports();
    if (ipv6) {
        auto& wide = static_cast<ipv6_connection&>(c);
        wide.original_addresses = original.addresses;
        wide.answering_addresses = reply.addresses;
    }
    details(id) = {};
    const std::uint64_t hash = original.packed.hash();
    const std::uint64_t answers = reply.packed.hash();
    if (!link(id, hash)) {
        release(id);
        return no_connection;
    }
    if (answers != hash && !link(id, answers)) {
        unlink(id, hash);
        release(id);
        return no_connection;
    }
    ++size_;
    return id;
}

void table::erase(connection_id id) noexcept
{
    const connection& c = at(id);
    const std::uint64_t hash = c.original.hash();
    const std::uint64_t answers = c.reply().hash();
    unlink(id, hash);
    if (answers != hash) {
        unlink(id, answers);
    }
    release(id);
    --size_;
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
