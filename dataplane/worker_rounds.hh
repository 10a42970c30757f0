// SPDX-License-Identifier: BSD-3-Clause
// What a worker keeps for packets that are forwarded again: for its own two files.
#pragma once

#include "dataplane/worker.hh"

namespace strait::dataplane {

// One depth of tunnels in tunnels, on its way.
struct worker::round {
    explicit round(flow::switcher& first) : flows{first} {}

    tunnel::ready_packets ready;
    burst row; // those that go through flows, one behind the other
    output_lists outputs;
    flow::switcher flows;
};

} // namespace strait::dataplane
