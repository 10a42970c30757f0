// SPDX-License-Identifier: BSD-3-Clause
// Addresses first, by a hash of who asks; then ports of each.
#include "dataplane/conntrack/nat.hh"

#include "dataplane/ip.hh"

#include <algorithm>
#include <random>

namespace strait::conntrack {

namespace {

using side = flow::nat::side;
using flow::wide;
using flow::word_hash;

constexpr unsigned addresses_to_try = 8;
constexpr unsigned tuples_to_try = 512;

[[nodiscard]] constexpr wide plus(wide a, std::uint64_t n) noexcept
{
    const std::uint64_t low = a.low + n;
    return {a.high + (low < n ? 1U : 0U), low};
}

// Addresses in a range that are told apart here: 2^64 - 1 at most.
[[nodiscard]] std::uint64_t size_of(const flow::nat& asked) noexcept
{
    const wide first = asked.first;
    const wide last = asked.last.is_zero() ? first : asked.last;
    const std::uint64_t difference = last.low - first.low;
    const bool wider = last.high - first.high != (last.low < first.low ? 1U : 0U);
    return wider || difference == ~std::uint64_t{0} ? ~std::uint64_t{0} : difference + 1;
}

// By the source alone where it must always be the same; then nothing of this process has a say.
[[nodiscard]] std::uint64_t address_hash(const flow::nat& asked, const tuple& original) noexcept
{
    constexpr std::uint64_t any = 0x9e37'79b9'7f4a'7c15;
    constexpr std::uint64_t other = 0xc2b2'ae3d'27d4'eb4f;
    const std::uint64_t source =
        word_hash::fold(original.source.high ^ any, original.source.low ^ other);
    if (asked.persistent) {
        return source;
    }
    return word_hash::fold(source ^ original.destination.high ^ detail::seeds[0],
                           original.destination.low ^ detail::seeds[1]);
}

[[nodiscard]] bool has_ports(const packed_tuple& t) noexcept
{
    return t.protocol() == dataplane::protocol_tcp || t.protocol() == dataplane::protocol_udp ||
           t.protocol() == dataplane::protocol_sctp;
}

// With another address and port where the answers come to, or come from.
[[nodiscard]] whole_tuple with(const tuple& reply, side which, wide address,
                               std::uint16_t port) noexcept
{
    tuple out = reply;
    const bool icmp = is_icmp(reply.protocol);
    if (which == side::source) {
        out.destination = address;
        (icmp ? out.source_port : out.destination_port) = port;
    } else {
        out.source = address;
        out.source_port = port; // of ICMP the identifier, which stays
    }
    return whole_tuple::of(out);
}

} // namespace

port_chooser::port_chooser() noexcept : random_{std::random_device{}() | std::uint64_t{1} << 32} {}

std::uint64_t port_chooser::random() noexcept
{
    random_ += 0x9e37'79b9'7f4a'7c15;
    return word_hash::fold(random_ ^ detail::seeds[2], random_ ^ detail::seeds[3]);
}

struct port_chooser::search {
    occupancy& connections;
    side which;
    const tuple& reply;
    wide address{};
    unsigned tried{0};
    std::optional<whole_tuple> found{};

    [[nodiscard]] bool tired() const noexcept { return tried >= tuples_to_try; }
};

// The port stays if it may. Without a range those of sources may become any that are nobody's
// service; identifiers of ICMP are like ports of sources.
port_chooser::range port_chooser::ports_of(const flow::nat& asked,
                                           const whole_tuple& original) noexcept
{
    const packed_tuple& t = original.packed;
    const bool icmp = is_icmp(t.protocol());
    const bool destination = asked.which == side::destination;
    if (!icmp && !has_ports(t)) {
        return {0, 1, 0, {}};
    }
    const std::uint16_t now = icmp || !destination ? t.source_port() : t.destination_port();
    if (destination && (icmp || asked.first_port == 0)) {
        return {now, 1, 0, {}};
    }
    range out{first_free_port, 65'536U - first_free_port, 0, {}};
    if (asked.first_port != 0) {
        const std::uint16_t last = std::max(asked.first_port, asked.last_port);
        out = {asked.first_port, static_cast<std::uint32_t>(last - asked.first_port) + 1, 0, {}};
    } else if (icmp) {
        out = {0, 65'536, 0, {}};
    }
    const bool fits = asked.first_port == 0 ||
                      (now >= out.first && now - out.first < static_cast<int>(out.count));
    if (asked.hash) {
        out.start = static_cast<std::uint32_t>((t.hash() >> 16) % out.count);
        return out;
    }
    out.start = static_cast<std::uint32_t>(random() % out.count);
    if (fits && !asked.random) {
        out.kept = now;
    }
    return out;
}

bool port_chooser::try_port(search& s, std::uint16_t port) noexcept
{
    const whole_tuple candidate = with(s.reply, s.which, s.address, port);
    ++s.tried;
    if (s.connections.is_free(candidate)) {
        s.found = candidate;
    }
    return s.found.has_value();
}

bool port_chooser::try_range(search& s, const range& ports) noexcept
{
    if (ports.kept && try_port(s, *ports.kept)) {
        return true;
    }
    for (std::uint32_t i = 0; i < ports.count && !s.tired(); ++i) {
        const std::uint32_t offset = (ports.start + i) % ports.count;
        if (try_port(s, static_cast<std::uint16_t>(ports.first + offset))) {
            return true;
        }
    }
    return false;
}

std::optional<whole_tuple> port_chooser::choose(occupancy& connections, const flow::nat& asked,
                                                const whole_tuple& original) noexcept
{
    const tuple from = original.open();
    const tuple reply = original.reversed().open();
    const bool stays = asked.first.is_zero() && asked.last.is_zero();
    if (!stays && asked.ipv6 != from.ipv6) {
        return std::nullopt;
    }
    const std::uint64_t addresses = stays ? 1 : size_of(asked);
    const std::uint64_t hash = address_hash(asked, from);
    const range ports = ports_of(asked, original);
    search s{connections, asked.which, reply};
    for (unsigned i = 0; i < addresses_to_try && i < addresses && !s.tired(); ++i) {
        s.address = asked.which == side::source ? from.source : from.destination;
        if (!stays) {
            s.address = plus(asked.first, (hash + i) % addresses);
        }
        if (try_range(s, ports)) {
            break;
        }
    }
    return s.found;
}

} // namespace strait::conntrack
