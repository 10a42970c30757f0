// SPDX-License-Identifier: BSD-3-Clause
// Which hypervisor's guests this host can serve.
#pragma once

#include "ports/error.hh"
#include "ports/xen-netback/backend.hh"

#include <memory>
#include <string>

namespace strait::control {

struct xen_host {
    std::unique_ptr<xen::backend> backend; // null: no Xen guests here
    std::string why_not;                   // then, one sentence
};

// What --xen may be: auto, off, libxen, or simulated:SOCKET.
[[nodiscard]] bool is_xen_choice(const std::string& choice) noexcept;

// An error only if what was asked for by name cannot be had.
[[nodiscard]] ports::result<xen_host> open_xen(const std::string& choice);

// What keeps this process from serving vifs though there is a hypervisor; empty: nothing.
[[nodiscard]] std::string xen_obstacle(const xen::backend& b);

} // namespace strait::control
