// SPDX-License-Identifier: BSD-3-Clause
// Configurations, and how two differ, for people. For print.cc and config_client.cc.
#pragma once

#include "control/method_table.hh"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <string>

namespace strait::control {

// JSON with a record, or a line of one, a line.
[[nodiscard]] std::string config_text(const boost::json::object& document);
[[nodiscard]] std::string config_result_text(const method& m, const boost::json::value& result);

} // namespace strait::control
