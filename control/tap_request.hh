// SPDX-License-Identifier: BSD-3-Clause
// What a capture or a mirror asks of the switch, by the names of ports. What becomes of it in the
// data plane is dataplane/tap.hh.
#pragma once

#include "dataplane/flow/key.hh"
#include "dataplane/tap.hh"

#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace strait::control {

using tap_id = std::uint64_t;

// Ports of one bridge: all, or those of these names, whether or not they are there.
struct tap_ports {
    bool all{false}; // but those that mirrors send to
    std::vector<std::string> names{};

    [[nodiscard]] bool empty() const noexcept { return !all && names.empty(); }
};

struct tap_request {
    std::string bridge;
    tap_ports received; // as in tap_filter
    tap_ports sent;
    tap_ports sent_from;
    tap_ports dropped;
    std::optional<std::bitset<4096>> vlans;
    std::vector<flow::match> flows;
    std::shared_ptr<dataplane::tap_outlet> outlet;
    std::string output_port{}; // empty: to none
    std::uint16_t output_vlan{0};
    // Told of the ports before workers see them, if set.
    std::function<void(const dataplane::snapshot&)> ports_change{};
};

} // namespace strait::control
