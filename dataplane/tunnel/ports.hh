// SPDX-License-Identifier: BSD-3-Clause
// Tunnel ports: what each was made with, and which one a packet that came in is of. Immutable, a
// part of a snapshot, made by control.
#pragma once

#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/tunnel/headers.hh"
#include "dataplane/types.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace strait::tunnel {

struct settings {
    kind what{kind::vxlan};
    endpoint::ip_address local;  // not set: any of the switch's, or as flows say
    endpoint::ip_address remote; // not set: as flows say
    bool local_by_flow{false};
    bool key_by_flow{false};
    bool has_key{false}; // GRE without one says nothing of keys
    std::uint64_t key{0};
    std::uint16_t destination_port{0}; // UDP's; 0: not over UDP
    std::uint8_t hop_limit{64};
    bool inherits_hop_limit{false};
    std::uint8_t traffic_class{0}; // DSCP; the ECN is the inner packet's
    bool inherits_traffic_class{false};
    bool dont_fragment{true};
    std::optional<bool> checksum; // not set: UDP over IPv6 has one, others have none
    bool sequence{false};
    bool policy{false}; // VXLAN's group policy extension
    // All workers count in one.
    std::shared_ptr<std::atomic<std::uint32_t>> next_sequence{};
};

class table {
public:
    void add(const settings& s, dataplane::port_index port);

    // no_port: no tunnel has these. The most specific one wins: by the key, then by the remote
    // address, then by the local one, as in Open vSwitch.
    [[nodiscard]] dataplane::port_index find(const contents& c, const outer_ip& ip) const noexcept;
    // What datagrams to this port of UDP are; null: not a tunnel's.
    [[nodiscard]] const kind* at_udp_port(std::uint16_t port) const noexcept;
    [[nodiscard]] bool empty() const noexcept { return udp_.empty() && !gre_; }
    [[nodiscard]] bool has_gre() const noexcept { return gre_; }

private:
    struct identity {
        endpoint::ip_address local;
        endpoint::ip_address remote;
        std::uint64_t key;
        std::uint32_t what; // the kind and UDP's port
        bool operator==(const identity&) const noexcept = default;
    };
    struct hash {
        std::size_t operator()(const identity& i) const noexcept;
    };
    // What of an identity a tunnel does not care for.
    static constexpr unsigned any_local = 1;
    static constexpr unsigned any_remote = 2;
    static constexpr unsigned any_key = 4;
    static constexpr unsigned class_count = 8;

    [[nodiscard]] static identity make(unsigned which, const identity& of) noexcept;
    [[nodiscard]] dataplane::port_index find(const identity& whole) const noexcept;

    std::array<std::unordered_map<identity, dataplane::port_index, hash>, class_count> classes_;
    struct udp_port {
        std::uint16_t port;
        kind what;
    };
    std::vector<udp_port> udp_;
    bool gre_{false};
};

} // namespace strait::tunnel
