// SPDX-License-Identifier: BSD-3-Clause
// The table of groups: its chains, who may write them when, and time.
#include "dataplane/multicast/group_table.hh"

#include <algorithm>
#include <bit>
#include <optional>
#include <random>
#include <utility>
#include <vector>

namespace strait::multicast {

using dataplane::to_index;

namespace {

constexpr auto relaxed = std::memory_order_relaxed;

[[nodiscard]] std::uint16_t short_time(seconds_t t) noexcept
{
    return static_cast<std::uint16_t>(t);
}

// Seconds until then, 0 or less: it is over. They are fewer than half of what the bits count.
[[nodiscard]] int left_until(std::uint16_t until, seconds_t now) noexcept
{
    return static_cast<std::int16_t>(static_cast<std::uint16_t>(until - short_time(now)));
}

struct bit {
    explicit bit(port_index port) noexcept
        : word{to_index(port) / 64}, mask{std::uint64_t{1} << (to_index(port) % 64)}
    {}
    std::size_t word;
    std::uint64_t mask;
};

// Acquire: what a sequence number is compared with behind them is not read before.
template <typename Row>
void add_ports(const Row& r, port_set& out) noexcept
{
    for (std::size_t i = 0; i < port_set::words; ++i) {
        out.add(i, r.mask[i].load(std::memory_order_acquire));
    }
}

template <typename Row>
[[nodiscard]] bool has(const Row& r, port_index port) noexcept
{
    const bit b{port};
    return (r.mask[b.word].load(relaxed) & b.mask) != 0;
}

template <typename Row>
void set(Row& r, port_index port, seconds_t until) noexcept
{
    const bit b{port};
    r.until[to_index(port)].store(short_time(until), relaxed);
    r.mask[b.word].fetch_or(b.mask, std::memory_order_release);
}

// Whether it was there.
template <typename Row>
bool clear(Row& r, port_index port) noexcept
{
    const bit b{port};
    return (r.mask[b.word].fetch_and(~b.mask, relaxed) & b.mask) != 0;
}

template <typename Row>
[[nodiscard]] bool is_empty(const Row& r) noexcept
{
    return std::all_of(r.mask.begin(), r.mask.end(),
                       [](const auto& w) { return w.load(relaxed) == 0; });
}

template <typename Row, typename Visit>
void each_port(const Row& r, const Visit& visit)
{
    for (std::size_t i = 0; i < port_set::words; ++i) {
        for (std::uint64_t w = r.mask[i].load(relaxed); w != 0; w &= w - 1) {
            const auto port = i * 64 + static_cast<std::size_t>(std::countr_zero(w));
            visit(port_index{static_cast<std::uint16_t>(port)});
        }
    }
}

} // namespace

group_table::group_table(std::size_t groups)
    : capacity_{std::clamp(groups, least_groups, most_groups)},
      bucket_mask_{std::bit_ceil(capacity_ * 2) - 1},
      slot_memory_{capacity_ * sizeof(slot)},
      network_memory_{vlans * sizeof(network)},
      // Zeroed memory is what both are at first.
      slots_{reinterpret_cast<slot*>(slot_memory_.data())},
      networks_{reinterpret_cast<network*>(network_memory_.data())},
      heads_{new std::atomic<std::uint32_t>[bucket_mask_ + 1]()}
{
    std::random_device random;
    const auto word = [&random] { return std::uint64_t{random()} << 32 | random(); };
    seed_ = word();
    multiplier_ = word() | 1;
    other_multiplier_ = word() | 1;
}

group_table::~group_table() = default;

// Random, so that no guest can prepare groups that share a chain.
std::size_t group_table::hash(const ip_address& group, vlan_id vlan) const noexcept
{
    std::uint64_t h = (group.high ^ seed_) * multiplier_;
    h = (h ^ h >> 32 ^ group.low) * other_multiplier_;
    h = (h ^ h >> 32 ^ vlan.value()) * multiplier_;
    return (h >> 32 ^ h >> 48) & bucket_mask_;
}

bool group_table::is(const slot& s, const ip_address& group, vlan_id vlan) noexcept
{
    return s.low.load(std::memory_order_acquire) == group.low &&
           s.high.load(std::memory_order_acquire) == group.high &&
           s.vlan.load(std::memory_order_acquire) == vlan.value();
}

// Bounded: a chain that changes meanwhile may lead into another.
std::uint32_t group_table::find(const ip_address& group, vlan_id vlan) const noexcept
{
    std::uint32_t number = heads_[hash(group, vlan)].load(std::memory_order_acquire);
    for (std::size_t steps = 0; number != nobody && steps < capacity_; ++steps) {
        const slot& s = at(number);
        if (is(s, group, vlan)) {
            return number;
        }
        number = s.next.load(std::memory_order_acquire);
    }
    return nobody;
}

group_table::found group_table::listeners(const ip_address& group, vlan_id vlan,
                                          port_set& out) const noexcept
{
    constexpr int tries = 8;
    for (int i = 0; i < tries; ++i) {
        const std::uint32_t before = sequence_.load(std::memory_order_acquire);
        if ((before & 1) != 0) {
            __builtin_ia32_pause();
            continue;
        }
        const std::uint32_t number = find(group, vlan);
        port_set seen = out;
        if (number != nobody) {
            add_ports(at(number).members, seen);
        }
        if (sequence_.load(relaxed) == before) {
            out = seen;
            return number != nobody ? found::some : found::none;
        }
    }
    return found::unsure;
}

bool group_table::has_querier(bool six, vlan_id vlan) const noexcept
{
    return !is_empty(of(vlan).queriers[six ? 1 : 0]);
}

void group_table::queriers(bool six, vlan_id vlan, port_set& out) const noexcept
{
    add_ports(of(vlan).queriers[six ? 1 : 0], out);
}

void group_table::routers(vlan_id vlan, port_set& out) const noexcept
{
    add_ports(of(vlan).routers, out);
}

void group_table::crowded(vlan_id vlan, port_set& out) const noexcept
{
    add_ports(of(vlan).crowded, out);
}

std::unique_lock<std::mutex> group_table::lock() noexcept
{
    std::unique_lock held{writing_, std::try_to_lock};
    for (int tries = 2000; !held && tries > 0; --tries) {
        __builtin_ia32_pause();
        (void)held.try_lock();
    }
    if (!held) {
        missed_.fetch_add(1, relaxed);
    }
    return held;
}

void group_table::touch(vlan_id vlan) noexcept
{
    touched_[vlan.value() / 64] |= std::uint64_t{1} << (vlan.value() % 64);
}

void group_table::crowd(vlan_id vlan, port_index port, seconds_t now) noexcept
{
    refused_.fetch_add(1, relaxed);
    touch(vlan);
    set(of(vlan).crowded, port, now + ageing());
}

group_table::joined group_table::join(const ip_address& group, vlan_id vlan, port_index port,
                                      std::uint32_t limit, seconds_t now) noexcept
{
    const seconds_t until = now + ageing();
    const auto held = lock();
    if (!held) {
        return joined::busy;
    }
    std::uint32_t number = find(group, vlan);
    if (number != nobody && has(at(number).members, port)) {
        set(at(number).members, port, until);
        return joined::known;
    }
    std::uint32_t& count = counts_[to_index(port)];
    if (limit != 0 && count >= limit) {
        crowd(vlan, port, now);
        return joined::over_limit;
    }
    if (number == nobody) {
        number = take_slot(group, vlan);
    }
    if (number == nobody) {
        crowd(vlan, port, now);
        return joined::table_full;
    }
    set(at(number).members, port, until);
    ++count;
    return joined::added;
}

// In its chain, without members; nobody: none is left.
std::uint32_t group_table::take_slot(const ip_address& group, vlan_id vlan) noexcept
{
    std::uint32_t number = free_;
    if (number != nobody) {
        free_ = at(number).next.load(relaxed);
    } else if (used_ < capacity_) {
        number = ++used_;
    } else {
        return nobody;
    }
    sequence_.fetch_add(1, std::memory_order_acq_rel);
    slot& s = at(number);
    auto& head = heads_[hash(group, vlan)];
    s.high.store(group.high, std::memory_order_release);
    s.low.store(group.low, std::memory_order_release);
    s.vlan.store(vlan.value(), std::memory_order_release);
    s.next.store(head.load(relaxed), std::memory_order_release);
    head.store(number, std::memory_order_release);
    sequence_.fetch_add(1, std::memory_order_release);
    size_.fetch_add(1, relaxed);
    return number;
}

void group_table::give_back(std::uint32_t number) noexcept
{
    slot& s = at(number);
    const ip_address group{s.high.load(relaxed), s.low.load(relaxed)};
    const vlan_id vlan{static_cast<std::uint16_t>(s.vlan.load(relaxed))};
    sequence_.fetch_add(1, std::memory_order_acq_rel);
    std::atomic<std::uint32_t>* link = &heads_[hash(group, vlan)];
    while (link->load(relaxed) != number) {
        link = &at(link->load(relaxed)).next;
    }
    link->store(s.next.load(relaxed), std::memory_order_release);
    s.low.store(0, std::memory_order_release); // no group's
    s.high.store(0, std::memory_order_release);
    s.next.store(free_, std::memory_order_release);
    sequence_.fetch_add(1, std::memory_order_release);
    free_ = number;
    size_.fetch_sub(1, relaxed);
}

void group_table::remove_member(std::uint32_t number, port_index port) noexcept
{
    if (clear(at(number).members, port)) {
        --counts_[to_index(port)];
        if (is_empty(at(number).members)) {
            give_back(number);
        }
    }
}

void group_table::leave(const ip_address& group, vlan_id vlan, port_index port) noexcept
{
    const auto held = lock();
    const std::uint32_t number = held ? find(group, vlan) : nobody;
    if (number != nobody) {
        remove_member(number, port);
    }
}

void group_table::shorten(const ip_address& group, vlan_id vlan, seconds_t wait,
                          seconds_t now) noexcept
{
    const auto held = lock();
    const std::uint32_t number = held ? find(group, vlan) : nobody;
    if (number == nobody) {
        return;
    }
    row& members = at(number).members;
    each_port(members, [&](port_index port) {
        auto& until = members.until[to_index(port)];
        if (left_until(until.load(relaxed), now) > static_cast<int>(wait)) {
            until.store(short_time(now + wait), relaxed);
        }
    });
}

void group_table::hear_querier(bool six, vlan_id vlan, port_index port, seconds_t now) noexcept
{
    if (const auto held = lock()) {
        touch(vlan);
        set(of(vlan).queriers[six ? 1 : 0], port, now + querier_interval);
    }
}

void group_table::hear_router(vlan_id vlan, port_index port, seconds_t now) noexcept
{
    if (const auto held = lock()) {
        touch(vlan);
        set(of(vlan).routers, port, now + querier_interval);
    }
}

void group_table::forget_router(vlan_id vlan, port_index port) noexcept
{
    if (const auto held = lock()) {
        clear(of(vlan).routers, port);
    }
}

// Removes each port of a group or VLAN of which chosen(port, until) is true.
template <typename Chosen>
void group_table::sweep(const Chosen& chosen) noexcept
{
    // The lock is let go now and then: workers do not wait for long.
    constexpr std::uint32_t at_once = 16;
    for (std::uint32_t first = 1, last = 0;; first = last + 1) {
        const std::scoped_lock held{writing_};
        last = std::min(first + at_once - 1, used_);
        if (first > last) {
            break;
        }
        for (std::uint32_t number = first; number <= last; ++number) {
            row& members = at(number).members;
            each_port(members, [&](port_index port) {
                if (chosen(port, members.until[to_index(port)].load(relaxed))) {
                    remove_member(number, port);
                }
            });
        }
    }
    for (std::size_t word = 0; word < touched_.size(); ++word) {
        const std::scoped_lock held{writing_};
        for (std::uint64_t w = touched_[word]; w != 0; w &= w - 1) {
            const auto i = word * 64 + static_cast<std::size_t>(std::countr_zero(w));
            network& n = networks_[i];
            bool empty = true;
            for (row* const r : {&n.queriers[0], &n.queriers[1], &n.routers, &n.crowded}) {
                each_port(*r, [&](port_index port) {
                    if (chosen(port, r->until[to_index(port)].load(relaxed))) {
                        clear(*r, port);
                    }
                });
                empty = empty && is_empty(*r);
            }
            if (empty) {
                touched_[word] &= ~(std::uint64_t{1} << (i % 64));
            }
        }
    }
}

void group_table::expire(seconds_t now) noexcept
{
    sweep([now](port_index /*port*/, std::uint16_t until) { return left_until(until, now) <= 0; });
}

void group_table::flush_port(port_index port) noexcept
{
    sweep([port](port_index p, std::uint16_t /*until*/) { return p == port; });
}

void group_table::flush() noexcept
{
    sweep([](port_index /*port*/, std::uint16_t /*until*/) { return true; });
}

void group_table::set_ageing(seconds_t seconds) noexcept
{
    ageing_.store(std::clamp(seconds, least_ageing, most_ageing), relaxed);
}

seconds_t group_table::ageing() const noexcept
{
    return ageing_.load(relaxed);
}

void group_table::for_each(seconds_t now, const std::function<void(const entry&)>& visit) const
{
    std::vector<entry> some;
    const auto take = [&](const row& r, entry e) {
        each_port(r, [&](port_index port) {
            const int left = left_until(r.until[to_index(port)].load(relaxed), now);
            if (left > 0) {
                e.port = port;
                e.left = static_cast<seconds_t>(left);
                some.push_back(e);
            }
        });
    };
    const auto show = [&] {
        std::for_each(some.begin(), some.end(), visit);
        some.clear();
    };
    for (std::uint32_t number = 1;; ++number) {
        {
            const std::scoped_lock held{writing_};
            if (number > used_) {
                break;
            }
            const slot& s = at(number);
            const ip_address group{s.high.load(relaxed), s.low.load(relaxed)};
            const vlan_id vlan{static_cast<std::uint16_t>(s.vlan.load(relaxed))};
            take(s.members, {entry::kind::group, !group.is_v4(), group, vlan, {}, 0});
        }
        show();
    }
    for (std::size_t i = 0; i < vlans; ++i) {
        {
            const std::scoped_lock held{writing_};
            if ((touched_[i / 64] >> (i % 64) & 1) == 0) {
                continue;
            }
            const network& n = networks_[i];
            const vlan_id vlan{static_cast<std::uint16_t>(i)};
            take(n.routers, {entry::kind::router, false, {}, vlan, {}, 0});
            take(n.queriers[0], {entry::kind::querier, false, {}, vlan, {}, 0});
            take(n.queriers[1], {entry::kind::querier, true, {}, vlan, {}, 0});
            take(n.crowded, {entry::kind::crowded, false, {}, vlan, {}, 0});
        }
        show();
    }
}

group_table::statistics group_table::counted() const noexcept
{
    return {.queries = queries_.load(relaxed),
            .reports = reports_.load(relaxed),
            .leaves = leaves_.load(relaxed),
            .refused = refused_.load(relaxed),
            .missed = missed_.load(relaxed)};
}

std::size_t group_table::size() const noexcept
{
    return size_.load(relaxed);
}

} // namespace strait::multicast
