// SPDX-License-Identifier: BSD-3-Clause
// Ports without queues: a tunnel's, and a bridge's LOCAL. What becomes of packets to them is
// dataplane/tunnel's business; here is what control sees of them.
#pragma once

#include "dataplane/tunnel/ports.hh"
#include "ports/port.hh"

#include <memory>

namespace strait::tunnel {

[[nodiscard]] std::unique_ptr<ports::port> make_port(const settings& s);
[[nodiscard]] std::unique_ptr<ports::port> make_local_port();

} // namespace strait::tunnel
