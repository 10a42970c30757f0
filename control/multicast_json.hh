// SPDX-License-Identifier: BSD-3-Clause
// Settings of IGMP and MLD snooping as parameters and results have them.
#pragma once

#include "control/switch.hh"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <string_view>

namespace strait::control {

// As they were, but for what is given.
[[nodiscard]] bridge_multicast multicast_of(const boost::json::object& parameters,
                                            const bridge_multicast& before);
[[nodiscard]] multicast::port_settings multicast_of(const boost::json::object& parameters,
                                                    const multicast::port_settings& before);
[[nodiscard]] std::string_view to_text(multicast::router r) noexcept; // auto, on or off
[[nodiscard]] boost::json::value to_json(const multicast::port_settings& s);
// Null without snooping.
[[nodiscard]] boost::json::value describe_groups(const virtual_switch::bridge& b);

} // namespace strait::control
