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

namespace strait::flow {

namespace {

constexpr std::size_t smallest_entry = 128; // what the buckets are counted by

} // namespace

cache::cache(std::size_t bytes, std::optional<std::uint64_t> seed)
    : bytes_{(bytes + chunk - 1) / chunk * chunk}, round_cycles_{rte_get_tsc_hz() / 10}
{
    static_assert(sizeof(entry) == 24 && alignof(entry) == 8);
    std::random_device random;
    std::mt19937_64 foreseen{seed.value_or(0)};
    std::ranges::generate(
        seeds_, [&] { return seed ? foreseen() : random() | std::uint64_t{random()} << 32; });
    // Twice as many ways as entries: nearly all find a place.
    const std::size_t buckets = std::bit_ceil(bytes_ / smallest_entry * 2 / bucket::ways);
    bucket_mask_ = buckets - 1;
    const std::size_t entries = std::bit_ceil(bytes_ / unit);
    carried_mask_ = entries - 1;
    all_ = std::make_unique<dataplane::reserved_memory>(bytes_ + buckets * sizeof(bucket) +
                                                        2 * entries * sizeof(std::uint32_t));
    memory_ = all_->data();
    buckets_ = reinterpret_cast<bucket*>(memory_ + bytes_);
    carried_ = reinterpret_cast<std::uint32_t*>(buckets_ + buckets);
    serials_ = carried_ + entries;
    chunks_ = std::make_unique<chunk_state[]>(bytes_ / chunk + 1);
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

// Of the first one the first unit stands for "none".
std::size_t cache::begin_of(std::size_t number) noexcept
{
    return (number - 1) * chunk + (number == 1 ? unit : 0);
}

// Gives a chunk, which is nobody's, to a class.
void cache::cut(std::size_t number, unsigned units) noexcept
{
    chunk_state& c = chunks_[number];
    c = {};
    c.units = static_cast<std::uint8_t>(units);
    const std::size_t size = units * unit;
    const std::size_t first = (number - 1) * (chunk / unit);
    for (std::size_t u = first; u < first + chunk / unit; ++u) {
        ++serials_[u];
    }
    for (std::size_t at = begin_of(number); at + size <= number * chunk; at += size) {
        auto* const e = new (memory_ + at) entry{};
        e->units = static_cast<std::uint8_t>(units);
        e->version = c.free;
        c.free = unit_of(*e);
    }
    ++classes_[units].chunks;
    prepend(number);
}

void cache::prepend(std::size_t number) noexcept
{
    chunk_state& c = chunks_[number];
    size_class_state& of = classes_[c.units];
    c.previous = no_chunk;
    c.next = of.first_chunk;
    (of.first_chunk == no_chunk ? of.last_chunk : chunks_[of.first_chunk].previous) =
        static_cast<std::uint32_t>(number);
    of.first_chunk = static_cast<std::uint32_t>(number);
}

void cache::append(std::size_t number) noexcept
{
    chunk_state& c = chunks_[number];
    size_class_state& of = classes_[c.units];
    c.next = no_chunk;
    c.previous = of.last_chunk;
    (of.last_chunk == no_chunk ? of.first_chunk : chunks_[of.last_chunk].next) =
        static_cast<std::uint32_t>(number);
    of.last_chunk = static_cast<std::uint32_t>(number);
}

void cache::take_out(std::size_t number) noexcept
{
    const chunk_state& c = chunks_[number];
    size_class_state& of = classes_[c.units];
    (c.previous == no_chunk ? of.first_chunk : chunks_[c.previous].next) = c.next;
    (c.next == no_chunk ? of.last_chunk : chunks_[c.next].previous) = c.previous;
    if (of.hand_chunk == number) {
        of.hand_chunk = c.next;
        of.hand = 0;
    }
}

cache::entry* cache::allocate(unsigned units) noexcept
{
    const size_class_state& c = classes_[units];
    const auto has_free = [&] {
        return c.first_chunk != no_chunk && chunks_[c.first_chunk].free != no_unit;
    };
    if (!has_free() && used_ < bytes_) {
        used_ += chunk;
        cut(used_ / chunk, units);
        counters.bytes.set(used_);
    }
    if (!has_free()) {
        return evict(units);
    }
    const std::uint32_t number = c.first_chunk;
    chunk_state& from = chunks_[number];
    entry* const e = at(from.free);
    from.free = e->version;
    ++from.in_use;
    if (from.free == no_unit && number != c.last_chunk) {
        take_out(number);
        append(number);
    }
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
    if (c.chunks == 0) {
        want_chunk(units, 0, true); // all memory is other sizes'
        return nullptr;
    }
    const std::size_t size = units * unit;
    seconds_t used = 0;
    entry* found = nullptr;
    for (int i = 0; i < looks && found == nullptr; ++i) {
        if (c.hand_chunk == no_chunk) {
            c.hand_chunk = c.first_chunk;
            c.hand = 0;
        }
        const std::size_t number = c.hand_chunk;
        const std::size_t offset = begin_of(number) + c.hand;
        if (offset + size > number * chunk) {
            c.hand_chunk = chunks_[number].next;
            c.hand = 0;
            ++c.passed;
            continue;
        }
        c.hand += static_cast<std::uint32_t>(size);
        prepare_to_evict(offset, size);
        auto& e = *reinterpret_cast<entry*>(memory_ + offset);
        used = e.last_used;
        if (e.is == entry::state::live && !e.listed) {
            unlink(e);
            counters.evictions.add(1);
            counters.entries.add(~std::uint64_t{0});
            found = &e;
        }
    }
    // All of them were looked at: another size may have some that are missed less.
    if (c.passed >= c.chunks) {
        c.passed = 0;
        want_chunk(units, used, false);
    }
    return found;
}

// Of some of its entries.
seconds_t cache::newest_use(std::size_t number) const noexcept
{
    constexpr std::size_t looks = 8;
    const std::size_t size = chunks_[number].units * unit;
    const std::size_t begin = begin_of(number);
    const std::size_t entries = (number * chunk - begin) / size;
    const std::size_t step = std::max<std::size_t>(entries / looks, 1);
    seconds_t newest = 0;
    for (std::size_t i = 0; i < entries; i += step) {
        const auto& e = *reinterpret_cast<const entry*>(memory_ + begin + i * size);
        newest = e.is == entry::state::none ? newest : std::max(newest, e.last_used);
    }
    return newest;
}

// Looks at some chunks of other classes, from where it ended last, for one to take: of those the
// one that was used least lately, if that was before `used_before` or if it may be `any`.
void cache::want_chunk(unsigned units, seconds_t used_before, bool any) noexcept
{
    constexpr int looks = 4;
    if (leaving_ != no_chunk) {
        return; // one at a time
    }
    const auto count = static_cast<std::uint32_t>(used_ / chunk);
    std::uint32_t best = no_chunk;
    seconds_t best_use = 0;
    for (int i = 0; i < looks; ++i) {
        take_hand_ = take_hand_ >= count ? 1 : take_hand_ + 1;
        if (chunks_[take_hand_].units == units) {
            continue;
        }
        const seconds_t use = newest_use(take_hand_);
        if (best == no_chunk || use < best_use) {
            best = take_hand_;
            best_use = use;
        }
    }
    if (best == no_chunk || (!any && best_use >= used_before)) {
        return;
    }
    take_out(best);
    --classes_[chunks_[best].units].chunks;
    chunks_[best].free = no_unit;
    leaving_ = best;
    leaving_for_ = units;
    leaving_at_ = begin_of(best);
}

// Some of its entries go; it is the other class's when all have gone and brought home what they
// carried. Not during a burst, whose packets may be about to look at entries there.
void cache::empty_leaving_chunk() noexcept
{
    constexpr int looks = 16;
    const std::size_t size = chunks_[leaving_].units * unit;
    const std::size_t end = leaving_ * chunk;
    for (int i = 0; i < looks && leaving_at_ + size <= end; ++i, leaving_at_ += size) {
        auto& e = *reinterpret_cast<entry*>(memory_ + leaving_at_);
        if (e.is == entry::state::live) {
            remove(e);
            counters.evictions.add(1);
        }
    }
    if (leaving_at_ + size > end && chunks_[leaving_].in_use == 0) {
        cut(std::exchange(leaving_, no_chunk), leaving_for_);
    }
}

// Of one that nothing leads to.
void cache::free(entry& e) noexcept
{
    const auto number = static_cast<std::uint32_t>(unit_of(e) / (chunk / unit) + 1);
    chunk_state& c = chunks_[number];
    e.is = entry::state::none;
    --c.in_use;
    if (number == leaving_) {
        return;
    }
    e.version = c.free;
    c.free = unit_of(e);
    if (e.version == no_unit && number != classes_[c.units].first_chunk) {
        take_out(number);
        prepend(number);
    }
}

// Of a live one. What it carried goes home with its list.
void cache::remove(entry& e) noexcept
{
    unlink(e);
    counters.entries.add(~std::uint64_t{0});
    if (e.listed) {
        e.is = entry::state::removed;
    } else {
        free(e);
    }
}

cache::entry* cache::put(const question& q, std::size_t words, const translation& made,
                         std::uint32_t version, entry* old) noexcept
{
    const bool tested = !made.tests.empty();
    const std::size_t size =
        sizeof(entry) + sizeof(std::uint64_t) * (words + (tested ? entry::test_words : 0) +
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
    ++serials_[unit_of(*e)];
    e->version = version;
    e->program_words = static_cast<std::uint16_t>(made.program_words);
    e->key_count = static_cast<std::uint8_t>(words);
    e->rule_count = static_cast<std::uint8_t>(made.rule_count);
    e->tested = tested;
    e->reason = made.reason;
    std::uint64_t* to = std::copy_n(q.words, words, e->key());
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
        free(*e);
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

void cache::answer(look& l) noexcept
{
    std::array<std::uint64_t, most_words> words;
    question q{.hash = 0, .words = words.data(), .likely = nullptr};
    ask(l.packet, l.layout, l.pass, l.more, q);
    const entry* const found = find(q, l.layout.count + l.more.size(), l.facts);
    if (found != nullptr) {
        l.answer = {found->version, found->last_used};
    }
    look_.store(nullptr, std::memory_order_relaxed);
    l.answered.store(true, std::memory_order_release);
}

void cache::bring_home(std::uint64_t tsc, bool settle) noexcept
{
    if (look* const l = look_.load(std::memory_order_acquire)) [[unlikely]] {
        answer(*l);
    }
    constexpr std::size_t usual = 8;
    constexpr std::uint64_t ahead = usual;
    if (leaving_ != no_chunk) {
        empty_leaving_chunk();
    }
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
            free(e);
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
