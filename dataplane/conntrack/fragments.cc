// SPDX-License-Identifier: BSD-3-Clause
// Where fragments lie in their datagrams.
#include "dataplane/conntrack/fragments.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>

#include <rte_mbuf.h>

namespace strait::conntrack {

namespace {

using namespace dataplane;
using flow::network_header;

constexpr seconds_t patience = 30; // for a datagram's last fragment
constexpr std::uint32_t longest_datagram = 65'535;

// Where the fragment header is; 0: there is none in the head.
[[nodiscard]] std::size_t find_fragment_header(const packet& p, std::size_t network) noexcept
{
    constexpr int most = 8;
    auto kind = load<std::uint8_t>(p.data + network + 6);
    std::size_t at = network + ipv6_header;
    for (int i = 0; i < most && at + 8 <= p.head_length; ++i) {
        if (kind == ipv6_fragment) {
            return at;
        }
        if (kind != ipv6_hop_by_hop && kind != ipv6_routing && kind != ipv6_destination) {
            return 0;
        }
        kind = load<std::uint8_t>(p.data + at);
        at += (load<std::uint8_t>(p.data + at + 1) + std::size_t{1}) * 8;
    }
    return 0;
}

// What all fragments of a datagram have: ports and IPv6's protocol are the first one's alone to
// know.
[[nodiscard]] std::uint64_t told_bits(bool ipv6) noexcept
{
    constexpr std::uint64_t protocol_mask = std::uint64_t{0xff} << packed_tuple::protocol_shift;
    return ~(std::uint64_t{0xffff'ffff} | (ipv6 ? protocol_mask : std::uint64_t{0}));
}
[[nodiscard]] whole_tuple datagram_of(whole_tuple t) noexcept
{
    t.packed.rest &= told_bits(t.packed.ipv6());
    return t;
}

} // namespace

fragments::fragments()
    : sets_{reinterpret_cast<set*>(memory_.data())},
      waiting_{reinterpret_cast<waiting_packet*>(memory_.data() + sets * sizeof(set))}
{}

fragments::~fragments()
{
    for (const waiting_packet& w : std::span{waiting_, waiting_count_}) {
        rte_pktmbuf_free(w.mbuf);
    }
}

fragments::place fragments::place_of(const request& r) noexcept
{
    const packet& p = *r.p;
    const std::size_t network = r.at.network;
    const std::byte* const ip = p.data + network;
    place out;
    std::uint32_t size = 0;
    bool more = false;
    if (r.at.network_is == network_header::ipv4) {
        constexpr std::uint16_t offset_mask = 0x1fff;
        constexpr std::uint16_t more_mask = 0x2000;
        const std::uint16_t word = load<be16>(ip + 6);
        const std::uint32_t header = (load<std::uint8_t>(ip) & 0x0fU) * 4;
        const std::uint32_t total = load<be16>(ip + 2);
        out.identifier = load<be16>(ip + 4);
        out.bytes.begin = (word & offset_mask) * 8U;
        size = total - std::min(total, header);
        more = (word & more_mask) != 0;
    } else {
        const std::size_t at = find_fragment_header(p, network);
        if (at == 0) {
            return {};
        }
        constexpr std::uint16_t offset_mask = 0xfff8;
        const std::uint16_t word = load<be16>(p.data + at + 2);
        const auto in_front = static_cast<std::uint32_t>(at + 8 - network - ipv6_header);
        const std::uint32_t payload = load<be16>(ip + 4);
        out.identifier = load<be32>(p.data + at + 4);
        out.bytes.begin = word & offset_mask;
        size = payload - std::min(payload, in_front);
        more = (word & 1) != 0;
    }
    out.bytes.end = out.bytes.begin + size;
    out.last = !more;
    // All but the last are of whole units of 8 bytes.
    out.valid = size > 0 && out.bytes.end <= longest_datagram && (!more || size % 8 == 0);
    return out;
}

// False: it overlaps, or lies behind the end; or there are too many gaps.
bool fragments::add(datagram& d, const place& at) noexcept
{
    const range& r = at.bytes;
    if (d.size != 0 && (r.end > d.size || at.last)) {
        return false;
    }
    const auto end = d.ranges.begin() + d.count;
    const auto next =
        std::find_if(d.ranges.begin(), end, [&](const range& o) { return o.begin >= r.begin; });
    const bool after_other = next != d.ranges.begin() && (next - 1)->end > r.begin;
    if (after_other || (next != end && next->begin < r.end) || (at.last && next != end)) {
        return false;
    }
    const bool joins_last = next != d.ranges.begin() && (next - 1)->end == r.begin;
    const bool joins_next = next != end && next->begin == r.end;
    if (joins_last) {
        (next - 1)->end = joins_next ? next->end : r.end;
        if (joins_next) {
            std::copy(next + 1, end, next);
            --d.count;
        }
    } else if (joins_next) {
        next->begin = r.begin;
    } else {
        if (d.count == datagram::most_ranges) {
            return false;
        }
        std::copy_backward(next, end, end + 1);
        *next = r;
        ++d.count;
    }
    d.size = at.last ? r.end : d.size;
    return true;
}

fragments::meeting fragments::meet(const request& r, whole_tuple& tuple, bool later, bool again,
                                   seconds_t now) noexcept
{
    const place at = place_of(r);
    if (!at.valid) {
        return {};
    }
    const bool ipv6 = tuple.packed.ipv6();
    const std::uint64_t told = told_bits(ipv6);
    const std::uint64_t rest = tuple.packed.rest & told;
    const std::uint64_t hash = flow::word_hash::fold(tuple.packed.addresses ^ detail::seeds[4],
                                                     rest ^ at.identifier ^ detail::seeds[5]);
    set& s = sets_[hash % sets];
    datagram* found = nullptr;
    datagram* oldest = s.data();
    for (datagram& d : s) {
        const bool same = d.deadline > now && d.identifier == at.identifier &&
                          d.first.packed.addresses == tuple.packed.addresses &&
                          (d.first.packed.rest & told) == rest &&
                          (!ipv6 || d.first.addresses == tuple.addresses);
        found = same ? &d : found;
        oldest = d.deadline < oldest->deadline ? &d : oldest;
    }
    if (found == nullptr) {
        if (later) {
            return {nullptr, true};
        }
        found = oldest;
        *found = {.first = tuple, .identifier = at.identifier, .deadline = now + patience};
    } else if (again) {
        tuple = found->first;
        return {found};
    } else if (!later && (found->complete() || found->deadline < now + patience - 1)) {
        // The identifier has come round.
        *found = {.first = tuple, .identifier = at.identifier, .deadline = now + patience};
    }
    if (!add(*found, at)) {
        return {};
    }
    tuple = found->first;
    return {found};
}

bool fragments::keep(request& r, const whole_tuple& tuple, seconds_t now,
                     rte_mempool* pool) noexcept
{
    const port_index from = r.p->in_port;
    const std::uint32_t bytes = r.p->length;
    const std::span waiting{waiting_, waiting_count_};
    const auto of_port = std::ranges::count(waiting, from, &waiting_packet::from);
    if (r.continuation == 0 || pool == nullptr || waiting_count_ == most_waiting ||
        static_cast<std::size_t>(of_port) >= most_of_a_port ||
        waiting_bytes_ + bytes > most_bytes) {
        return false;
    }
    rte_mbuf* const m = own(*r.p, pool);
    if (m == nullptr) {
        return false;
    }
    waiting_[waiting_count_++] = {
        m,   datagram_of(tuple), r.continuation, place_of(r).identifier, bytes, now + longest_wait,
        from};
    waiting_bytes_ += bytes;
    return true;
}

template <typename Wanted, typename Take>
void fragments::take_out(const Wanted& wanted, const Take& take) noexcept
{
    std::size_t left = 0;
    for (std::size_t i = 0; i < waiting_count_; ++i) {
        const waiting_packet w = waiting_[i];
        if (wanted(w)) {
            waiting_bytes_ -= w.bytes;
            take(w);
        } else {
            waiting_[left++] = w;
        }
    }
    waiting_count_ = left;
}

std::size_t fragments::release(const request& r, const whole_tuple& tuple,
                               std::span<rte_mbuf*> to) noexcept
{
    const whole_tuple of = datagram_of(tuple);
    const std::uint32_t identifier = place_of(r).identifier;
    std::size_t count = 0;
    take_out(
        [&](const waiting_packet& w) noexcept {
            return count < to.size() && w.identifier == identifier &&
                   w.continuation == r.continuation && w.datagram == of;
        },
        [&](const waiting_packet& w) noexcept { to[count++] = w.mbuf; });
    return count;
}

std::size_t fragments::expire(seconds_t now, std::span<waiting_packet> to) noexcept
{
    std::size_t count = 0;
    take_out([&](const waiting_packet& w) noexcept { return count < to.size() && w.until <= now; },
             [&](const waiting_packet& w) noexcept { to[count++] = w; });
    return count;
}

} // namespace strait::conntrack
