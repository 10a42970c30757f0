// SPDX-License-Identifier: BSD-3-Clause
// Connections whose payload is looked at, and those that they announce.
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>

namespace strait::conntrack {

namespace {

using dataplane::drop_reason;
using flow::network_header;

// Seconds that an announced connection is waited for.
constexpr seconds_t patience = 300;

// Where TCP's or UDP's payload begins and ends in a frame; nothing where the frame does not bear
// that out.
struct extent {
    std::size_t begin{0};
    std::size_t end{0};
};
[[nodiscard]] extent payload_of(const request& r, bool tcp) noexcept
{
    const std::byte* const network = r.p->data + r.at.network;
    const std::size_t size =
        r.at.network_is == network_header::ipv4
            ? std::size_t{dataplane::load<dataplane::be16>(network + 2)}
            : dataplane::load<dataplane::be16>(network + 4) + dataplane::ipv6_header;
    const std::byte* const transport = r.p->data + r.at.transport;
    const std::size_t header =
        tcp ? (dataplane::load<std::uint8_t>(transport + 12) >> 4) * std::size_t{4}
            : dataplane::udp_header;
    const extent out{r.at.transport + header,
                     std::min<std::size_t>(r.at.network + size, r.p->length)};
    return out.begin < out.end ? out : extent{};
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

void tracker::look_for_announcement(request& r, const connection& c, connection_id id, bool reply,
                                    seconds_t now) noexcept
{
    const bool tcp = c.original.protocol() == dataplane::protocol_tcp;
    const extent payload = payload_of(r, tcp);
    if (payload.end == 0 || r.at.fragment) {
        return;
    }
    std::array<char, 256> text; // no command or answer is longer
    const std::size_t size = std::min(payload.end - payload.begin, text.size());
    if (!dataplane::copy_frame(*r.p, payload.begin, text.data(), size)) {
        return;
    }
    const whole_tuple announcing = reply ? table_.reply(c) : table_.original(c);
    const whole_tuple other = reply ? table_.original(c) : table_.reply(c);
    std::optional<announcement> found;
    if (tcp) {
        found = read_ftp({text.data(), size}, reply, c.original.ipv6());
    } else if (!reply && is_tftp_request({text.data(), size})) {
        // The server answers from another port to the one that it was asked from.
        found = announcement{.port = announcing.packed.source_port(),
                             .written = announcement::form::port};
    }
    if (!found || (tcp && !expectations::is_credible(*found, announcing))) {
        return;
    }
    expectation e = expectations::make(*found, announcing, other);
    if (!tcp) { // the port may be translated
        e.coming.packed.rest = (e.coming.packed.rest & ~(std::uint64_t{0xffff} << 16)) |
                               std::uint64_t{other.packed.destination_port()} << 16;
    }
    const bool moved = e.coming.open().destination != e.answers.open().source;
    if (tcp && moved && found->written != announcement::form::port) {
        drop(r, drop_reason::ct_payload);
        return;
    }
    if (c.has(note::marked)) {
        e.mark = table_.details(id).mark;
        e.label = table_.details(id).label;
    }
    e.deadline = now + patience;
    all_.shard_of(c.original.zone()).expected.add(e, now);
    counters.related.add(1);
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
