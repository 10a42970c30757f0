// SPDX-License-Identifier: BSD-3-Clause
// What workers know of the stations behind ports: the MAC and IP addresses that are bound to a
// port, and what is done by them with what comes from it; and where BPDUs go. Immutable, part of a
// snapshot, built by control; what a worker does with it is inspector.hh's business.
#pragma once

#include "dataplane/bpdu_channel.hh"
#include "dataplane/bpdu_limit.hh"
#include "dataplane/doorbell.hh"
#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/policer.hh"
#include "dataplane/tap.hh"
#include "dataplane/types.hh"

#include <algorithm>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

namespace strait::guard {

// Bound to stations that may send from any address: to relays and routers.
inline constexpr endpoint::ip_prefix any_ipv4{endpoint::ip_address::v4(0), 96};
inline constexpr endpoint::ip_prefix any_ipv6{endpoint::ip_address{}, 0};

// A MAC in a VLAN, and the addresses that it may send from: `count` of a port's, from `first` on.
struct station {
    dataplane::mac_address mac;
    dataplane::vlan_id vlan;
    std::uint32_t first{0};
    std::uint32_t count{0};
};

// Who has which address on a bridge, whatever its port.
class directory {
public:
    struct neighbour {
        endpoint::ip_address address;
        dataplane::vlan_id vlan;
        dataplane::port_index port{};
        dataplane::mac_address mac;
    };
    struct owner {
        dataplane::mac_address mac;
        dataplane::vlan_id vlan;
        dataplane::port_index port{};
    };

    // Of one address, or MAC, in one VLAN the first counts.
    directory(std::vector<neighbour> neighbours, std::vector<owner> owners)
        : neighbours_{std::move(neighbours)}, owners_{std::move(owners)}
    {
        std::ranges::stable_sort(neighbours_, {}, &order_of);
        std::ranges::stable_sort(owners_, {}, &place_of);
    }

    // Null: nobody is known to have it.
    [[nodiscard]] const neighbour* find(const endpoint::ip_address& address,
                                        dataplane::vlan_id vlan) const noexcept
    {
        const auto wanted = order_of({.address = address, .vlan = vlan, .port = {}, .mac = {}});
        const auto found = std::ranges::lower_bound(neighbours_, wanted, {}, &order_of);
        return found != neighbours_.end() && order_of(*found) == wanted ? &*found : nullptr;
    }
    // no_port: it is bound to none.
    [[nodiscard]] dataplane::port_index port_of(dataplane::mac_address mac,
                                                dataplane::vlan_id vlan) const noexcept
    {
        const auto wanted = place_of({.mac = mac, .vlan = vlan, .port = {}});
        const auto found = std::ranges::lower_bound(owners_, wanted, {}, &place_of);
        return found != owners_.end() && place_of(*found) == wanted ? found->port
                                                                    : dataplane::no_port;
    }

private:
    using order = std::tuple<std::uint64_t, std::uint64_t, std::uint16_t>;
    static order order_of(const neighbour& n) noexcept
    {
        return {n.address.low, n.address.high, n.vlan.value()};
    }
    using place = std::tuple<std::uint64_t, std::uint16_t>;
    static place place_of(const owner& o) noexcept { return {o.mac.value(), o.vlan.value()}; }

    std::vector<neighbour> neighbours_;
    std::vector<owner> owners_;
};

// DHCP messages on their way from workers to control, bounded.
struct dhcp_outlet {
    static constexpr std::size_t ring_bytes = std::size_t{1} << 18; // a worker's
    static constexpr std::uint32_t most_bytes = 2048;               // of a message

    explicit dhcp_outlet(std::size_t workers)
    {
        for (std::size_t i = 0; i < workers; ++i) {
            rings.push_back(std::make_unique<dataplane::tap_ring>(ring_bytes));
        }
        bell.open();
    }

    std::vector<std::unique_ptr<dataplane::tap_ring>> rings; // by worker
    dataplane::doorbell bell;                                // control's
};

enum class dhcp_role : std::uint8_t {
    none,    // nobody looks at DHCP
    snooped, // clients are here: a server's answers are dropped
    trusted, // servers are: what they answer makes bindings
};

struct port_guard {
    bool security{false}; // what is not bound is dropped
    // With security, a MAC that is bound to no port of the bridge may ask DHCP for an address.
    bool open{false};
    // As many addresses are leased here as may be: who has none gets none.
    bool full{false};
    bool suppresses{false}; // questions for neighbours that are known are answered
    dhcp_role dhcp{dhcp_role::none};
    std::vector<station> stations;
    std::vector<endpoint::ip_prefix> addresses; // the stations'
    std::shared_ptr<const directory> bridge;    // never null
    // With a role; null never.
    std::shared_ptr<dhcp_outlet> outlet;
    std::shared_ptr<dataplane::policer> dhcp_limit;
    std::shared_ptr<std::atomic<std::uint64_t>> answered; // the bridge's; with suppresses
    // Null: BPDUs are nobody's here.
    std::shared_ptr<dataplane::bpdu_channel> bpdus{};
    std::shared_ptr<dataplane::bpdu_limit> bpdu_limit{}; // with it

    // Null: there is no such station here.
    [[nodiscard]] const station* find(dataplane::mac_address mac,
                                      dataplane::vlan_id vlan) const noexcept
    {
        for (const station& s : stations) {
            if (s.mac == mac && s.vlan == vlan) {
                return &s;
            }
        }
        return nullptr;
    }
    [[nodiscard]] bool may_send_from(const station& s,
                                     const endpoint::ip_address& address) const noexcept
    {
        for (std::uint32_t i = 0; i < s.count; ++i) {
            if (addresses[s.first + i].contains(address)) {
                return true;
            }
        }
        return false;
    }
};

// The link-local address that a station makes of its MAC (RFC 4291, appendix A).
[[nodiscard]] constexpr endpoint::ip_address link_local_of(dataplane::mac_address mac) noexcept
{
    constexpr std::uint64_t universal = 0x0200'0000'0000'0000;
    const std::uint64_t bytes = __builtin_bswap64(mac.value()) >> 16; // the first is the highest
    const std::uint64_t id =
        (bytes >> 24) << 40 | std::uint64_t{0xfffe} << 24 | (bytes & 0xff'ffff);
    return {0xfe80'0000'0000'0000, id ^ universal};
}

} // namespace strait::guard
