// SPDX-License-Identifier: BSD-3-Clause
// What straitctl prints of rule sets.
#pragma once

#include "control/method_table.hh"

#include <boost/json/value.hpp>

#include <string>

namespace strait::control {

[[nodiscard]] std::string acl_text(const method& m, const boost::json::value& result);

} // namespace strait::control
