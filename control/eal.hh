// SPDX-License-Identifier: BSD-3-Clause
// DPDK's environment as the daemon wants it: lcores mapped to CPUs, memory with or without huge
// pages and no file left of it, no device probed, log lines led into ours, and the packet pool.
#pragma once

#include "ports/error.hh"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct rte_mempool;

namespace strait::control {

struct eal_settings {
    std::vector<unsigned> worker_cpus; // one worker each; a CPU named twice carries two
    // Unset: the first allowed CPU that no worker has, else the first allowed one.
    std::optional<unsigned> main_cpu;
    bool no_huge{false}; // false: huge pages if enough are free
    // Devices are given these: what works without an IOMMU. They want huge pages, and CAP_SYS_ADMIN
    // to know where those are. Otherwise virtual ones.
    bool physical_addresses{false};
    unsigned memory_mib{64}; // of the packet pool and all that drivers allocate
    std::string run_dir;
};

// At least this many MiB are needed.
inline constexpr unsigned minimum_memory_mib = 32;

// Whether the process may run on the CPUs that are named. start() checks it as well: this is for
// who would rather know before.
[[nodiscard]] ports::result<void> check_cpus(const eal_settings& settings);

// DPDK's lines, and its drivers', are as many as the log's level wants: to be called when that has
// changed. Any thread.
void follow_log_level() noexcept;

// Started at most once in a process, from its main thread, which it pins to the main CPU.
class eal {
public:
    [[nodiscard]] static ports::result<std::unique_ptr<eal>> start(const eal_settings& settings);
    ~eal();
    eal(const eal&) = delete;
    eal& operator=(const eal&) = delete;

    [[nodiscard]] rte_mempool* pool() const noexcept { return pool_; }
    [[nodiscard]] const std::vector<unsigned>& worker_lcores() const noexcept { return lcores_; }
    [[nodiscard]] const std::vector<unsigned>& worker_cpus() const noexcept { return cpus_; }
    [[nodiscard]] unsigned main_cpu() const noexcept { return main_cpu_; }
    [[nodiscard]] bool hugepages() const noexcept { return hugepages_; }
    [[nodiscard]] bool physical_addresses() const noexcept { return physical_addresses_; }
    // Two workers, or a worker and the main thread, have the same CPU.
    [[nodiscard]] bool share_cpus() const noexcept { return share_cpus_; }

private:
    eal() = default;

    rte_mempool* pool_{nullptr};
    std::vector<unsigned> lcores_;
    std::vector<unsigned> cpus_;
    unsigned main_cpu_{0};
    bool hugepages_{false};
    bool physical_addresses_{false};
    bool share_cpus_{false};
};

} // namespace strait::control
