// SPDX-License-Identifier: BSD-3-Clause
// The learning table's slots, and who may write them when.
#include "dataplane/mac_table.hh"

#include <algorithm>
#include <bit>
#include <new>
#include <random>

#include <sys/mman.h>

namespace strait::dataplane {

namespace {

// A slot's key: `empty`, `busy` while a writer fills it, or a key's word with this bit set.
constexpr std::uint64_t valid_bit = std::uint64_t{1} << 63;
constexpr std::uint64_t empty = 0;
constexpr std::uint64_t busy = 1;

// A slot's value, from bit 0: port, its sequence number, static, last seen.
constexpr unsigned sequence_shift = 16;
constexpr std::uint64_t static_bit = std::uint64_t{1} << 32;
constexpr unsigned seen_shift = 33;

constexpr port_index port_of(std::uint64_t value) noexcept
{
    return port_index{static_cast<std::uint16_t>(value)};
}
constexpr std::uint16_t sequence_of(std::uint64_t value) noexcept
{
    return static_cast<std::uint16_t>(value >> sequence_shift);
}
constexpr bool is_static(std::uint64_t value) noexcept
{
    return (value & static_bit) != 0;
}
constexpr seconds_t seen_of(std::uint64_t value) noexcept
{
    return static_cast<seconds_t>(value >> seen_shift);
}
std::uint64_t word_of(mac_table::key k) noexcept
{
    return k.word() | valid_bit;
}

std::size_t buckets_for(std::size_t entries, std::size_t ways) noexcept
{
    constexpr std::size_t least = 64;
    constexpr std::size_t most = std::size_t{1} << 24;
    return std::bit_ceil(std::clamp(entries, least, most) * 2 / ways);
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
    multiplier_ = (std::uint64_t{random()} << 32 | random()) | 1;
    seed_ = std::uint64_t{random()} << 32 | random();
}

mac_table::~mac_table() = default;

std::size_t mac_table::first_bucket(std::uint64_t word) const noexcept
{
    // Multiply-shift hashing; the fold brings the address's last bytes, which vary most, into play.
    const std::uint64_t x = word ^ seed_;
    return ((x ^ (x >> 31)) * multiplier_) >> shift_;
}

std::size_t mac_table::second_bucket(std::uint64_t word) const noexcept
{
    const std::uint64_t x = (word ^ seed_) * multiplier_;
    return (first_bucket(word) ^ ((x >> 8) | 1)) & bucket_mask_;
}

bool mac_table::live(std::uint64_t value, seconds_t now) const noexcept
{
    if (is_static(value)) {
        return true;
    }
    const auto port = to_index(port_of(value));
    if (port >= max_ports ||
        sequence_of(value) != sequence_[port].load(std::memory_order_relaxed)) {
        return false;
    }
    // Workers' clocks differ by a moment: an entry may have been seen "later" than now.
    const seconds_t ageing = ageing_.load(std::memory_order_relaxed);
    const seconds_t seen = seen_of(value);
    return ageing == 0 || seen >= now || now - seen <= ageing;
}

std::uint64_t mac_table::make_value(port_index port, bool is_static_entry,
                                    seconds_t now) const noexcept
{
    const std::uint64_t sequence = sequence_[to_index(port)].load(std::memory_order_relaxed);
    return to_index(port) | (sequence << sequence_shift) | (is_static_entry ? static_bit : 0) |
           (std::uint64_t{now} << seen_shift);
}

std::optional<mac_table::slot> mac_table::find(std::uint64_t word) const noexcept
{
    for (const std::size_t index : {first_bucket(word), second_bucket(word)}) {
        bucket& b = buckets_[index];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            if (b.keys[way].load(std::memory_order_acquire) == word) {
                return slot{&b.keys[way], &b.values[way]};
            }
        }
    }
    return std::nullopt;
}

void mac_table::prefetch(key k) const noexcept
{
    __builtin_prefetch(&buckets_[first_bucket(word_of(k))]);
}

port_index mac_table::lookup(key k, seconds_t now) const noexcept
{
    const std::uint64_t word = word_of(k);
    const auto s = find(word);
    if (!s) {
        return no_port;
    }
    const std::uint64_t value = s->value->load(std::memory_order_acquire);
    if (s->key->load(std::memory_order_relaxed) != word || !live(value, now)) {
        return no_port;
    }
    return port_of(value);
}

mac_table::learned mac_table::learn(key k, port_index port, seconds_t now) noexcept
{
    const std::uint64_t word = word_of(k);
    const std::uint64_t fresh = make_value(port, false, now);
    const auto s = find(word);
    if (!s) {
        return insert(word, fresh, now) ? learned::added : learned::table_full;
    }
    std::uint64_t value = s->value->load(std::memory_order_acquire);
    if (value == fresh) [[likely]] {
        return learned::known;
    }
    if (is_static(value)) {
        return learned::held_by_static;
    }
    const bool was_live = live(value, now);
    const bool moved = was_live && port_of(value) != port;
    // Should another writer have taken the slot meanwhile, this fails, and the next packet learns.
    s->value->compare_exchange_strong(value, fresh, std::memory_order_release,
                                      std::memory_order_relaxed);
    if (moved) {
        return learned::moved;
    }
    return was_live ? learned::known : learned::added;
}

bool mac_table::insert(std::uint64_t word, std::uint64_t value, seconds_t now) noexcept
{
    for (const std::size_t index : {first_bucket(word), second_bucket(word)}) {
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
            b.keys[way].store(word, std::memory_order_release);
            return true;
        }
    }
    return false;
}

void mac_table::clear(const slot& s, std::uint64_t word) noexcept
{
    // Fails when another writer took the slot meanwhile: then there is nothing left to clear.
    s.key->compare_exchange_strong(word, empty, std::memory_order_acq_rel);
}

mac_table::added mac_table::add_static(key k, port_index port, seconds_t now) noexcept
{
    const bool had = remove(k, now);
    if (!insert(word_of(k), make_value(port, true, now), now)) {
        return added::table_full;
    }
    // A worker may have learned the address between the two steps: one more look.
    const std::uint64_t word = word_of(k);
    for (const std::size_t index : {first_bucket(word), second_bucket(word)}) {
        bucket& b = buckets_[index];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            if (b.keys[way].load(std::memory_order_acquire) == word &&
                !is_static(b.values[way].load(std::memory_order_acquire))) {
                clear({&b.keys[way], &b.values[way]}, word);
            }
        }
    }
    return had ? added::replaced : added::added;
}

bool mac_table::remove(key k, seconds_t now) noexcept
{
    const std::uint64_t word = word_of(k);
    bool had = false;
    // Two workers that learn an address at once may have left two entries.
    while (const auto s = find(word)) {
        had = had || live(s->value->load(std::memory_order_acquire), now);
        clear(*s, word);
    }
    return had;
}

void mac_table::flush_port(port_index port) noexcept
{
    sequence_[to_index(port)].fetch_add(1, std::memory_order_relaxed);
}

void mac_table::remove_port(port_index port) noexcept
{
    flush_port(port);
    for (std::size_t i = 0; i <= bucket_mask_; ++i) {
        bucket& b = buckets_[i];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            const std::uint64_t word = b.keys[way].load(std::memory_order_acquire);
            const std::uint64_t value = b.values[way].load(std::memory_order_acquire);
            if ((word & valid_bit) != 0 && port_of(value) == port) {
                clear({&b.keys[way], &b.values[way]}, word);
            }
        }
    }
}

void mac_table::flush_all() noexcept
{
    for (auto& sequence : sequence_) {
        sequence.fetch_add(1, std::memory_order_relaxed);
    }
}

void mac_table::flush_vlan(vlan_id vlan) noexcept
{
    for (std::size_t i = 0; i <= bucket_mask_; ++i) {
        bucket& b = buckets_[i];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            const std::uint64_t word = b.keys[way].load(std::memory_order_acquire);
            const std::uint64_t value = b.values[way].load(std::memory_order_acquire);
            const auto vid = static_cast<std::uint16_t>((word >> 48) & 0xfff);
            if ((word & valid_bit) != 0 && vid == vlan.value() && !is_static(value)) {
                clear({&b.keys[way], &b.values[way]}, word);
            }
        }
    }
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
    return (bucket_mask_ + 1) * bucket::ways / 2;
}

} // namespace strait::dataplane
