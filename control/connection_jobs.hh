// SPDX-License-Identifier: BSD-3-Clause
// Connections that are to be forgotten, by all workers.
#pragma once

#include "dataplane/engine.hh"
#include "dataplane/flow/key.hh"

#include <cstddef>

namespace strait::control {

// Those whose first packet `which` matches, with the connection's zone, mark and label; how many.
// Waits for a worker. The control thread.
std::size_t forget_connections(dataplane::engine& engine, const flow::match& which);

} // namespace strait::control
