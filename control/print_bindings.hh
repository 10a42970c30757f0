// SPDX-License-Identifier: BSD-3-Clause
// Bindings for people.
#pragma once

#include <boost/json/array.hpp>

#include <string>

namespace strait::control {

// Of binding.list.
[[nodiscard]] std::string bindings_text(const boost::json::array& list);

} // namespace strait::control
