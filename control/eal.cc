// SPDX-License-Identifier: BSD-3-Clause
// Starting and ending DPDK's environment.
#include "control/eal.hh"

#include "control/cpu_list.hh"
#include "control/log.hh"
#include "dataplane/engine.hh"
#include "dataplane/packet_pool.hh"
#include "ports/nic/device.hh"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string_view>
#include <system_error>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>

namespace strait::control {

namespace {

// What EAL warns of on every machine with huge pages of one size, or of two and one mounted: it has
// what it needs all the same.
bool is_usual(std::string_view line)
{
    constexpr std::array usual = {
        std::string_view{"but no mounted hugetlbfs found for that size"},
        std::string_view{"No free 1048576 kB hugepages reported on node"},
        std::string_view{"No available 1048576 kB hugepages reported"},
    };
    return std::any_of(usual.begin(), usual.end(), [line](std::string_view text) {
        return line.find(text) != std::string_view::npos;
    });
}

// "VHOST_CONFIG: (path) text" as subsystem "vhost" and the rest; others by the same rule.
void log_dpdk_line(log_level level, std::string_view line)
{
    std::string subsystem = "dpdk";
    bool limited = false;
    const auto colon = line.find(": ");
    if (colon != std::string_view::npos &&
        std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(colon), [](char c) {
            return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
        })) {
        const std::string_view prefix = line.substr(0, colon);
        if (prefix.starts_with("VHOST")) {
            // A front end makes the library complain by every connection and every message; what
            // our ports say of it they bound themselves.
            subsystem = "vhost";
            limited = true;
        } else {
            subsystem = prefix;
            std::transform(subsystem.begin(), subsystem.end(), subsystem.begin(), [](char c) {
                return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
            });
        }
        line.remove_prefix(colon + 2);
    }
    if (!line.empty()) {
        (limited ? log_limited : log)(level, subsystem, line);
    }
}

log_level to_log_level(int level)
{
    return level <= static_cast<int>(RTE_LOG_ERR)       ? log_level::error
           : level <= static_cast<int>(RTE_LOG_WARNING) ? log_level::warning
           : level <= static_cast<int>(RTE_LOG_NOTICE)  ? log_level::info
                                                        : log_level::debug;
}

// DPDK flushes after every message; a message may have several lines.
ssize_t write_dpdk_lines(void* /*cookie*/, const char* text, std::size_t size)
{
    const log_level level = to_log_level(rte_log_cur_msg_loglevel());
    std::string_view rest{text, size};
    while (!rest.empty()) {
        const auto end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = rest.substr(0, end);
        log_dpdk_line(is_usual(line) ? log_level::debug : level, line);
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return static_cast<ssize_t>(size);
}

void lead_dpdk_log_here()
{
    static FILE* const stream = ::fopencookie(
        nullptr, "w",
        {.read = nullptr, .write = write_dpdk_lines, .seek = nullptr, .close = nullptr});
    if (stream != nullptr) {
        (void)rte_openlog_stream(stream);
    }
}

// Free and unpromised, in MiB, of all sizes.
std::uint64_t free_hugepage_mib()
{
    std::uint64_t mib = 0;
    std::error_code code;
    for (const auto& entry :
         std::filesystem::directory_iterator{"/sys/kernel/mm/hugepages", code}) {
        constexpr std::string_view prefix = "hugepages-";
        const std::string name = entry.path().filename();
        if (!name.starts_with(prefix)) {
            continue;
        }
        std::uint64_t free = 0;
        std::uint64_t reserved = 0;
        std::ifstream{entry.path() / "free_hugepages"} >> free;
        std::ifstream{entry.path() / "resv_hugepages"} >> reserved;
        constexpr std::uint64_t kib_in_mib = 1024;
        mib += (free - std::min(free, reserved)) * std::stoull(name.substr(prefix.size())) /
               kib_in_mib;
    }
    return mib;
}

std::optional<std::uint64_t> mib_of_meminfo(std::string_view key)
{
    constexpr std::uint64_t kib_in_mib = 1024;
    std::ifstream file{"/proc/meminfo"};
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(key)) {
            return std::strtoull(line.c_str() + key.size(), nullptr, 10) / kib_in_mib;
        }
    }
    return std::nullopt;
}

// The least limit of the control groups (v2) that this process is in, and none where there is none.
std::optional<std::uint64_t> mib_of_control_groups()
{
    constexpr std::string_view unified = "0::/";
    std::ifstream file{"/proc/self/cgroup"};
    std::optional<std::uint64_t> least;
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(unified)) {
            continue;
        }
        const std::filesystem::path root{"/sys/fs/cgroup"};
        for (auto group = root / line.substr(unified.size());; group = group.parent_path()) {
            std::uint64_t bytes = 0; // "max" is no number
            if (std::ifstream{group / "memory.max"} >> bytes) {
                least = std::min(least.value_or(UINT64_MAX), bytes >> 20U);
            }
            if (group == root || !group.has_relative_path()) {
                break;
            }
        }
    }
    return least;
}

// Ordinary memory is given at once and taken page by page: too much of it ends not in an error but
// in the kernel ending a process, not always this one.
ports::result<void> check_memory(unsigned memory_mib)
{
    const auto available = mib_of_meminfo("MemAvailable:");
    if (available && *available < memory_mib) {
        return ports::error{"--memory asks for " + std::to_string(memory_mib) + " MiB, and " +
                            std::to_string(*available) + " MiB are available on this machine"};
    }
    if (const auto limit = mib_of_control_groups(); limit && *limit < memory_mib) {
        return ports::error{"--memory asks for " + std::to_string(memory_mib) +
                            " MiB, and this process's control group may have " +
                            std::to_string(*limit) + " MiB"};
    }
    return {};
}

// Huge pages stay where they are in memory; where that is, the kernel does not tell everybody.
ports::result<void> check_physical_addresses(const eal_settings& settings)
{
    const std::uint64_t free = free_hugepage_mib();
    if (free < settings.memory_mib) {
        return ports::error{"--iova-mode pa works in huge pages alone: --memory asks for " +
                            std::to_string(settings.memory_mib) + " MiB, and " +
                            std::to_string(free) +
                            " MiB of them are free (sysctl vm.nr_hugepages)"};
    }
    if (rte_mem_virt2phy(&free) == RTE_BAD_IOVA) {
        return ports::error{"--iova-mode pa needs CAP_SYS_ADMIN, without which "
                            "/proc/self/pagemap does not say where memory is"};
    }
    return {};
}

bool decide_on_hugepages(const eal_settings& settings)
{
    if (settings.no_huge) {
        return false;
    }
    const std::uint64_t free = free_hugepage_mib();
    if (free >= settings.memory_mib) {
        return true;
    }
    log(log_level::warning, "eal",
        std::to_string(free) + " MiB of huge pages are free and --memory asks for " +
            std::to_string(settings.memory_mib) + ": running without huge pages, which is slower");
    return false;
}

std::string file_prefix(const std::string& run_dir)
{
    return "strait-" + std::to_string(std::hash<std::string>{}(run_dir));
}

// Packets that memory allows, a part of it left to drivers and the vhost library.
unsigned pool_size(unsigned memory_mib)
{
    constexpr std::uint64_t mib = 1024 * 1024;
    // An mbuf with its headers, private area and data room, and what the pool adds to it.
    constexpr std::uint64_t per_packet = 2560;
    const std::uint64_t others = std::max(16U, memory_mib / 8);
    return static_cast<unsigned>((memory_mib - others) * mib / per_packet);
}

} // namespace

// As start() has it.
void follow_log_level() noexcept
{
    if (current_log_level() < log_level::debug) {
        rte_log_set_global_level(RTE_LOG_NOTICE);
        return;
    }
    rte_log_set_global_level(RTE_LOG_DEBUG);
    (void)rte_log_set_level_pattern("*", RTE_LOG_INFO);
}

ports::result<void> check_cpus(const eal_settings& settings)
{
    const std::vector<unsigned> allowed = allowed_cpus();
    std::vector<unsigned> wanted = settings.worker_cpus;
    if (settings.main_cpu) {
        wanted.push_back(*settings.main_cpu);
    }
    for (const unsigned cpu : wanted) {
        if (std::find(allowed.begin(), allowed.end(), cpu) == allowed.end()) {
            return ports::error{"CPU " + std::to_string(cpu) +
                                " is not there or not allowed to this process, which may run on " +
                                to_cpu_list(allowed)};
        }
    }
    return {};
}

ports::result<std::unique_ptr<eal>> eal::start(const eal_settings& settings)
{
    if (auto right = check_cpus(settings); right.has_error()) {
        return right.error();
    }
    std::unique_ptr<eal> self{new eal};
    self->cpus_ = settings.worker_cpus;
    self->main_cpu_ = settings.main_cpu.value_or(
        default_main_cpu(isolated_cpus(), allowed_cpus(), settings.worker_cpus));
    std::set<unsigned> different{settings.worker_cpus.begin(), settings.worker_cpus.end()};
    different.insert(self->main_cpu_);
    self->share_cpus_ = different.size() < settings.worker_cpus.size() + 1;
    lead_dpdk_log_here();
    if (settings.physical_addresses) {
        if (auto can = check_physical_addresses(settings); can.has_error()) {
            return can.error();
        }
        self->physical_addresses_ = true;
    }
    self->hugepages_ = settings.physical_addresses || decide_on_hugepages(settings);
    if (!self->hugepages_) {
        if (auto enough = check_memory(settings.memory_mib); enough.has_error()) {
            return enough.error();
        }
    }

    std::string lcores = "0@" + std::to_string(self->main_cpu_);
    for (std::size_t i = 0; i < settings.worker_cpus.size(); ++i) {
        lcores += "," + std::to_string(i + 1) + "@" + std::to_string(settings.worker_cpus[i]);
        self->lcores_.push_back(static_cast<unsigned>(i + 1));
    }
    std::vector<std::string> words = {
        "straitd",
        "--lcores=" + lcores,
        "--main-lcore=0",
        "-m",
        std::to_string(settings.memory_mib),
        "--file-prefix=" + file_prefix(settings.run_dir),
        "--no-telemetry",
        self->physical_addresses_ ? "--iova-mode=pa" : "--iova-mode=va",
        "-a",
        nic::no_device,
        current_log_level() >= log_level::debug ? "--log-level=*:info" : "--log-level=notice",
    };
    if (self->hugepages_) {
        words.emplace_back("--in-memory");
    } else {
        words.insert(words.end(), {"--no-huge", "--no-shconf"});
    }
    std::vector<char*> arguments;
    for (auto& word : words) {
        arguments.push_back(word.data());
    }
    if (rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0) {
        self->lcores_.clear(); // nothing to end
        return ports::error{std::string{"DPDK could not start: "} + rte_strerror(rte_errno) +
                            "; the lines of eal above say more"};
    }
    self->pool_ = dataplane::make_packet_pool({.name = "packets",
                                               .packets = pool_size(settings.memory_mib),
                                               .cache = 256,
                                               .private_size = dataplane::handover_area,
                                               .data_room = RTE_MBUF_DEFAULT_BUF_SIZE});
    if (self->pool_ == nullptr) {
        return ports::error{std::string{"the packet pool could not be made: "} +
                            rte_strerror(rte_errno) + "; give more --memory"};
    }
    const rte_mempool& pool = *self->pool_;
    const std::size_t packet_bytes =
        std::size_t{pool.header_size} + pool.elt_size + pool.trailer_size;
    log(log_level::info, "eal",
        "packet pool of " + std::to_string(pool.size) + " packets, " +
            std::to_string(pool.size * packet_bytes >> 20) + " MiB");
    return self;
}

eal::~eal()
{
    if (!lcores_.empty()) {
        rte_mempool_free(pool_);
        (void)rte_eal_cleanup();
    }
    // DPDK makes a folder for files that others find it by, of which this process has none, and
    // leaves it. Only an empty folder is removed.
    std::error_code code;
    std::filesystem::remove(rte_eal_get_runtime_dir(), code);
}

} // namespace strait::control
