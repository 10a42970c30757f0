// SPDX-License-Identifier: BSD-3-Clause
// The learning table of one bridge: (VLAN, MAC) to port, learned by any number of workers that
// never wait for it, aged by time and flushed by sequence number. What to do with an answer is
// forward.cc's.
//
// Buckets of four entries fill a cache line (compare BESS's L2 table and VPP's l2fib, from which
// the O(1) flush is known); an entry has two candidate buckets, and moves from its first to its
// second where that makes room (cuckoo hashing: Pagh and Rodler; with buckets: Dietzfelbinger and
// Weidling). An entry is two 64-bit words, key and value. A writer empties the key, stores the
// value, then the new key; a reader reads key, value and key again, so that it does not join the
// two of different entries. Readers never wait. Writers hold a lock, and workers only try it: what
// one cannot learn now it learns with the next packet.
#pragma once

#include "dataplane/types.hh"

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include <immintrin.h>

namespace strait::dataplane {

struct mac_entry {
    mac_address mac;
    vlan_id vlan;
    port_index port;
    bool is_static;
    seconds_t age;  // seconds since it was last seen; 0 for a static entry
    seconds_t held; // for so many more it stays at its port; 0: it may move
};

// A learned entry's way from one port to another: the last one of so many. Held: it has moved too
// often, and is back at `to`, where it stays.
struct mac_move {
    mac_address mac;
    vlan_id vlan;
    port_index from;
    port_index to;
    std::uint64_t times;
    bool held;
};

class mac_table {
public:
    // A (VLAN, MAC) pair, ready to be hashed.
    class key {
    public:
        key() noexcept = default;
        key(mac_address mac, vlan_id vlan) noexcept
            : word_{mac.value() | (std::uint64_t{vlan.value()} << 48)}
        {}
        [[nodiscard]] std::uint64_t word() const noexcept { return word_; }
        bool operator==(const key&) const noexcept = default;

    private:
        std::uint64_t word_{0};
    };

    // Room for `entries`, 64 to 2^24: all of them find a place, nearly all in their first bucket,
    // for only a quarter of the slots is full then.
    explicit mac_table(std::size_t entries);
    ~mac_table();
    mac_table(const mac_table&) = delete;
    mac_table& operator=(const mac_table&) = delete;

    // Workers, and any other thread.
    // `known` is also what another writer kept from being learned: the next packet tries again.
    // From over_limit on it has a say in where the packet goes.
    enum class learned : std::uint8_t {
        known,
        added,
        moved,
        held_by_static,
        table_full,
        over_limit,
        held_here,      // it is held at this port
        held_elsewhere, // it is held at another: whoever sends it here is in a loop, or poses
    };
    // A key, and once it was prepared the place to look at: a burst prefetches first and looks
    // then.
    class probe;
    // What a look found.
    class answer;
    // What a burst from one port asks; what is the same for all of its packets is read once.
    class session;
    // Says that an address was seen on `port`. Writes nothing while the entry stands and was seen
    // within this second.
    learned learn(key k, port_index port, seconds_t now) noexcept;
    // The port behind an address, no_port if unknown, stale or older than the ageing time.
    [[nodiscard]] port_index lookup(key k, seconds_t now) const noexcept;

    // Control threads.
    enum class added : std::uint8_t { added, replaced, table_full };
    // Takes a learned entry's place if need be: full is a table for static entries alone.
    added add_static(key k, port_index port, seconds_t now) noexcept;
    bool remove(key k, seconds_t now) noexcept; // false if there was none
    // O(1), but for every 65,536th time: all that was learned on the port goes; static entries
    // stay. remove_port takes both, for a port that leaves the bridge, so that its index can be
    // used again.
    void flush_port(port_index port) noexcept;
    void remove_port(port_index port) noexcept;
    void flush_all() noexcept; // learned entries of all ports
    void flush_vlan(vlan_id vlan) noexcept;
    // The most that is learned of a port at a time, 0: no limit. What was learned before stays.
    void set_limit(port_index port, std::uint32_t most) noexcept;
    // Aged entries count until somebody needs their slots: if a port was found to be at its limit
    // since the last call, they go.
    void expire(seconds_t now) noexcept;
    // Holds an address that moves flaps_to_hold times within flap_window at the port where it was
    // before that, for so many seconds; 0, as at first: none is held, and those that are go free.
    // So a loop's echoes do not carry a station away. What is flushed is held no more.
    static constexpr unsigned flaps_to_hold = 4; // there and back, twice
    static constexpr seconds_t flap_window = 10;
    void set_hold(seconds_t seconds) noexcept;
    [[nodiscard]] seconds_t hold() const noexcept;
    [[nodiscard]] std::uint64_t holds() const noexcept; // how often one was, so far
    // Any thread, of a packet that comes from an address held at this port and would be flooded:
    // false if such had their share of this second. The port may be a part of the loop itself, and
    // its floods come back to it.
    static constexpr std::uint32_t held_floods = 32; // a second
    [[nodiscard]] bool may_flood_held(port_index port, seconds_t now) noexcept;
    // Whether learn() would refuse it as held elsewhere; learns nothing.
    [[nodiscard]] bool is_held_elsewhere(key k, port_index port, seconds_t now) const noexcept;
    void set_ageing(seconds_t seconds) noexcept; // 0: entries do not age
    [[nodiscard]] seconds_t ageing() const noexcept;
    // Live entries, in no order.
    void for_each(seconds_t now, const std::function<void(const mac_entry&)>& visit) const;
    [[nodiscard]] std::size_t size(seconds_t now) const; // counts: O(capacity)
    // Of entries that moved since the last call, all but static ones: how many times in all, and
    // each of the first few. So who moves many costs no more than who moves few.
    static constexpr std::size_t most_moves = 8;
    struct moves {
        std::uint64_t count;
        std::size_t size; // of `first`
        std::array<mac_move, most_moves> first;
    };
    [[nodiscard]] moves take_moves() noexcept;
    [[nodiscard]] std::size_t capacity() const noexcept; // entries, a quarter of the slots

private:
    struct alignas(64) bucket {
        static constexpr std::size_t ways = 4;
        std::array<std::atomic<std::uint64_t>, ways> keys;
        std::array<std::atomic<std::uint64_t>, ways> values;

        // The way that holds `word`, `ways` if none. Keys may change meanwhile: who relies on the
        // answer reads the key again.
        [[nodiscard]] std::size_t find(std::uint64_t word) const noexcept;
        [[nodiscard]] std::optional<std::uint64_t> value_of(std::uint64_t word) const noexcept;
    };
    struct slot {
        std::atomic<std::uint64_t>* key;
        std::atomic<std::uint64_t>* value;
    };

    // A slot's value, from bit 0: port, its sequence number, static, held, last seen; of a held one
    // the second when that ends.
    static constexpr unsigned sequence_shift = 16;
    static constexpr std::uint64_t static_bit = std::uint64_t{1} << 32;
    static constexpr std::uint64_t held_bit = std::uint64_t{1} << 33;
    static constexpr unsigned seen_shift = 34;
    static constexpr std::uint16_t last_sequence = 0xffff;

    [[nodiscard]] static port_index port_of(std::uint64_t value) noexcept
    {
        return port_index{static_cast<std::uint16_t>(value)};
    }
    [[nodiscard]] static std::uint16_t sequence_of(std::uint64_t value) noexcept
    {
        return static_cast<std::uint16_t>(value >> sequence_shift);
    }
    [[nodiscard]] static bool is_static(std::uint64_t value) noexcept
    {
        return (value & static_bit) != 0;
    }
    [[nodiscard]] static seconds_t seen_of(std::uint64_t value) noexcept
    {
        return static_cast<seconds_t>(value >> seen_shift);
    }
    // Of a live entry.
    [[nodiscard]] bool is_held(std::uint64_t value, seconds_t now) const noexcept
    {
        return (value & held_bit) != 0 && now < seen_of(value) && hold() != 0;
    }

    // A slot's key is `empty` or a key's word with the top bit.
    [[nodiscard]] static std::uint64_t word_of(key k) noexcept
    {
        return k.word() | (std::uint64_t{1} << 63);
    }
    [[nodiscard]] std::uint64_t hash(std::uint64_t word) const noexcept;
    [[nodiscard]] bucket& first_bucket(std::uint64_t word) const noexcept;
    [[nodiscard]] probe probe_of(key k) const noexcept;
    [[nodiscard]] bucket& second_bucket(const probe& at) const noexcept;
    // The least value of a learned entry that has not aged out.
    [[nodiscard]] std::uint64_t horizon(seconds_t now) const noexcept;
    [[nodiscard]] bool live(std::uint64_t value, std::uint64_t horizon) const noexcept;
    [[nodiscard]] std::uint64_t make_value(port_index port, bool is_static,
                                           seconds_t now) const noexcept;
    [[nodiscard]] slot find(const probe& at) const noexcept; // null pointers if there is none
    [[nodiscard]] answer look_up(const probe& at) const noexcept;
    [[nodiscard]] port_index port_of_live(answer a, std::uint64_t horizon) const noexcept;
    // Writers' part: under the lock. No slot: there is no room.
    [[nodiscard]] slot make_room(const probe& at, std::uint64_t horizon) noexcept;
    [[nodiscard]] slot displace(bucket& b, std::uint64_t horizon) noexcept;
    [[nodiscard]] slot free_slot(bucket& b, std::uint64_t horizon) noexcept;
    [[nodiscard]] slot learned_slot(const probe& at) const noexcept;
    static void write(const slot& s, std::uint64_t word, std::uint64_t value) noexcept;
    // Whether an entry counts for its port's limit: learned, and not flushed.
    [[nodiscard]] bool is_counted(std::uint64_t value) const noexcept;
    [[nodiscard]] bool at_limit(port_index port) const noexcept;
    void uncount(std::uint64_t value) noexcept;
    void note_move(std::uint64_t word, port_index from, port_index to, bool held = false) noexcept;
    // Of an entry that leaves `from`, a value: where it is to be held instead, if it is.
    [[nodiscard]] std::optional<port_index> flaps(std::uint64_t word, std::uint64_t from,
                                                  seconds_t now) noexcept;
    class walk;
    template <typename Chosen>
    void sweep(const Chosen& chosen) noexcept;

    struct free_buckets {
        std::size_t bytes;
        void operator()(bucket* b) const noexcept;
    };
    std::size_t bucket_mask_;
    unsigned shift_;
    // Random, so that collisions cannot be prepared by a guest.
    std::uint64_t seed_;
    std::uint64_t multiplier_;       // odd
    std::uint64_t other_multiplier_; // odd
    std::atomic<seconds_t> ageing_{300};
    std::unique_ptr<bucket[], free_buckets> buckets_;
    // A learned entry lives while its sequence number is its port's.
    std::array<std::atomic<std::uint16_t>, max_ports> sequence_{};
    // On lines of their own: learning takes the lock while others look up.
    alignas(64) mutable std::mutex writing_;
    // Under the lock: walks of the whole table that are under way. No entry moves meanwhile, or one
    // would be missed.
    mutable unsigned walks_{0};
    // Of each port, changed under the lock; and whether one was found to be at its limit. Read
    // before the lock is asked for: who makes addresses up takes it from nobody.
    std::array<std::atomic<std::uint32_t>, max_ports> counts_{};
    std::array<std::atomic<std::uint32_t>, max_ports> limits_{};
    std::atomic<bool> refused_{false};
    moves moves_{};
    // Addresses that have moved lately. Where two would have the same place the later one has it:
    // who moves very many at once may keep some from being held, but costs no more than who moves
    // few.
    struct mover {
        std::uint64_t word; // 0: none
        seconds_t since;
        port_index home; // where it was then
        std::uint16_t sequence;
        std::uint16_t times;
    };
    static constexpr unsigned mover_bits = 11;
    std::unique_ptr<std::array<mover, 1U << mover_bits>> movers_; // under the lock
    std::atomic<seconds_t> hold_{0};
    std::atomic<std::uint64_t> holds_{0};
    // Of each port, the second above, and below how many held addresses' floods it had in that.
    std::array<std::atomic<std::uint64_t>, max_ports> held_floods_{};
};

class mac_table::probe {
public:
    probe() noexcept = default;
    explicit probe(key k) noexcept : word_{word_of(k)} {}
    [[nodiscard]] bool is(key k) const noexcept { return word_ == word_of(k); }

private:
    friend class mac_table;
    probe(std::uint64_t word, bucket& first) noexcept : word_{word}, first_{&first} {}

    std::uint64_t word_;
    bucket* first_;
};

class mac_table::answer {
public:
    answer() noexcept = default;
    // Answers alike in these bits name the same port, if they are recent.
    static constexpr unsigned identity_bits = seen_shift;
    [[nodiscard]] std::uint64_t identity() const noexcept
    {
        return value_ & ((std::uint64_t{1} << identity_bits) - 1);
    }

private:
    friend class mac_table;
    explicit answer(std::uint64_t value) noexcept : value_{value} {}
    std::uint64_t value_;
};

class mac_table::session {
public:
    session(mac_table& table, port_index port, seconds_t now) noexcept
        : table_{table}, fresh_{table.make_value(port, false, now)}, horizon_{table.horizon(now)}
    {}
    // Before anything else is done with a probe.
    void prepare(probe& at) const noexcept
    {
        at.first_ = &table_.first_bucket(at.word_);
        __builtin_prefetch(at.first_);
    }
    learned learn(const probe& at) noexcept
    {
        const std::size_t way = at.first_->find(at.word_);
        if (way < bucket::ways && at.first_->values[way].load(std::memory_order_acquire) == fresh_)
            [[likely]] {
            return learned::known;
        }
        return learn_anew(at);
    }
    [[nodiscard]] answer lookup(const probe& at) const noexcept { return table_.look_up(at); }
    // Whether a learned entry has not aged out; a static one is told by port() alone.
    [[nodiscard]] bool recent(answer a) const noexcept { return a.value_ >= horizon_; }
    // no_port: unknown, stale or too old.
    [[nodiscard]] port_index port(answer a) const noexcept
    {
        return table_.port_of_live(a, horizon_);
    }

private:
    [[nodiscard]] learned learn_anew(const probe& at) noexcept;

    mac_table& table_;
    std::uint64_t fresh_;
    std::uint64_t horizon_;
    // A burst of made-up addresses takes the lock for the first that finds no room, not for all.
    bool full_{false};
    bool at_limit_{false}; // likewise
};

inline mac_table::learned mac_table::learn(key k, port_index port, seconds_t now) noexcept
{
    return session{*this, port, now}.learn(probe_of(k));
}

inline port_index mac_table::lookup(key k, seconds_t now) const noexcept
{
    return port_of_live(look_up(probe_of(k)), horizon(now));
}

// From the top bit down: first bucket, second bucket.
inline std::uint64_t mac_table::hash(std::uint64_t word) const noexcept
{
    // Two multiplications: after one alone, addresses in a row, which is what guests have, would
    // fall into few buckets with one multiplier of some hundred.
    const std::uint64_t product = (word ^ seed_) * multiplier_;
    return (product ^ product >> 32) * other_multiplier_;
}

inline mac_table::bucket& mac_table::first_bucket(std::uint64_t word) const noexcept
{
    return buckets_[hash(word) >> shift_];
}

inline mac_table::probe mac_table::probe_of(key k) const noexcept
{
    const std::uint64_t word = word_of(k);
    return {word, first_bucket(word)};
}

// All four at once and without branches: which way it is cannot be predicted. x86 loads the words
// of an aligned vector whole, and what the answer is worth is checked by atomic loads.
__attribute__((no_sanitize("thread"))) inline std::size_t
mac_table::bucket::find(std::uint64_t word) const noexcept
{
    static_assert(ways == 4);
    const auto* const pairs = reinterpret_cast<const __m128i*>(keys.data());
    const __m128i wanted = _mm_set1_epi64x(static_cast<long long>(word));
    const __m128i low = _mm_cmpeq_epi64(_mm_load_si128(pairs), wanted);
    const __m128i high = _mm_cmpeq_epi64(_mm_load_si128(pairs + 1), wanted);
    const int found = _mm_movemask_ps(_mm_castsi128_ps(_mm_packs_epi32(low, high)));
    return static_cast<std::size_t>(std::countr_zero(static_cast<unsigned>(found) | 1U << ways));
}

inline std::uint64_t mac_table::horizon(seconds_t now) const noexcept
{
    const seconds_t ageing = ageing_.load(std::memory_order_relaxed);
    return ageing == 0 || now <= ageing ? 0 : std::uint64_t{now - ageing} << seen_shift;
}

inline bool mac_table::live(std::uint64_t value, std::uint64_t horizon) const noexcept
{
    const std::uint16_t sequence =
        sequence_[to_index(port_of(value))].load(std::memory_order_relaxed);
    return (sequence_of(value) == sequence && value >= horizon) || is_static(value);
}

inline std::optional<std::uint64_t> mac_table::bucket::value_of(std::uint64_t word) const noexcept
{
    const std::size_t way = find(word);
    if (way < ways) [[likely]] {
        const std::uint64_t value = values[way].load(std::memory_order_acquire);
        if (keys[way].load(std::memory_order_relaxed) == word) [[likely]] {
            return value;
        }
    }
    return std::nullopt;
}

// An entry that left its first bucket meanwhile is in its second, which none leaves but for good.
inline mac_table::answer mac_table::look_up(const probe& at) const noexcept
{
    auto value = at.first_->value_of(at.word_);
    if (!value) [[unlikely]] {
        std::atomic_signal_fence(std::memory_order_acquire); // vectors are no atomics to compilers
        value = second_bucket(at).value_of(at.word_);
    }
    return answer{value ? *value : to_index(no_port)};
}

inline port_index mac_table::port_of_live(answer a, std::uint64_t horizon) const noexcept
{
    const port_index port = port_of(a.value_);
    return port != no_port && live(a.value_, horizon) ? port : no_port;
}

inline std::uint64_t mac_table::make_value(port_index port, bool is_static_entry,
                                           seconds_t now) const noexcept
{
    const std::uint64_t sequence = sequence_[to_index(port)].load(std::memory_order_relaxed);
    return to_index(port) | (sequence << sequence_shift) | (is_static_entry ? static_bit : 0) |
           (std::uint64_t{now} << seen_shift);
}

} // namespace strait::dataplane
