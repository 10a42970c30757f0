// SPDX-License-Identifier: BSD-3-Clause
// Frames of stations, honest and not, for tests of what ports' guards make of them; and a port with
// a guard.
#pragma once

#include "dataplane/guard/guard.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace strait::guard::testing_support {

using bytes = std::vector<std::uint8_t>;

inline bytes operator+(bytes a, const bytes& b)
{
    a.insert(a.end(), b.begin(), b.end());
    return a;
}
inline bytes u16(unsigned n)
{
    return {static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)};
}
inline bytes u32(std::uint32_t n)
{
    return u16(n >> 16) + u16(n & 0xffff);
}

// Stations: MAC 02:00:00:00:00:NN, 10.0.0.NN, fd00::NN, fe80::ff:fe00:NN.
inline bytes mac(unsigned n)
{
    return {2, 0, 0, 0, 0, static_cast<std::uint8_t>(n)};
}
inline bytes v4(unsigned n)
{
    return n == 0 ? bytes(4) : bytes{10, 0, 0, static_cast<std::uint8_t>(n)};
}
inline bytes v6(unsigned n)
{
    bytes out(16);
    if (n != 0) {
        out[0] = 0xfd;
        out[15] = static_cast<std::uint8_t>(n);
    }
    return out;
}
inline bytes link_local(unsigned n)
{
    return {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, static_cast<std::uint8_t>(n)};
}
inline const bytes everybody(6, 0xff);
inline const bytes all_nodes{0x33, 0x33, 0, 0, 0, 1};

inline bytes ether(const bytes& to, const bytes& from, unsigned type, const bytes& content)
{
    return to + from + u16(type) + content;
}
inline bytes arp(unsigned operation, const bytes& sha, const bytes& spa, const bytes& tpa)
{
    return bytes{0, 1, 8, 0, 6, 4} + u16(operation) + sha + spa + bytes(6) + tpa;
}
inline bytes ipv4(const bytes& from, const bytes& to, std::uint8_t protocol, const bytes& content,
                  unsigned place = 0)
{
    return bytes{0x45, 0} + u16(static_cast<unsigned>(20 + content.size())) + u16(1) + u16(place) +
           bytes{64, protocol} + u16(0) + from + to + content;
}
inline bytes ipv6(const bytes& from, const bytes& to, std::uint8_t next, const bytes& content)
{
    return bytes{0x60, 0, 0, 0} + u16(static_cast<unsigned>(content.size())) + bytes{next, 255} +
           from + to + content;
}
inline bytes udp(unsigned from, unsigned to, const bytes& content = bytes(20))
{
    return u16(from) + u16(to) + u16(static_cast<unsigned>(8 + content.size())) + u16(0) + content;
}
// With its checksum.
inline bytes icmpv6(const bytes& from, const bytes& to, bytes message)
{
    const bytes pseudo = from + to + u32(static_cast<std::uint32_t>(message.size())) + u32(58);
    std::uint32_t sum = 0;
    const bytes all = pseudo + message + bytes(message.size() % 2);
    for (std::size_t i = 0; i < all.size(); i += 2) {
        sum += unsigned{all[i]} << 8 | all[i + 1];
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2] = static_cast<std::uint8_t>(~sum >> 8);
    message[3] = static_cast<std::uint8_t>(~sum);
    return ipv6(from, to, 58, message);
}
inline bytes nd(std::uint8_t type, const bytes& target, const bytes& options = {})
{
    return bytes{type, 0, 0, 0, 0, 0, 0, 0} + target + options;
}
inline bytes link_option(std::uint8_t kind, const bytes& of)
{
    return bytes{kind, 1} + of;
}
inline bytes dhcp(std::uint8_t operation, const bytes& client)
{
    return bytes{operation, 1, 6, 0} + u32(7) + bytes(20) + client + bytes(10 + 64 + 128) +
           bytes{0x63, 0x82, 0x53, 0x63, 53, 1, 3, 255};
}
inline bytes tagged(bytes frame, unsigned vlan)
{
    const bytes tag = u16(0x8100) + u16(vlan);
    frame.insert(frame.begin() + 12, tag.begin(), tag.end());
    return frame;
}

// Puts a frame into a slot, its first `head` bytes private, the others as a guest's.
inline void place(dataplane::packet_slot& p, const bytes& frame, dataplane::burst& b,
                  std::size_t head = dataplane::head_copy)
{
    static_cast<dataplane::packet&>(p) = {};
    p.data = p.head.data();
    p.length = static_cast<std::uint32_t>(frame.size());
    p.head_length = static_cast<std::uint16_t>(std::min(frame.size(), head));
    std::memcpy(p.data, frame.data(), p.head_length);
    p.segments = b.segments.data() + b.segments_used;
    if (frame.size() > head) {
        auto* const rest = reinterpret_cast<const std::byte*>(frame.data()) + head;
        b.segments[b.segments_used++] = {const_cast<std::byte*>(rest), frame.size() - head};
        p.segment_count = 1;
    }
}

inline dataplane::mac_address mac_of(const bytes& b)
{
    std::uint64_t value = 0;
    std::memcpy(&value, b.data(), 6);
    return dataplane::mac_address{value};
}
inline endpoint::ip_address address_of(const bytes& b)
{
    const auto* const at = reinterpret_cast<const std::byte*>(b.data());
    return b.size() == 4 ? endpoint::ip_address::load_v4(at) : endpoint::ip_address::load_v6(at);
}

inline constexpr dataplane::port_index here{3};
inline constexpr dataplane::port_index there{5};

// Port `here`, where station 1 is, and port `there`, where 2 is.
struct guarded {
    std::shared_ptr<port_guard> g{std::make_shared<port_guard>()};
    dataplane::port_config port;
    dataplane::snapshot config;

    guarded()
    {
        g->security = true;
        bind(1);
        g->bridge = std::make_shared<directory>(
            std::vector<directory::neighbour>{
                {address_of(v4(1)), {}, here, mac_of(mac(1))},
                {address_of(v4(2)), {}, there, mac_of(mac(2))},
                {address_of(v6(2)), {}, there, mac_of(mac(2))},
                {address_of(v4(2)), dataplane::vlan_id{7}, there, mac_of(mac(9))}},
            std::vector<directory::owner>{{mac_of(mac(1)), {}, here}, {mac_of(mac(2)), {}, there}});
        g->answered = std::make_shared<std::atomic<std::uint64_t>>(0);
        port.index = here;
        port.incarnation = 1;
        port.name = "here";
        config.ports.resize(8);
        other_is_up(true);
    }
    void other_is_up(bool up)
    {
        auto other = std::make_shared<dataplane::port_config>();
        other->index = there;
        other->admin_up = up;
        config.ports[to_index(there)] = std::move(other);
    }
    void bind(unsigned n)
    {
        g->stations.push_back(
            {mac_of(mac(n)), {}, static_cast<std::uint32_t>(g->addresses.size()), 2});
        g->addresses.push_back({address_of(v4(n)), 128});
        g->addresses.push_back({address_of(v6(n)), 128});
    }
    void bind_prefix(const bytes& address, std::uint8_t length)
    {
        ++g->stations.back().count;
        g->addresses.push_back({address_of(address), length});
    }
    [[nodiscard]] const dataplane::port_config& guarded_port()
    {
        port.guard = g;
        return port;
    }
};

} // namespace strait::guard::testing_support
