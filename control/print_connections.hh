// SPDX-License-Identifier: BSD-3-Clause
// Results of the methods that are about tracked connections, as text for people.
#pragma once

#include "control/method_table.hh"

#include <boost/json/object.hpp>

#include <string>

namespace strait::control {

// As to_text() in print.hh.
[[nodiscard]] std::string connections_text(const method& m, const boost::json::object& result);

// Of a connection, and of an object that has its zone.
[[nodiscard]] std::string connection_text(const boost::json::object& c);
[[nodiscard]] std::string zone_text(const boost::json::object& of);

} // namespace strait::control
