// SPDX-License-Identifier: BSD-3-Clause
// What ct actions find in a trace: what connection tracking knows, or what the operator says.
#pragma once

#include "control/connection_json.hh"
#include "control/trace_steps.hh"
#include "dataplane/conntrack/request.hh"

#include <cstdint>
#include <span>

namespace strait::control {

class trace_connections {
public:
    // `states` of those that packets go on behind, in turn; none: tracking is asked.
    trace_connections(const virtual_switch& sw, std::span<const std::uint32_t> states,
                      step_list& steps)
        : switch_{sw}, asks_{states.empty()}, states_{states}, steps_{steps}
    {}

    // `goes_on`: in a table; `leaves`: the packet is about to leave by a port.
    void answer(conntrack::request& asked, bool goes_on, bool leaves);

private:
    void ask(conntrack::request& asked);
    void assume(conntrack::request& asked, bool goes_on, bool leaves);

    const virtual_switch& switch_;
    bool asks_;
    std::span<const std::uint32_t> states_; // those that nobody took yet
    step_list& steps_;
};

} // namespace strait::control
