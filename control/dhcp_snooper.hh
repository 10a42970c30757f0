// SPDX-License-Identifier: BSD-3-Clause
// Follows clients' DHCP transactions, to tell which port the client is behind that a server
// answers: what a lease binds, and when it ends before its time. Bounded whatever clients send.
// Reading messages is dhcp_message.hh's business; which ports have clients, and which servers, the
// switch's.
#pragma once

#include "control/dhcp_message.hh"
#include "dataplane/types.hh"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace strait::control {

class dhcp_snooper {
public:
    using clock = std::chrono::steady_clock;
    static constexpr std::size_t most_of_port = 64;     // transactions; the oldest makes way
    static constexpr std::chrono::seconds patience{60}; // for an answer

    struct place {
        dataplane::bridge_index bridge{};
        std::string port;
        std::optional<std::uint16_t> vlan; // of its tag; not set: it has none
        dataplane::vlan_id network{};      // in which it is by that; its server is there, too
    };
    // Somebody got an address, or has it no more.
    struct change {
        place where;
        dataplane::mac_address mac;
        endpoint::ip_address address;
        std::optional<std::uint32_t> lease; // seconds; not set: it has it no more
    };
    using changes = std::vector<change>;

    // From a port with clients.
    [[nodiscard]] changes client(const place& from, const dhcp_frame& f, clock::time_point now);
    // From one with servers, in VLAN `network`.
    [[nodiscard]] changes server(dataplane::bridge_index bridge, dataplane::vlan_id network,
                                 const dhcp_frame& f, clock::time_point now);
    void forget_port(const std::string& port);
    void rename_port(const std::string& from, const std::string& to); // which has none
    [[nodiscard]] std::size_t size() const noexcept { return open_.size(); }

private:
    // Who is answered: by hardware address, or by link-local address.
    using client_id = std::tuple<std::uint64_t, std::uint64_t>;
    using transaction =
        std::tuple<dataplane::bridge_index, dataplane::vlan_id, bool, std::uint32_t, client_id>;
    struct asked {
        place where;
        dataplane::mac_address mac;
        endpoint::ip_address claims; // the address that it says it has; not set: none
        clock::time_point when;
    };

    void open(const transaction& t, asked a);
    void close(const transaction& t);
    // Null: nobody asked, or too long ago.
    [[nodiscard]] const asked* find(const transaction& t, clock::time_point now);

    std::map<transaction, asked> open_;
    std::map<std::string, std::list<transaction>> by_port_; // the oldest first
};

} // namespace strait::control
