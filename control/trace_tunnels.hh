// SPDX-License-Identifier: BSD-3-Clause
// What becomes of traced frames at ports without queues: they get outer headers, or lose them, or
// are for the switch itself. By the code that workers use, with what is known of neighbours now;
// nobody is asked for, and nothing waits longer than the trace.
#pragma once

#include "control/traced_frame.hh"
#include "dataplane/engine.hh"
#include "dataplane/tunnel/carrier.hh"

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace strait::control {

class trace_tunnels {
public:
    // What goes on from a port; of the key the words of its tunnel, if it has any.
    struct carried {
        std::vector<std::byte> frame;
        dataplane::port_index at;
        std::optional<flow::key> tunnel;
        std::size_t depth{0}; // how often it went on before
    };

    trace_tunnels(dataplane::engine& engine, dataplane::port_counters* counters);

    [[nodiscard]] static std::optional<flow::key> tunnel_of(const dataplane::packet& p,
                                                            const tunnel::notes& from) noexcept;
    // For flows' surroundings: where words of tunnels are, until the next frame is taken.
    [[nodiscard]] tunnel::notes& notes() noexcept { return carrier_.notes(); }
    // A frame that is sent to the port `what.at`, and came from `in`. False: it waits for a
    // neighbour.
    bool take(const carried& what, dataplane::port_index in, std::vector<carried>& out);

private:
    [[nodiscard]] static std::unique_ptr<endpoint::neighbours> copy_of(dataplane::engine& engine);

    dataplane::engine& engine_;
    dataplane::port_counters* counters_;
    std::unique_ptr<endpoint::neighbours> known_;
    tunnel::carrier carrier_;
    std::unique_ptr<tunnel::ready_packets> ready_{std::make_unique<tunnel::ready_packets>()};
};

} // namespace strait::control
