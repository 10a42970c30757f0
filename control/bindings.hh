// SPDX-License-Identifier: BSD-3-Clause
// Which MAC and IP addresses are bound to which port: those that an operator said, and those that
// DHCP leased, with their time. Who may be bound where is the switch's business (switch.hh), what
// workers see of it guard.hh's.
#pragma once

#include "control/failure.hh"
#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/types.hh"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace strait::control {

class bindings {
public:
    using clock = std::chrono::steady_clock;
    // What a port may have bound: MACs, and addresses of all of them. Of what DHCP leased less, so
    // that no guest fills what an operator may need.
    static constexpr std::size_t most_stations = 64;
    static constexpr std::size_t most_addresses = 256;
    static constexpr std::size_t most_leased = 32;
    static constexpr std::size_t most_leased_in_all = 65'536;

    struct address {
        endpoint::ip_prefix is;
        bool leased{false};
        std::optional<clock::time_point> until{}; // of a lease; not set: for ever
    };
    struct station {
        dataplane::mac_address mac;
        std::optional<std::uint16_t> vlan; // not set: that of the port's untagged frames
        bool leased{false};                // no operator said it: it goes with its last address
        std::vector<address> addresses{};
    };

    // By an operator; adds to what the station has. Nothing is changed by what is refused.
    outcome<void> add(const std::string& port, std::optional<std::uint16_t> vlan,
                      dataplane::mac_address mac, const std::vector<endpoint::ip_prefix>& at);
    // All of a port, of one of its MACs, or those addresses of it, leased or not; how many
    // stations and addresses went.
    std::size_t remove(const std::string& port, std::optional<dataplane::mac_address> mac,
                       std::optional<std::uint16_t> vlan,
                       const std::vector<endpoint::ip_prefix>& at);
    void remove_port(const std::string& port);
    void rename_port(const std::string& from, const std::string& to); // which has none

    enum class leased : std::uint8_t {
        made,
        renewed, // with another time, and no other address than before
        given,   // an operator bound it to that MAC: it stays so
        refused, // there is no room
    };
    leased lease(const std::string& port, std::optional<std::uint16_t> vlan,
                 dataplane::mac_address mac, const endpoint::ip_address& at,
                 std::optional<clock::time_point> until);
    // False: there is no such lease.
    bool end_lease(const std::string& port, std::optional<std::uint16_t> vlan,
                   dataplane::mac_address mac, const endpoint::ip_address& at);
    // All of a port's, or of one of its MACs; whether there were any.
    bool end_leases(const std::string& port);
    bool end_leases(const std::string& port, std::optional<std::uint16_t> vlan,
                    dataplane::mac_address mac);
    // Whether no MAC that is not bound to the port would find room for a lease.
    [[nodiscard]] bool is_full(const std::string& port) const;
    // Whether any lease was over.
    bool expire(clock::time_point now);

    [[nodiscard]] const std::map<std::string, std::vector<station>>& all() const noexcept
    {
        return ports_;
    }
    void note_change(const std::string& port) { changed_.insert(port); }
    // Ports of which something has changed since the last call.
    [[nodiscard]] std::set<std::string> take_changed() { return std::exchange(changed_, {}); }
    // Null: none.
    [[nodiscard]] const std::vector<station>* of(const std::string& port) const;

private:
    template <typename Over>
    std::size_t end_those(std::vector<station>& stations, const Over& over);
    template <typename Over>
    bool end_those(const std::string& port, const Over& over);

    std::map<std::string, std::vector<station>> ports_; // none of a port without any
    std::size_t leases_{0};
    std::set<std::string> changed_;
};

// An address as a prefix of its own.
[[nodiscard]] constexpr endpoint::ip_prefix whole(const endpoint::ip_address& a) noexcept
{
    constexpr std::uint8_t bits = 128;
    return {a, bits};
}

} // namespace strait::control
