// SPDX-License-Identifier: BSD-3-Clause
// The options of tunnel ports: what their words mean. Which there are is the method table's
// business.
#pragma once

#include "control/switch.hh"
#include "dataplane/tunnel/ports.hh"
#include "ports/error.hh"

#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

[[nodiscard]] bool is_tunnel(std::string_view type) noexcept;
// One sentence on error, with what would be right.
[[nodiscard]] ports::result<tunnel::settings> tunnel_settings(const port_request& r);
// What no two tunnels may have alike.
[[nodiscard]] std::vector<std::string> claims_of_tunnel(const port_request& r);

} // namespace strait::control
