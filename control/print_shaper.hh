// SPDX-License-Identifier: BSD-3-Clause
// The list of shaped ports as text for people.
#pragma once

#include <boost/json/value.hpp>

#include <string>

namespace strait::control {

[[nodiscard]] std::string shapers_text(const boost::json::value& result);

} // namespace strait::control
