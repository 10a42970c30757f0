// SPDX-License-Identifier: BSD-3-Clause
// strait-micro: runs the micro-benchmarks of this folder. DPDK starts without huge pages and
// without devices; its second lcore is the worker that snapshots are switched under.

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <sched.h>

namespace {

// The first and the last CPU that this process may use: one and the same on a small machine.
std::vector<unsigned> two_cpus()
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    std::vector<unsigned> found;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (CPU_ISSET(cpu, &allowed)) {
                found.push_back(cpu);
            }
        }
    }
    if (found.empty()) {
        found.push_back(0);
    }
    return {found.front(), found.back()};
}

bool start_eal(const char* program)
{
    const auto cpus = two_cpus();
    std::vector<std::string> words = {program,
                                      "--lcores=0@" + std::to_string(cpus[0]) + ",1@" +
                                          std::to_string(cpus[1]),
                                      "--no-huge",
                                      "-m",
                                      "256",
                                      "--no-pci",
                                      "--no-telemetry",
                                      "--no-shconf",
                                      "--log-level=*:error"};
    std::vector<char*> arguments;
    std::transform(words.begin(), words.end(), std::back_inserter(arguments),
                   [](std::string& word) { return word.data(); });
    if (rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0) {
        std::fprintf(stderr, "strait-micro: DPDK could not start: %s\n", rte_strerror(rte_errno));
        return false;
    }
    return true;
}

} // namespace

int main(int argc, char** argv)
{
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 2;
    }
    if (!start_eal(argv[0])) {
        return 1;
    }
    // What cycles are to be held beside: another host's are not the same.
    benchmark::AddCustomContext("tsc_hz", std::to_string(rte_get_tsc_hz()));
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    rte_eal_cleanup();
    return 0;
}
