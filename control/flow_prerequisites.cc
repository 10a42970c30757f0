// SPDX-License-Identifier: BSD-3-Clause
// What a match must have for a field to be there (flow_fields.hh).
#include "control/flow_fields.hh"

#include <array>

namespace strait::control {

using flow::field;

namespace {

namespace ethertype {
constexpr std::uint16_t ipv4 = 0x0800;
constexpr std::uint16_t arp = 0x0806;
constexpr std::uint16_t rarp = 0x8035;
constexpr std::uint16_t ipv6 = 0x86dd;
} // namespace ethertype

namespace protocol {
constexpr std::uint8_t icmp = 1;
constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t udp = 17;
constexpr std::uint8_t icmp6 = 58;
constexpr std::uint8_t sctp = 132;
} // namespace protocol

// What a value can still be: it is, it may be, it is not.
enum class answer : std::uint8_t { no, open, yes };

answer both(answer a, answer b)
{
    return a < b ? a : b;
}

answer either(answer a, answer b)
{
    return a < b ? b : a;
}

// Whether all packets of a match have this value, none of them, or some may.
answer has(const flow::match& m, field f, std::uint64_t value)
{
    const std::uint64_t mask = m.mask.number(f);
    if ((m.value.number(f) & mask) != (value & mask)) {
        return answer::no;
    }
    return flow::wide{mask} == flow::wide::ones(flow::width_of(f)) ? answer::yes : answer::open;
}

answer is_type(const flow::match& m, std::uint16_t type)
{
    return has(m, field::eth_type, type);
}

answer is_ip(const flow::match& m)
{
    return either(is_type(m, ethertype::ipv4), is_type(m, ethertype::ipv6));
}

answer is_arp(const flow::match& m)
{
    return either(is_type(m, ethertype::arp), is_type(m, ethertype::rarp));
}

// A protocol's header is in no later fragment.
answer is_protocol(const flow::match& m, std::uint8_t number)
{
    const answer there = both(is_ip(m), has(m, field::nw_proto, number));
    return (m.value.number(field::nw_frag) & flow::frag_later) != 0 ? answer::no : there;
}

answer has_ports(const flow::match& m)
{
    return either(is_protocol(m, protocol::tcp),
                  either(is_protocol(m, protocol::udp), is_protocol(m, protocol::sctp)));
}

answer is_icmp4(const flow::match& m)
{
    return both(is_type(m, ethertype::ipv4), is_protocol(m, protocol::icmp));
}

answer is_icmp6(const flow::match& m)
{
    return both(is_type(m, ethertype::ipv6), is_protocol(m, protocol::icmp6));
}

answer is_neighbour(const flow::match& m, std::uint8_t type)
{
    // Its code is always 0, so that a match need not say it.
    const answer code = has(m, field::tp_dst, 0) == answer::no ? answer::no : answer::yes;
    return both(both(is_icmp6(m), code), has(m, field::tp_src, type));
}

answer is_solicitation(const flow::match& m)
{
    constexpr std::uint8_t type = 135;
    return is_neighbour(m, type);
}

answer is_advertisement(const flow::match& m)
{
    constexpr std::uint8_t type = 136;
    return is_neighbour(m, type);
}

answer is_tagged(const flow::match& m)
{
    const bool asked = (m.mask.number(field::vlan_tci) & flow::vlan_present) != 0;
    const bool there = (m.value.number(field::vlan_tci) & flow::vlan_present) != 0;
    return !asked ? answer::open : there ? answer::yes : answer::no;
}

// What connection tracking says of itself, by the flags of ct_state.
answer is_tracked(const flow::match& m)
{
    constexpr std::uint64_t of_connection = 0xcf; // new, est, rel, rpl, snat, dnat
    constexpr std::uint64_t invalid = 0x10;
    constexpr std::uint64_t tracked = 0x20;
    const std::uint64_t value = m.value.number(field::ct_state);
    const std::uint64_t mask = m.mask.number(field::ct_state);
    if ((value & invalid) != 0 || (mask & tracked & ~value) != 0) {
        return answer::no;
    }
    const bool is_valid =
        (value & of_connection) != 0 || ((value & tracked) != 0 && (mask & invalid) != 0);
    return is_valid ? answer::yes : answer::open;
}

answer has_tracked_protocol(const flow::match& m)
{
    return m.mask.number(field::ct_nw_proto) != 0 ? answer::yes : answer::open;
}

answer state(prerequisite p, const flow::match& m)
{
    switch (p) {
    case prerequisite::none:
        return answer::yes;
    case prerequisite::tagged:
        return is_tagged(m);
    case prerequisite::ipv4:
        return is_type(m, ethertype::ipv4);
    case prerequisite::ipv4_or_arp:
        return either(is_type(m, ethertype::ipv4), is_arp(m));
    case prerequisite::ip:
        return is_ip(m);
    case prerequisite::ip_or_arp:
        return either(is_ip(m), is_arp(m));
    case prerequisite::ipv6:
        return is_type(m, ethertype::ipv6);
    case prerequisite::arp:
        return is_arp(m);
    case prerequisite::tcp:
        return is_protocol(m, protocol::tcp);
    case prerequisite::udp:
        return is_protocol(m, protocol::udp);
    case prerequisite::sctp:
        return is_protocol(m, protocol::sctp);
    case prerequisite::ports:
        return has_ports(m);
    case prerequisite::ports_or_icmp:
        return either(has_ports(m), either(is_icmp4(m), is_icmp6(m)));
    case prerequisite::icmp4:
        return is_icmp4(m);
    case prerequisite::icmp6:
        return is_icmp6(m);
    case prerequisite::icmp:
        return either(is_icmp4(m), is_icmp6(m));
    case prerequisite::neighbour:
        return either(is_solicitation(m), is_advertisement(m));
    case prerequisite::neighbour_solicitation:
        return is_solicitation(m);
    case prerequisite::neighbour_advertisement:
        return is_advertisement(m);
    case prerequisite::tracked:
        return is_tracked(m);
    case prerequisite::tracked_ipv4:
        return both(is_type(m, ethertype::ipv4), is_tracked(m));
    case prerequisite::tracked_ipv6:
        return both(is_type(m, ethertype::ipv6), is_tracked(m));
    case prerequisite::tracked_ports:
        return both(is_tracked(m), has_tracked_protocol(m));
    }
    return answer::no;
}

constexpr std::array<std::string_view, 23> descriptions{
    "nothing",
    "a tag: dl_vlan or vlan_tci",
    "ip (dl_type=0x0800)",
    "ip (dl_type=0x0800) or arp",
    "ip or ipv6 (dl_type=0x0800 or 0x86dd)",
    "ip, ipv6 or arp (dl_type=0x0800, 0x86dd or 0x0806)",
    "ipv6 (dl_type=0x86dd)",
    "arp or rarp (dl_type=0x0806 or 0x8035)",
    "tcp or tcp6 (nw_proto=6), and no later fragments",
    "udp or udp6 (nw_proto=17), and no later fragments",
    "sctp or sctp6 (nw_proto=132), and no later fragments",
    "a protocol that has ports: tcp, udp, sctp, tcp6, udp6 or sctp6, and no later fragments",
    "a protocol that has ports: tcp, udp, sctp, tcp6, udp6 or sctp6, and no later fragments",
    "icmp (dl_type=0x0800,nw_proto=1), and no later fragments",
    "icmp6 (dl_type=0x86dd,nw_proto=58), and no later fragments",
    "icmp or icmp6 (nw_proto=1 or 58), and no later fragments",
    "neighbour discovery: icmp6,icmp_type=135 or 136",
    "a neighbour solicitation: icmp6,icmp_type=135",
    "a neighbour advertisement: icmp6,icmp_type=136",
    "a valid connection: ct_state with +new, +est, +rel, +rpl or +trk-inv",
    "ip and a valid connection: ct_state with +new, +est, +rel, +rpl or +trk-inv",
    "ipv6 and a valid connection: ct_state with +new, +est, +rel, +rpl or +trk-inv",
    "ct_nw_proto and a valid connection: ct_state with +new, +est, +rel, +rpl or +trk-inv",
};

} // namespace

bool holds(prerequisite p, const flow::match& m)
{
    return state(p, m) == answer::yes;
}

bool holds(prerequisite p, const flow::key& k)
{
    flow::match m;
    m.value = k;
    m.mask.words.fill(~std::uint64_t{0});
    return holds(p, m);
}

bool contradicts(prerequisite p, const flow::match& m)
{
    return state(p, m) == answer::no;
}

std::string_view describe(prerequisite p)
{
    return descriptions.at(static_cast<std::size_t>(p));
}

} // namespace strait::control
