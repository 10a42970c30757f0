// SPDX-License-Identifier: BSD-3-Clause
// Spanning trees for people.
#pragma once

#include <boost/json/value.hpp>

#include <string>

namespace strait::control {

[[nodiscard]] std::string trees_text(const boost::json::value& result);

} // namespace strait::control
