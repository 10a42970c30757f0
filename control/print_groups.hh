// SPDX-License-Identifier: BSD-3-Clause
// What people read of groups and meters.
#pragma once

#include "control/method_table.hh"

#include <boost/json/object.hpp>

#include <string>

namespace strait::control {

// Of group.list and meter.list; nothing for other methods.
[[nodiscard]] std::string group_text(const method& m, const boost::json::object& result);

} // namespace strait::control
