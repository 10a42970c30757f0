// SPDX-License-Identifier: BSD-3-Clause
// The commands about virtual machines: straitctl asks the daemon for a port, starts strait-vmm
// itself, and speaks to its control socket.
#pragma once

#include "control/method_table.hh"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <chrono>
#include <string>
#include <string_view>

namespace strait::control {

// What `vm run` takes for the machine's port, by port.add's names.
inline constexpr std::array<std::string_view, 6> vm_port_parameters = {
    "bridge", "vlan", "qinq", "trunk", "native", "tag_type"};

struct vm_host {
    std::string run_dir;
    std::string vmm{};                       // strait-vmm's path; empty: it is looked for
    bool systemd{false};                     // run it as one of its services
    std::chrono::seconds start_patience{30}; // until it answers
    std::chrono::seconds insist_patience{5}; // until a machine that was ended at once is gone
};

// Does the command and returns its result, as the table has it. Throws call_error.
boost::json::value do_vm_command(const vm_host& host, const method& m,
                                 const boost::json::object& parameters);

} // namespace strait::control
