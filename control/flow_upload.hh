// SPDX-License-Identifier: BSD-3-Clause
// Files of flows that one request has no room for.
#pragma once

#include "control/client.hh"
#include "control/method_table.hh"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace strait::control {

// Whether the flows among a call's parameters want several requests.
[[nodiscard]] bool wants_upload(const method& m, const boost::json::object& parameters);

// Makes the call as a bundle, all of it or nothing. Throws call_error.
[[nodiscard]] boost::json::value upload(client& connection, const method& m,
                                        const boost::json::object& parameters);

} // namespace strait::control
