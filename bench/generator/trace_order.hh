// SPDX-License-Identifier: BSD-3-Clause
// In which order the packets of a capture are of its flows: what was real traffic once, with the
// generator's own frames. Other orders are in flow_order.hh.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace strait::bench {

struct trace_order {
    std::vector<std::uint32_t> flow_of; // each packet's, by first appearance from 0
    std::uint32_t flows = 0;
};

// Reads a pcap or pcapng file of Ethernet frames. Flows are told apart by IP addresses, protocol
// and, where a packet has them, ports; packets of anything else by MAC addresses and Ethernet type.
// VLAN tags do not count. Throws std::runtime_error, one sentence that names the file: it cannot be
// read, has no packet, or more than `most` flows.
trace_order read_trace(const std::string& path, std::uint32_t most);

} // namespace strait::bench
