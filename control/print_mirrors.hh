// SPDX-License-Identifier: BSD-3-Clause
// The list of mirrors as text for people.
#pragma once

#include <boost/json/value.hpp>

#include <string>

namespace strait::control {

[[nodiscard]] std::string mirrors_text(const boost::json::value& result);

} // namespace strait::control
