// SPDX-License-Identifier: BSD-3-Clause
// Results of the methods that are about tracked connections, as text for people.
#pragma once

#include "control/method_table.hh"

#include <boost/json/object.hpp>

#include <string>

namespace strait::control {

// As to_text() in print.hh.
[[nodiscard]] std::string connections_text(const method& m, const boost::json::object& result);

} // namespace strait::control
