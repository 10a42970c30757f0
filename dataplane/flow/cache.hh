// SPDX-License-Identifier: BSD-3-Clause
// One worker's flow cache: from the bits of a packet's key that tell its flow (key_layout) to its
// program, the rules that made it, and what it has carried. A table of buckets that fill a cache
// line leads to entries, which lie in blocks of their size. Nothing here translates or runs.
//
// What entries have carried goes to their rules from time to time; a rule that is gone is kept by
// control until every worker says that nothing is left to go to it.
//
// What is asked for each packet is inline, and an entry is as small as can be: with many flows it
// is the cache lines that cost.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/flow/translate.hh"
#include "dataplane/mac_table.hh"
#include "dataplane/reserved_memory.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <emmintrin.h>

namespace strait::flow {

using dataplane::seconds_t;

struct cache_counters {
    dataplane::counter hits;
    dataplane::counter misses;    // translated anew, stale ones too
    dataplane::counter stale;     // of these: there was an entry of older tables
    dataplane::counter evictions; // of an entry for another's sake
    dataplane::counter uncached;  // no room for it, or too large
    dataplane::counter entries;
    dataplane::counter bytes;       // of entries' memory, free blocks of it, too
    dataplane::counter miss_cycles; // TSC, that misses took
    dataplane::counter waits;       // a source's turns, for its misses' sake
};

class cache {
public:
    // Memory for entries is reserved, and taken as it is used: 1 MiB to 16 GiB. Where entries lie
    // nobody can foresee, unless there is a seed.
    explicit cache(std::size_t bytes, std::optional<std::uint64_t> seed = {});

    struct entry;
    // `words` has a key's bits in the layout's order; whoever asks owns them.
    struct question {
        std::uint64_t hash;
        std::uint64_t* words;
        entry* likely; // of the same signature
    };
    // Words of a question at most: a layout's, and what else a later pass is told apart by.
    static constexpr std::size_t most_words = 240;

    // Which pass of which bridge, in place of conj_id in the first word, which no packet has: ports
    // of two bridges may have one number.
    static_assert(place_of(field::in_port).width == 32 && place_of(field::in_port).shift == 0);
    [[nodiscard]] static constexpr std::uint64_t first_pass(dataplane::bridge_index bridge) noexcept
    {
        return std::uint64_t{to_index(bridge)} << 32;
    }
    // Behind the layout's words come those of what is on the stack and in the action set.
    [[nodiscard]] static constexpr std::uint64_t
    later_pass(dataplane::bridge_index bridge, table_id table, std::size_t on_stack) noexcept
    {
        static_assert(dataplane::max_bridges <= 0x100 && 2 * max_stack <= 0xff);
        return first_pass(bridge) | std::uint64_t{table} << 40 |
               (std::uint64_t{2} * on_stack + 1) << 56;
    }

    // All of these: the worker alone. The size of a layout is a template's parameter where it is
    // known to be `count`; 0: it is what the layout says.
    template <std::size_t count = 0>
    void ask(const key& packet, const key_layout& layout, std::uint64_t pass,
             question& out) const noexcept
    {
        const std::size_t words = count == 0 ? layout.count : count;
        fill<count>(packet, layout, pass, out);
        out.hash = hash_of(out.words, words);
    }
    void ask(const key& packet, const key_layout& layout, std::uint64_t pass,
             std::span<const std::uint64_t> more, question& out) const noexcept
    {
        fill<0>(packet, layout, pass, out);
        std::ranges::copy(more, out.words + layout.count);
        out.hash = hash_of(out.words, layout.count + more.size());
    }
    void prefetch_bucket(const question& q) const noexcept
    {
        __builtin_prefetch(&first_bucket(q.hash));
    }
    void prefetch_entry(question& q) const noexcept;

    struct packet_facts {
        std::uint64_t varying; // the key's varying_word
        std::uint32_t length;
    };
    // Null: there is none for this packet. Its version may be another than the tables'. The
    // question's words are `count`, or as they were counted.
    template <std::size_t count = 0>
    [[nodiscard]] entry* find(const question& q, std::size_t counted,
                              const packet_facts& facts) const noexcept
    {
        const std::size_t words = count == 0 ? counted : count;
        if (q.likely != nullptr && fits(*q.likely, q, words, facts)) [[likely]] {
            return q.likely;
        }
        return search(q, words, facts);
    }
    // Makes the entry of a packet that find() found none for, or had `old` of an older version.
    // Null: there is no room.
    entry* put(const question& q, std::size_t words, const translation& made, std::uint32_t version,
               entry* old) noexcept;
    // An entry as somebody keeps it in mind who may find it gone, or another in its place.
    struct handle {
        std::uint32_t unit{0};
        std::uint32_t serial{0};
    };
    [[nodiscard]] handle handle_of(const entry& e) const noexcept
    {
        const std::uint32_t u = unit_of(e);
        return {u, serials_[u]};
    }
    // Null: it is not there any more.
    [[nodiscard]] entry* find(handle h) const noexcept;
    // Whether all packets with its key are its own.
    [[nodiscard]] static bool is_for_all(const entry& e) noexcept;
    // It holds in this version, too.
    static void renew(entry& e, std::uint32_t version) noexcept;
    // One packet more went through it, or a burst's at most.
    void count(entry& e, std::uint32_t bytes, seconds_t now) noexcept { count(e, 1, bytes, now); }
    void count(entry& e, std::uint32_t packets, std::uint32_t bytes, seconds_t now) noexcept;

    // What control wants to know of a packet: whether its flow is known here.
    struct look {
        const key& packet;
        const key_layout& layout;
        std::uint64_t pass; // first_pass(), or later_pass() with what is behind the layout's words
        std::span<const std::uint64_t> more;
        packet_facts facts;
        struct known {
            std::uint32_t version;
            seconds_t last_used;
        };
        std::optional<known> answer{};
        std::atomic<bool> answered{false};
        [[nodiscard]] bool done() const noexcept // the answer may be read
        {
            return answered.load(std::memory_order_acquire);
        }
    };
    // Any thread. False: there is another one, which must be done first. Until it is done all that
    // it refers to is there; bring_home() answers.
    [[nodiscard]] bool submit(look& l) noexcept
    {
        look* none = nullptr;
        return look_.compare_exchange_strong(none, &l, std::memory_order_acq_rel);
    }

    // Brings what some entries carried to their rules, and lets a chunk that another size wants go
    // on; to be called often, between bursts. `settle`: begins anew as soon as a round has ended,
    // until settled().
    void bring_home(std::uint64_t tsc, bool settle) noexcept;
    [[nodiscard]] bool settled() const noexcept
    {
        return pending_.load(std::memory_order_relaxed) == 0 && leaving_ == no_chunk &&
               look_.load(std::memory_order_relaxed) == nullptr;
    }

    // Any thread. What was to go home when rounds() was asked is there when it has grown by two, or
    // when nothing is pending.
    [[nodiscard]] std::uint64_t rounds() const noexcept
    {
        return rounds_.load(std::memory_order_acquire);
    }
    [[nodiscard]] bool nothing_pending() const noexcept
    {
        return pending_.load(std::memory_order_acquire) == 0;
    }
    cache_counters counters;

    [[nodiscard]] static std::span<const std::uint64_t> program_of(const entry& e) noexcept;
    [[nodiscard]] static std::uint32_t version_of(const entry& e) noexcept;
    [[nodiscard]] static dataplane::drop_reason reason_of(const entry& e) noexcept;

private:
    struct bucket;

    template <std::size_t count>
    void fill(const key& packet, const key_layout& layout, std::uint64_t pass,
              question& out) const noexcept
    {
        const std::size_t words = count == 0 ? layout.count : count;
        for (std::size_t i = 0; i < words; ++i) {
            out.words[i] = packet.words[layout.words[i]] & layout.masks[i];
        }
        out.words[0] |= pass;
    }
    // Of a key's bits, by seeds that nobody knows.
    [[nodiscard]] std::uint64_t hash_of(const std::uint64_t* words,
                                        std::size_t count) const noexcept
    {
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < count; i += 2) {
            const std::uint64_t second = i + 1 < count ? words[i + 1] : 0;
            sum ^= word_hash::fold(words[i] ^ seeds_[i], second ^ seeds_[i + 1]);
        }
        return sum;
    }
    [[nodiscard]] static std::uint32_t signature_of(std::uint64_t hash) noexcept
    {
        return static_cast<std::uint32_t>(hash >> 32);
    }
    [[nodiscard]] static bool fits(const entry& e, const question& q, std::size_t count,
                                   const packet_facts& facts) noexcept;
    [[nodiscard]] entry* search(const question& q, std::size_t count,
                                const packet_facts& facts) const noexcept;
    [[nodiscard]] bucket& first_bucket(std::uint64_t hash) const noexcept;
    [[nodiscard]] bucket& other_bucket(std::uint64_t hash) const noexcept;
    [[nodiscard]] entry* at(std::uint32_t unit) const noexcept;
    [[nodiscard]] std::uint32_t unit_of(const entry& e) const noexcept;
    [[nodiscard]] entry* allocate(unsigned units) noexcept;
    [[nodiscard]] entry* evict(unsigned units) noexcept;
    void prepare_to_evict(std::size_t offset, std::size_t size) const noexcept;
    void remove(entry& e) noexcept;
    void free(entry& e) noexcept;

    // Chunks.
    [[nodiscard]] static std::size_t begin_of(std::size_t number) noexcept;
    void cut(std::size_t number, unsigned units) noexcept;
    void prepend(std::size_t number) noexcept;
    void append(std::size_t number) noexcept;
    void take_out(std::size_t number) noexcept;
    void want_chunk(unsigned units, seconds_t used_before, bool any) noexcept;
    [[nodiscard]] seconds_t newest_use(std::size_t number) const noexcept;
    void empty_leaving_chunk() noexcept;
    void unlink(const entry& e) noexcept;
    bool link(const entry& e, std::uint64_t hash) noexcept;
    void list(entry& e) noexcept;
    static void deliver(entry& e) noexcept;
    void answer(look& l) noexcept;

    static constexpr std::size_t unit = 64;         // bytes; entries are a multiple of it
    static constexpr std::size_t chunk = 64 * 1024; // bytes that one size class gets at a time
    static constexpr std::size_t size_classes = 64; // 1 to 64 units
    static constexpr std::uint32_t no_unit = 0;     // the first is not used
    static constexpr std::uint32_t no_chunk = 0;    // they are counted from 1

    std::array<std::uint64_t, most_words + 1> seeds_;
    std::size_t bucket_mask_;
    std::size_t bytes_;
    std::unique_ptr<dataplane::reserved_memory> all_; // entries, buckets, and the ring
    std::byte* memory_;
    bucket* buckets_;
    std::size_t used_{0}; // bytes of memory_ that are some class's
    struct chunk_state {
        std::uint32_t next{no_chunk}; // of its class; those with free entries come first
        std::uint32_t previous{no_chunk};
        std::uint32_t free{no_unit};
        std::uint16_t in_use{0}; // entries that are not free
        std::uint8_t units{0};
    };
    struct size_class_state {
        std::uint32_t first_chunk{no_chunk};
        std::uint32_t last_chunk{no_chunk};
        std::uint32_t hand_chunk{no_chunk}; // where to look for one to evict
        std::uint32_t hand{0};              // bytes in that chunk
        std::uint32_t chunks{0};
        std::uint32_t passed{0}; // by the hand since a chunk was wanted
    };
    std::array<size_class_state, size_classes + 1> classes_{};
    std::unique_ptr<chunk_state[]> chunks_; // by number, from 1
    // The one that is no class's until its entries are gone; then it is leaving_for_'s.
    std::uint32_t leaving_{no_chunk};
    unsigned leaving_for_{0};
    std::size_t leaving_at_{0};         // where its entries are looked at next
    std::uint32_t take_hand_{no_chunk}; // where to look for one to take
    // Entries that carried something, by their units: a ring with room for all there can be.
    std::uint32_t* carried_;
    // By unit: grows with each entry that is made there, and with what memory is cut into.
    std::uint32_t* serials_;
    std::size_t carried_mask_;
    std::uint64_t carried_first_{0};
    std::uint64_t carried_last_{0}; // behind it
    std::uint64_t round_end_{0};    // up to here they go home in this round
    std::size_t fresh_{0};          // entries made since some went home
    std::uint64_t next_round_{0};   // TSC
    const std::uint64_t round_cycles_;
    std::atomic<std::uint64_t> rounds_{0};
    std::atomic<std::uint64_t> pending_{0}; // entries in the ring
    std::atomic<look*> look_{nullptr};
};

// Behind it: key_count words; tests, if there are any; program_words words; rule_count pointers.
struct alignas(8) cache::entry {
    enum class state : std::uint8_t {
        none, // on a free list
        live,
        removed // led to by nothing, but in the ring
    };
    static constexpr std::size_t test_words = sizeof(tests) / sizeof(std::uint64_t);
    static_assert(sizeof(tests) == test_words * sizeof(std::uint64_t));

    std::uint32_t version; // on a chunk's free list: the next one there
    seconds_t last_used;
    std::uint32_t packets; // carried, and not brought home yet
    std::uint32_t bytes;
    std::uint16_t program_words;
    std::uint8_t key_count;
    std::uint8_t rule_count;
    std::uint8_t units;
    state is;
    bool listed : 1; // in the ring
    bool tested : 1;
    dataplane::drop_reason reason; // of a program without words

    [[nodiscard]] std::uint64_t* key() noexcept
    {
        return reinterpret_cast<std::uint64_t*>(this + 1);
    }
    [[nodiscard]] const std::uint64_t* key() const noexcept
    {
        return reinterpret_cast<const std::uint64_t*>(this + 1);
    }
    [[nodiscard]] const std::uint64_t* behind_key() const noexcept { return key() + key_count; }
    [[nodiscard]] const std::uint64_t* program() const noexcept
    {
        return behind_key() + (tested ? test_words : 0);
    }
    [[nodiscard]] std::span<const rule* const> rules() const noexcept
    {
        return {reinterpret_cast<const rule* const*>(program() + program_words), rule_count};
    }
    [[nodiscard]] bool passes(const packet_facts& facts) const noexcept
    {
        std::array<std::uint64_t, test_words> kept;
        std::copy_n(behind_key(), test_words, kept.begin());
        return std::bit_cast<tests>(kept).hold(facts.varying, facts.length);
    }
};

// Eight entries by the upper halves of their hashes, and where they are in units of memory.
struct alignas(64) cache::bucket {
    static constexpr std::size_t ways = 8;
    std::array<std::uint32_t, ways> signatures;
    std::array<std::uint32_t, ways> units; // no_unit: none

    // One bit a way that has the signature; a way without an entry may.
    [[nodiscard]] unsigned matching(std::uint32_t signature) const noexcept
    {
        const __m128i wanted = _mm_set1_epi32(static_cast<int>(signature));
        const auto* const at = reinterpret_cast<const __m128i*>(signatures.data());
        const __m128i low = _mm_cmpeq_epi32(_mm_load_si128(at), wanted);
        const __m128i high = _mm_cmpeq_epi32(_mm_load_si128(at + 1), wanted);
        return static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(low))) |
               static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(high))) << 4;
    }
};

inline cache::bucket& cache::first_bucket(std::uint64_t hash) const noexcept
{
    return buckets_[hash & bucket_mask_];
}

inline cache::bucket& cache::other_bucket(std::uint64_t hash) const noexcept
{
    constexpr std::uint64_t any = 0x9fb21c651e98df25;
    return buckets_[word_hash::fold(hash, any) & bucket_mask_];
}

inline cache::entry* cache::at(std::uint32_t u) const noexcept
{
    return reinterpret_cast<entry*>(memory_ + std::size_t{u} * unit);
}

inline std::uint32_t cache::unit_of(const entry& e) const noexcept
{
    return static_cast<std::uint32_t>(
        static_cast<std::size_t>(reinterpret_cast<const std::byte*>(&e) - memory_) / unit);
}

inline void cache::prefetch_entry(question& q) const noexcept
{
    const bucket& b = first_bucket(q.hash);
    const unsigned ways = b.matching(signature_of(q.hash));
    q.likely = nullptr;
    if (ways != 0) [[likely]] {
        const std::uint32_t u = b.units[static_cast<std::size_t>(std::countr_zero(ways))];
        if (u != no_unit) [[likely]] {
            q.likely = at(u);
            __builtin_prefetch(q.likely);
            __builtin_prefetch(reinterpret_cast<const std::byte*>(q.likely) + unit);
            return;
        }
    }
    __builtin_prefetch(&other_bucket(q.hash));
}

inline bool cache::fits(const entry& e, const question& q, std::size_t count,
                        const packet_facts& facts) noexcept
{
    const std::uint64_t* const key = e.key();
    std::uint64_t differs = 0;
    for (std::size_t i = 0; i < count; ++i) {
        differs |= key[i] ^ q.words[i];
    }
    // One that was likely may have gone since, for another packet's sake.
    if (differs != 0 || e.key_count != count || e.is != entry::state::live) [[unlikely]] {
        return false;
    }
    return !e.tested || e.passes(facts);
}

inline cache::entry* cache::find(handle h) const noexcept
{
    if (serials_[h.unit] != h.serial || h.serial == 0) [[unlikely]] {
        return nullptr;
    }
    entry* const e = at(h.unit);
    return e->is == entry::state::live ? e : nullptr;
}

inline bool cache::is_for_all(const entry& e) noexcept
{
    return !e.tested;
}

inline void cache::count(entry& e, std::uint32_t packets, std::uint32_t bytes,
                         seconds_t now) noexcept
{
    constexpr std::uint32_t many = 1U << 31;
    e.packets += packets;
    e.bytes += bytes;
    e.last_used = now;
    if (!e.listed || e.bytes >= many) [[unlikely]] {
        list(e);
    }
}

inline std::span<const std::uint64_t> cache::program_of(const entry& e) noexcept
{
    return {e.program(), e.program_words};
}

inline std::uint32_t cache::version_of(const entry& e) noexcept
{
    return e.version;
}

inline void cache::renew(entry& e, std::uint32_t version) noexcept
{
    e.version = version;
}

inline dataplane::drop_reason cache::reason_of(const entry& e) noexcept
{
    return e.reason;
}

} // namespace strait::flow
