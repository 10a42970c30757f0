// SPDX-License-Identifier: BSD-3-Clause
// Who was seen behind guests' ports, as port.show and port.list tell it: MACs of the bridges'
// tables, and the addresses that the ports have noted.
#pragma once

#include "control/switch.hh"
#include "dataplane/mac_table.hh"

#include <boost/json/value.hpp>

#include <cstddef>
#include <map>
#include <vector>

namespace strait::control {

class seen_stations {
public:
    static constexpr std::size_t most_macs = 16; // of a port; the latest

    // Of these ports. The table of a bridge is gone through once.
    seen_stations(const virtual_switch& sw, const std::vector<const virtual_switch::port*>& ports);
    // Of one of them. Null: its addresses are not noted, for a network is there.
    [[nodiscard]] boost::json::value behind(const virtual_switch::port& p) const;

private:
    struct found_macs {
        std::vector<dataplane::mac_entry> latest; // by VLAN and MAC
        std::size_t total{0};
        dataplane::seconds_t oldest{0}; // of them, when there are so many

        void add(const dataplane::mac_entry& e);
    };

    dataplane::seconds_t now_;
    std::map<dataplane::port_index, found_macs> macs_;
};

} // namespace strait::control
