// SPDX-License-Identifier: BSD-3-Clause
// Connections whose payload is looked at, and those that they announce.
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/ip.hh"

#include <algorithm>

namespace strait::conntrack {

namespace {

using dataplane::drop_reason;

// Seconds that an announced connection is waited for.
constexpr seconds_t patience = 300;

void set_destination_port(whole_tuple& t, std::uint16_t port) noexcept
{
    constexpr unsigned shift = 16;
    t.packed.rest = (t.packed.rest & ~(std::uint64_t{0xffff} << shift)) | std::uint64_t{port}
                                                                              << shift;
}

} // namespace

void tracker::take_helper(const request& r, connection& c) noexcept
{
    const std::uint8_t protocol = c.original.protocol();
    const bool fits =
        (r.asked.alg == flow::ct::helper::ftp && protocol == dataplane::protocol_tcp) ||
        (r.asked.alg == flow::ct::helper::tftp && protocol == dataplane::protocol_udp);
    if (fits) {
        c.set(note::helped);
    }
}

tracker::next_byte tracker::next_of(const connection& c, bool reply) noexcept
{
    const unsigned from = reply ? 1 : 0;
    const bool known = c.stream.window[from] != 0 && !c.stream.has(tcp::liberal, from);
    return known ? next_byte{c.stream.end[from]} : std::nullopt;
}

// Whether there is nothing missing in front of what a segment brings: a text can be changed as long
// as nobody has what comes behind it. What is missing comes again, and this with it.
bool tracker::is_in_order(const request& r, connection& c, bool reply,
                          const next_byte& next) noexcept
{
    const tcp::segment s = read_segment(r);
    if (!next || (s.flags & (tcp::syn | tcp::rst)) != 0) {
        return true;
    }
    std::uint32_t& end = c.stream.end[reply ? 1 : 0];
    if (static_cast<std::int32_t>(s.sequence - *next) <= 0) {
        end = static_cast<std::int32_t>(s.end() - end) > 0 ? s.end() : end;
        return true;
    }
    end = *next;
    return s.end() == s.sequence;
}

void tracker::listen(request& r, connection& c, connection_id id, bool reply, const next_byte& next,
                     seconds_t now) noexcept
{
    const bool tcp = c.original.protocol() == dataplane::protocol_tcp;
    // What this side says of itself is not what the other one is to read.
    const bool moved = tcp && c.has(reply ? note::destination_translated : note::source_translated);
    if (r.at.fragment || (moved && !is_in_order(r, c, reply, next))) {
        if (moved) {
            drop(r, drop_reason::ct_payload);
        }
        return;
    }
    payload_extent payload = payload_of(r, tcp);
    if (moved && next) { // of what came before, what was to be done is known
        const auto old = static_cast<std::int32_t>(*next - read_segment(r).sequence);
        payload.begin += std::min(payload.size(), static_cast<std::size_t>(std::max(old, 0)));
    }
    if (payload.size() == 0) {
        return;
    }
    std::array<char, 256> text; // no command or answer is longer
    const std::size_t size = std::min(payload.size(), text.size());
    if (!dataplane::copy_frame(*r.p, payload.begin, text.data(), size)) {
        return;
    }
    std::optional<announcement> found;
    if (tcp) {
        found = read_ftp({text.data(), size}, reply, c.original.ipv6());
    } else if (!reply && is_tftp_request({text.data(), size})) {
        // The server answers from another port to the one that it was asked from.
        found = announcement{.port = table_.original(c).packed.source_port(),
                             .written = announcement::form::port};
    }
    if (found && !announce(r, c, id, reply, *found, payload, now)) {
        drop(r, drop_reason::ct_payload);
        if (next) { // it comes again
            c.stream.end[reply ? 1 : 0] = *next;
        }
    }
}

// False: its text would have to be changed, and cannot be.
bool tracker::announce(request& r, connection& c, connection_id id, bool reply,
                       const announcement& found, const payload_extent& payload,
                       seconds_t now) noexcept
{
    const bool tcp = c.original.protocol() == dataplane::protocol_tcp;
    const whole_tuple announcing = reply ? table_.reply(c) : table_.original(c);
    const whole_tuple other = reply ? table_.original(c) : table_.reply(c);
    if (tcp && !expectations::is_credible(found, announcing)) {
        return true;
    }
    expectation e = expectations::make(found, announcing, other);
    if (!tcp) { // the port may be translated
        set_destination_port(e.coming, other.packed.destination_port());
    } else if (!choose_port(e, now)) {
        return false;
    }
    const tuple seen = e.coming.open();
    const bool readdressed = found.address && *found.address != seen.destination;
    if (tcp && (readdressed || seen.destination_port != found.port)) {
        announcement_text text;
        const std::size_t size =
            write_ftp(found.written, seen.destination, seen.destination_port, seen.ipv6, text);
        if (!edit(r, c, id, reply, payload.begin + found.begin, found.size, {text.data(), size})) {
            return false;
        }
    }
    if (c.has(note::marked)) {
        e.mark = table_.details(id).mark;
        e.label = table_.details(id).label;
    }
    e.deadline = now + patience;
    all_.shard_of(c.original.zone()).expected.add(e, now);
    counters.related.add(1);
    return true;
}

// The other side may be told another port than the one that was announced, so that the connection
// is not taken for somebody else's. False: all that were tried are somebody's.
bool tracker::choose_port(expectation& e, seconds_t now) noexcept
{
    constexpr unsigned tries = 64;
    constexpr std::uint32_t ports = 65'536 - first_free_port;
    expectations& expected = all_.shard_of(e.coming.packed.zone()).expected;
    if (!expected.is_anothers(e, now)) {
        return true;
    }
    const auto start = static_cast<std::uint32_t>(ports_.random() % ports);
    work_ += tries;
    for (unsigned i = 0; i < tries; ++i) {
        set_destination_port(e.coming,
                             static_cast<std::uint16_t>(first_free_port + (start + i) % ports));
        if (!expected.is_anothers(e, now)) {
            return true;
        }
    }
    return false;
}

// From now on the frame's `size` bytes at `at` are this text to the other side.
bool tracker::edit(request& r, connection& c, connection_id id, bool reply, std::size_t at,
                   std::size_t size, std::string_view text) noexcept
{
    const unsigned from = reply ? 1 : 0;
    work_ += most_work; // all of the payload is read
    if (c.stream.window[from] == 0 || c.stream.has(tcp::liberal, from) || !is_intact(r, pool_)) {
        return false;
    }
    std::uint32_t& place = table_.details(id).next;
    if (!c.has(note::edited)) {
        const std::uint32_t taken = all_.edits().take();
        if (taken == 0) {
            return false;
        }
        place = taken;
        c.set(note::edited);
    }
    const auto into_payload = static_cast<std::uint32_t>(at - payload_of(r, true).begin);
    return all_.edits().at(place)[from].add(read_segment(r).sequence + into_payload, size, text,
                                            acknowledged_to(c, from));
}

std::optional<std::uint32_t> tracker::acknowledged_to(const connection& c, unsigned side) noexcept
{
    const unsigned other = 1 - side;
    return c.stream.has(tcp::has_acknowledged, other) ? std::optional{c.stream.acknowledged[other]}
                                                      : std::nullopt;
}

tcp::verdict tracker::advance_edited(const match& m, tcp::segment s) noexcept
{
    connection& c = *m.of;
    const tcp::state before = c.stream.is;
    option_room options;
    number_as_sent(s, edits_of(m.id)[m.reply ? 0 : 1], options);
    const tcp::verdict v = tcp::advance(c.stream, table_.details(m.id).ignored, s, m.reply);
    if (before >= tcp::state::established && c.stream.is < tcp::state::established) {
        edits_of(m.id) = {}; // both sides have begun anew
    }
    return v;
}

void tracker::rewrite(request& r, const connection& c, connection_id id, bool reply) noexcept
{
    if (r.at.transport_is != flow::transport_header::tcp || r.dropped) {
        return; // of a later fragment there is nothing to be changed
    }
    connection_edits& edits = edits_of(id);
    for (const unsigned side : {0U, 1U}) {
        edits[side].settle(acknowledged_to(c, side));
    }
    if (!rewrite_segment(r, edits, reply, pool_)) {
        drop(r, drop_reason::ct_payload);
        return;
    }
    counters.rewritten.add(1);
}

whole_tuple tracker::answers_to(const expectation& e, const whole_tuple& first,
                                seconds_t now) noexcept
{
    // The source port stays if it may.
    const whole_tuple straight = first.reversed();
    whole_tuple out = e.answers;
    const std::uint16_t port = first.packed.source_port();
    const flow::nat any{.which = flow::nat::side::source};
    out.packed.rest |= std::uint64_t{port} << 16;
    if (is_free(out, now)) {
        return out;
    }
    free_tuples all{*this, now};
    const auto chosen = ports_.choose(all, any, out.reversed());
    return chosen.value_or(straight);
}

} // namespace strait::conntrack
