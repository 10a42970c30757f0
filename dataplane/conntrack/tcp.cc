// SPDX-License-Identifier: BSD-3-Clause
// States and windows of TCP connections.
#include "dataplane/conntrack/tcp.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>

namespace strait::conntrack::tcp {

namespace {

using dataplane::be32;
using dataplane::load;

// Sequence numbers go round.
[[nodiscard]] constexpr bool before(std::uint32_t a, std::uint32_t b) noexcept
{
    return static_cast<std::int32_t>(a - b) < 0;
}
[[nodiscard]] constexpr bool after(std::uint32_t a, std::uint32_t b) noexcept
{
    return before(b, a);
}

enum class event : std::uint8_t { reset, syn, syn_ack, fin, ack, other };

[[nodiscard]] event event_of(std::uint8_t flags) noexcept
{
    if ((flags & rst) != 0) {
        return event::reset;
    }
    if ((flags & syn) != 0) {
        return (flags & ack) != 0 ? event::syn_ack : event::syn;
    }
    if ((flags & fin) != 0) {
        return event::fin;
    }
    return (flags & ack) != 0 ? event::ack : event::other;
}

struct step {
    enum class kind : std::uint8_t {
        go,
        invalid,
        ignored, // the ends may know better; nothing changes
        reopen
    };
    kind is;
    state next;
};
constexpr step invalid_step{step::kind::invalid, state::none};
constexpr step ignored_step{step::kind::ignored, state::none};
constexpr step reopening_step{step::kind::reopen, state::none};
[[nodiscard]] constexpr step go(state next) noexcept
{
    return {step::kind::go, next};
}

[[nodiscard]] step after_syn(state now, bool reply) noexcept
{
    switch (now) {
    case state::syn_sent:
        return go(reply ? state::syn_sent_by_both : state::syn_sent);
    case state::syn_sent_by_both:
        return go(now);
    case state::time_wait:
        return reopening_step;
    case state::closed:
        return reply ? invalid_step : reopening_step;
    default:
        return reply ? invalid_step : ignored_step;
    }
}

[[nodiscard]] step after_syn_ack(state now, bool reply) noexcept
{
    if (now == state::syn_sent_by_both || (reply && now == state::syn_sent) ||
        (!reply && now == state::syn_received)) {
        return go(state::syn_received);
    }
    return reply ? ignored_step : invalid_step;
}

[[nodiscard]] step after_fin(state now) noexcept
{
    switch (now) {
    case state::syn_received:
    case state::established:
        return go(state::fin_wait);
    case state::fin_wait:
    case state::close_wait:
    case state::last_ack:
        return go(state::last_ack);
    case state::time_wait:
    case state::closed:
        return go(now);
    default:
        return invalid_step;
    }
}

[[nodiscard]] step after_ack(state now, bool reply) noexcept
{
    switch (now) {
    case state::syn_sent:
    case state::syn_sent_by_both:
        return reply ? ignored_step : invalid_step;
    case state::syn_received: // the third part of the handshake is the original side's
        return go(reply ? state::syn_received : state::established);
    case state::fin_wait:
    case state::close_wait:
        return go(state::close_wait);
    case state::last_ack:
    case state::time_wait:
        return go(state::time_wait);
    default:
        return go(now);
    }
}

[[nodiscard]] step step_of(event what, state now, bool reply) noexcept
{
    switch (what) {
    case event::ack:
        return after_ack(now, reply);
    case event::fin:
        return after_fin(now);
    case event::syn:
        return after_syn(now, reply);
    case event::syn_ack:
        return after_syn_ack(now, reply);
    case event::reset:
        return go(state::closed);
    case event::other:
        break;
    }
    return invalid_step;
}

struct scale_option {
    bool present{false};
    std::uint8_t scale{0};
};

[[nodiscard]] scale_option scale_of(const segment& s) noexcept
{
    constexpr std::uint8_t window_scale = 3;
    constexpr std::uint8_t largest = 14; // RFC 7323
    scale_option out;
    each_option(s.options, [&](std::uint8_t kind, std::span<const std::byte> content) noexcept {
        if (kind == window_scale && content.size() == 1) {
            out = {true, std::min(std::to_integer<std::uint8_t>(content[0]), largest)};
        }
    });
    return out;
}

// Behind the last byte that a segment says has come, in order or not.
[[nodiscard]] std::uint32_t received_up_to(const segment& s, std::uint32_t acknowledged) noexcept
{
    constexpr std::uint32_t timestamp_alone = 0x0a080101; // two of padding in front of it
    constexpr std::size_t timestamp_size = 12;
    if (s.options.empty() || (s.options.size() == timestamp_size &&
                              load<std::uint32_t>(s.options.data()) == timestamp_alone)) {
        return acknowledged;
    }
    std::uint32_t last = acknowledged;
    each_option(s.options, [&](std::uint8_t kind, std::span<const std::byte> content) noexcept {
        if (kind == selective && content.size() % 8 == 0) {
            for (std::size_t i = 0; i < content.size(); i += 8) {
                const std::uint32_t edge = load<be32>(content.data() + i + 4);
                last = after(edge, last) ? edge : last;
            }
        }
    });
    return last;
}

// Bytes in units of a scale, rounded up.
[[nodiscard]] std::uint16_t in_units(std::uint64_t bytes, unsigned scale) noexcept
{
    const std::uint64_t units = (bytes + (std::uint64_t{1} << scale) - 1) >> scale;
    return static_cast<std::uint16_t>(std::min<std::uint64_t>(units, 0xffff));
}
[[nodiscard]] std::uint32_t window_of(const stream& k, unsigned side) noexcept
{
    return std::uint32_t{k.window[side]} << k.scale(side);
}
[[nodiscard]] std::uint16_t at_least_one(std::uint16_t window) noexcept
{
    return std::max<std::uint16_t>(window, 1);
}

[[nodiscard]] bool is_closing(state now) noexcept
{
    return now >= state::fin_wait;
}

// What a side's SYN says of it. Windows of SYNs have no scale.
void begin_side(stream& k, unsigned side, const segment& s) noexcept
{
    k.end[side] = s.end();
    k.limit[side] = s.end();
    k.window[side] = in_units(at_least_one(s.window), k.scale(side));
}

// Whether an end closes by this reset as the other would take it (RFC 5961).
enum class reset : std::uint8_t {
    closes_anyway, // wherever it lies
    closes,
    passes,
    invalid
};
[[nodiscard]] reset judge_reset(const stream& k, const resync& ignored, const segment& s,
                                unsigned from) noexcept
{
    const unsigned to = 1 - from;
    // Numbers may be of another connection by now, as those are that answer a SYN which we did not
    // believe in.
    if (is_closing(k.is) || (k.has(syn_ignored) && s.acknowledged == ignored.end)) {
        return reset::closes_anyway;
    }
    if (k.has(syn_ignored)) {
        return reset::closes;
    }
    const bool established = k.is == state::established;
    if (!k.has(has_acknowledged, to) || (s.sequence == 0 && !established)) {
        return reset::closes;
    }
    const std::uint32_t expected = k.acknowledged[to];
    if (before(s.sequence, expected)) {
        return reset::invalid;
    }
    return !established || s.sequence == expected || s.sequence == k.end[from] ? reset::closes
                                                                               : reset::passes;
}

enum class fit : std::uint8_t { inside, tolerated, outside };

// The first that a side sends, if it is not the one that began.
void meet_side(stream& k, const segment& s, unsigned from) noexcept
{
    const unsigned to = 1 - from;
    if ((s.flags & syn) != 0) {
        const scale_option scale = scale_of(s);
        if (scale.present && k.has(scaled)) {
            k.set_scale(from, scale.scale);
        } else { // one that does not scale keeps the other from it
            k.window[to] = in_units(window_of(k, to), 0);
            k.scales = 0;
        }
        begin_side(k, from, s);
        return;
    }
    k.end[from] = s.end();
    k.window[from] = at_least_one(s.window);
    k.limit[from] = s.end() + window_of(k, from);
    if (k.window[to] == 0) {
        k.end[to] = s.acknowledged;
        k.limit[to] = s.acknowledged;
    } else if (s.acknowledged == k.end[to] + 1) {
        ++k.end[to];
    }
}

// Moves the windows on by a segment that lies in them.
void move_windows(stream& k, const segment& s, unsigned from, std::uint32_t acknowledged,
                  std::uint32_t received) noexcept
{
    const unsigned to = 1 - from;
    const std::uint32_t end = s.end();
    const std::uint32_t offered =
        (s.flags & syn) != 0 ? std::uint32_t{s.window} : std::uint32_t{s.window} << k.scale(from);
    const std::uint16_t window =
        in_units(std::uint64_t{offered} + (received - acknowledged), k.scale(from));
    k.window[from] = std::max(k.window[from], window);
    k.end[from] = after(end, k.end[from]) ? end : k.end[from];
    if ((s.flags & ack) != 0 &&
        (!k.has(has_acknowledged, from) || after(acknowledged, k.acknowledged[from]))) {
        k.acknowledged[from] = acknowledged;
        k.set(has_acknowledged, from);
    }
    if (k.window[to] != 0 && after(end, k.limit[from])) {
        k.window[to] =
            in_units(std::uint64_t{window_of(k, to)} + (end - k.limit[from]), k.scale(to));
    }
    const std::uint32_t limit = received + offered;
    if (!before(limit, k.limit[to])) {
        k.limit[to] = limit + (offered == 0 ? 1 : 0); // a probe of a window that is shut
    }
}

[[nodiscard]] fit check_window(stream& k, const segment& s, unsigned from) noexcept
{
    constexpr std::uint32_t least_delay = 66'000; // bytes that an acknowledgement may be late
    const unsigned to = 1 - from;
    if (k.window[from] == 0) [[unlikely]] {
        meet_side(k, s, from);
        if ((s.flags & (syn | ack)) == syn) {
            return fit::inside; // SYNs crossed
        }
    } else if ((s.flags & syn) != 0 && after(s.end(), k.end[from]) &&
               (from == 0 ? k.is == state::syn_sent : k.is == state::syn_received)) {
        // Sent again, with another number: that counts.
        const scale_option scale = scale_of(s);
        k.set_scale(from, scale.scale);
        begin_side(k, from, s);
    }
    std::uint32_t sequence = s.sequence;
    std::uint32_t end = s.end();
    std::uint32_t acknowledged = s.acknowledged;
    if ((s.flags & ack) == 0 || ((s.flags & rst) != 0 && acknowledged == 0)) [[unlikely]] {
        acknowledged = k.end[to];
    }
    const std::uint32_t received =
        (s.flags & ack) == 0 ? acknowledged : received_up_to(s, acknowledged);
    if ((s.flags & rst) != 0 && sequence == 0 && k.is == state::syn_sent) [[unlikely]] {
        sequence = end = k.end[from]; // a SYN that is refused
    }
    if (after(received, k.end[to])) [[unlikely]] {
        return fit::outside;
    }
    if (after(sequence, k.limit[from])) [[unlikely]] {
        // Some TCPs send more than they may; what comes of it must not be invalid for ever.
        if (end - k.limit[from] >= window_of(k, to)) {
            return fit::outside;
        }
        k.end[from] = after(end, k.end[from]) ? end : k.end[from];
        return fit::tolerated;
    }
    const bool old = k.window[to] != 0 && !after(end, k.end[from] - window_of(k, to) - 1);
    if (old || !after(received, k.end[to] - std::max(window_of(k, from), least_delay) - 1))
        [[unlikely]] {
        return fit::tolerated;
    }
    move_windows(k, s, from, acknowledged, received);
    return fit::inside;
}

// An answer to a SYN that was ignored: both ends know of it, and it is we who were out of step.
void resynchronise(stream& k, const resync& ignored, unsigned from) noexcept
{
    const unsigned to = 1 - from;
    k.flags = ignored.scaled ? scaled : 0;
    k.scales = 0;
    k.set_scale(to, ignored.scale);
    k.end[to] = ignored.end;
    k.limit[to] = ignored.end;
    k.window[to] = in_units(at_least_one(ignored.window), ignored.scale);
    k.window[from] = 0;
    k.is = state::syn_sent;
}

// A SYN may be the beginning of what comes next; anything else ends that doubt.
void note_ignored(stream& k, resync& ignored, const segment& s, bool reply) noexcept
{
    k.flags = static_cast<std::uint8_t>(k.flags & ~(syn_ignored | ignored_was_reply));
    if (event_of(s.flags) == event::syn) {
        const scale_option scale = scale_of(s);
        ignored = {s.end(), s.window, scale.scale, scale.present};
        k.set(syn_ignored);
        k.flags = static_cast<std::uint8_t>(k.flags | (reply ? ignored_was_reply : 0));
    }
}

} // namespace

bool has_valid_flags(std::uint8_t flags) noexcept
{
    switch (flags & (fin | syn | rst | ack)) {
    case syn:
    case ack:
    case fin | ack:
        return true;
    case syn | ack:
    case rst:
    case rst | ack:
        return (flags & urg) == 0;
    default:
        return false;
    }
}

bool may_begin(const segment& s) noexcept
{
    const unsigned kind = s.flags & (fin | syn | rst | ack);
    return kind == syn || kind == ack;
}

void begin(stream& known, const segment& s) noexcept
{
    const std::uint8_t note = known.note;
    known = {};
    known.note = note;
    if ((s.flags & syn) != 0) {
        const scale_option scale = scale_of(s);
        known.set_scale(0, scale.scale);
        known.flags = scale.present ? scaled : 0;
        known.is = state::syn_sent;
        begin_side(known, 0, s);
        return;
    }
    // In the middle of it: neither scale is known.
    known.is = state::established;
    known.end[0] = s.end();
    known.window[0] = at_least_one(s.window);
    known.limit[0] = s.end() + known.window[0];
    known.set(liberal, 0);
    known.set(liberal, 1);
}

verdict advance(stream& known, resync& ignored, const segment& s, bool reply) noexcept
{
    const unsigned from = reply ? 1 : 0;
    const event what = event_of(s.flags);
    step next = step_of(what, known.is, reply);
    if (next.is == step::kind::ignored) [[unlikely]] {
        const bool answers = what == event::syn_ack && known.has(syn_ignored) &&
                             known.has(ignored_was_reply) != reply && s.acknowledged == ignored.end;
        if (!answers) {
            note_ignored(known, ignored, s, reply);
            return verdict::valid;
        }
        resynchronise(known, ignored, from);
        next = go(state::syn_received);
    }
    if (next.is == step::kind::invalid) [[unlikely]] {
        return verdict::invalid;
    }
    if (next.is == step::kind::reopen) [[unlikely]] {
        return verdict::reopened;
    }
    if (what == event::reset) [[unlikely]] {
        const reset judged = judge_reset(known, ignored, s, from);
        if (judged == reset::invalid) {
            return verdict::invalid;
        }
        if (judged == reset::closes_anyway) {
            known.is = state::closed;
            return verdict::valid;
        }
        next.next = judged == reset::closes ? state::closed : known.is;
    }
    if (!s.partial) [[likely]] {
        const fit fits = check_window(known, s, from);
        if (fits != fit::inside) [[unlikely]] {
            const bool lenient = known.has(liberal, from) || fits == fit::tolerated;
            if (!lenient) {
                return verdict::invalid;
            }
            if (!known.has(liberal, from)) {
                return verdict::valid; // late, but harmless: it changes nothing
            }
        }
    }
    if (what != event::reset) {
        known.flags = static_cast<std::uint8_t>(known.flags & ~(syn_ignored | ignored_was_reply));
    }
    known.is = next.next;
    return verdict::valid;
}

} // namespace strait::conntrack::tcp
