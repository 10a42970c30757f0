// SPDX-License-Identifier: BSD-3-Clause
// straitctl's side of configurations: files are read and written here, with the rights of who runs
// it.
#pragma once

#include "control/client.hh"
#include "control/method_table.hh"

#include <boost/json/object.hpp>

#include <vector>

namespace strait::control {

// Commands that the daemon has no method for.
[[nodiscard]] std::vector<method> config_commands();
[[nodiscard]] bool has_config_file(const method& m);
// Throws call_error. The result, to be shown.
boost::json::value do_config(client& daemon, const method& m,
                             const boost::json::object& parameters);

} // namespace strait::control
