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

// The CPUs that this process may run on, ascending: those of its affinity, and the isolated ones.
[[nodiscard]] std::vector<unsigned> allowed_cpus();

// The CPUs that the kernel's command line isolates (isolcpus=), as far as this process may run
// there, ascending. They are in no process's affinity until it asks for them.
[[nodiscard]] std::vector<unsigned> isolated_cpus();

// Where the one worker runs whose CPU nobody has said: on the last isolated CPU, else on the last
// that is allowed. Both ascending, the second not empty.
[[nodiscard]] unsigned default_worker_cpu(const std::vector<unsigned>& isolated,
                                          const std::vector<unsigned>& allowed);

// Of everything but the workers: the first CPU that no worker has, one that is not isolated where
// there is such; the first of all where workers have all. As above.
[[nodiscard]] unsigned default_main_cpu(const std::vector<unsigned>& isolated,
                                        const std::vector<unsigned>& allowed,
                                        const std::vector<unsigned>& workers);

// "0-3,6"; for messages. Ascending input.
[[nodiscard]] std::string to_cpu_list(const std::vector<unsigned>& cpus);

} // namespace strait::control
