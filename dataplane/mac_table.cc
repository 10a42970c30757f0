// SPDX-License-Identifier: BSD-3-Clause
// The learning table's slots, and who may write them when.
#include "dataplane/mac_table.hh"

#include <algorithm>
#include <bit>
#include <new>
#include <random>
#include <span>
#include <utility>

#include <sys/mman.h>

namespace strait::dataplane {

namespace {

constexpr std::uint64_t empty = 0;

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
    movers_ = std::make_unique<std::array<mover, 1U << mover_bits>>();
}

mac_table::~mac_table() = default;

mac_table::bucket& mac_table::second_bucket(const probe& at) const noexcept
{
    const std::uint64_t hashed = hash(at.word_);
    const std::size_t second = (hashed >> (2 * shift_ - 64)) & bucket_mask_;
    return buckets_[second == hashed >> shift_ ? second ^ 1 : second];
}

mac_table::slot mac_table::find(const probe& at) const noexcept
{
    for (bucket* const b : {at.first_, &second_bucket(at)}) {
        const std::size_t way = b->find(at.word_);
        if (way < bucket::ways) {
            return {&b->keys[way], &b->values[way]};
        }
    }
    return {nullptr, nullptr};
}

// What learn() does when the entry is not as fresh as could be.
mac_table::learned mac_table::session::learn_anew(const probe& at) noexcept
{
    const port_index port = port_of(fresh_);
    const auto is_held = [&](std::uint64_t value) noexcept {
        return table_.is_held(value, seen_of(fresh_)) && table_.live(value, horizon_);
    };
    const auto where_held = [&](std::uint64_t value) noexcept {
        return port_of(value) == port ? learned::held_here : learned::held_elsewhere;
    };
    const slot before = table_.find(at);
    bool own = false;
    if (before.key != nullptr) {
        const std::uint64_t value = before.value->load(std::memory_order_relaxed);
        if (value == fresh_) {
            return learned::known; // in its second bucket
        }
        if (is_static(value)) {
            return learned::held_by_static;
        }
        if (is_held(value)) [[unlikely]] {
            return where_held(value);
        }
        own = port_of(value) == port && table_.is_counted(value);
    } else if (full_) {
        return learned::table_full;
    }
    const auto refuses_one_more = [&]() noexcept {
        at_limit_ = at_limit_ || table_.at_limit(port);
        if (at_limit_) {
            table_.refused_.store(true, std::memory_order_relaxed);
        }
        return at_limit_;
    };
    if (!own && refuses_one_more()) {
        return learned::over_limit;
    }
    std::unique_lock lock{table_.writing_, std::try_to_lock};
    // What is known stays so in a flood of new addresses: a little patience gets the lock.
    for (int tries = 16; before.key != nullptr && !lock && tries > 0; --tries) {
        __builtin_ia32_pause();
        (void)lock.try_lock();
    }
    if (!lock) {
        return learned::known;
    }
    // Once more: another writer may have been here.
    const slot mine = table_.find(at);
    if (!table_.is_counted(fresh_)) {
        return learned::known; // the port was flushed since this session began: nothing is learned
    }
    auto& counted = table_.counts_[to_index(port)];
    if (mine.key == nullptr) {
        if (refuses_one_more()) {
            return learned::over_limit;
        }
        const slot room = table_.make_room(at, horizon_);
        if (room.key == nullptr) {
            full_ = table_.walks_ == 0;
            return full_ ? learned::table_full : learned::known;
        }
        write(room, at.word_, fresh_);
        counted.fetch_add(1, std::memory_order_relaxed);
        return learned::added;
    }
    const std::uint64_t value = mine.value->load(std::memory_order_relaxed);
    if (is_static(value)) {
        return learned::held_by_static;
    }
    if (is_held(value)) {
        return where_held(value);
    }
    if (port_of(value) != port || !table_.is_counted(value)) {
        if (refuses_one_more()) {
            return learned::over_limit;
        }
        if (const auto home = port_of(value) != port && table_.live(value, horizon_)
                                  ? table_.flaps(at.word_, value, seen_of(fresh_))
                                  : std::nullopt) {
            const seconds_t until = seen_of(fresh_) + table_.hold();
            table_.uncount(value);
            table_.counts_[to_index(*home)].fetch_add(1, std::memory_order_relaxed);
            mine.value->store(table_.make_value(*home, false, until) | held_bit,
                              std::memory_order_release);
            table_.holds_.fetch_add(1, std::memory_order_relaxed);
            table_.note_move(at.word_, *home == port ? port_of(value) : port, *home, true);
            return *home == port ? learned::held_here : learned::held_elsewhere;
        }
        table_.uncount(value);
        counted.fetch_add(1, std::memory_order_relaxed);
    }
    mine.value->store(fresh_, std::memory_order_release);
    if (!table_.live(value, horizon_)) {
        return learned::added;
    }
    if (port_of(value) == port) {
        return learned::known;
    }
    table_.note_move(at.word_, port_of(value), port);
    return learned::moved;
}

// Under the lock, like note_move().
std::optional<port_index> mac_table::flaps(std::uint64_t word, std::uint64_t from,
                                           seconds_t now) noexcept
{
    if (hold() == 0) {
        return std::nullopt;
    }
    mover& m = (*movers_)[hash(word) >> (64U - mover_bits)];
    // A port that was flushed since, or removed, is no home any more.
    if (m.word != word || now - m.since >= flap_window ||
        m.sequence != sequence_[to_index(m.home)].load(std::memory_order_relaxed)) {
        m = {word, now, port_of(from), sequence_of(from), 0};
    }
    if (++m.times < flaps_to_hold) {
        return std::nullopt;
    }
    m.word = empty;
    return m.home;
}

void mac_table::set_hold(seconds_t seconds) noexcept
{
    hold_.store(seconds, std::memory_order_relaxed);
}

seconds_t mac_table::hold() const noexcept
{
    return hold_.load(std::memory_order_relaxed);
}

std::uint64_t mac_table::holds() const noexcept
{
    return holds_.load(std::memory_order_relaxed);
}

bool mac_table::may_flood_held(port_index port, seconds_t now) noexcept
{
    auto& floods = held_floods_[to_index(port)];
    std::uint64_t had = floods.load(std::memory_order_relaxed);
    for (;;) {
        const std::uint64_t begun = std::uint64_t{now} << 32U;
        const std::uint64_t next = (had >> 32U == now ? had : begun) + 1;
        if ((next & 0xffff'ffff) > held_floods) {
            return false;
        }
        if (floods.compare_exchange_weak(had, next, std::memory_order_relaxed)) {
            return true;
        }
    }
}

bool mac_table::is_held_elsewhere(key k, port_index port, seconds_t now) const noexcept
{
    const slot s = find(probe_of(k));
    if (s.key == nullptr) {
        return false;
    }
    const std::uint64_t value = s.value->load(std::memory_order_acquire);
    return !is_static(value) && port_of(value) != port && is_held(value, now) &&
           live(value, horizon(now));
}

void mac_table::note_move(std::uint64_t word, port_index from, port_index to, bool held) noexcept
{
    const mac_address mac{word & mac_address::mask};
    const vlan_id vlan{static_cast<std::uint16_t>((word >> 48) & 0xfff)};
    ++moves_.count;
    for (mac_move& m : std::span{moves_.first}.first(moves_.size)) {
        if (m.mac == mac && m.vlan == vlan) {
            m = {mac, vlan, from, to, m.times + 1, m.held || held};
            return;
        }
    }
    if (moves_.size < most_moves) {
        moves_.first[moves_.size++] = {mac, vlan, from, to, 1, held};
    }
}

mac_table::moves mac_table::take_moves() noexcept
{
    const std::scoped_lock lock{writing_};
    return std::exchange(moves_, {});
}

void mac_table::write(const slot& s, std::uint64_t word, std::uint64_t value) noexcept
{
    s.key->store(empty, std::memory_order_release); // not before the copy of what was here
    s.value->store(value, std::memory_order_release);
    s.key->store(word, std::memory_order_release);
}

bool mac_table::is_counted(std::uint64_t value) const noexcept
{
    return !is_static(value) && sequence_of(value) == sequence_[to_index(port_of(value))].load(
                                                          std::memory_order_relaxed);
}

bool mac_table::at_limit(port_index port) const noexcept
{
    const std::uint32_t limit = limits_[to_index(port)].load(std::memory_order_relaxed);
    return limit != 0 && counts_[to_index(port)].load(std::memory_order_relaxed) >= limit;
}

void mac_table::uncount(std::uint64_t value) noexcept
{
    if (is_counted(value)) {
        counts_[to_index(port_of(value))].fetch_sub(1, std::memory_order_relaxed);
    }
}

// An empty slot or a dead entry's, for who writes to it.
mac_table::slot mac_table::free_slot(bucket& b, std::uint64_t horizon) noexcept
{
    for (std::size_t way = 0; way < bucket::ways; ++way) {
        if (b.keys[way].load(std::memory_order_relaxed) == empty) {
            return {&b.keys[way], &b.values[way]};
        }
        const std::uint64_t value = b.values[way].load(std::memory_order_relaxed);
        if (!live(value, horizon)) {
            uncount(value);
            return {&b.keys[way], &b.values[way]};
        }
    }
    return {nullptr, nullptr};
}

// A slot that `at` may have: of its first bucket while there is one, for that keeps lookups short.
mac_table::slot mac_table::make_room(const probe& at, std::uint64_t horizon) noexcept
{
    const std::array<bucket*, 2> candidates = {at.first_, &second_bucket(at)};
    for (bucket* const b : candidates) {
        const slot s = free_slot(*b, horizon);
        if (s.key != nullptr) {
            return s;
        }
    }
    if (walks_ > 0) {
        return {nullptr, nullptr};
    }
    for (bucket* const b : candidates) {
        const slot s = displace(*b, horizon);
        if (s.key != nullptr) {
            return s;
        }
    }
    return {nullptr, nullptr};
}

// Copies an entry whose first bucket this is to its second, and gives the slot it had.
mac_table::slot mac_table::displace(bucket& b, std::uint64_t horizon) noexcept
{
    for (std::size_t way = 0; way < bucket::ways; ++way) {
        const probe resident{b.keys[way].load(std::memory_order_relaxed), b};
        bucket& second = second_bucket(resident);
        if (&second == &b) {
            continue; // there may be room by now, but readers do not look here twice
        }
        const slot to = free_slot(second, horizon);
        if (to.key != nullptr) {
            write(to, resident.word_, b.values[way].load(std::memory_order_relaxed));
            return {&b.keys[way], &b.values[way]};
        }
    }
    return {nullptr, nullptr};
}

// A learned entry's slot that `at` may have.
mac_table::slot mac_table::learned_slot(const probe& at) const noexcept
{
    for (bucket* const b : {at.first_, &second_bucket(at)}) {
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            if (!is_static(b->values[way].load(std::memory_order_relaxed))) {
                return {&b->keys[way], &b->values[way]};
            }
        }
    }
    return {nullptr, nullptr};
}

mac_table::added mac_table::add_static(key k, port_index port, seconds_t now) noexcept
{
    const probe at = probe_of(k);
    const std::uint64_t value = make_value(port, true, now);
    const std::uint64_t oldest = horizon(now);
    const std::scoped_lock lock{writing_};
    const slot s = find(at);
    if (s.key != nullptr) {
        const std::uint64_t old = s.value->load(std::memory_order_relaxed);
        const bool had = live(old, oldest);
        uncount(old);
        s.value->store(value, std::memory_order_release);
        return had ? added::replaced : added::added;
    }
    slot room = make_room(at, oldest);
    if (room.key == nullptr) {
        room = learned_slot(at);
        if (room.key != nullptr) {
            uncount(room.value->load(std::memory_order_relaxed));
        }
    }
    if (room.key == nullptr) {
        return added::table_full;
    }
    write(room, at.word_, value);
    return added::added;
}

bool mac_table::remove(key k, seconds_t now) noexcept
{
    const probe at = probe_of(k);
    const std::scoped_lock lock{writing_};
    const slot s = find(at);
    if (s.key == nullptr) {
        return false;
    }
    const std::uint64_t value = s.value->load(std::memory_order_relaxed);
    uncount(value);
    s.key->store(empty, std::memory_order_release);
    return live(value, horizon(now));
}

// A walk of the whole table, which no entry moves under.
class mac_table::walk {
public:
    explicit walk(const mac_table& table) : table_{table} { count(1); }
    ~walk() { count(-1); }
    walk(const walk&) = delete;
    walk& operator=(const walk&) = delete;
    walk(walk&&) = delete;
    walk& operator=(walk&&) = delete;

private:
    void count(int change)
    {
        const std::scoped_lock lock{table_.writing_};
        table_.walks_ += static_cast<unsigned>(change);
    }

    const mac_table& table_;
};

// Clears every entry of which `chosen(key's word, value)` is true.
template <typename Chosen>
void mac_table::sweep(const Chosen& chosen) noexcept
{
    // The lock is let go now and then, so that workers learn meanwhile.
    constexpr std::size_t at_once = 256;
    const walk standing{*this};
    for (std::size_t first = 0; first <= bucket_mask_; first += at_once) {
        const std::scoped_lock lock{writing_};
        const std::size_t last = std::min(first + at_once - 1, bucket_mask_);
        for (bucket& b : std::span{&buckets_[first], &buckets_[last] + 1}) {
            for (std::size_t way = 0; way < bucket::ways; ++way) {
                const std::uint64_t word = b.keys[way].load(std::memory_order_relaxed);
                const std::uint64_t value = b.values[way].load(std::memory_order_relaxed);
                if (word != empty && chosen(word, value)) {
                    uncount(value);
                    b.keys[way].store(empty, std::memory_order_release);
                }
            }
        }
    }
}

void mac_table::flush_port(port_index port) noexcept
{
    auto& sequence = sequence_[to_index(port)];
    const auto next = [&]() noexcept {
        const std::scoped_lock lock{writing_};
        sequence.fetch_add(1, std::memory_order_relaxed);
        counts_[to_index(port)].store(0, std::memory_order_relaxed);
    };
    if (sequence.load(std::memory_order_relaxed) != last_sequence) [[likely]] {
        next();
        return;
    }
    const auto learned_there = [port](std::uint64_t /*word*/, std::uint64_t value) {
        return port_of(value) == port && !is_static(value);
    };
    // The numbers come round: entries of the last round go, or they would live again. Once before,
    // so that none is seen; once after, for what workers learned meanwhile.
    sweep(learned_there);
    next();
    sweep(learned_there);
}

void mac_table::remove_port(port_index port) noexcept
{
    set_limit(port, 0);
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
    {
        const std::scoped_lock lock{writing_};
        for (auto& sequence : sequence_) {
            sequence.fetch_add(1, std::memory_order_relaxed);
        }
        for (auto& counted : counts_) {
            counted.store(0, std::memory_order_relaxed);
        }
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

void mac_table::set_limit(port_index port, std::uint32_t most) noexcept
{
    limits_[to_index(port)].store(most, std::memory_order_relaxed);
}

void mac_table::expire(seconds_t now) noexcept
{
    if (!refused_.exchange(false, std::memory_order_relaxed)) {
        return;
    }
    sweep([this, oldest = horizon(now)](std::uint64_t /*word*/, std::uint64_t value) {
        return !live(value, oldest);
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
    const walk standing{*this};
    const std::uint64_t oldest = horizon(now);
    for (std::size_t i = 0; i <= bucket_mask_; ++i) {
        const bucket& b = buckets_[i];
        for (std::size_t way = 0; way < bucket::ways; ++way) {
            const std::uint64_t word = b.keys[way].load(std::memory_order_acquire);
            if (word == empty) {
                continue;
            }
            const std::uint64_t value = b.values[way].load(std::memory_order_acquire);
            if (b.keys[way].load(std::memory_order_relaxed) != word || !live(value, oldest)) {
                continue;
            }
            const seconds_t seen = seen_of(value);
            visit({.mac = mac_address{word & mac_address::mask},
                   .vlan = vlan_id{static_cast<std::uint16_t>((word >> 48) & 0xfff)},
                   .port = port_of(value),
                   .is_static = is_static(value),
                   .age = is_static(value) || seen > now ? 0 : now - seen,
                   .held = !is_static(value) && is_held(value, now) ? seen - now : 0});
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
