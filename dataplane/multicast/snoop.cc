// SPDX-License-Identifier: BSD-3-Clause
// Who is to have a multicast frame.
#include "dataplane/multicast/snoop.hh"

#include "dataplane/ip.hh"
#include "dataplane/multicast/group_table.hh"
#include "dataplane/multicast/message.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <array>

namespace strait::multicast {

using namespace dataplane;

namespace {

// A frame that was sent to an IP group, by its MAC as well.
struct group_packet {
    std::uint32_t network; // where the IP header is in the frame
    bool six;
    ip_address group;
    bool tells; // it may be a message
};

// False: it is none. A frame whose MAC is not that of its group goes where its MAC says, that is
// everywhere.
[[nodiscard]] bool read_group(const packet& p, group_packet& out) noexcept
{
    const bool own_tag = p.tagged != 0 && p.tagged != as_it_is;
    out.network = ethernet_header + (own_tag ? tag_length : 0);
    if (p.head_length < out.network) {
        return false;
    }
    const std::size_t head = p.head_length - out.network;
    const std::byte* const ip = p.data + out.network;
    const std::uint64_t mac = mac_address{load<std::uint64_t>(p.data)}.value();
    switch (load<be16>(ip - 2)) {
    case ethertype_ipv4: {
        if (head < min_ipv4_header || load<std::uint8_t>(ip) >> 4 != 4) {
            return false;
        }
        out.six = false;
        out.group = ip_address::load_v4(ip + 16);
        out.tells = may_be_message(false, load<std::uint8_t>(ip + 9), 0);
        // RFC 1112 6.4.
        constexpr std::uint32_t in_mac = 0x7f'ffff;
        const auto low = static_cast<std::uint32_t>(__builtin_bswap64(mac) >> 16 & 0xff'ffff);
        return out.group.v4() >> 28 == 0xe && (mac & 0xff'ffff) == 0x5e'0001 &&
               low == (out.group.v4() & in_mac);
    }
    case ethertype_ipv6: {
        if (head < ipv6_header || load<std::uint8_t>(ip) >> 4 != 6) {
            return false;
        }
        out.six = true;
        out.group = ip_address::load_v6(ip + 24);
        const std::uint8_t type = head > ipv6_header ? load<std::uint8_t>(ip + ipv6_header) : 0;
        out.tells = may_be_message(true, load<std::uint8_t>(ip + 6), type);
        // RFC 2464 7.
        const auto low = static_cast<std::uint32_t>(__builtin_bswap64(mac) >> 16);
        return out.group.high >> 56 == 0xff && (mac & 0xffff) == 0x3333 &&
               low == static_cast<std::uint32_t>(out.group.low);
    }
    default:
        return false;
    }
}

// What a worker knows as it looks at one packet.
struct scene {
    packet& p;
    const port_config& in;
    const bridge_config& bridge;
    const forward_context& context;
    port_counters& counters;
    output_lists& out;

    [[nodiscard]] group_table& groups() const noexcept { return *bridge.groups; }
    void drop(drop_reason why) const noexcept { counters.drop(why, p); }

    // To the ports of the set, and to those of which `always` is true.
    template <typename Always>
    void send(const port_set& to, const Always& always) const noexcept
    {
        for (const port_index member : bridge.members) {
            const port_config& port = *context.config->ports[to_index(member)];
            if (member != in.index && (to.contains(member) || always(port)) &&
                port.takes(p.vlan, in)) {
                out.add(member, p);
            }
        }
        if (p.destinations == 0) {
            drop(drop_reason::multicast_no_listener);
        }
    }
};

// Copied first: it may lie anywhere, and a guest may change what is not private.
struct message_buffer {
    std::array<std::byte, longest_message> bytes;
};

[[nodiscard]] message read(const scene& s, const group_packet& g, message_buffer& room) noexcept
{
    const std::size_t size = s.p.length - g.network;
    message m;
    if (size <= room.bytes.size() && copy_frame(s.p, g.network, room.bytes.data(), size)) {
        const std::span<const std::byte> all{room.bytes.data(), size};
        m = g.six ? read_ipv6(all) : read_ipv4(all);
    } else {
        m.is = message::kind::invalid;
    }
    return m;
}

// Seconds after which a member that did not answer a query of its group goes: it is asked twice
// (RFC 3376 8.8), and times are whole seconds here.
[[nodiscard]] seconds_t answer_time(const message& m) noexcept
{
    constexpr std::uint32_t asked = 2;
    constexpr std::uint32_t ms = 1000;
    constexpr std::uint32_t most = 600 * ms;
    return (std::min(m.response_ms, most) * asked + ms - 1) / ms + 1;
}

void learn_query(const scene& s, const message& m) noexcept
{
    group_table& groups = s.groups();
    groups.count_query();
    groups.hear_querier(m.six, s.p.vlan, s.in.index, s.context.now);
    if (m.from_address) {
        groups.hear_router(s.p.vlan, s.in.index, s.context.now);
    }
    // An isolated port's queries do not reach all members: those would go unasked.
    if (m.specific && m.shortens && !s.in.isolated) {
        groups.shorten(m.group, s.p.vlan, answer_time(m), s.context.now);
    }
}

void learn_wish(const scene& s, wish what, const ip_address& group) noexcept
{
    if (!is_snooped(group)) {
        return;
    }
    if (what == wish::join) {
        s.groups().count_report();
        (void)s.groups().join(group, s.p.vlan, s.in.index, s.in.multicast.limit, s.context.now);
    } else if (what == wish::leave) {
        s.groups().count_leave();
        // Else the querier asks who is left.
        if (s.in.multicast.fast_leave) {
            s.groups().leave(group, s.p.vlan, s.in.index);
        }
    }
}

void learn_report(const scene& s, const message& m) noexcept
{
    switch (m.is) {
    case message::kind::report:
        learn_wish(s, wish::join, m.group);
        break;
    case message::kind::leave:
        learn_wish(s, wish::leave, m.group);
        break;
    default: {
        record_reader records{m};
        group_record r;
        while (records.next(r)) {
            learn_wish(s, r.is, r.group);
        }
        break;
    }
    }
}

// RFC 4541 2.1.1: reports go to routers alone, so that no host leaves its own unsent. To queriers
// that have no address as well: switches that ask for a router which is not there.
void send_report(const scene& s, const message& m) noexcept
{
    port_set to;
    s.groups().routers(s.p.vlan, to);
    s.groups().queriers(m.six, s.p.vlan, to);
    s.send(to, [](const port_config& port) {
        return port.multicast.is_router == router::always || port.multicast.flood_reports;
    });
}

// The same as snoop() does.
[[nodiscard]] bool take_message(const scene& s, const message& m) noexcept
{
    const bool learns = s.context.learns;
    switch (m.is) {
    case message::kind::invalid:
        s.drop(drop_reason::multicast_invalid);
        return true;
    case message::kind::query:
    case message::kind::router_is_there:
    case message::kind::router_leaves:
        if (s.in.multicast.is_router == router::never) {
            s.drop(drop_reason::multicast_query);
            return true;
        }
        if (learns && m.is == message::kind::query) {
            learn_query(s, m);
        } else if (learns && m.is == message::kind::router_is_there) {
            s.groups().hear_router(s.p.vlan, s.in.index, s.context.now);
        } else if (learns) {
            s.groups().forget_router(s.p.vlan, s.in.index);
        }
        return false; // to everybody
    case message::kind::report:
    case message::kind::leave:
    case message::kind::records:
        if (learns) {
            learn_report(s, m);
        }
        if (!s.groups().has_querier(m.six, s.p.vlan)) {
            return false;
        }
        send_report(s, m);
        return true;
    case message::kind::none:
        break;
    }
    return false;
}

// Not in line: its buffer is no other packet's business.
[[gnu::noinline]] bool look_into(const scene& s, const group_packet& g, bool& tells) noexcept
{
    message_buffer room;
    const message m = read(s, g, room);
    tells = m.is != message::kind::none;
    return tells && take_message(s, m);
}

} // namespace

bool snoop(packet& p, const port_config& in, const bridge_config& bridge,
           const forward_context& context, port_counters& counters, output_lists& out) noexcept
{
    group_packet g;
    const mac_address to = parse_ethernet(p.data).destination;
    if (!to.is_multicast() || to.is_broadcast() || !read_group(p, g)) {
        return false;
    }
    const scene s{p, in, bridge, context, counters, out};
    if (g.tells) {
        bool tells = false;
        const bool done = look_into(s, g, tells);
        if (tells) {
            return done;
        }
    }
    const group_table& groups = s.groups();
    // Without a querier nobody is asked, and who listened before would be forgotten.
    if (!is_snooped(g.group) || !groups.has_querier(g.six, p.vlan)) {
        return false;
    }
    port_set listening;
    switch (groups.listeners(g.group, p.vlan, listening)) {
    case group_table::found::unsure:
        return false;
    case group_table::found::none: {
        // Neighbour discovery has groups of its own: who does not report them is found all the
        // same.
        const bool of_the_link = g.six && (g.group.high >> 48 & 0xf) == 2;
        if (bridge.flood_unregistered || of_the_link) {
            return false;
        }
        break;
    }
    case group_table::found::some:
        break;
    }
    groups.routers(p.vlan, listening);
    groups.crowded(p.vlan, listening);
    // The switch's own addresses report nothing.
    s.send(listening, [](const port_config& port) {
        return port.multicast.is_router == router::always || port.multicast.flood || port.local;
    });
    return true;
}

} // namespace strait::multicast
