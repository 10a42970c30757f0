// SPDX-License-Identifier: BSD-3-Clause
// Results of the control service as text for people. Fetching them is not here.
#pragma once

#include "control/method_table.hh"

#include <boost/json/value.hpp>

#include <string>

namespace strait::control {

// The text to print, ending in a newline, or nothing to print for a command that only does.
[[nodiscard]] std::string to_text(const method& m, const boost::json::value& result);

// Lines about what was done all the same, which the result tells of; nothing: all is well. They are
// not of the text.
[[nodiscard]] std::string warnings_text(const boost::json::value& result);

// Adds to `now`, a result of stats or worker.list, what happened since `before`: to each port and
// the total rx_pps, tx_pps (packets a second), rx_bps, tx_bps (bits a second of whole frames
// without FCS), rx_drop_pps, tx_drop_pps; to workers their utilisation, asleep and
// cycles_per_packet of that time in place of those since the start. Adds `interval_s`.
void add_rates(const method& m, boost::json::value& now, const boost::json::value& before);

} // namespace strait::control
