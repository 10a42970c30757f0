// SPDX-License-Identifier: BSD-3-Clause
// Headers changed through flow/rewrite.hh; what that does not know, identifiers of ICMP and
// embedded packets, in place.
#include "dataplane/conntrack/translate.hh"

#include "dataplane/flow/rewrite.hh"
#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <bit>

namespace strait::conntrack {

namespace {

using namespace dataplane;
using flow::field;
using flow::network_header;

constexpr std::size_t address_word = place_of(field::nw_src).word;
constexpr std::size_t ipv6_word = place_of(field::ipv6_src).word;
constexpr std::size_t port_word = place_of(field::tp_src).word;
constexpr std::uint64_t low_32 = 0xffff'ffff;

// A big-endian integer of the frame.
template <typename T>
void put(std::byte* at, T value, sum_change& sum) noexcept
{
    const big_endian<T> now{value};
    sum.replace(load<T>(at), std::bit_cast<T>(now));
    store(at, now);
}

// The same where several sums cover it.
template <typename T, typename... Sums>
void put_in(std::byte* at, T value, Sums&... sums) noexcept
{
    sum_change one;
    put(at, value, one);
    ((sums += one), ...);
}

void put_checksum(std::byte* at, const sum_change& of, sum_change& outer) noexcept
{
    const auto old = load<std::uint16_t>(at);
    const std::uint16_t now = of.checksum(old);
    store(at, now);
    outer.replace(old, now);
}

// The checksum of an embedded TCP or UDP header, if as much is there of it.
void mend_transport(std::byte* frame, const embedded_packet& inner, const sum_change& of,
                    sum_change& outer) noexcept
{
    const bool udp = inner.protocol == protocol_udp;
    if (!udp && inner.protocol != protocol_tcp) {
        return;
    }
    const std::size_t at = inner.transport + std::size_t{udp ? udp_checksum : tcp_checksum};
    if (at + 2 > inner.end || (udp && load<std::uint16_t>(frame + at) == 0)) {
        return;
    }
    put_checksum(frame + at, of, outer);
}

// Returns what the changes come to in the message's own checksum.
[[nodiscard]] sum_change rewrite_embedded(std::byte* frame, const embedded_packet& inner,
                                          const translator::error_change& change) noexcept
{
    const whole_tuple& wanted = change.inner;
    sum_change outer;
    sum_change pseudo;
    std::byte* const network = frame + inner.network;
    if (inner.ipv6) {
        for (std::size_t i = 0; i < 4; ++i) {
            put_in(network + 8 + i * 8, wanted.addresses[i], pseudo, outer);
        }
    } else {
        sum_change header;
        put_in(network + 12, wanted.packed.addresses, pseudo, header, outer);
        put_checksum(network + ipv4_checksum, header, outer);
    }
    std::byte* const transport = frame + inner.transport;
    sum_change content;
    if (is_icmp(inner.protocol)) {
        put_in(transport + 4, wanted.packed.source_port(), content, outer);
        if (inner.protocol == protocol_icmpv6) {
            content += pseudo;
        }
        put_checksum(transport + icmp_checksum, content, outer);
        return outer;
    }
    if (inner.protocol == protocol_tcp || inner.protocol == protocol_udp) {
        put_in(transport, wanted.packed.source_port(), content, outer);
        put_in(transport + 2, wanted.packed.destination_port(), content, outer);
        const bool numbered = inner.protocol == protocol_tcp && inner.transport + 8 <= inner.end;
        if (numbered && change.sent_by != nullptr) {
            const std::uint32_t sequence = load<be32>(transport + 4);
            put_in(transport + 4, change.sent_by->to_sender(sequence), content, outer);
        }
        content += pseudo;
        mend_transport(frame, inner, content, outer);
    }
    return outer;
}

} // namespace

void translator::aim(const whole_tuple& wanted, bool source, bool destination) noexcept
{
    if (wanted.packed.ipv6()) {
        for (std::size_t i = 0; i < 4; ++i) {
            value_.words[ipv6_word + i] = wanted.addresses[i];
            mask_.words[ipv6_word + i] = (i < 2 ? source : destination) ? ~std::uint64_t{0} : 0;
        }
        return;
    }
    value_.words[address_word] = wanted.packed.addresses;
    mask_.words[address_word] = (source ? low_32 << 32 : 0) | (destination ? low_32 : 0);
}

bool translator::set(request& r) noexcept
{
    for (const std::size_t w :
         {address_word, ipv6_word, ipv6_word + 1, ipv6_word + 2, ipv6_word + 3, port_word}) {
        value_.words[w] &= mask_.words[w];
    }
    const bool done = flow::set_headers(*r.p, r.at, value_, mask_);
    for (const std::size_t w :
         {address_word, ipv6_word, ipv6_word + 1, ipv6_word + 2, ipv6_word + 3, port_word}) {
        value_.words[w] = 0;
        mask_.words[w] = 0;
    }
    r.translated |= done;
    return done;
}

bool translator::translate(request& r, const whole_tuple& wanted) noexcept
{
    aim(wanted, true, true);
    const bool icmp = is_icmp(wanted.packed.protocol());
    if (!icmp) {
        value_.words[port_word] = wanted.packed.ports();
        mask_.words[port_word] = low_32;
    }
    if (!set(r)) {
        return false;
    }
    if (icmp && r.at.checksum != 0) {
        std::byte* const header = r.p->data + r.at.transport;
        sum_change sum;
        put(header + 4, wanted.packed.source_port(), sum);
        std::byte* const checksum = r.p->data + r.at.checksum;
        store(checksum, sum.checksum(load<std::uint16_t>(checksum)));
    }
    return true;
}

bool translator::translate_error(request& r, const error_change& wanted) noexcept
{
    embedded_packet inner;
    if (!read_embedded(*r.p, r.at, inner)) {
        return false;
    }
    aim(wanted.outer, wanted.source, wanted.destination);
    if (!set(r)) {
        return false;
    }
    const sum_change sum = rewrite_embedded(r.p->data, inner, wanted);
    std::byte* const checksum = r.p->data + r.at.checksum;
    store(checksum, sum.checksum(load<std::uint16_t>(checksum)));
    return true;
}

} // namespace strait::conntrack
