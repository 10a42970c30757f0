// SPDX-License-Identifier: BSD-3-Clause
// One worker's connections: where they lie in memory, and how they are found by a tuple of either
// direction. What is asked of every packet is one cache line of a bucket and one of a connection;
// labels and other things that few packets want lie apart. What becomes of connections is
// tracker.hh's business.
#pragma once

#include "dataplane/conntrack/tcp.hh"
#include "dataplane/conntrack/tuple.hh"
#include "dataplane/mac_table.hh"
#include "dataplane/reserved_memory.hh"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

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
inline constexpr std::uint8_t timed = 0x80;   // its place is in the timer wheel, in use or not
inline constexpr std::uint8_t translated = source_translated | destination_translated;
} // namespace note

struct alignas(64) connection {
    packed_tuple original;            // nothing in it: free
    std::uint64_t reply_addresses{0}; // as packets have them that answer
    std::uint32_t reply_ports{0};
    seconds_t deadline{0};
    tcp::stream stream; // of other protocols no more than the note

    [[nodiscard]] bool in_use() const noexcept { return original.rest != 0; }
    [[nodiscard]] bool has(std::uint8_t bits) const noexcept { return (stream.note & bits) != 0; }
    void set(std::uint8_t bits) noexcept
    {
        stream.note = static_cast<std::uint8_t>(stream.note | bits);
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
    std::uint32_t next{0}; // the next free one; in use: what a helper knows
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
};

class table {
public:
    // Of either family; memory is taken as they come.
    explicit table(std::size_t connections);

    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    // Of memory that connections have had so far, or have, with what leads to them.
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
    [[nodiscard]] whole_tuple original(const connection& c) const noexcept;
    [[nodiscard]] whole_tuple reply(const connection& c) const noexcept;

    void prefetch_bucket(std::uint64_t hash) const noexcept
    {
        __builtin_prefetch(&first_bucket(hash));
    }
    // One whose signature fits, prefetched; none: the other bucket is.
    [[nodiscard]] connection_id prefetch_likely(std::uint64_t hash) const noexcept;

    // Whether a connection has this tuple, and which way.
    [[nodiscard]] static bool fits(const connection& c, const whole_tuple& t, bool& reply) noexcept;
    [[nodiscard]] match find(const whole_tuple& t, std::uint64_t hash) const noexcept;

    // Nothing is known of the connection but its tuples and its note, which is that of its place:
    // it may be timed. None: there is no room.
    [[nodiscard]] connection_id insert(const whole_tuple& original,
                                       const whole_tuple& reply) noexcept;
    void erase(connection_id id) noexcept;
    // For who will do so soon.
    void prefetch_erase(const connection& c) const noexcept;

    // Places in order, in use or not: `position` of a family goes from 1 to what this says.
    [[nodiscard]] std::uint32_t places(bool ipv6) const noexcept { return pools_[ipv6].used; }
    [[nodiscard]] static connection_id place(bool ipv6, std::uint32_t position) noexcept
    {
        return connection_id{position | (ipv6 ? ipv6_bit : 0)};
    }

private:
    static constexpr std::uint32_t ipv6_bit = std::uint32_t{1} << 31;
    // Eight connections by the upper halves of their hashes.
    struct alignas(64) bucket {
        static constexpr std::size_t ways = 8;
        std::array<std::uint32_t, ways> signatures;
        std::array<connection_id, ways> ids;

        // One bit a way that has the signature; a way without a connection may.
        [[nodiscard]] unsigned matching(std::uint32_t signature) const noexcept
        {
            const __m128i wanted = _mm_set1_epi32(static_cast<int>(signature));
            const auto* const at = reinterpret_cast<const __m128i*>(signatures.data());
            const __m128i low = _mm_cmpeq_epi32(_mm_load_si128(at), wanted);
            const __m128i high = _mm_cmpeq_epi32(_mm_load_si128(at + 1), wanted);
            return static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(low))) |
                   static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(high))) << 4;
        }
        [[nodiscard]] std::size_t size() const noexcept;
    };
    struct pool {
        std::uint32_t used{0}; // places, from 1 on
        connection_id free{no_connection};
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
    [[nodiscard]] connection_id allocate(bool ipv6) noexcept;
    void release(connection_id id) noexcept;
    [[nodiscard]] bool link(connection_id id, std::uint64_t hash) noexcept;
    void unlink(connection_id id, std::uint64_t hash) noexcept;

    std::size_t capacity_;
    std::size_t bucket_count_;
    std::size_t size_{0};
    dataplane::reserved_memory memory_;
    bucket* buckets_;
    connection* ipv4_;
    ipv6_connection* ipv6_;
    std::array<connection_details*, 2> details_;
    std::array<pool, 2> pools_;
};

inline connection_id table::prefetch_likely(std::uint64_t hash) const noexcept
{
    const bucket& b = first_bucket(hash);
    const unsigned ways = b.matching(signature_of(hash));
    if (ways != 0) [[likely]] {
        const connection_id id = b.ids[static_cast<std::size_t>(std::countr_zero(ways))];
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

inline bool table::fits(const connection& c, const whole_tuple& t, bool& reply) noexcept
{
    if (c.original == t.packed) {
        reply = false;
        return !t.packed.ipv6() ||
               static_cast<const ipv6_connection&>(c).original_addresses == t.addresses;
    }
    if (c.reply() == t.packed && c.in_use()) {
        reply = true;
        return !t.packed.ipv6() ||
               static_cast<const ipv6_connection&>(c).answering_addresses == t.addresses;
    }
    return false;
}

} // namespace strait::conntrack
