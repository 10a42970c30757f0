// SPDX-License-Identifier: BSD-3-Clause
// A JSON file of a method's parameters, which a command line may name in their place.
#pragma once

#include "control/method_table.hh"
#include "ports/error.hh"

#include <boost/json/object.hpp>

namespace strait::control {

// If `given` names a file by the parameter of that kind: takes it out and adds what the file says.
// What was given on the command line goes before what the file says, but for what may be repeated:
// of that, only one of the two may speak. The file is an object with the parameters' names, and is
// checked, but for what is missing.
[[nodiscard]] ports::result<void> add_from_file(const method& m, boost::json::object& given);

} // namespace strait::control
