// SPDX-License-Identifier: BSD-3-Clause
// What a pass of a traced packet is told apart by, and which workers know its flow. They are asked.
#pragma once

#include "control/flow_text.hh"
#include "control/trace_steps.hh"
#include "dataplane/engine.hh"
#include "dataplane/flow/forward.hh"

#include <cstdint>
#include <optional>

namespace strait::control {

class trace_cache {
public:
    trace_cache(dataplane::engine& engine, step_list& steps) : engine_{engine}, steps_{steps} {}

    // A pass from `begin`, of a packet of `length` bytes with this key; `first`: no other was
    // before.
    void look(const flow::surroundings& around, const flow::key& k, std::uint32_t length,
              const flow::pass_start& begin, bool first);

private:
    [[nodiscard]] static const flow::pipeline* flows_of_workers(const flow::surroundings& around);
    [[nodiscard]] std::optional<flow::cache::look::known> ask(flow::cache& of,
                                                              const flow::cache::look& what);

    dataplane::engine& engine_;
    step_list& steps_;
};

} // namespace strait::control
