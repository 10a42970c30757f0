// SPDX-License-Identifier: BSD-3-Clause
// Events, a line each. For print.cc alone.
#pragma once

#include <boost/json/object.hpp>

#include <string>

namespace strait::control {

[[nodiscard]] std::string events_text(const boost::json::object& result);

} // namespace strait::control
