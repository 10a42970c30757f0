// SPDX-License-Identifier: BSD-3-Clause
// The kernel's network interfaces behind virtual devices (taps, AF_PACKET): MTU, addresses, state,
// by netlink. Of the switch's own network namespace only. Control thread only.
#pragma once

#include "ports/error.hh"

#include <cstdint>
#include <optional>
#include <string>

namespace strait::nic {

struct interface_state {
    std::uint32_t index; // no other interface has or will have it
    std::uint32_t mtu;
    bool running;     // up, with carrier
    bool promiscuous; // set so by somebody
    std::string type; // "tun", "veth", "bridge"; empty for a real one
};

// Whether the kernel would take this as an interface's name, and devargs can carry it.
[[nodiscard]] bool valid_interface_name(const std::string& name) noexcept;

// Nothing when there is no such interface here.
[[nodiscard]] std::optional<interface_state> find_interface(const std::string& name);

// Errors: no such interface, or the kernel's reason.
[[nodiscard]] ports::result<void> set_interface_mtu(const std::string& name, std::uint32_t mtu);
[[nodiscard]] ports::result<void> set_interface_up(const std::string& name);

// "10.0.0.1/24", "fd00::1/64", none that no host can have. check_address changes nothing.
[[nodiscard]] ports::result<void> check_address(const std::string& cidr);
[[nodiscard]] ports::result<void> add_interface_address(const std::string& name,
                                                        const std::string& cidr);

} // namespace strait::nic
