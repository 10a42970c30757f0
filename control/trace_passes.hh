// SPDX-License-Identifier: BSD-3-Clause
// A traced packet's passes through the flows of one bridge: those of all its copies behind one ct
// action, then those behind the next.
#pragma once

#include "control/trace_cache.hh"
#include "control/trace_connections.hh"
#include "control/trace_steps.hh"
#include "control/traced_frame.hh"
#include "dataplane/flow/forward.hh"
#include "dataplane/flow/passes.hh"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace strait::control {

class trace_passes {
public:
    // `leaves`: it is about to leave by a port.
    trace_passes(const flow::surroundings& around, step_list& steps, trace_cache& caches,
                 trace_connections& connections, bool leaves = false);

    // `fields`: what the packet has beside its headers and in_port; null: nothing.
    void run(traced_frame& frame, const flow::key& k, const flow::header_layout& at,
             flow::table_id begins, const flow::key* fields = nullptr);

private:
    struct level {
        explicit level(flow::pass_stage::budget& left) : asked{left} {}
        dataplane::burst copies;
        dataplane::burst forks;
        flow::pass_stage asked;
        flow::runner runs{copies, asked};
    };

    void translate_and_run(std::size_t number, dataplane::packet_slot& p,
                           const flow::header_layout& at, const flow::key& k,
                           const flow::pass_state& state, const flow::pass_start& begin);
    void run_words(std::size_t number, std::span<const std::uint64_t> words,
                   dataplane::packet_slot& p, const flow::header_layout& at,
                   const flow::pass_state& state);
    void go_on(std::size_t number);
    void begin_pass(std::size_t number, std::size_t i, const conntrack::request& asked);

    const flow::surroundings& around_;
    step_list& steps_;
    trace_cache& caches_;
    trace_connections& connections_;
    bool leaves_;
    flow::pass_stage::budget left_{};
    std::unique_ptr<flow::translation> made_{std::make_unique<flow::translation>()};
    std::vector<std::unique_ptr<level>> levels_;
};

} // namespace strait::control
