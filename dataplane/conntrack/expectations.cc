// SPDX-License-Identifier: BSD-3-Clause
// Announced connections by hash; the oldest of a set makes way.
#include "dataplane/conntrack/expectations.hh"

#include "dataplane/conntrack/nat.hh"

#include <algorithm>

namespace strait::conntrack {

namespace {

constexpr std::uint64_t source_port_bits = 0xffff;

[[nodiscard]] whole_tuple without_source_port(whole_tuple t) noexcept
{
    t.packed.rest &= ~source_port_bits;
    return t;
}

} // namespace

expectations::expectations() : sets_{reinterpret_cast<set*>(memory_.data())} {}

expectations::set& expectations::set_of(const whole_tuple& coming) noexcept
{
    const std::uint64_t hash = flow::word_hash::fold(coming.packed.addresses ^ detail::seeds[1],
                                                     coming.packed.rest ^ detail::seeds[4]);
    return sets_[hash % sets];
}

expectation* expectations::search(const whole_tuple& first, seconds_t now) noexcept
{
    const whole_tuple coming = without_source_port(first);
    for (expectation& e : set_of(coming)) {
        if (e.deadline > now && e.coming == coming) {
            return &e;
        }
    }
    return nullptr;
}

void expectations::add(const expectation& e, seconds_t now) noexcept
{
    expectation* place = search(e.coming, now);
    if (place == nullptr) {
        set& s = set_of(e.coming);
        place = std::ranges::min_element(
            s, [](const expectation& a, const expectation& b) { return a.deadline < b.deadline; });
    }
    *place = e;
    last_deadline_ = std::max(last_deadline_, e.deadline);
}

bool expectations::is_credible(const announcement& a, const whole_tuple& announcing) noexcept
{
    return a.port >= first_free_port && (!a.address || *a.address == announcing.open().source);
}

expectation expectations::make(const announcement& a, const whole_tuple& announcing,
                               const whole_tuple& other) noexcept
{
    tuple coming = other.open();
    coming.source_port = 0;
    coming.destination_port = a.port;
    tuple answers = announcing.open();
    answers.source_port = a.port;
    answers.destination_port = 0;
    return {.coming = whole_tuple::of(coming), .answers = whole_tuple::of(answers)};
}

} // namespace strait::conntrack
