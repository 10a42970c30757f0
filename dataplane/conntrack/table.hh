// SPDX-License-Identifier: BSD-3-Clause
// All workers' connections: where they lie in memory, and how they are found by a tuple of either
// direction. What is asked of every packet is one cache line of a bucket and one of a connection;
// labels and other things that few packets want lie apart. What becomes of connections is
// tracker.hh's business.
//
// Who holds a zone's lock (zone_lock.hh) may do with that zone's connections what there is to do.
// Buckets have those of all zones, and are changed by several at a time, way by way. Who meets
// another zone's connection there looks at nothing of it but the word with the zone.
#pragma once

#include "dataplane/conntrack/tcp.hh"
#include "dataplane/conntrack/tuple.hh"
#include "dataplane/conntrack/zone_lock.hh"
#include "dataplane/counters.hh"
#include "dataplane/mac_table.hh"
#include "dataplane/reserved_memory.hh"

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <emmintrin.h>

namespace strait::conntrack {

using dataplane::seconds_t;

// Of connection::stream.note.
namespace note {
inline constexpr std::uint8_t seen_reply = 0x01;
inline constexpr std::uint8_t assured = 0x02; // not the first to go when room is wanted
inline constexpr std::uint8_t source_translated = 0x04;
inline constexpr std::uint8_t destination_translated = 0x08;
inline constexpr std::uint8_t related = 0x10; // another connection announced it
inline constexpr std::uint8_t marked = 0x20;  // with a mark or a label
inline constexpr std::uint8_t helped = 0x40;  // its payload is looked at
inline constexpr std::uint8_t edited = 0x80;  // and was changed: see connection_details::next
inline constexpr std::uint8_t translated = source_translated | destination_translated;
} // namespace note

struct alignas(64) connection {
    packed_tuple original;            // nothing in it: free
    std::uint64_t reply_addresses{0}; // as packets have them that answer
    std::uint32_t reply_ports{0};
    seconds_t deadline{0};
    tcp::stream stream; // of other protocols no more than the note

    // Of `original`: of all that is here, what others may read while it changes.
    [[nodiscard]] std::uint64_t rest() const noexcept
    {
        return std::atomic_ref{const_cast<std::uint64_t&>(original.rest)}.load(
            std::memory_order_acquire);
    }
    void set_rest(std::uint64_t rest) noexcept
    {
        std::atomic_ref{original.rest}.store(rest, std::memory_order_release);
    }
    [[nodiscard]] bool in_use() const noexcept { return rest() != 0; }
    [[nodiscard]] bool has(std::uint8_t bits) const noexcept { return (stream.note & bits) != 0; }
    // These write what is new alone: a line that nobody writes may be in several workers' caches.
    void set(std::uint8_t bits) noexcept
    {
        const auto all = static_cast<std::uint8_t>(stream.note | bits);
        if (all != stream.note) {
            stream.note = all;
        }
    }
    void live_until(seconds_t end) noexcept
    {
        if (deadline != end) {
            deadline = end;
        }
    }
    [[nodiscard]] packed_tuple reply() const noexcept
    {
        return {reply_addresses, (original.rest & ~std::uint64_t{0xffff'ffff}) | reply_ports};
    }
};
static_assert(sizeof(connection) == 64);

struct ipv6_connection : connection {
    ipv6_addresses original_addresses{};
    ipv6_addresses answering_addresses{};
};
static_assert(sizeof(ipv6_connection) == 128);

struct connection_details {
    flow::wide label{};
    std::uint32_t mark{0};
    std::uint32_t next{0}; // the next free one; of one in use, its edits (stream_edits.hh)
    tcp::resync ignored{};
};
static_assert(sizeof(connection_details) == 32);

// Where a connection is; 0: nowhere.
enum class connection_id : std::uint32_t {};
inline constexpr connection_id no_connection{0};

struct match {
    connection* of{nullptr};
    connection_id id{no_connection};
    bool reply{false};
    bool translated{false}; // the packet is, already
};

class table {
public:
    // Of either family, all workers' together; memory is taken as they come.
    table(std::size_t connections, unsigned workers);

    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    // Of both families, in use or not, at most.
    [[nodiscard]] std::size_t all_places() const noexcept { return 2 * places_; }
    // Any thread.
    [[nodiscard]] std::size_t size() const noexcept;
    // Of memory that connections have had so far, or have, with what leads to them. Any thread.
    [[nodiscard]] std::size_t bytes() const noexcept;

    [[nodiscard]] connection& at(connection_id id) const noexcept
    {
        const auto n = static_cast<std::uint32_t>(id);
        if ((n & ipv6_bit) != 0) {
            return ipv6_[n & ~ipv6_bit];
        }
        return ipv4_[n];
    }
    [[nodiscard]] connection_details& details(connection_id id) const noexcept
    {
        const auto n = static_cast<std::uint32_t>(id);
        return details_[(n & ipv6_bit) != 0 ? 1U : 0U][n & ~ipv6_bit];
    }
    // Whether the place is in a timer wheel, in use or not: whoever sets it puts it there, and
    // whoever takes it out from there clears it and looks at the place afterwards.
    [[nodiscard]] std::atomic<bool>& timed(connection_id id) const noexcept
    {
        const auto n = static_cast<std::uint32_t>(id);
        return timed_[(n & ipv6_bit) != 0 ? 1U : 0U][n & ~ipv6_bit];
    }
    [[nodiscard]] whole_tuple original(const connection& c) const noexcept;
    [[nodiscard]] whole_tuple reply(const connection& c) const noexcept;

    void prefetch_bucket(std::uint64_t hash) const noexcept
    {
        __builtin_prefetch(&first_bucket(hash));
    }
    // One whose signature fits, prefetched; none: the other bucket is. Needs no lock: it may have
    // become another's place by the time that it is looked at.
    [[nodiscard]] connection_id prefetch_likely(std::uint64_t hash) const noexcept;

    // Whether a connection has this tuple, and which way.
    [[nodiscard]] static bool fits(const connection& c, const whole_tuple& t, bool& reply) noexcept;
    // Of IPv4's all; of IPv6's their digests.
    [[nodiscard]] static bool fits(const connection& c, const packed_tuple& t,
                                   bool& reply) noexcept;
    [[nodiscard]] match find(const whole_tuple& t, std::uint64_t hash) const noexcept;

    // By a worker. Nothing is known of the connection but its tuples. None: there is no room.
    [[nodiscard]] connection_id insert(unsigned worker, const whole_tuple& original,
                                       const whole_tuple& reply) noexcept;
    void erase(unsigned worker, connection_id id) noexcept;
    // For who will do so soon.
    void prefetch_erase(const connection& c) const noexcept;

    // Places in order, in use or not: `position` of a family goes from 1 to what this says.
    [[nodiscard]] std::uint32_t places(bool ipv6) const noexcept
    {
        return depot_.used[ipv6].load(std::memory_order_relaxed);
    }
    [[nodiscard]] static connection_id place(bool ipv6, std::uint32_t position) noexcept
    {
        return connection_id{position | (ipv6 ? ipv6_bit : 0)};
    }

private:
    static constexpr std::uint32_t ipv6_bit = std::uint32_t{1} << 31;
    // Eight connections by the upper halves of their hashes. A way is taken by its id, and only
    // then gets its signature; it loses the signature first.
    struct alignas(64) bucket {
        static constexpr std::size_t ways = 8;
        std::array<std::atomic<std::uint32_t>, ways> signatures;
        std::array<std::atomic<connection_id>, ways> ids;

        // One bit a way that has the signature; a way without a connection may.
        [[nodiscard]] unsigned matching(std::uint32_t signature) const noexcept;
        [[nodiscard]] connection_id id(unsigned way) const noexcept
        {
            return ids[way].load(std::memory_order_relaxed);
        }
        [[nodiscard]] std::size_t size() const noexcept;
    };
    // Free places, each with the next one's number in its details.
    struct chain {
        connection_id first{no_connection};
        std::uint32_t count{0};
    };
    // What a worker has for itself: free places, and how many connections it may make. Both come
    // from the depot and go there some at a time.
    struct alignas(64) stash {
        struct family {
            chain loaded;
            chain full; // or empty
            std::uint32_t fresh{0};
            std::uint32_t fresh_end{0};
        };
        std::array<family, 2> of;
        std::size_t room{0};
        dataplane::counter size; // connections made less those erased
    };
    struct alignas(64) depot {
        zone_lock lock;
        std::size_t room{0};
        std::array<std::atomic<std::uint32_t>, 2> used{}; // places, from 1 on
        std::array<std::uint32_t, 2> chains{};
    };

    [[nodiscard]] static std::uint32_t signature_of(std::uint64_t hash) noexcept
    {
        return static_cast<std::uint32_t>(hash >> 32);
    }
    [[nodiscard]] bucket& bucket_at(std::uint64_t hash) const noexcept
    {
        return buckets_[(hash & 0xffff'ffff) * bucket_count_ >> 32];
    }
    [[nodiscard]] bucket& first_bucket(std::uint64_t hash) const noexcept
    {
        return bucket_at(hash);
    }
    [[nodiscard]] bucket& other_bucket(std::uint64_t hash) const noexcept
    {
        constexpr std::uint64_t any = 0x9fb2'1c65'1e98'df25;
        return bucket_at(flow::word_hash::fold(hash, any));
    }
    [[nodiscard]] connection_id allocate(stash& own, bool ipv6) noexcept;
    void release(stash& own, connection_id id) noexcept;
    [[nodiscard]] bool get_room(stash& own) noexcept;
    void get_places(stash::family& own, bool ipv6) noexcept;
    [[nodiscard]] bool link(connection_id id, std::uint64_t hash) noexcept;
    [[nodiscard]] bool take_way(bucket& b, connection_id id, std::uint64_t hash) noexcept;
    void unlink(connection_id id, std::uint64_t hash) noexcept;

    std::size_t capacity_;
    unsigned workers_;
    std::size_t batch_;  // places, or room for connections
    std::size_t places_; // of a family
    std::size_t bucket_count_;
    dataplane::reserved_memory memory_;
    bucket* buckets_;
    connection* ipv4_;
    ipv6_connection* ipv6_;
    std::array<connection_details*, 2> details_;
    std::array<std::atomic<bool>*, 2> timed_;
    std::array<connection_id*, 2> chains_; // the depot's: of so many places each
    depot depot_;
    std::unique_ptr<stash[]> stashes_; // by worker
};

inline unsigned table::bucket::matching(std::uint32_t signature) const noexcept
{
#ifdef __SANITIZE_THREAD__ // it must see that each is read at once
    unsigned out = 0;
    for (unsigned i = 0; i < ways; ++i) {
        out |= (signatures[i].load(std::memory_order_relaxed) == signature ? 1U : 0U) << i;
    }
    return out;
#else
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(signature));
    const auto* const at = reinterpret_cast<const __m128i*>(signatures.data());
    const __m128i low = _mm_cmpeq_epi32(_mm_load_si128(at), wanted);
    const __m128i high = _mm_cmpeq_epi32(_mm_load_si128(at + 1), wanted);
    return static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(low))) |
           static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(high))) << 4;
#endif
}

inline connection_id table::prefetch_likely(std::uint64_t hash) const noexcept
{
    const bucket& b = first_bucket(hash);
    const unsigned ways = b.matching(signature_of(hash));
    if (ways != 0) [[likely]] {
        const connection_id id = b.id(static_cast<unsigned>(std::countr_zero(ways)));
        if (id != no_connection) [[likely]] {
            const connection& c = at(id);
            __builtin_prefetch(&c, 1);
            if ((static_cast<std::uint32_t>(id) & ipv6_bit) != 0) {
                __builtin_prefetch(&c + 1);
            }
            return id;
        }
    }
    __builtin_prefetch(&other_bucket(hash));
    return no_connection;
}

inline bool table::fits(const connection& c, const packed_tuple& t, bool& reply) noexcept
{
    const std::uint64_t rest = c.rest();
    if (rest == t.rest && c.original.addresses == t.addresses) {
        reply = false;
        return true;
    }
    // All but the ports: one of another zone may be going, or becoming another, just now.
    if ((rest ^ t.rest) >> 32 != 0) [[unlikely]] {
        return false;
    }
    reply = true;
    return c.reply_ports == t.ports() && c.reply_addresses == t.addresses;
}

inline bool table::fits(const connection& c, const whole_tuple& t, bool& reply) noexcept
{
    if (!fits(c, t.packed, reply)) {
        return false;
    }
    if (!t.packed.ipv6()) [[likely]] {
        return true;
    }
    const auto& whole = static_cast<const ipv6_connection&>(c);
    return (reply ? whole.answering_addresses : whole.original_addresses) == t.addresses;
}

} // namespace strait::conntrack
