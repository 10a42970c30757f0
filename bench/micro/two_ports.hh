// SPDX-License-Identifier: BSD-3-Clause
// The switch that most benchmarks of forwarding have: one bridge, and two ports of it.
#pragma once

#include "dataplane/mac_table.hh"
#include "dataplane/snapshot.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace strait::bench {

struct bridge_of_two {
    // With room for so many MACs.
    explicit bridge_of_two(std::size_t macs)
    {
        auto bridge = std::make_shared<dataplane::bridge_config>();
        bridge->macs = std::make_shared<dataplane::mac_table>(macs);
        config.bridges.push_back(bridge);
        for (std::uint16_t i = 0; i < ports.size(); ++i) {
            ports.at(i) = std::make_shared<dataplane::port_config>();
            ports.at(i)->index = dataplane::port_index{i};
            ports.at(i)->incarnation = 1;
            bridge->members.push_back(ports.at(i)->index);
            config.ports.push_back(ports.at(i));
        }
    }

    dataplane::snapshot config;
    std::array<std::shared_ptr<dataplane::port_config>, 2> ports; // whose rest is to be said
};

} // namespace strait::bench
