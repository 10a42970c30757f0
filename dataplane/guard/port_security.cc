// SPDX-License-Identifier: BSD-3-Clause
// The checks, from the Ethernet header inwards. What cannot be read is not from a station that is
// bound, but for what is neither IP nor ARP, of which there is the Ethernet header alone.
#include "dataplane/guard/port_security.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

namespace strait::guard {

using namespace dataplane;
using endpoint::ip_address;
using flow::field;
using flow::header_layout;
using flow::key;

namespace {

constexpr std::uint16_t dhcp_client_port = 68;
constexpr std::uint16_t dhcp_server_port = 67;
constexpr std::uint16_t dhcp6_client_port = 546;
constexpr std::uint16_t dhcp6_server_port = 547;
namespace icmpv6 {
constexpr std::uint8_t listener_report = 131;
constexpr std::uint8_t listener_done = 132;
constexpr std::uint8_t router_solicitation = 133;
constexpr std::uint8_t router_advertisement = 134;
constexpr std::uint8_t solicitation = 135;
constexpr std::uint8_t advertisement = 136;
constexpr std::uint8_t redirect = 137;
constexpr std::uint8_t listener_report_2 = 143;
} // namespace icmpv6

mac_address mac_of(const key& k, field f) noexcept
{
    return mac_address{__builtin_bswap64(k.number(f) << 16)};
}
ip_address ipv6_of(const key& k, field f) noexcept
{
    const flow::wide value = k.get(f);
    return {value.high, value.low};
}
ip_address ipv4_of(const key& k, field f) noexcept
{
    return ip_address::v4(static_cast<std::uint32_t>(k.number(f)));
}

// Who a packet says that it is from.
struct sender {
    const port_guard& g;
    const station* bound; // null: a MAC that is bound nowhere, on an open port
    mac_address mac;

    [[nodiscard]] bool may_send_from(const ip_address& a) const noexcept
    {
        return bound != nullptr && g.may_send_from(*bound, a);
    }
    // IPv6. One that is written like a mapped IPv4 address is nobody's.
    [[nodiscard]] bool may_send_from_ipv6(const ip_address& a) const noexcept
    {
        return !a.is_v4() && (a == link_local_of(mac) || may_send_from(a));
    }
    // Of any_ipv4, or any_ipv6: whether it may send from any address, as a relay or router.
    [[nodiscard]] bool has(const endpoint::ip_prefix& any) const noexcept
    {
        for (std::uint32_t i = 0; bound != nullptr && i < bound->count; ++i) {
            if (g.addresses[bound->first + i] == any) {
                return true;
            }
        }
        return false;
    }
};

bool is_fragment(const key& k) noexcept
{
    return (k.number(field::nw_frag) & flow::frag_any) != 0;
}

// Less than a datagram, or several that are still to be cut: what is looked at is not all there is.
bool is_in_part(const packet& p, const key& k) noexcept
{
    return is_fragment(k) || p.offload.segment_size != 0;
}

bool check_arp(const sender& s, const key& k, const header_layout& at) noexcept
{
    if (at.network_is != flow::network_header::arp || mac_of(k, field::arp_sha) != s.mac) {
        return false;
    }
    const ip_address from = ipv4_of(k, field::nw_src);
    if (from.v4() == 0) { // it looks whether an address is free (RFC 5227): its own
        return s.may_send_from(ipv4_of(k, field::nw_dst));
    }
    return s.may_send_from(from);
}

// The MAC that a DHCP client's message names is the one that it comes from, so that nobody has
// leases made for others.
bool names_itself(const packet& p, const header_layout& at, mac_address mac) noexcept
{
    struct {
        std::uint8_t operation;
        std::uint8_t hardware;
        std::uint8_t length;
    } front;
    constexpr std::size_t client = udp_header + 28; // chaddr
    std::array<std::byte, 8> named{};
    constexpr std::size_t mac_bytes = 6;
    if (p.length < at.transport + client + mac_bytes ||
        !copy_frame(p, at.transport + udp_header, &front, sizeof front) ||
        !copy_frame(p, at.transport + client, named.data(), mac_bytes)) {
        return false;
    }
    return front.operation == 1 && front.hardware == 1 && front.length == mac_bytes &&
           mac_address{load<std::uint64_t>(named.data())} == mac;
}

// UDP whose ports nobody can read here, or what may be that; not what follows a first fragment.
bool hides_ports(const key& k, const header_layout& at) noexcept
{
    return at.network_is == flow::network_header::ipv6_cut ||
           (k.number(field::nw_proto) == protocol_udp &&
            (k.number(field::nw_frag) & flow::frag_later) == 0 &&
            at.transport_is != flow::transport_header::udp);
}

// It is for DHCP servers, whatever its source port.
bool is_for_server(const key& k, const header_layout& at) noexcept
{
    const bool ipv6 = at.network_is == flow::network_header::ipv6;
    return at.transport_is == flow::transport_header::udp &&
           k.number(field::tp_dst) == (ipv6 ? dhcp6_server_port : dhcp_server_port);
}

// A client that has no address yet asks for one, or to keep one that is not bound any more.
bool asks_dhcp(const sender& s, const key& k, const header_layout& at) noexcept
{
    constexpr std::uint32_t broadcast = 0xffff'ffff;
    return is_for_server(k, at) && !is_fragment(k) && k.number(field::nw_dst) == broadcast &&
           k.number(field::tp_src) == dhcp_client_port &&
           (s.bound == nullptr || k.number(field::nw_src) == 0);
}

// Of a MAC that is bound nowhere: what it takes to have an address leased.
bool asks_ipv6(const key& k, const header_layout& at) noexcept
{
    if (at.transport_is == flow::transport_header::udp) {
        return !is_fragment(k) && k.number(field::tp_src) == dhcp6_client_port &&
               k.number(field::tp_dst) == dhcp6_server_port;
    }
    if (at.transport_is != flow::transport_header::icmpv6) {
        return false;
    }
    switch (k.number(field::tp_src)) {
    case icmpv6::solicitation:
    case icmpv6::advertisement: // the server asks who has the link-local address
    case icmpv6::router_solicitation:
    case icmpv6::listener_report:
    case icmpv6::listener_done:
    case icmpv6::listener_report_2:
        return true;
    default:
        return false;
    }
}

bool check_link(const key& k, const header_layout& at, field option, std::uint16_t where,
                mac_address mac) noexcept
{
    return at.complete && (where == 0 || mac_of(k, option) == mac);
}

// The options of a router's solicitation, which no field tells of: the sender's own MAC at most.
// Only what lies in the head stays as it is looked at.
bool check_router_solicitation(const packet& p, const header_layout& at, mac_address mac,
                               bool nowhere) noexcept
{
    constexpr std::size_t fixed = 8;
    constexpr std::size_t unit = 8;
    constexpr std::uint8_t source_link = 1;
    std::size_t offset = at.transport + fixed;
    const std::size_t end =
        at.network + ipv6_header + std::size_t{load<be16>(p.data + at.network + 4)};
    while (offset + unit <= end && offset + unit <= p.head_length) {
        const std::byte* const option = p.data + offset;
        const std::size_t size = load<std::uint8_t>(option + 1) * unit;
        if (size == 0) {
            return false;
        }
        if (load<std::uint8_t>(option) == source_link &&
            (nowhere || size != unit || mac_address{load<std::uint64_t>(option) >> 16} != mac)) {
            return false;
        }
        offset += size;
    }
    return offset == end;
}

// Nothing: it is from whom it says.
std::optional<drop_reason> check_icmpv6(const sender& s, const packet& p, const key& k,
                                        const header_layout& at, const ip_address& from) noexcept
{
    const bool nowhere = !from.is_set();
    if (at.transport_is != flow::transport_header::icmpv6) { // cut off, or of a later fragment
        return nowhere || (k.number(field::nw_frag) & flow::frag_later) == 0
                   ? std::optional{drop_reason::spoofed_nd}
                   : std::nullopt;
    }
    const auto type = static_cast<std::uint8_t>(k.number(field::tp_src));
    const bool discovers =
        type >= icmpv6::router_solicitation && type <= icmpv6::redirect; // RFC 4861
    if (discovers && (is_fragment(k) || k.number(field::tp_dst) != 0)) { // RFC 6980
        return drop_reason::spoofed_nd;
    }
    bool right = !nowhere;
    switch (type) {
    case icmpv6::solicitation:
        right = at.nd_target != 0 && check_link(k, at, field::arp_sha, at.nd_source_link, s.mac) &&
                (!nowhere ||
                 (s.may_send_from_ipv6(ipv6_of(k, field::nd_target)) && at.nd_source_link == 0));
        break;
    case icmpv6::advertisement:
        right = !nowhere && at.nd_target != 0 &&
                check_link(k, at, field::arp_tha, at.nd_target_link, s.mac) &&
                s.may_send_from_ipv6(ipv6_of(k, field::nd_target));
        break;
    case icmpv6::router_advertisement:
    case icmpv6::redirect:
        right = s.has(any_ipv6);
        break;
    case icmpv6::router_solicitation: // from nowhere, too, before it has an address
        right = check_router_solicitation(p, at, s.mac, nowhere);
        break;
    case icmpv6::listener_report:
    case icmpv6::listener_done:
    case icmpv6::listener_report_2:
        right = true; // from nowhere, too, before it has an address
        break;
    default:
        break;
    }
    return right ? std::nullopt : std::optional{drop_reason::spoofed_nd};
}

// Whether it has to show whose it is: DHCP servers' answers to relays, and what relays send them,
// name others.
bool names_client(const sender& s, const key& k, const header_layout& at) noexcept
{
    const bool ipv6 = at.network_is == flow::network_header::ipv6;
    const bool answers = s.g.dhcp == dhcp_role::trusted &&
                         k.number(field::tp_src) == (ipv6 ? dhcp6_server_port : dhcp_server_port);
    return is_for_server(k, at) && !answers && !s.has(ipv6 ? any_ipv6 : any_ipv4);
}

std::optional<drop_reason> check_ipv6(const sender& s, const packet& p, const key& k,
                                      const header_layout& at) noexcept
{
    // What is behind its extensions is not known.
    if (at.network_is != flow::network_header::ipv6 || hides_ports(k, at)) {
        return drop_reason::spoofed_ip;
    }
    const ip_address from = ipv6_of(k, field::ipv6_src);
    const bool is_icmpv6 = k.number(field::nw_proto) == protocol_icmpv6;
    if (from.is_set() ? !s.may_send_from_ipv6(from) : !is_icmpv6) {
        return drop_reason::spoofed_ip;
    }
    if (is_icmpv6) {
        if (const auto wrong = check_icmpv6(s, p, k, at, from)) {
            return wrong;
        }
    }
    if (s.bound == nullptr && !asks_ipv6(k, at)) {
        return drop_reason::spoofed_ip;
    }
    return is_in_part(p, k) && names_client(s, k, at) ? std::optional{drop_reason::spoofed_mac}
                                                      : std::nullopt;
}

std::optional<drop_reason> check_ipv4(const sender& s, const packet& p, const key& k,
                                      const header_layout& at) noexcept
{
    if (at.network_is != flow::network_header::ipv4 || hides_ports(k, at) ||
        (!s.may_send_from(ipv4_of(k, field::nw_src)) && !asks_dhcp(s, k, at))) {
        return drop_reason::spoofed_ip;
    }
    return names_client(s, k, at) && (is_in_part(p, k) || !names_itself(p, at, s.mac))
               ? std::optional{drop_reason::spoofed_mac}
               : std::nullopt;
}

} // namespace

dhcp_side side_of(const key& k, const header_layout& at) noexcept
{
    if (at.transport_is != flow::transport_header::udp) {
        return dhcp_side::none;
    }
    const bool ipv6 = at.network_is == flow::network_header::ipv6;
    const auto from = k.number(field::tp_src);
    const auto to = k.number(field::tp_dst);
    if (from == (ipv6 ? dhcp6_server_port : dhcp_server_port) ||
        to == (ipv6 ? dhcp6_client_port : dhcp_client_port)) {
        return dhcp_side::server;
    }
    return to == (ipv6 ? dhcp6_server_port : dhcp_server_port) ? dhcp_side::client
                                                               : dhcp_side::none;
}

std::optional<drop_reason> check_dhcp(const port_guard& g, const port_config& in, const packet& p,
                                      const key& k, const header_layout& at) noexcept
{
    if (g.dhcp != dhcp_role::snooped) {
        return std::nullopt;
    }
    const dhcp_side side = side_of(k, at);
    if (side == dhcp_side::server || hides_ports(k, at) ||
        (side == dhcp_side::client && is_in_part(p, k))) {
        return drop_reason::dhcp_not_trusted;
    }
    const bool unseen = side == dhcp_side::client &&
                        (p.length > dhcp_outlet::most_bytes ||
                         (g.full && g.find(mac_of(k, field::eth_src), vlan_at(p, in)) == nullptr));
    return unseen ? std::optional{drop_reason::dhcp_too_many} : std::nullopt;
}

std::optional<drop_reason> check_sender(const port_guard& g, const port_config& in, const packet& p,
                                        const key& k, const header_layout& at) noexcept
{
    const mac_address mac = mac_of(k, field::eth_src);
    const vlan_id vlan = vlan_at(p, in);
    const sender s{g, g.find(mac, vlan), mac};
    if (s.bound == nullptr && (!g.open || mac.is_multicast() || mac.is_zero() ||
                               g.bridge->port_of(mac, vlan) != no_port)) {
        return drop_reason::spoofed_mac;
    }
    switch (k.number(field::eth_type)) {
    case ethertype_ipv4:
        return check_ipv4(s, p, k, at);
    case ethertype_ipv6:
        return check_ipv6(s, p, k, at);
    case ethertype_arp:
        return check_arp(s, k, at) ? std::nullopt : std::optional{drop_reason::spoofed_arp};
    case ethertype_rarp: // a station that moved tells its MAC
        return s.bound != nullptr && at.network_is == flow::network_header::arp &&
                       mac_of(k, field::arp_sha) == mac
                   ? std::nullopt
                   : std::optional{drop_reason::spoofed_arp};
    case ethertype_vlan:
    case ethertype_qinq: // behind more tags than are looked at
        return drop_reason::spoofed_ip;
    default: // whose protocol has no addresses that are known
        return s.bound != nullptr ? std::nullopt : std::optional{drop_reason::spoofed_mac};
    }
}

} // namespace strait::guard
