// SPDX-License-Identifier: BSD-3-Clause
// The IP addresses in use behind a port, as its guest says itself in ARP and neighbour discovery:
// for operators to read. Bounded, and nothing is done by them: what a guest may send from is
// guard.hh's business, and whom the switch itself sends to endpoint/neighbours.hh's.
#pragma once

#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/ip.hh"
#include "dataplane/packet.hh"
#include "dataplane/parse.hh"
#include "dataplane/types.hh"
#include "dataplane/vlan.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace strait::dataplane {
struct port_config;
} // namespace strait::dataplane

namespace strait::guard {

// Of one port, written by the workers that its queues have. Writers hold a lock, and workers only
// try it: what one cannot note now its guest says again.
class seen_addresses {
public:
    static constexpr std::size_t capacity = 16;

    // Of one address in one VLAN the last MAC counts. Where there is no room, the one that was
    // heard of least recently makes way.
    void note(const endpoint::ip_address& address, dataplane::vlan_id vlan,
              dataplane::mac_address mac, dataplane::seconds_t now) noexcept;

    // For control.
    struct entry {
        endpoint::ip_address address;
        dataplane::vlan_id vlan;
        dataplane::mac_address mac;
        dataplane::seconds_t age; // since it was heard of last
    };
    // IPv4's first, then by address.
    [[nodiscard]] std::vector<entry> list(dataplane::seconds_t now) const;
    void forget() noexcept;

private:
    struct noted {
        endpoint::ip_address address;
        dataplane::vlan_id vlan;
        dataplane::mac_address mac;
        dataplane::seconds_t when{0};
        std::uint64_t turn{0}; // of all that were noted: seconds do not tell which was first
    };

    mutable std::mutex writing_;
    // Under the lock.
    std::array<noted, capacity> noted_{};
    std::size_t count_{0};
    std::uint64_t turn_{0};
};

// Whether a frame may be ARP, or neighbour discovery, by what these have at fixed places. Most are
// neither, which is told at once.
[[nodiscard]] inline bool may_tell_address(const dataplane::packet& p) noexcept
{
    using dataplane::be16;
    using dataplane::load;
    constexpr std::size_t arp_packet = 28;
    constexpr std::uint8_t solicitation = 135;
    constexpr std::uint8_t advertisement = 136;
    std::size_t network = dataplane::ethernet_header;
    if (p.head_length < network + arp_packet) {
        return false;
    }
    std::uint16_t type = load<be16>(p.data + network - 2);
    if (type == dataplane::ethertype_vlan) {
        network += dataplane::tag_length;
        type = load<be16>(p.data + network - 2);
    }
    if (type != dataplane::ethertype_ipv6) {
        return type == dataplane::ethertype_arp;
    }
    if (load<std::uint8_t>(p.data + network + 6) != dataplane::protocol_icmpv6 ||
        p.head_length <= network + dataplane::ipv6_header) {
        return false;
    }
    const auto kind = load<std::uint8_t>(p.data + network + dataplane::ipv6_header);
    return kind == solicitation || kind == advertisement;
}

// A worker, of a frame that came from `in`, which notes addresses: that of its sender, if the frame
// says one. Who looks whether an address is free (ARP probes, duplicate address detection) has none
// yet; and whose MAC is another than the frame's speaks for somebody else.
void note_address(const dataplane::packet& p, const dataplane::port_config& in,
                  dataplane::seconds_t now) noexcept;

} // namespace strait::guard
