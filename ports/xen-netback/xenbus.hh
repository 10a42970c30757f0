// SPDX-License-Identifier: BSD-3-Clause
// The states of a split driver's two sides, which they tell each other in the store.
#pragma once

#include <cstdint>

namespace strait::xen {

// XenbusState of Xen's public io/xenbus.h.
enum class xenbus_state : std::uint8_t {
    absent = 0, // no node, or no state in it
    initialising = 1,
    init_wait = 2,
    initialised = 3,
    connected = 4,
    closing = 5,
    closed = 6,
    reconfiguring = 7,
    reconfigured = 8,
};

[[nodiscard]] constexpr const char* to_string(xenbus_state s) noexcept
{
    using enum xenbus_state;
    switch (s) {
    case absent:
        return "absent";
    case initialising:
        return "initialising";
    case init_wait:
        return "waiting";
    case initialised:
        return "initialised";
    case connected:
        return "connected";
    case closing:
        return "closing";
    case closed:
        return "closed";
    case reconfiguring:
        return "reconfiguring";
    case reconfigured:
        return "reconfigured";
    }
    return "unknown";
}

} // namespace strait::xen
