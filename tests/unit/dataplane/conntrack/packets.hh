// SPDX-License-Identifier: BSD-3-Clause
// Packets of connections for tests of their tracking: frames that are right to the last checksum,
// the requests that flows would make of them, and checks of what came of their headers that share
// nothing with the switch's code.
#pragma once

#include "tests/unit/dataplane/ip_frame.hh"

#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/tcp.hh"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace strait::test {

// One end of a connection. IPv6 addresses are fd00:: with these 32 bits at their end.
struct end {
    std::uint32_t address{0};
    std::uint16_t port{0};
    bool operator==(const end&) const = default;
};

// What a packet of IP is made of.
struct datagram {
    bool ipv6{false};
    end from{};
    end to{};
    std::uint8_t protocol{17};
    frame content{};        // behind IP's header; ports and checksum are filled in
    std::uint16_t place{0}; // IPv4: offset in units of 8 bytes, and 0x2000: more follow
    std::uint16_t identifier{1};

    [[nodiscard]] frame build() const;
};

struct tcp_packet {
    end from{};
    end to{};
    std::uint8_t flags{0};
    std::uint32_t sequence{0};
    std::uint32_t acknowledged{0};
    std::uint16_t window{1000};
    std::string data{};
    std::vector<std::uint8_t> options{}; // a multiple of four bytes
    bool ipv6{false};

    [[nodiscard]] frame build() const;
};

[[nodiscard]] frame udp_frame(end from, end to, const std::string& data = "x", bool ipv6 = false);
// A query's port is its identifier.
[[nodiscard]] frame echo_frame(end from, end to, bool answer, bool ipv6 = false);
// An error about what begins with this frame's IP header; `from` sends it.
[[nodiscard]] frame error_frame(std::uint32_t from, std::uint32_t to, const frame& about,
                                std::uint8_t type = 3, bool ipv6 = false);

// Whether IP's and the transport's checksums are as they should be, embedded ones too.
[[nodiscard]] bool checksums_fit(const frame& f);
[[nodiscard]] end source_of(const frame& f);
[[nodiscard]] end destination_of(const frame& f);
// Of TCP.
[[nodiscard]] std::uint32_t sequence_of(const frame& f);
[[nodiscard]] std::uint32_t acknowledged_by(const frame& f);
[[nodiscard]] std::string data_of(const frame& f);
// What is behind the header of IP of a message of ICMP.
[[nodiscard]] frame embedded_in(const frame& error);

// A packet in a slot, and what is asked for it.
class asking {
public:
    explicit asking(const frame& f, const conntrack::parameters& asked = {});
    [[nodiscard]] conntrack::request& request() noexcept { return request_; }
    [[nodiscard]] frame bytes() const { return bytes_of(*slot_); }
    // As it leaves: with what was left to be done to it done.
    [[nodiscard]] std::vector<frame> sent();
    // The same packet at a later ct: its headers are read anew.
    void ask(const conntrack::parameters& asked);

private:
    std::unique_ptr<dataplane::packet_slot> slot_{new dataplane::packet_slot{}};
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
    frame rest_;
    dataplane::guest_span payload_;
    std::unique_ptr<flow::key> key_{new flow::key{}};
    conntrack::request request_;
};

} // namespace strait::test
