// SPDX-License-Identifier: BSD-3-Clause
// The neighbours' table.
#include "dataplane/endpoint/neighbours.hh"

#include <algorithm>

namespace strait::endpoint {

using dataplane::mac_address;
using dataplane::seconds_t;

namespace {

constexpr std::uint64_t used_bit = std::uint64_t{1} << 63;
constexpr unsigned vlan_shift = 16;

// Workers' clocks may be a second apart.
constexpr seconds_t since(seconds_t then, seconds_t now) noexcept
{
    return static_cast<std::int32_t>(now - then) < 0 ? 0 : now - then;
}

} // namespace

neighbours::contents neighbours::entry::load() const noexcept
{
    contents out;
    out.who.address.high = high_.load(std::memory_order_relaxed);
    out.who.address.low = low_.load(std::memory_order_relaxed);
    const std::uint64_t place = place_.load(std::memory_order_relaxed);
    out.who.bridge = dataplane::bridge_index{static_cast<std::uint16_t>(place)};
    out.who.vlan = dataplane::vlan_id{static_cast<std::uint16_t>(place >> vlan_shift)};
    out.used = (place & used_bit) != 0;
    out.mac = mac_.load(std::memory_order_relaxed);
    out.answered = answered_.load(std::memory_order_relaxed);
    out.asked = asked_.load(std::memory_order_relaxed);
    return out;
}

bool neighbours::entry::read(contents& out) const noexcept
{
    const std::uint32_t before = version_.load(std::memory_order_acquire);
    if (before % 2 != 0) {
        return false;
    }
    out = load();
    std::atomic_thread_fence(std::memory_order_acquire);
    return version_.load(std::memory_order_relaxed) == before;
}

bool neighbours::entry::replace(const contents& before, const contents& now) noexcept
{
    std::uint32_t version = version_.load(std::memory_order_relaxed);
    if (version % 2 != 0 ||
        !version_.compare_exchange_strong(version, version + 1, std::memory_order_acq_rel)) {
        return false;
    }
    std::atomic_thread_fence(std::memory_order_release);
    const contents there = load();
    const bool same = there.used == before.used && there.mac == before.mac &&
                      there.asked == before.asked && there.answered == before.answered &&
                      (!there.used || there.who == before.who);
    if (same) {
        high_.store(now.who.address.high, std::memory_order_relaxed);
        low_.store(now.who.address.low, std::memory_order_relaxed);
        place_.store(dataplane::to_index(now.who.bridge) |
                         std::uint64_t{now.who.vlan.value()} << vlan_shift |
                         (now.used ? used_bit : 0),
                     std::memory_order_relaxed);
        mac_.store(now.mac, std::memory_order_relaxed);
        answered_.store(now.answered, std::memory_order_relaxed);
        asked_.store(now.asked, std::memory_order_relaxed);
    }
    version_.store(version + 2, std::memory_order_release);
    return same;
}

neighbours::entry* neighbours::bucket(const key& k) noexcept
{
    std::uint64_t hash = (k.address.high ^ dataplane::to_index(k.bridge)) * 0x9e37'79b9'7f4a'7c15;
    hash ^= hash >> 32;
    hash = (hash ^ k.address.low ^ std::uint64_t{k.vlan.value()} << 48) * 0xd6e8'feb8'6659'fd93;
    constexpr std::size_t buckets = capacity / ways;
    return entries_->data() + (hash >> 32) % buckets * ways;
}

// Null: there is none, or it is being written.
neighbours::entry* neighbours::find_entry(const key& k, contents& out) noexcept
{
    entry* const first = bucket(k);
    for (entry* e = first; e != first + ways; ++e) {
        if (e->read(out) && out.used && out.who == k) {
            return e;
        }
    }
    return nullptr;
}

neighbours::answer neighbours::use(const key& k, seconds_t now) noexcept
{
    contents is;
    entry* const e = find_entry(k, is);
    if (e == nullptr) {
        return ask_anew(k, now);
    }
    const bool known = is.mac != 0 && since(is.answered, now) < forgotten_after;
    answer out{mac_address{known ? is.mac : 0}, false};
    if ((!known || since(is.answered, now) >= refreshed_after) && since(is.asked, now) > 0) {
        contents next = is;
        next.asked = now;
        out.ask = e->replace(is, next);
    }
    return out;
}

// In place of the entry that was answered or asked for longest ago.
neighbours::answer neighbours::ask_anew(const key& k, seconds_t now) noexcept
{
    entry* const first = bucket(k);
    entry* oldest = nullptr;
    contents oldest_is;
    seconds_t oldest_age = 0;
    for (entry* e = first; e != first + ways; ++e) {
        contents is;
        if (!e->read(is)) {
            continue;
        }
        if (!is.used) {
            oldest = e;
            oldest_is = is;
            break;
        }
        const seconds_t age = since(std::max(is.answered, is.asked), now);
        if (oldest == nullptr || age > oldest_age) {
            oldest = e;
            oldest_is = is;
            oldest_age = age;
        }
    }
    contents fresh;
    fresh.who = k;
    fresh.asked = now;
    fresh.used = true;
    const bool made = oldest != nullptr && oldest->replace(oldest_is, fresh);
    if (made && oldest_is.used) {
        generation_.fetch_add(1, std::memory_order_release);
    }
    return {{}, made};
}

mac_address neighbours::find(const key& k, seconds_t now) noexcept
{
    contents is;
    const bool known = find_entry(k, is) != nullptr && since(is.answered, now) < forgotten_after;
    return mac_address{known ? is.mac : 0};
}

void neighbours::learn(const key& k, mac_address mac, seconds_t now) noexcept
{
    contents is;
    entry* const e = find_entry(k, is);
    if (e == nullptr || mac.is_zero() || mac.is_multicast()) {
        return;
    }
    contents next = is;
    next.mac = mac.value();
    next.answered = now;
    if ((is.mac != next.mac || is.answered != now) && e->replace(is, next)) {
        generation_.fetch_add(1, std::memory_order_release);
    }
}

void neighbours::for_each(seconds_t now, const std::function<void(const listed&)>& visit) const
{
    for (const entry& e : *entries_) {
        contents is;
        if (e.read(is) && is.used) {
            const bool known = is.mac != 0 && since(is.answered, now) < forgotten_after;
            visit({is.who, mac_address{known ? is.mac : 0}, known ? since(is.answered, now) : 0});
        }
    }
}

void neighbours::flush(const dataplane::bridge_index* bridge) noexcept
{
    for (entry& e : *entries_) {
        contents is;
        if (e.read(is) && is.used && (bridge == nullptr || is.who.bridge == *bridge)) {
            (void)e.replace(is, {});
        }
    }
    generation_.fetch_add(1, std::memory_order_release);
}

} // namespace strait::endpoint
