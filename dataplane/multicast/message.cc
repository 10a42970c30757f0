// SPDX-License-Identifier: BSD-3-Clause
// IGMP, MLD and their like, byte by byte.
#include "dataplane/multicast/message.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"
#include "dataplane/sum.hh"

#include <optional>

namespace strait::multicast {

namespace {

using namespace dataplane;
using bytes = std::span<const std::byte>;
using kind = message::kind;

// Types of IGMP (RFC 3376 4, RFC 4286 7) and of ICMPv6 (RFC 3810 5, RFC 4286 7).
constexpr std::uint8_t igmp_query = 0x11;
constexpr std::uint8_t igmp_report_1 = 0x12;
constexpr std::uint8_t igmp_report_2 = 0x16;
constexpr std::uint8_t igmp_leave = 0x17;
constexpr std::uint8_t igmp_report_3 = 0x22;
constexpr std::uint8_t igmp_router_advertisement = 0x30;
constexpr std::uint8_t igmp_router_termination = 0x32;
constexpr std::uint8_t mld_query = 130;
constexpr std::uint8_t mld_report_1 = 131;
constexpr std::uint8_t mld_done = 132;
constexpr std::uint8_t mld_report_2 = 143;
constexpr std::uint8_t mld_router_advertisement = 151;
constexpr std::uint8_t mld_router_termination = 153;

constexpr ip_address all_systems = ip_address::v4(0xe000'0001);
constexpr ip_address all_routers = ip_address::v4(0xe000'0002);
constexpr ip_address all_pim_routers = ip_address::v4(0xe000'000d);
constexpr ip_address igmp_routers = ip_address::v4(0xe000'0016);
constexpr ip_address all_snoopers = ip_address::v4(0xe000'006a);
constexpr std::uint64_t link_scope = 0xff02'0000'0000'0000;
constexpr ip_address all_nodes_six{link_scope, 1};
constexpr ip_address all_routers_six{link_scope, 2};
constexpr ip_address all_pim_routers_six{link_scope, 0xd};
constexpr ip_address mld_routers{link_scope, 0x16};
constexpr ip_address all_snoopers_six{link_scope, 0x6a};

[[nodiscard]] std::uint8_t byte_at(bytes b, std::size_t at) noexcept
{
    return load<std::uint8_t>(b.data() + at);
}
[[nodiscard]] std::uint16_t word_at(bytes b, std::size_t at) noexcept
{
    return load<be16>(b.data() + at);
}

[[nodiscard]] std::uint64_t sum_of(bytes b) noexcept
{
    return dataplane::sum_of(b.data(), b.size());
}
// Of a number in a pseudo-header, as if it lay in memory.
[[nodiscard]] std::uint64_t be16_sum(std::size_t value) noexcept
{
    return __builtin_bswap16(static_cast<std::uint16_t>(value));
}
[[nodiscard]] bool adds_up(std::uint64_t sum) noexcept
{
    return fold(sum) == 0xffff;
}

[[nodiscard]] message broken(bool six) noexcept
{
    message m;
    m.is = kind::invalid;
    m.six = six;
    return m;
}

[[nodiscard]] bool is_multicast(const ip_address& a) noexcept
{
    return a.is_v4() ? a.v4() >> 28 == 0xe : a.high >> 56 == 0xff;
}

[[nodiscard]] bool is_link_local(const ip_address& a) noexcept
{
    return a.high >> 54 == 0xfe80U >> 6; // fe80::/10
}

// RFC 3376 4.1.1: from 128 on it is mantissa and exponent. `mantissa_bits`: MLDv2's code has more.
[[nodiscard]] std::uint32_t floating(std::uint32_t code, unsigned mantissa_bits) noexcept
{
    const std::uint32_t plain = 1U << (mantissa_bits + 3);
    if (code < plain) {
        return code;
    }
    const std::uint32_t mantissa = code & ((1U << mantissa_bits) - 1);
    const std::uint32_t exponent = code >> mantissa_bits & 7;
    return (mantissa | 1U << mantissa_bits) << (exponent + 3);
}

// The records of IGMPv3 and MLDv2 differ in the length of addresses alone.
struct record {
    std::uint8_t type;
    ip_address group;
    std::uint16_t sources;
    std::size_t size;
};
[[nodiscard]] std::optional<record> read_record(bytes b, bool six) noexcept
{
    const std::size_t address = six ? 16 : 4;
    if (b.size() < 4 + address) {
        return std::nullopt;
    }
    record r{.type = byte_at(b, 0),
             .group = six ? ip_address::load_v6(b.data() + 4) : ip_address::load_v4(b.data() + 4),
             .sources = word_at(b, 2),
             .size = 0};
    r.size = 4 + address + r.sources * address + byte_at(b, 1) * std::size_t{4};
    return r.size <= b.size() ? std::optional{r} : std::nullopt;
}

// `body` from the type on: 8 bytes, then records.
[[nodiscard]] message read_records(bytes body, bool six) noexcept
{
    message m;
    m.is = kind::records;
    m.six = six;
    m.record_count = word_at(body, 6);
    m.records = body.subspan(8);
    bytes rest = m.records;
    for (unsigned i = 0; i < m.record_count; ++i) {
        const auto r = read_record(rest, six);
        if (!r || !is_multicast(r->group)) {
            return broken(six);
        }
        rest = rest.subspan(r->size);
    }
    return m;
}

// A query with whatever its version has behind the group: `fixed` bytes and sources. False: they
// are not whole.
[[nodiscard]] bool read_query_rest(message& m, bytes body, std::size_t fixed) noexcept
{
    if (body.size() < fixed + 4) {
        return body.size() == fixed; // the first version's, of exactly that length
    }
    constexpr unsigned suppress = 8;
    const std::size_t sources = word_at(body, fixed + 2);
    m.shortens = sources == 0 && (byte_at(body, fixed) & suppress) == 0;
    return body.size() >= fixed + 4 + sources * (m.six ? 16U : 4U);
}

// RFC 3376 4.1.12 and RFC 3810 5.1.15 have a query of one group sent to it; Linux's bridge sends it
// to everybody.
[[nodiscard]] bool is_asked_at(const ip_address& at, const message& m,
                               const ip_address& all) noexcept
{
    return at == all || (m.specific && at == m.group);
}

struct addresses {
    ip_address source;
    ip_address destination;
};

[[nodiscard]] message read_igmp(bytes body, const addresses& at) noexcept
{
    if (body.size() < icmp_header || !adds_up(sum_of(body))) {
        return broken(false);
    }
    message m;
    m.from_address = at.source.v4() != 0;
    m.group = ip_address::load_v4(body.data() + 4);
    const std::uint8_t code = byte_at(body, 1);
    bool right = true;
    switch (byte_at(body, 0)) {
    case igmp_query:
        m.is = kind::query;
        m.specific = m.group.v4() != 0;
        m.shortens = true;
        // RFC 2236 2.2: tenths of a second; RFC 1112: 0, that is 10 s.
        m.response_ms = code == 0 ? 10'000 : 100 * (body.size() > 8 ? floating(code, 4) : code);
        right = read_query_rest(m, body, 8) && (!m.specific || is_multicast(m.group)) &&
                is_asked_at(at.destination, m, all_systems);
        break;
    case igmp_report_1:
    case igmp_report_2:
        m.is = kind::report;
        right = is_multicast(m.group) && at.destination == m.group;
        break;
    case igmp_leave:
        m.is = kind::leave;
        // RFC 2236 3 and 9: to all routers; some send it to the group.
        right =
            is_multicast(m.group) && (at.destination == all_routers || at.destination == m.group);
        break;
    case igmp_report_3:
        right = at.destination == igmp_routers;
        m = read_records(body, false);
        break;
    case igmp_router_advertisement:
    case igmp_router_termination:
        m.is = byte_at(body, 0) == igmp_router_advertisement ? kind::router_is_there
                                                             : kind::router_leaves;
        right = at.destination == all_snoopers && m.from_address;
        break;
    default:
        return {}; // RFC 4541 2.1.1: goes everywhere, and nothing more is read of it
    }
    return right ? m : broken(false);
}

[[nodiscard]] message read_mld(bytes body, const addresses& at, bool alerts) noexcept
{
    message m;
    m.six = true;
    const std::uint8_t type = byte_at(body, 0);
    const bool short_body = type == mld_report_2 ? body.size() < 8 : body.size() < 24;
    const auto group = [&] { return ip_address::load_v6(body.data() + 8); };
    bool right = alerts;
    switch (type) {
    case mld_query:
        if (short_body) {
            return broken(true);
        }
        m.is = kind::query;
        m.group = group();
        m.specific = m.group.is_set();
        m.shortens = true;
        m.from_address = true;
        m.response_ms = body.size() > 24 ? floating(word_at(body, 4), 12) : word_at(body, 4);
        right = right && read_query_rest(m, body, 24) && is_link_local(at.source) &&
                (!m.specific || is_multicast(m.group)) &&
                is_asked_at(at.destination, m, all_nodes_six);
        break;
    case mld_report_1:
    case mld_done:
        if (short_body) {
            return broken(true);
        }
        m.is = type == mld_done ? kind::leave : kind::report;
        m.group = group();
        right = right && is_multicast(m.group) &&
                at.destination == (type == mld_done ? all_routers_six : m.group);
        break;
    case mld_report_2:
        if (short_body) {
            return broken(true);
        }
        m = read_records(body, true);
        right = right && at.destination == mld_routers;
        break;
    case mld_router_advertisement:
    case mld_router_termination:
        m.is = type == mld_router_advertisement ? kind::router_is_there : kind::router_leaves;
        m.from_address = true;
        right = right && at.destination == all_snoopers_six && is_link_local(at.source);
        break;
    default:
        return {};
    }
    // RFC 3590: who has no address yet reports from ::.
    return right && (is_link_local(at.source) || !at.source.is_set()) ? m : broken(true);
}

// RFC 7761 4.9: version 2, Hello.
[[nodiscard]] message read_pim(bytes body, bool six, bool to_all_routers) noexcept
{
    constexpr std::uint8_t hello = 0x20;
    message m;
    if (to_all_routers && body.size() >= 4 && byte_at(body, 0) == hello) {
        m.is = kind::router_is_there;
        m.six = six;
        m.from_address = true;
    }
    return m;
}

[[nodiscard]] bool is_mld(std::uint8_t type) noexcept
{
    return (type >= mld_query && type <= mld_done) || type == mld_report_2 ||
           type == mld_router_advertisement || type == mld_router_termination;
}

// Whether a hop-by-hop header's options are whole, and the router alert of MLD is one of them
// (RFC 2711).
struct hop_options {
    bool whole;
    bool alert;
};
[[nodiscard]] hop_options read_options(bytes b) noexcept
{
    constexpr std::uint8_t pad_1 = 0;
    constexpr std::uint8_t router_alert = 5;
    hop_options out{true, false};
    for (std::size_t i = 2; i < b.size();) {
        if (byte_at(b, i) == pad_1) {
            ++i;
            continue;
        }
        if (b.size() - i < 2 || b.size() - i - 2 < byte_at(b, i + 1)) {
            return {false, false};
        }
        const std::size_t length = byte_at(b, i + 1);
        if (byte_at(b, i) == router_alert && length == 2) {
            out.alert = out.alert || word_at(b, i + 2) == 0;
        }
        i += 2 + length;
    }
    return out;
}

} // namespace

bool may_be_message(bool six, std::uint8_t next, std::uint8_t type) noexcept
{
    if (!six) {
        return next == protocol_igmp || next == protocol_pim;
    }
    return next == ipv6_hop_by_hop || next == protocol_pim ||
           (next == protocol_icmpv6 && is_mld(type));
}

message read_ipv4(std::span<const std::byte> packet) noexcept
{
    if (packet.size() < min_ipv4_header || byte_at(packet, 0) >> 4 != 4) {
        return {};
    }
    const std::uint8_t protocol = byte_at(packet, 9);
    if (protocol != protocol_igmp && protocol != protocol_pim) {
        return {};
    }
    const std::size_t header = (byte_at(packet, 0) & 0xfU) * std::size_t{4};
    const std::size_t length = word_at(packet, 2);
    constexpr std::uint16_t fragment = 0x3fff; // more to come, or not the first
    if (header < min_ipv4_header || length < header || length > packet.size() ||
        (word_at(packet, 6) & fragment) != 0 || !adds_up(sum_of(packet.first(header)))) {
        return broken(false);
    }
    const addresses at{ip_address::load_v4(packet.data() + 12),
                       ip_address::load_v4(packet.data() + 16)};
    const bytes body = packet.first(length).subspan(header);
    const bool from_somebody = at.source.is_unicast() || at.source.v4() == 0;
    if (protocol == protocol_pim) {
        return read_pim(body, false, at.destination == all_pim_routers && at.source.is_unicast());
    }
    // RFC 2236 2 and RFC 3376 4: what went over a router is nobody's here.
    return byte_at(packet, 8) == 1 && from_somebody ? read_igmp(body, at) : broken(false);
}

message read_ipv6(std::span<const std::byte> packet) noexcept
{
    if (packet.size() < ipv6_header || byte_at(packet, 0) >> 4 != 6) {
        return {};
    }
    const std::size_t length = word_at(packet, 4);
    const addresses at{ip_address::load_v6(packet.data() + 8),
                       ip_address::load_v6(packet.data() + 24)};
    std::uint8_t next = byte_at(packet, 6);
    if (next != ipv6_hop_by_hop && next != protocol_pim && next != protocol_icmpv6) {
        return {};
    }
    if (length > packet.size() - ipv6_header) {
        return broken(true);
    }
    bytes body = packet.subspan(ipv6_header, length);
    hop_options options{true, false};
    if (next == ipv6_hop_by_hop) {
        if (body.size() < 8 || body.size() < (byte_at(body, 1) + std::size_t{1}) * 8) {
            return {}; // whatever it is, it is no message yet
        }
        const std::size_t size = (byte_at(body, 1) + std::size_t{1}) * 8;
        next = byte_at(body, 0);
        options = read_options(body.first(size));
        body = body.subspan(size);
    }
    if (next == protocol_pim) {
        return read_pim(body, true,
                        at.destination == all_pim_routers_six && is_link_local(at.source));
    }
    if (next != protocol_icmpv6 || body.empty() || !is_mld(byte_at(body, 0))) {
        return {};
    }
    // RFC 8200 8.1: with the addresses, the length and the protocol of the packet.
    const std::uint64_t pseudo =
        sum_of(packet.subspan(8, 32)) + be16_sum(body.size()) + be16_sum(protocol_icmpv6);
    if (byte_at(packet, 7) != 1 || !options.whole || body.size() < 8 ||
        !adds_up(pseudo + sum_of(body))) {
        return broken(true);
    }
    return read_mld(body, at, options.alert);
}

bool is_snooped(const ip_address& group) noexcept
{
    if (!is_multicast(group)) {
        return false;
    }
    if (group.is_v4()) {
        return group.v4() >> 8 != 0xe00000;
    }
    const auto scope = static_cast<unsigned>(group.high >> 48 & 0xf);
    const bool reserved = group.high == link_scope && group.low >> 8 == 0;
    return scope > 1 && !reserved;
}

bool record_reader::next(group_record& out) noexcept
{
    if (left_ == 0) {
        return false;
    }
    const auto r = read_record(rest_, six_);
    if (!r) {
        return false;
    }
    --left_;
    rest_ = rest_.subspan(r->size);
    out.group = r->group;
    // RFC 3376 4.2.12. Nothing of one source is a leave: others may still be asked for.
    switch (r->type) {
    case 1: // MODE_IS_INCLUDE
    case 5: // ALLOW_NEW_SOURCES
        out.is = r->sources != 0 ? wish::join : wish::nothing;
        break;
    case 2: // MODE_IS_EXCLUDE
    case 4: // CHANGE_TO_EXCLUDE_MODE
        out.is = wish::join;
        break;
    case 3: // CHANGE_TO_INCLUDE_MODE
        out.is = r->sources != 0 ? wish::join : wish::leave;
        break;
    default: // BLOCK_OLD_SOURCES, and what is not known
        out.is = wish::nothing;
        break;
    }
    return true;
}

} // namespace strait::multicast
