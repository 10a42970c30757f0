// SPDX-License-Identifier: BSD-3-Clause
// What strait-xen-guest does with its network device: each a source and a taker of frames. The
// program's loop, which calls them, is in guest_program.cc.
#pragma once

#include "ports/xen-netback/simulated/netfront.hh"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

namespace strait::xen::simulated {

using mac_bytes = std::array<std::uint8_t, 6>;
[[nodiscard]] std::optional<mac_bytes> parse_mac(std::string_view text) noexcept;

struct traffic_settings {
    std::string mode{"echo"}; // tap, echo, send, receive
    std::string interface {}; // of the tap
    mac_bytes to{};           // whom to send to
    std::uint64_t count{0};   // frames to send or to receive; 0: no end
    std::uint32_t size{60};   // bytes of a frame
    std::uint32_t slots{1};   // that a frame is spread over, at least
    std::uint64_t rate{0};    // frames a second; 0: as fast as they go
};

class traffic {
public:
    virtual ~traffic() = default;
    // The device is connected, or is no longer.
    virtual void link(netfront& /*device*/, bool /*up*/) {}
    virtual void take(netfront& device, std::size_t queue, const received_frame& f) = 0;
    // Sends what there is to send and room for; whether there was something.
    virtual bool send(netfront& /*device*/) { return false; }
    // Of send()'s frames from elsewhere; -1: there are none.
    [[nodiscard]] virtual int descriptor() const noexcept { return -1; }
    // Microseconds until send() is due again, however idle all is; -1: no such time.
    [[nodiscard]] virtual int due() const noexcept { return -1; }
    [[nodiscard]] virtual bool done() const noexcept { return false; }
    // Whether what came is what was to come.
    [[nodiscard]] virtual bool good() const noexcept { return true; }
    virtual void report(boost::json::object& to) const = 0;
};

// The error says what is missing.
[[nodiscard]] result<std::unique_ptr<traffic>> make_traffic(const traffic_settings& s,
                                                            const std::string& mac);

} // namespace strait::xen::simulated
