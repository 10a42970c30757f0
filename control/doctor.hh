// SPDX-License-Identifier: BSD-3-Clause
// What is wrong, or could be better, on a host and in a running switch, each with what mends it.
// The host is read from /proc and /sys, the switch from what its service says; nothing is changed.
#pragma once

#include "control/method_table.hh"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace strait::control {

struct finding {
    enum class kind : std::uint8_t {
        good,
        advice, // it works, but slower or with less care than it could
        fault,  // something does not work, or will not
    };
    kind is;
    std::string about; // a word or two: "huge pages", "port up0"
    std::string found; // a sentence without its full stop
    std::string mend;  // commands, or words; nothing where all is well
};
using findings = std::vector<finding>;

// What the running switch takes of the host.
struct host_use {
    std::vector<unsigned> worker_cpus;
    bool hugepages{false};
    bool physical_addresses{false}; // are what devices are given
    std::optional<int> pid;         // none: it does not run
};

// Files are below `root`, as they are below / of a real one.
[[nodiscard]] findings examine_host(const std::filesystem::path& root, const host_use& use);

// Results of the service's methods of these names.
struct switch_report {
    boost::json::object version;
    boost::json::array ports;   // port.list
    boost::json::array mirrors; // mirror.list
    boost::json::object workers;
    boost::json::object drops;
};
[[nodiscard]] findings examine_switch(const switch_report& r);
[[nodiscard]] host_use use_of(const switch_report& r);

// The method `doctor`, which straitctl does itself: asks the daemon of this run folder, if there is
// one, and looks at the host.
[[nodiscard]] bool is_doctor(const method& m);
[[nodiscard]] method doctor_method();
[[nodiscard]] boost::json::object examine(const std::string& run_dir,
                                          std::chrono::seconds patience = std::chrono::seconds{60});
[[nodiscard]] bool has_fault(const boost::json::object& examined);
[[nodiscard]] std::string doctor_text(const boost::json::object& examined);

} // namespace strait::control
