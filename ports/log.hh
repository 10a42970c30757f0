// SPDX-License-Identifier: BSD-3-Clause
// Lines of ports in the daemon's log. They go through DPDK's log, which the daemon leads into its
// own; a program without that gets them on standard error.
#pragma once

#include <string>

namespace strait::ports {

// Any thread but a worker's. What is no printable ASCII is replaced: part of a line may be a
// guest's.
void log_warning(const char* subsystem, std::string line) noexcept;
void log_notice(const char* subsystem, std::string line) noexcept;

} // namespace strait::ports
