// SPDX-License-Identifier: BSD-3-Clause
// The flows that carry most: what each has carried since the same client looked last. What that
// comes to a second, and how it is shown, is print_flows.hh's business.
#pragma once

#include "control/bridge_flows.hh"

#include <chrono>
#include <cstdint>
#include <vector>

namespace strait::control {

class flow_top {
public:
    enum class order : std::uint8_t { packets, bytes };
    struct one {
        flow::rule_ptr rule;
        std::uint64_t packets; // since the last look
        std::uint64_t bytes;
    };
    struct result {
        std::chrono::microseconds interval{0}; // 0: it is the first look
        std::size_t total{0};                  // flows that carried anything
        std::vector<one> flows;                // from the first by the order
    };

    // Of these flows, `count` at the most. What a flow carried before it was changed, and before
    // the first look, is not counted.
    [[nodiscard]] result look(bridge_flows& flows, order by, std::size_t count,
                              std::chrono::steady_clock::time_point now);

private:
    std::vector<one> seen_; // with all that they have carried, by address
    std::chrono::steady_clock::time_point when_{};
    flow::instant last_look_{0};
};

} // namespace strait::control
