// SPDX-License-Identifier: BSD-3-Clause
// mcast list for people.
#pragma once

#include <boost/json/object.hpp>

#include <string>

namespace strait::control {

[[nodiscard]] std::string groups_of_multicast_text(const boost::json::object& result);

} // namespace strait::control
