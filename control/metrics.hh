// SPDX-License-Identifier: BSD-3-Clause
// The switch's counters as Prometheus reads them: its text format, version 0.0.4
// (prometheus.io/docs/instrumenting/exposition_formats). How they are asked for is
// metrics_server.hh's business; docs/metrics.md lists them.
#pragma once

#include "control/switch.hh"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

enum class metric_type : std::uint8_t { counter, gauge };

struct metric {
    std::string_view name;
    metric_type type;
    std::string_view help; // one line
};
// All that a page has, in its order.
[[nodiscard]] std::span<const metric> metrics() noexcept;

// Control thread.
class metrics_source {
public:
    // The CPUs are the workers'. The switch outlives it.
    metrics_source(const virtual_switch& sw, std::vector<unsigned> worker_cpus);
    // Everything as it is now. Walks every bridge's MAC table, and lists the open files.
    [[nodiscard]] std::string page() const;

private:
    const virtual_switch& switch_;
    std::vector<unsigned> worker_cpus_;
    double started_; // this process, in seconds since 1970
};

} // namespace strait::control
