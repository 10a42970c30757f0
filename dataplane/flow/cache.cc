// SPDX-License-Identifier: BSD-3-Clause
// Buckets, entries and their memory.
#include "dataplane/flow/cache.hh"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <random>
#include <utility>

#include <rte_cycles.h>
#include <sys/mman.h>

namespace strait::flow {

namespace {

std::byte* reserve(std::size_t bytes)
{
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        throw std::bad_alloc{};
    }
    // Packets of many flows miss in the TLB otherwise, three times each.
    (void)::madvise(at, bytes, MADV_HUGEPAGE);
    return static_cast<std::byte*>(at);
}

constexpr std::size_t smallest_entry = 128; // what the buckets are counted by

} // namespace

cache::cache(std::size_t bytes)
    : bytes_{(bytes + chunk - 1) / chunk * chunk}, round_cycles_{rte_get_tsc_hz() / 10}
{
    static_assert(sizeof(entry) == 24 && alignof(entry) == 8);
    std::random_device random;
    std::ranges::generate(seeds_, [&] { return random() | std::uint64_t{random()} << 32; });
    // Twice as many ways as entries: nearly all find a place.
    const std::size_t buckets = std::bit_ceil(bytes_ / smallest_entry * 2 / bucket::ways);
    bucket_mask_ = buckets - 1;
    const std::size_t entries = std::bit_ceil(bytes_ / unit);
    carried_mask_ = entries - 1;
    memory_ = reserve(bytes_ + buckets * sizeof(bucket) + entries * sizeof(std::uint32_t));
    buckets_ = reinterpret_cast<bucket*>(memory_ + bytes_);
    carried_ = reinterpret_cast<std::uint32_t*>(buckets_ + buckets);
    next_chunk_ = std::make_unique<std::uint32_t[]>(bytes_ / chunk);
    used_ = 0;
}

cache::~cache()
{
    ::munmap(memory_, bytes_ + (bucket_mask_ + 1) * sizeof(bucket) +
                          (carried_mask_ + 1) * sizeof(std::uint32_t));
}

cache::entry* cache::search(const question& q, std::size_t count,
                            const packet_facts& facts) const noexcept
{
    for (const bucket* const b : {&first_bucket(q.hash), &other_bucket(q.hash)}) {
        for (unsigned ways = b->matching(signature_of(q.hash)); ways != 0; ways &= ways - 1) {
            const std::uint32_t u = b->units[static_cast<std::size_t>(std::countr_zero(ways))];
            if (u != no_unit && fits(*at(u), q, count, facts)) {
                return at(u);
            }
        }
    }
    return nullptr;
}

bool cache::link(const entry& e, std::uint64_t hash) noexcept
{
    for (bucket* const b : {&first_bucket(hash), &other_bucket(hash)}) {
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            if (b->units[way] == no_unit) {
                b->units[way] = unit_of(e);
                b->signatures[way] = signature_of(hash);
                return true;
            }
        }
    }
    // The bucket is full: one that carried nothing lately makes way.
    bucket& b = first_bucket(hash);
    for (const std::uint32_t u : b.units) {
        entry& other = *at(u);
        if (!other.listed) {
            remove(other);
            counters.evictions.add(1);
            return link(e, hash);
        }
    }
    return false;
}

void cache::unlink(const entry& e) noexcept
{
    const std::uint32_t u = unit_of(e);
    const std::uint64_t hash = hash_of(e.key(), e.key_count);
    for (bucket* const b : {&first_bucket(hash), &other_bucket(hash)}) {
        const auto way = std::find(b->units.begin(), b->units.end(), u);
        if (way != b->units.end()) {
            *way = no_unit;
            b->signatures[static_cast<std::size_t>(way - b->units.begin())] = 0;
            return;
        }
    }
}

cache::entry* cache::allocate(unsigned units) noexcept
{
    size_class_state& c = classes_[units];
    if (c.free == no_unit && used_ < bytes_) {
        // A chunk for this size; of the first one the first unit stands for "none".
        const auto number = static_cast<std::uint32_t>(used_ / chunk);
        const std::size_t begin = used_ + (number == 0 ? unit : 0);
        const std::size_t size = units * unit;
        for (std::size_t offset = begin; offset + size <= used_ + chunk; offset += size) {
            auto* const e = new (memory_ + offset) entry{};
            e->units = static_cast<std::uint8_t>(units);
            put_on_free_list(*e);
        }
        next_chunk_[number] = c.first_chunk;
        c.first_chunk = number + 1;
        used_ += chunk;
        counters.bytes.set(used_);
    }
    if (c.free == no_unit) {
        return evict(units);
    }
    entry* const e = at(c.free);
    c.free = e->version;
    return e;
}

// Entries of `size` behind the one at `offset` will soon be looked at, and their buckets.
void cache::prepare_to_evict(std::size_t offset, std::size_t size) const noexcept
{
    constexpr std::size_t soon = 4;
    const std::size_t end = (offset / chunk + 1) * chunk;
    if (offset + (2 * soon + 1) * size > end) {
        return;
    }
    __builtin_prefetch(memory_ + offset + 2 * soon * size, 1);
    const auto& e = *reinterpret_cast<const entry*>(memory_ + offset + soon * size);
    if (e.is == entry::state::live && !e.listed) {
        __builtin_prefetch(&first_bucket(hash_of(e.key(), e.key_count)), 1);
    }
}

// Looks at some entries of the class, from where it ended last, for one that carried nothing
// lately.
cache::entry* cache::evict(unsigned units) noexcept
{
    constexpr int looks = 16;
    size_class_state& c = classes_[units];
    const std::size_t size = units * unit;
    for (int i = 0; i < looks; ++i) {
        if (c.hand_chunk == no_unit) {
            c.hand_chunk = c.first_chunk;
            c.hand = 0;
            if (c.hand_chunk == no_unit) {
                return nullptr; // all memory is other sizes'
            }
        }
        const std::size_t number = c.hand_chunk - 1;
        const std::size_t begin = number * chunk + (number == 0 ? unit : 0);
        const std::size_t offset = begin + c.hand;
        if (offset + size > (number + 1) * chunk) {
            c.hand_chunk = next_chunk_[number];
            c.hand = 0;
            continue;
        }
        c.hand += static_cast<std::uint32_t>(size);
        prepare_to_evict(offset, size);
        auto& e = *reinterpret_cast<entry*>(memory_ + offset);
        if (e.is == entry::state::live && !e.listed) {
            unlink(e);
            counters.evictions.add(1);
            counters.entries.add(~std::uint64_t{0});
            return &e;
        }
    }
    return nullptr;
}

void cache::put_on_free_list(entry& e) noexcept
{
    e.is = entry::state::none;
    e.version = classes_[e.units].free;
    classes_[e.units].free = unit_of(e);
}

// Of a live one. What it carried goes home with its list.
void cache::remove(entry& e) noexcept
{
    unlink(e);
    counters.entries.add(~std::uint64_t{0});
    if (e.listed) {
        e.is = entry::state::removed;
    } else {
        put_on_free_list(e);
    }
}

cache::entry* cache::put(const question& q, const key_layout& layout, const translation& made,
                         std::uint32_t version, entry* old) noexcept
{
    const bool tested = !made.tests.empty();
    const std::size_t size =
        sizeof(entry) + sizeof(std::uint64_t) * (layout.count + (tested ? entry::test_words : 0) +
                                                 made.program_words + made.rule_count);
    const std::size_t units = (size + unit - 1) / unit;
    constexpr std::size_t most_rules = 0xff;
    const bool storable = units <= size_classes && made.rule_count <= most_rules;
    const bool fits_old = old != nullptr && old->units == units && storable;
    entry* e = old;
    if (fits_old) {
        deliver(*e);
    } else {
        if (old != nullptr) {
            remove(*old);
        }
        e = storable ? allocate(static_cast<unsigned>(units)) : nullptr;
        if (e == nullptr) {
            counters.uncached.add(1);
            return nullptr;
        }
        ++fresh_;
        e->bytes = 0;
        e->packets = 0;
        e->last_used = 0;
        e->is = entry::state::live;
        e->listed = false;
    }
    e->version = version;
    e->program_words = static_cast<std::uint16_t>(made.program_words);
    e->key_count = static_cast<std::uint8_t>(layout.count);
    e->rule_count = static_cast<std::uint8_t>(made.rule_count);
    e->tested = tested;
    e->reason = made.reason;
    std::uint64_t* to = std::copy_n(q.words, layout.count, e->key());
    if (tested) {
        const auto kept = std::bit_cast<std::array<std::uint64_t, entry::test_words>>(made.tests);
        to = std::copy(kept.begin(), kept.end(), to);
    }
    to = std::copy_n(made.program.begin(), made.program_words, to);
    std::memcpy(to, made.rules.data(), made.rule_count * sizeof made.rules[0]);
    if (fits_old) {
        return e;
    }
    if (!link(*e, q.hash)) {
        put_on_free_list(*e);
        counters.uncached.add(1);
        return nullptr;
    }
    counters.entries.add(1);
    return e;
}

// A packet was counted for one that is not in the ring, or that has carried a lot.
void cache::list(entry& e) noexcept
{
    if (e.listed) {
        deliver(e);
        return;
    }
    e.listed = true;
    carried_[carried_last_++ & carried_mask_] = unit_of(e);
    pending_.store(pending_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void cache::deliver(entry& e) noexcept
{
    if (e.packets == 0) {
        return;
    }
    for (const rule* const r : e.rules()) {
        r->count(e.packets, e.bytes, std::chrono::seconds{e.last_used});
    }
    e.packets = 0;
    e.bytes = 0;
}

void cache::bring_home(std::uint64_t tsc, bool settle) noexcept
{
    constexpr std::size_t usual = 8;
    constexpr std::uint64_t ahead = usual;
    // Entries make way for new ones once nothing of theirs is left here: as fast as these come.
    const std::size_t most = usual + 2 * std::exchange(fresh_, 0);
    for (std::size_t i = 0; i < most && carried_first_ != round_end_; ++i) {
        // Neither an entry nor its rules are where this worker looked last.
        if (carried_last_ - carried_first_ > ahead) {
            __builtin_prefetch(at(carried_[(carried_first_ + ahead) & carried_mask_]));
            const entry& soon = *at(carried_[(carried_first_ + ahead / 2) & carried_mask_]);
            if (soon.rule_count > 0) {
                soon.rules().front()->prefetch_counters();
            }
        }
        entry& e = *at(carried_[carried_first_++ & carried_mask_]);
        e.listed = false;
        deliver(e);
        if (e.is == entry::state::removed) {
            put_on_free_list(e);
        }
        pending_.store(pending_.load(std::memory_order_relaxed) - 1, std::memory_order_release);
    }
    if (carried_first_ == round_end_ && (settle || tsc >= next_round_)) {
        next_round_ = tsc + round_cycles_;
        round_end_ = carried_last_;
        rounds_.store(rounds_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
}

} // namespace strait::flow
