// SPDX-License-Identifier: BSD-3-Clause
// Where fragments lie in their datagrams.
#include "dataplane/conntrack/fragments.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>

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

} // namespace

fragments::fragments() : sets_{reinterpret_cast<set*>(memory_.data())} {}

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

fragments::datagram* fragments::meet(const request& r, whole_tuple& tuple, bool later, bool again,
                                     seconds_t now) noexcept
{
    const place at = place_of(r);
    if (!at.valid) {
        return nullptr;
    }
    // Ports and IPv6's protocol are the first fragment's alone to know.
    constexpr std::uint64_t protocol_mask = std::uint64_t{0xff} << packed_tuple::protocol_shift;
    const bool ipv6 = tuple.packed.ipv6();
    const std::uint64_t told =
        ~(std::uint64_t{0xffff'ffff} | (ipv6 ? protocol_mask : std::uint64_t{0}));
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
            return nullptr;
        }
        found = oldest;
        *found = {.first = tuple, .identifier = at.identifier, .deadline = now + patience};
    } else if (again) {
        tuple = found->first;
        return found;
    } else if (!later && (found->complete() || found->deadline < now + patience - 1)) {
        // The identifier has come round.
        *found = {.first = tuple, .identifier = at.identifier, .deadline = now + patience};
    }
    if (!add(*found, at)) {
        return nullptr;
    }
    tuple = found->first;
    return found;
}

} // namespace strait::conntrack
