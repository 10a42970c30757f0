// SPDX-License-Identifier: BSD-3-Clause
// Names of ports for what the data plane tells by index. The control thread.
#pragma once

#include "control/failure.hh"
#include "control/switch.hh"

#include <boost/json/object.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace strait::control {

// By index, for as long as the ports are there; null: what is there is not shown.
using names_by_index = std::vector<const std::string*>;

// Of `port` or, if none is given, of all. Refuses a bridge that is not there, and a port that is
// not there or not on that bridge.
[[nodiscard]] outcome<names_by_index> names_asked_for(const virtual_switch& from,
                                                      const std::optional<std::string>& bridge,
                                                      const std::optional<std::string>& port);

// How many entries of a table there may be in an answer: methods_parts.hh's entry_limit().
[[nodiscard]] std::size_t entries_asked_for(const boost::json::object& p);

} // namespace strait::control
