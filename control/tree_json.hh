// SPDX-License-Identifier: BSD-3-Clause
// Settings and state of spanning tree as parameters and results have them.
#pragma once

#include "control/switch.hh"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace strait::control {

// As they were, but for what is given.
[[nodiscard]] bridge_tree tree_of(const boost::json::object& parameters, const bridge_tree& before);
[[nodiscard]] port_tree tree_of(const boost::json::object& parameters, const port_tree& before);
// As parameters say it, under their names.
[[nodiscard]] boost::json::object settings_object(const bridge_tree& t);
[[nodiscard]] boost::json::object settings_object(const port_tree& t);
// Null where it does not run.
[[nodiscard]] boost::json::value describe_tree(const virtual_switch& sw,
                                               const virtual_switch::bridge& b);
[[nodiscard]] boost::json::value describe_tree(const virtual_switch& sw,
                                               const virtual_switch::port& p);

} // namespace strait::control
