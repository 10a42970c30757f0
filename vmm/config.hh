// SPDX-License-Identifier: BSD-3-Clause
// What a virtual machine is made of, as its operator says it: on the command line of `strait-vmm
// run`, or in a JSON file that has the same words.
#pragma once

#include "control/method_table.hh"
#include "ports/error.hh"
#include "vmm/memory.hh"
#include "vmm/virtio/net.hh"

#include <boost/json/object.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace strait::vmm {

// How long a guest has to switch itself off, unless whoever asks says otherwise.
inline constexpr std::chrono::seconds power_off_patience{30};
// Network devices and disks together: as many as the PCI bus has room for beside its bridge and the
// entropy device.
inline constexpr std::size_t max_devices = 30;
inline constexpr std::size_t max_disks = 8;
// In bytes. The guest and the back end cause most of it, over months.
inline constexpr std::uint64_t log_file_limit = std::uint64_t{1} << 20U;

struct disk_config {
    std::string path;
    bool read_only{false};
    std::string serial{}; // at most 20 bytes, shown to the guest
};

struct jail_config {
    bool enabled{true};             // seccomp filters and what else the process's rights allow
    std::string folder{};           // root only: its new root lies over it; empty: over /dev
    std::optional<unsigned> user{}; // root only: whom it becomes
    std::optional<unsigned> group{};
};

struct config {
    std::string name{"guest"}; // 1 to 63 letters, digits, '.', '_', '-'
    std::string kernel{};
    std::string initrd{};
    std::string command_line{};
    memory_options memory{.bytes = std::uint64_t{256} << 20U};
    unsigned cpus{1};                        // 1 to platform::max_cpus
    std::map<unsigned, unsigned> cpu_pins{}; // host CPU by vCPU
    std::optional<unsigned> realtime{};      // SCHED_FIFO priority of vCPUs, 1 to 99
    std::vector<virtio::net_options> nets{}; // names net0, net1, ...
    std::vector<disk_config> disks{};
    std::string console{"stdio"}; // or none, file:PATH, socket:PATH
    std::string control{};        // path of the control socket; empty: none
    bool reboot{true};            // a guest that resets begins anew; else it ends
    bool bounded_log{false};      // stderr is a file of its own and begins anew at log_file_limit
    jail_config jail{};
};

struct run_options {
    config machine{};
    bool help{false};
    bool version{false};
};

// The table that all of it is made from: the one command, run.
[[nodiscard]] const control::method_table& commands();
// What parameters of run mean, which were checked against the table. An error says what does not go
// together, in the command line's words.
[[nodiscard]] ports::result<config> to_config(const boost::json::object& parameters);

// `words` behind "strait-vmm". An error is one sentence: which option, what is wrong with it, and
// what would be right.
[[nodiscard]] ports::result<run_options> parse_command_line(std::span<const std::string> words);
[[nodiscard]] std::string help();

} // namespace strait::vmm
