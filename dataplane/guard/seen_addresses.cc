// SPDX-License-Identifier: BSD-3-Clause
// The list of a port, and what of a frame comes into it.
#include "dataplane/guard/seen_addresses.hh"

#include "dataplane/endpoint/messages.hh"
#include "dataplane/snapshot.hh"
#include "dataplane/tap.hh"

#include <algorithm>
#include <span>
#include <tuple>

namespace strait::guard {

using namespace dataplane;

void seen_addresses::note(const endpoint::ip_address& address, vlan_id vlan, mac_address mac,
                          seconds_t now) noexcept
{
    const std::unique_lock held{writing_, std::try_to_lock};
    if (!held) {
        return;
    }
    const std::span<noted> known = std::span{noted_}.first(count_);
    auto at = std::ranges::find_if(
        known, [&](const noted& n) { return n.address == address && n.vlan == vlan; });
    if (at == known.end() && count_ == capacity) {
        at = std::ranges::min_element(known, {}, &noted::turn);
    }
    noted& n = at == known.end() ? noted_[count_++] : *at;
    n = {.address = address, .vlan = vlan, .mac = mac, .when = now, .turn = ++turn_};
}

std::vector<seen_addresses::entry> seen_addresses::list(seconds_t now) const
{
    std::vector<entry> out;
    out.reserve(capacity); // not under the lock
    {
        const std::scoped_lock held{writing_};
        for (const noted& n : std::span{noted_}.first(count_)) {
            // Workers' clocks may be a second ahead.
            out.push_back({n.address, n.vlan, n.mac, n.when > now ? 0 : now - n.when});
        }
    }
    std::ranges::sort(out, {}, [](const entry& e) {
        return std::tuple{!e.address.is_v4(), e.address.high, e.address.low, e.vlan};
    });
    return out;
}

void seen_addresses::forget() noexcept
{
    const std::scoped_lock held{writing_};
    count_ = 0;
}

namespace {

// Of neighbour discovery without extension headers, as hosts send it.
bool read_discovery(const packet& p, const endpoint::arrival& a,
                    endpoint::neighbour_message& out) noexcept
{
    const std::uint32_t content = a.network + static_cast<std::uint32_t>(ipv6_header);
    if (a.type != ethertype_ipv6 || p.head_length < content ||
        load<std::uint8_t>(p.data + a.network + 6) != protocol_icmpv6) {
        return false;
    }
    const std::uint32_t end = content + load<be16>(p.data + a.network + 4);
    // One that is written like a mapped IPv4 address is nobody's.
    return endpoint::read_discovery(p, a, content, end, out) && !out.sender.is_v4();
}

} // namespace

void note_address(const packet& p, const port_config& in, seconds_t now) noexcept
{
    endpoint::arrival a;
    if (!endpoint::read_arrival(p, a)) {
        return;
    }
    // Tagged: it is of a customer's own network.
    if (a.vlan != vlan_id{} &&
        (in.vlan.port_mode != vlan_policy::mode::trunk || in.vlan.tag_type != ethertype_vlan)) {
        return;
    }
    endpoint::neighbour_message said;
    const bool says =
        a.type == ethertype_arp ? endpoint::read_arp(p, a, said) : read_discovery(p, a, said);
    if (!says || !said.sender.is_unicast() || a.source.is_multicast() || a.source.is_zero() ||
        (!said.mac.is_zero() && said.mac != a.source)) {
        return;
    }
    const vlan_id vlan = vlan_at(p, in);
    if (in.vlan.carries(vlan)) { // else it is not let in
        in.addresses->note(said.sender, vlan, a.source, now);
    }
}

} // namespace strait::guard
