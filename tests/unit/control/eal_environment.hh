// SPDX-License-Identifier: BSD-3-Clause
// DPDK and an engine of two workers for the tests of this program, started once; and a port type
// whose ports do what a test says and note what is done to them.
#pragma once

#include "control/switch.hh"
#include "dataplane/engine.hh"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace strait::control::testing_support {

[[nodiscard]] dataplane::engine& shared_engine();

// What tests tell the fake ports, and what these tell tests.
struct fake_control {
    std::string fail_make; // an error, if not empty
    std::string fail_start;
    std::string fail_mtu;
    std::size_t queues{1};
    std::vector<std::string> events; // "make a", "start a", "mtu a 9000", "stop a", "destroy a",
                                     // "forget a"
    std::map<std::string, bool> links;
    std::map<std::string, dataplane::mac_address> macs; // of ports that have one
    std::map<std::string, std::string> lost;            // why, by port
    std::map<std::string, ports::port::guests> guests;
    // Packets that each worker's next poll of port x counts: too short ones, and of 100 bytes.
    std::map<std::string, std::atomic<std::uint64_t>> to_count;
    std::map<std::string, std::atomic<std::uint64_t>> to_carry;
    std::map<std::string, std::atomic<bool>>
        holds; // whoever polls port x, for as long as it is set
};

// Types "fake" (claims "thing <option thing>" when it has one).
[[nodiscard]] std::map<std::string, port_type> fake_types(fake_control& control,
                                                          dataplane::engine& engine);

} // namespace strait::control::testing_support
