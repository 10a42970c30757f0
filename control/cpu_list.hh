// SPDX-License-Identifier: BSD-3-Clause
// Lists of CPUs as people write them: 1 or 2-5 or 0,1,0,1.
#pragma once

#include "ports/error.hh"

#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// In the order written; a CPU named twice is there twice. Errors: anything else than numbers and
// ascending ranges, a CPU beyond 1023, more CPUs than the switch has workers.
[[nodiscard]] ports::result<std::vector<unsigned>> parse_cpu_list(std::string_view text);

// The CPUs that this process may run on, ascending.
[[nodiscard]] std::vector<unsigned> allowed_cpus();

// "0-3,6"; for messages. Ascending input.
[[nodiscard]] std::string to_cpu_list(const std::vector<unsigned>& cpus);

} // namespace strait::control
