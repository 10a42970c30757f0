// SPDX-License-Identifier: BSD-3-Clause
// Options of Geneve as text for people.
#pragma once

#include <boost/json/object.hpp>

#include <string>

namespace strait::control {

// Of tlv-map.list.
[[nodiscard]] std::string options_text(const boost::json::object& result);

} // namespace strait::control
