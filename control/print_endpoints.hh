// SPDX-License-Identifier: BSD-3-Clause
// The switch's own addresses, routes and neighbours for people.
#pragma once

#include "control/method_table.hh"

#include <boost/json/array.hpp>

#include <string>

namespace strait::control {

// Of address.list, route.list and neighbour.list.
[[nodiscard]] std::string endpoints_text(const method& m, const boost::json::array& list);

} // namespace strait::control
