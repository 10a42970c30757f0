// SPDX-License-Identifier: BSD-3-Clause
// The learning table's slots, and who may write them when.
#include "dataplane/mac_table.hh"

#include <algorithm>
#include <bit>
#include <new>
#include <random>
#include <utility>

#include <sys/mman.h>

namespace strait::dataplane {

namespace {

constexpr std::uint64_t valid_bit = std::uint64_t{1} << 63;
constexpr std::uint64_t empty = 0;
constexpr std::uint64_t busy = 1;

constexpr std::size_t slots_an_entry = 4;

std::size_t buckets_for(std::size_t entries, std::size_t ways) noexcept
{
    constexpr std::size_t least = 64;
    constexpr std::size_t most = std::size_t{1} << 24;
    return std::bit_ceil(std::clamp(entries, least, most) * slots_an_entry / ways);
}

} // namespace

void mac_table::free_buckets::operator()(bucket* b) const noexcept
{
    munmap(b, bytes);
}

mac_table::mac_table(std::size_t entries)
{
    const std::size_t buckets = buckets_for(entries, bucket::ways);
    const std::size_t bytes = buckets * sizeof(bucket);
    // Pages come zeroed, which is `empty`, and only when first used.
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        throw std::bad_alloc{};
    }
    buckets_ = {static_cast<bucket*>(memory), free_buckets{bytes}};
    bucket_mask_ = buckets - 1;
    shift_ = 64U - static_cast<unsigned>(std::countr_zero(buckets));
    std::random_device random;
    const auto word = [&random] { return std::uint64_t{random()} << 32 | random(); };
    seed_ = word();
    multiplier_ = word() | 1;
    other_multiplier_ = word() | 1;
}

mac_table::~mac_table() = default;

std::size_t mac_table::second_bucket(const probe& at) const noexcept
{
    const std::size_t second = (at.hash >> (2 * shift_ - 64)) & bucket_mask_;
    return second == first_bucket(at) ? second ^ 1 : second;
}

std::size_t mac_table::taken(const bucket& b, seconds_t now) const noexcept
{
    std::size_t n = 0;
    for (std::size_t way = 0; way < bucket::ways; ++way) {
        const std::uint64_t word = b.keys[way].load(std::memory_order_acquire);
        n += word == busy ||
             (word != empty && live(b.values[way].load(std::memory_order_acquire), now));
    }
    return n;
}

// What learn() does when the entry is not as fresh as could be.
mac_table::learned mac_table::learn_anew(const probe& at, const slot& s, std::uint64_t value,
                                         std::uint64_t fresh, seconds_t now) noexcept
{
    if (s.key == nullptr) {
        const slot mine = insert(at, fresh, now);
        if (mine.key == nullptr) {
            return learned::table_full;
        }
        // Another worker may have put the address in at the same time, or control a static entry
        // that this one would hide. Each looks after it wrote, so that one of the two sees the
        // other; what gives way is learned again with the next packet.
        if (!is_only(at, mine)) [[unlikely]] {
            clear(mine, at.word);
        }
        return learned::added;
    }
    // The value may be that of another address, whose writer took the slot since it was found: it
    // must not get this one's port. The next packet learns.
    if (s.key->load(std::memory_order_relaxed) != at.word) [[unlikely]] {
        return learned::known;
    }
    if (is_static(value)) {
        return learned::held_by_static;
    }
    const bool was_live = live(value, now);
    const bool moved = was_live && port_of(value) != port_of(fresh);
    // Should another writer take the slot now, this fails.
    s.value->compare_exchange_strong(value, fresh, std::memory_order_release,
                                     std::memory_order_relaxed);
    if (moved) {
        return learned::moved;
    }
    return was_live ? learned::known : learned::added;
}

bool mac_table::is_only(const probe& at, const slot& s) const noexcept
{
    for (const std::size_t index : {first_bucket(at), second_bucket(at)}) {
        for (const auto& other : buckets_[index].keys) {
            if (&other != s.key && other.load(std::memory_order_seq_cst) == at.word) {
                return false;
            }
        }
    }
    return true;
}

mac_table::slot mac_table::insert(const probe& at, std::uint64_t value, seconds_t now) noexcept
{
    // The first bucket keeps lookups short. Its second half is left to addresses whose second
    // bucket is no better: were it its last place alone, in one full table of 65,536 in a hundred
    // an address would find both full.
    std::array<std::size_t, 2> order = {first_bucket(at), second_bucket(at)};
    const std::size_t in_first = taken(buckets_[order[0]], now);
    if (in_first >= bucket::ways / 2 && taken(buckets_[order[1]], now) < in_first) {
        std::swap(order[0], order[1]);
    }
    for (const std::size_t index : order) {
        bucket& b = buckets_[index];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            std::uint64_t old = b.keys[way].load(std::memory_order_acquire);
            if (old == busy) {
                continue;
            }
            if (old != empty && live(b.values[way].load(std::memory_order_acquire), now)) {
                continue;
            }
            if (!b.keys[way].compare_exchange_strong(old, busy, std::memory_order_acq_rel)) {
                continue;
            }
            b.values[way].store(value, std::memory_order_release);
            b.keys[way].store(at.word, std::memory_order_seq_cst); // see is_only()
            return {&b.keys[way], &b.values[way]};
        }
    }
    return {nullptr, nullptr};
}

void mac_table::clear(const slot& s, std::uint64_t word) noexcept
{
    // Fails when another writer took the slot meanwhile: then there is nothing left to clear.
    s.key->compare_exchange_strong(word, empty, std::memory_order_acq_rel);
}

mac_table::added mac_table::add_static(key k, port_index port, seconds_t now) noexcept
{
    const bool had = remove(k, now);
    const probe at = prepare(k);
    if (insert(at, make_value(port, true, now), now).key == nullptr) {
        return added::table_full;
    }
    // A worker may have learned the address between the two steps: one more look.
    for (const std::size_t index : {first_bucket(at), second_bucket(at)}) {
        bucket& b = buckets_[index];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            if (b.keys[way].load(std::memory_order_seq_cst) == at.word &&
                !is_static(b.values[way].load(std::memory_order_acquire))) {
                clear({&b.keys[way], &b.values[way]}, at.word);
            }
        }
    }
    return had ? added::replaced : added::added;
}

bool mac_table::remove(key k, seconds_t now) noexcept
{
    const probe at = prepare(k);
    bool had = false;
    // Two workers that learn an address at once may have left two entries.
    for (slot s = find(at); s.key != nullptr; s = find(at)) {
        had = had || live(s.value->load(std::memory_order_acquire), now);
        clear(s, at.word);
    }
    return had;
}

// Clears every entry of which `chosen(key's word, value)` is true.
template <typename Chosen>
void mac_table::sweep(const Chosen& chosen) noexcept
{
    for (std::size_t i = 0; i <= bucket_mask_; ++i) {
        bucket& b = buckets_[i];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            const std::uint64_t word = b.keys[way].load(std::memory_order_acquire);
            const std::uint64_t value = b.values[way].load(std::memory_order_acquire);
            if ((word & valid_bit) != 0 && chosen(word, value)) {
                clear({&b.keys[way], &b.values[way]}, word);
            }
        }
    }
}

void mac_table::flush_port(port_index port) noexcept
{
    auto& sequence = sequence_[to_index(port)];
    if (sequence.load(std::memory_order_relaxed) != last_sequence) [[likely]] {
        sequence.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    const auto learned_there = [port](std::uint64_t /*word*/, std::uint64_t value) {
        return port_of(value) == port && !is_static(value);
    };
    // The numbers come round: entries of the last round go, or they would live again. Once before,
    // so that none is seen; once after, for what workers learned meanwhile.
    sweep(learned_there);
    sequence.fetch_add(1, std::memory_order_relaxed);
    sweep(learned_there);
}

void mac_table::remove_port(port_index port) noexcept
{
    flush_port(port);
    sweep([port](std::uint64_t /*word*/, std::uint64_t value) { return port_of(value) == port; });
}

void mac_table::flush_all() noexcept
{
    const bool comes_round = std::any_of(sequence_.begin(), sequence_.end(), [](const auto& s) {
        return s.load(std::memory_order_relaxed) == last_sequence;
    });
    const auto sweep_learned = [this, comes_round] {
        if (comes_round) { // see flush_port(); one sweep serves all ports
            sweep([](std::uint64_t /*word*/, std::uint64_t value) { return !is_static(value); });
        }
    };
    sweep_learned();
    for (auto& sequence : sequence_) {
        sequence.fetch_add(1, std::memory_order_relaxed);
    }
    sweep_learned();
}

void mac_table::flush_vlan(vlan_id vlan) noexcept
{
    sweep([vlan](std::uint64_t word, std::uint64_t value) {
        return static_cast<std::uint16_t>((word >> 48) & 0xfff) == vlan.value() &&
               !is_static(value);
    });
}

void mac_table::set_ageing(seconds_t seconds) noexcept
{
    ageing_.store(seconds, std::memory_order_relaxed);
}

seconds_t mac_table::ageing() const noexcept
{
    return ageing_.load(std::memory_order_relaxed);
}

void mac_table::for_each(seconds_t now, const std::function<void(const mac_entry&)>& visit) const
{
    for (std::size_t i = 0; i <= bucket_mask_; ++i) {
        const bucket& b = buckets_[i];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            const std::uint64_t word = b.keys[way].load(std::memory_order_acquire);
            if ((word & valid_bit) == 0) {
                continue;
            }
            const std::uint64_t value = b.values[way].load(std::memory_order_acquire);
            if (b.keys[way].load(std::memory_order_relaxed) != word || !live(value, now)) {
                continue;
            }
            const seconds_t seen = seen_of(value);
            visit({.mac = mac_address{word & mac_address::mask},
                   .vlan = vlan_id{static_cast<std::uint16_t>((word >> 48) & 0xfff)},
                   .port = port_of(value),
                   .is_static = is_static(value),
                   .age = is_static(value) || seen > now ? 0 : now - seen});
        }
    }
}

std::size_t mac_table::size(seconds_t now) const
{
    std::size_t n = 0;
    for_each(now, [&n](const mac_entry& /*entry*/) { ++n; });
    return n;
}

std::size_t mac_table::capacity() const noexcept
{
    return (bucket_mask_ + 1) * bucket::ways / slots_an_entry;
}

} // namespace strait::dataplane
