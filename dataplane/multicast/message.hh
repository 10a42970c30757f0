// SPDX-License-Identifier: BSD-3-Clause
// Messages about multicast as a switch reads them: IGMP (RFC 1112, 2236, 3376), MLD (RFC 2710,
// 3810), and what tells of routers besides queries: PIM's Hello (RFC 7761) and router discovery
// (RFC 4286). Pure functions of bytes that are private; what is damaged is never used (RFC 4541
// 2.1.1).
#pragma once

#include "dataplane/endpoint/ip_address.hh"

#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::multicast {

using endpoint::ip_address;

// The longest packet that is looked into, IP header included: a jumbo frame's.
inline constexpr std::size_t longest_message = 9216;

struct message {
    enum class kind : std::uint8_t {
        none,    // no message about groups, or one that is not known: any packet
        invalid, // one that is damaged, or breaks its protocol
        query,
        report,  // of one group
        leave,   // likewise: IGMPv2's Leave Group, MLDv1's Done
        records, // IGMPv3's and MLDv2's report
        router_is_there,
        router_leaves,
    };
    kind is{kind::none};
    bool six{false};              // IPv6's
    bool specific{false};         // a query of one group
    bool shortens{false};         // such a query ends memberships that nobody confirms
    bool from_address{false};     // its source is one: a querier that is a router has it
    ip_address group{};           // of a specific query, a report or a leave
    std::uint32_t response_ms{0}; // of a query: hosts answer within that
    std::uint16_t record_count{0};
    std::span<const std::byte> records{}; // within what was read
};

// What is known of a packet from its first bytes: whether read() is to see all of it. `next` is
// IPv4's protocol or IPv6's first next header, `type` the byte behind IPv6's fixed header.
[[nodiscard]] bool may_be_message(bool six, std::uint8_t next, std::uint8_t type) noexcept;

// `packet` begins with the IP header, and may be longer than that says: a short frame is padded.
[[nodiscard]] message read_ipv4(std::span<const std::byte> packet) noexcept;
[[nodiscard]] message read_ipv6(std::span<const std::byte> packet) noexcept;

// Whether a switch keeps who listens to a group. Not so are those of the local network that
// protocols have for themselves, which always go everywhere (RFC 4541 2.1.2 and 3): 224.0.0.0/24,
// ff02::/120, and IPv6's scopes 0 and 1.
[[nodiscard]] bool is_snooped(const ip_address& group) noexcept;

// What a record asks for, without its sources, which a switch does not tell apart.
enum class wish : std::uint8_t { nothing, join, leave };
struct group_record {
    wish is;
    ip_address group;
};
// One after another; read_ipv4() and read_ipv6() have found that all are whole.
class record_reader {
public:
    explicit record_reader(const message& m) noexcept
        : rest_{m.records}, left_{m.record_count}, six_{m.six}
    {}
    [[nodiscard]] bool next(group_record& out) noexcept;

private:
    std::span<const std::byte> rest_;
    std::uint16_t left_;
    bool six_;
};

} // namespace strait::multicast
