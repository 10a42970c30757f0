// SPDX-License-Identifier: BSD-3-Clause
// What an operator says of a port's part in IGMP and MLD snooping.
#pragma once

#include <cstdint>

namespace strait::multicast {

// Whether a multicast router is behind a port.
enum class router : std::uint8_t {
    learned, // where its queries, or a protocol of routers, come from (RFC 4541 2.1.1)
    always,
    never, // what says so is not believed, and goes no further
};

struct port_settings {
    router is_router{router::learned};
    bool flood{false};         // it is sent all multicast
    bool flood_reports{false}; // it is sent reports, as routers are
    bool fast_leave{false};    // who leaves was the only listener behind it
    std::uint32_t limit{256};  // the most groups that are learned of it at a time, 0: no limit

    bool operator==(const port_settings&) const noexcept = default;
};

} // namespace strait::multicast
